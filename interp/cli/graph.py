"""`interp graph`: the attribution graph of a prompt over sparse latents."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from interp.cli import console, options
from interp.cli.deliver import deliver, output_folder
from interp.errors import UsageError

HELP = "trace the attribution graph of a prompt over sparse latents, checked by interventions"
EXAMPLE = 'interp graph "The Eiffel Tower is located in the city of" --dictionaries out/transcoders --out out/graph'


def add_arguments(parser: ArgumentParser) -> None:
    """Add the prompt, the dictionaries, the pruning, and where the report goes."""
    parser.add_argument("prompt", metavar="PROMPT", help="the text whose next token is explained")
    text = "folder of dictionaries, as saved by saes.DictionarySet (default: none; neurons take the place of latents)"
    parser.add_argument("--dictionaries", metavar="DIR", default="", help=text)
    text = "without dictionaries: number of neurons of each MLP that are nodes at each position (default: 16)"
    parser.add_argument("--neurons", type=options.positive, default=16, metavar="N", help=text)
    text = "a single token to explain, with its leading blank (default: the most likely one)"
    parser.add_argument("--answer", metavar="TOKEN", help=text)
    parser.add_argument(
        "--versus", metavar="TOKEN", help="the token it is compared with (default: the second most likely)"
    )
    text = "fraction of the influence that the nodes of the graph have (default: 0.8)"
    parser.add_argument("--node-share", type=float, default=0.8, metavar="X", help=text)
    text = "fraction of the flow that the edges of the graph have (default: 0.98)"
    parser.add_argument("--edge-share", type=float, default=0.98, metavar="X", help=text)
    text = "largest number of latents, those with the most influence (default: 4000)"
    parser.add_argument("--max-latents", type=options.positive, default=4000, metavar="N", help=text)
    text = "number of nodes expanded in the path tree (default: 2000)"
    parser.add_argument("--expansions", type=options.positive, default=2000, metavar="N", help=text)
    text = "number of latents changed in the model, and of random ones (default: 20)"
    parser.add_argument("--changed", type=options.positive, default=20, metavar="N", help=text)
    text = "file with one text in each line, in which examples of the latents are searched (default: none)"
    parser.add_argument("--texts", metavar="FILE", default="", help=text)
    text = "first position with latents; earlier ones are errors. 1 skips a beginning-of-text token (default: 0)"
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
