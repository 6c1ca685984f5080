"""`interp circuits`: scores, checks and composition of every head of a model."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from interp.cli import console, options
from interp.cli.deliver import deliver, output_folder
from interp.errors import UsageError

HELP = "describe every attention head: scores, weights and composition, checked against the model"
EXAMPLE = "interp circuits smollm2 --head L18H6 --out out/circuits"


def add_arguments(parser: ArgumentParser) -> None:
    """Add the model, the heads shown closely, and where the report goes."""
    text = "the model (the same as --model)"
    parser.add_argument("name", metavar="MODEL", nargs="?", help=text)
    text = "a head with a section of its own, such as L18H6; may be given several times (default: the largest scores)"
    parser.add_argument("--head", metavar="HEAD", dest="heads", action="append", default=[], help=text)
    text = "number of random sets of heads that the ablation is compared with (default: 20)"
    parser.add_argument("--controls", type=options.positive, default=20, metavar="N", help=text)
    options.add_out(parser, "out/circuits", "folder for result.json, arrays.safetensors and report.html")
    options.add_seed(parser)
    options.add_model(parser, default=None)


def run(args: Namespace) -> int:
    """Run the study, save it and write the report."""
    from analyses import circuits

    if args.name and args.model not in (None, args.name):
        raise UsageError(f'two models are named, "{args.name}" and --model "{args.model}": give one of them')
    args.model = args.name or args.model or options.MODEL
    with output_folder(args.out) as folder:
        config = circuits.Config(heads=tuple(args.heads), n_controls=args.controls)
        model = options.load_model(args)
        with console.progress(quiet=args.quiet) as progress:
            result = circuits.run(model, config, command=args.command, seed=args.seed, progress=progress)
        deliver(result, folder, args)
    return 0
