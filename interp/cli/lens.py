"""`interp lens`: a tuned lens fitted to a model, and compared with the logit lens on held-out text."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from interp.cli import console, options
from interp.cli.deliver import deliver, output_folder

HELP = "fit a tuned lens and compare it with the logit lens on held-out text"
EXAMPLE = "interp lens --text python-docs --out out/lens"


def add_arguments(parser: ArgumentParser) -> None:
    """Add the options of this command.

    The text, how much of it, and where the lens and its report go.
    """
    text = "a file, a folder, python-docs, - or hf:NAME; may be given several times (default: python-docs)"
    parser.add_argument("--text", metavar="TEXT", action="append", default=[], help=text)
    text = "contexts to fit on (default: 300)"
    parser.add_argument("--contexts", type=options.positive, default=300, metavar="N", help=text)
    text = "contexts of other documents to compare on (default: 16)"
    parser.add_argument("--held-out", type=options.positive, default=16, metavar="N", help=text)
    text = "tokens in a context (default: 128)"
    parser.add_argument("--context", type=options.positive, default=128, metavar="N", help=text)
    text = "positions in a training step (default: 256, fewer for a vocabulary of more than 49,152 tokens)"
    parser.add_argument("--batch-size", type=options.positive, default=None, metavar="N", help=text)
    text = "positions of a held-out context to compare (default: all, fewer where their logits are more than 8 million)"
    parser.add_argument("--positions", type=options.positive, default=None, metavar="N", help=text)
    text = "largest number of training steps (default: 100)"
    parser.add_argument("--steps", type=options.positive, default=100, metavar="N", help=text)
    text = "folder for lens.safetensors, result.json, arrays.safetensors and report.html"
    options.add_out(parser, "out/lens", text)
    options.add_seed(parser)
    options.add_model(parser)


def run(args: Namespace) -> int:
    """Fit and save the lens, compare it and write the report."""
    from analyses import lens

    default = lens.Config()
    config = lens.Config(
        text=tuple(args.text) or default.text,
        contexts=args.contexts,
        held_out=args.held_out,
        context=args.context,
        steps=args.steps,
        batch_size=args.batch_size,
        n_position=args.positions,
    )
    with output_folder(args.out) as folder:
        model = options.load_model(args)
        with console.progress(quiet=args.quiet) as progress:
            lenses = lens.fit(model, config, seed=args.seed, progress=progress)
            lenses["tuned"].save(folder / lens.FILE)
            result = lens.run(model, lenses, config, command=args.command, seed=args.seed, progress=progress)
        deliver(result, folder, args)
    return 0
