"""`interp sae evaluate`: evaluate an autoencoder with baselines, and show its latents."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from interp.cli import console, options
from interp.cli.deliver import deliver, output_folder
from interp.errors import UsageError

HELP = "evaluate sparse autoencoders on held-out text, compared with baselines"
EXAMPLE = "interp sae evaluate runs/x --tokens 50000 --out out/dictionary"


def add_arguments(parser: ArgumentParser) -> None:
    """Add the options of this command.

    The autoencoders, what they are evaluated on, and where the report goes.
    """
    text = "folder of an autoencoder; further ones are evaluated on the same text and shown with it"
    parser.add_argument("folder", metavar="FOLDER", nargs="*", help=text)
    text = "instead of FOLDER: a folder of dictionaries (saes.DictionarySet), whose FVU is measured for each layer"
    parser.add_argument("--dictionaries", metavar="DIR", help=text)
    add_sources(parser)
    text = "evaluate on this text, without contexts it was trained on (default: the rest of the training text)"
    parser.add_argument("--text", metavar="TEXT", action="append", default=[], help=text)
    options.add_column(parser, default=None)
    text = "number of tokens of that text (default: 20000)"
    parser.add_argument("--tokens", type=options.positive, metavar="N", default=20_000, help=text)
    parser.add_argument("--no-features", action="store_true", help="evaluate only, without the cards of latents")
    options.add_out(parser, "out/dictionary", "folder for result.json, arrays.safetensors and report.html")
    options.add_seed(parser)


def add_sources(parser: ArgumentParser) -> None:
    """Add what both commands on trained autoencoders need."""
    text = "a store of activations of its hook (interp cache run)"
    parser.add_argument("--store", metavar="DIR", help=text)
    text = 'the model of the activations, or "none" (default: the one named by the store)'
    parser.add_argument("--model", metavar="NAME", help=text)
    text = "its hook, such as blocks.10.hook_resid_post, if its folder does not name it"
    parser.add_argument("--hook", metavar="NAME", help=text)
    parser.add_argument("--device", default="cpu", help='device, such as "cpu" or "cuda:0" (default: cpu)')


def run(args: Namespace) -> int:
    """Load, evaluate and read the autoencoders, save and write the report."""
    import saes
    from analyses import dictionary
    from analyses.dictionary import inputs
    from interp import cache

    if bool(args.folder) == bool(args.dictionaries):
        raise UsageError("give the folder of an autoencoder, or --dictionaries with that of a set")
    if args.dictionaries:
        return _run_set(args)
    with output_folder(args.out) as folder:
        store = cache.Store.open(args.store) if args.store else None
        opened = inputs.opened(args.folder[0], store, args.model, args.device, args.hook)
        others = {
            path: inputs.placed(saes.load(path, device=args.device), args.hook, store) for path in args.folder[1:]
        }
        with console.progress(quiet=args.quiet) as progress:
            judged = store or inputs.fresh(
                opened, tuple(args.text), args.tokens, folder, column=args.column, progress=progress
            )
            study = dictionary.run(
                opened.sae,
                judged,
                text=opened.own if store is None else None,
                model=opened.model,
                config=dictionary.Config(name=args.folder[0], features=not args.no_features),
                others=others,
                seed=args.seed,
                command=args.command,
                progress=progress,
            )
        deliver(study, folder, args)
    return 0


def _run_set(args: Namespace) -> int:
    """Evaluate every dictionary of a set on the same text, and save the result."""
    import saes
    from analyses.dictionary import inputs
    from interp import cache

    with output_folder(args.out) as folder:
        store = cache.Store.open(args.store) if args.store else None
        dictionaries, loaded = inputs.opened_set(args.dictionaries, store, args.model, args.device)
        hooks = tuple(dict.fromkeys(hook for e in dictionaries.entries for hook in (e.reads, *e.writes)))
        with console.progress(quiet=args.quiet) as progress:
            if store is None:
                texts, column = tuple(args.text), args.column
                store = inputs.fresh(loaded, texts, args.tokens, folder, column=column, hooks=hooks, progress=progress)
            result = saes.evaluate_set(dictionaries, store, seed=args.seed, command=args.command, progress=progress)
        result.save(folder)
    if args.json:
        fvu = dict(zip(result.hooks, result.fvu[:, 0].tolist(), strict=True))
        console.write_json({"result": str(folder), "finding": result.finding(), "fvu": fvu})
        return 0
    if not args.quiet:
        console.write(str(result.table()))
    console.write(str(folder))
    return 0
