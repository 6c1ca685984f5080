"""`interp graph`: which sparse latents of a prompt feed each other and the next token."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from interp.cli import console, options
from interp.cli.deliver import deliver, output_folder
from interp.errors import UsageError

HELP = "the attribution graph of a prompt over sparse latents, checked by changing them"
EXAMPLE = 'interp graph "The Eiffel Tower is located in the city of" --dictionaries out/transcoders --out out/graph'


def add_arguments(parser: ArgumentParser) -> None:
    """Add the prompt, the dictionaries, the pruning, and where the report goes."""
    parser.add_argument("prompt", metavar="PROMPT", help="the text whose next token is explained")
    text = "folder of dictionaries, as saes.DictionarySet saves them (default: none, neurons are the latents)"
    parser.add_argument("--dictionaries", metavar="DIR", default="", help=text)
    text = "without dictionaries: neurons of each MLP that are nodes of their own at each position (default: 16)"
    parser.add_argument("--neurons", type=options.positive, default=16, metavar="N", help=text)
    text = "a single token to explain, with its leading blank (default: the likeliest)"
    parser.add_argument("--answer", metavar="TOKEN", help=text)
    parser.add_argument("--versus", metavar="TOKEN", help="the token it is compared with (default: the next likeliest)")
    text = "keep nodes that hold this share of the influence (default: 0.8)"
    parser.add_argument("--node-share", type=float, default=0.8, metavar="X", help=text)
    text = "keep edges that hold this share of what edges carry (default: 0.98)"
    parser.add_argument("--edge-share", type=float, default=0.98, metavar="X", help=text)
    text = "latents that are traced, those of most influence (default: 4000)"
    parser.add_argument("--max-latents", type=options.positive, default=4000, metavar="N", help=text)
    text = "nodes of the path tree that are expanded (default: 2000)"
    parser.add_argument("--expansions", type=options.positive, default=2000, metavar="N", help=text)
    text = "latents changed in the model, with as many random ones (default: 20)"
    parser.add_argument("--changed", type=options.positive, default=20, metavar="N", help=text)
    text = "a file of texts, one a line, in which examples of the graph's latents are looked for (default: none)"
    parser.add_argument("--texts", metavar="FILE", default="", help=text)
    text = "leave positions before this one to the errors, 1 for a beginning-of-text token (default: 0)"
    parser.add_argument("--first", type=options.natural, default=0, metavar="N", help=text)
    options.add_out(parser, "out/graph", "folder for result.json, arrays.safetensors, graph.json and report.html")
    options.add_seed(parser)
    options.add_model(parser)


def run(args: Namespace) -> int:
    """Run the study, save it and write the report."""
    from analyses import graph

    for name in ("node_share", "edge_share"):
        if not 0 <= getattr(args, name) <= 1:
            raise UsageError(f"--{name.replace('_', '-')} {getattr(args, name)}: give a share from 0 to 1")
    config = graph.Config(
        prompt=args.prompt,
        dictionaries=args.dictionaries,
        neurons=args.neurons,
        answer=args.answer,
        versus=args.versus,
        node_share=args.node_share,
        edge_share=args.edge_share,
        max_latents=args.max_latents,
        expansions=args.expansions,
        changed=args.changed,
        first=args.first,
        texts=args.texts,
    )
    with output_folder(args.out) as folder:
        model = options.load_model(args)
        with console.progress(quiet=args.quiet) as progress:
            result = graph.run(model, config, command=args.command, seed=args.seed, progress=progress)
        deliver(result, folder, args)
    return 0
