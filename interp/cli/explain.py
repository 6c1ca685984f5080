"""`interp explain`: why the model continues a prompt with one token rather than another."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from interp.cli import console, options
from interp.cli.deliver import deliver, output_folder
from interp.cli.lazy import use

HELP = "why the model says one next token rather than another"
EXAMPLE = (
    'interp explain "The Eiffel Tower is located in the city of" --target " Paris" --versus " London" --out out/paris'
)


def add_arguments(parser: ArgumentParser) -> None:
    """The prompt, what is explained about it, the model, and where the report goes."""
    parser.add_argument("prompt", metavar="PROMPT", help="the text the model reads")
    text = "the next token to explain; mind its leading blank"
    parser.add_argument("--target", metavar="TOKEN", required=True, help=text)
    text = "explain the logit of the target minus that of this token (default: the target's logit alone)"
    parser.add_argument("--versus", metavar="TOKEN", help=text)
    text = "the token the prediction is read at; negative counts from the end (default: -1, the last)"
    parser.add_argument("--position", type=int, default=-1, metavar="N", help=text)
    text = "how many components the report shows one by one (default: 10)"
    parser.add_argument("--top", type=options.positive, default=10, metavar="N", help=text)
    options.add_out(parser, "out/explain", "folder for result.json, arrays.safetensors, report.html and index.html")
    options.add_seed(parser)
    options.add_model(parser)


def run(args: Namespace) -> int:
    """Explain, save, report."""
    with output_folder(args.out) as folder:
        explain = use("analyses.explain")
        config = explain.Config(
            prompt=args.prompt, target=args.target, versus=args.versus, position=args.position, top=args.top
        )
        model = use("interp.model").load(args.model, dtype=args.dtype, device=args.device)
        with console.progress(quiet=args.quiet) as progress:
            result = explain.run(model, config, command=args.command, seed=args.seed, progress=progress)
        deliver(result, folder, args)
    return 0
