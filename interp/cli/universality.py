"""`interp universality`: heads, layers and latents that two models have in common."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from interp.cli import console, options
from interp.cli.deliver import deliver, output_folder
from interp.files import read_text

HELP = "compare the heads, layers and latents of two models, with chance as control"
EXAMPLE = "interp universality smollm2 gemma3-270m --out out/universality"


def add_arguments(parser: ArgumentParser) -> None:
    """Add the options of this command.

    The two models, their dictionaries, the shared text, and where the report goes.
    """
    parser.add_argument("first", metavar="A", help="first model")
    parser.add_argument("second", metavar="B", help="second model")
    text = "folder of a dictionary; give two, for A and for B, to match their latents"
    parser.add_argument("--sae", metavar="FOLDER", dest="saes", action="append", default=[], help=text)
    text = "file with one text in each line, read by both models (default: eight built-in texts)"
    parser.add_argument("--texts", metavar="FILE", help=text)
    text = "number of random pairings of texts, the chance level (default: 200)"
    parser.add_argument("--draws", type=options.positive, default=200, metavar="N", help=text)
    options.add_out(parser, "out/universality", "folder for result.json, arrays.safetensors and report.html")
    options.add_seed(parser)
    options.add_numbers(parser)


def run(args: Namespace) -> int:
    """Run the study, save it and write the report."""
    import saes
    from analyses import universality
    from interp.model import load

    lines = () if args.texts is None else read_text(Path(args.texts)).splitlines()
    config = universality.Config(texts=tuple(line for line in lines if line.strip()), draws=args.draws)
    with output_folder(args.out) as folder:
        first, second = (load(name, dtype=args.dtype, device=args.device) for name in (args.first, args.second))
        dictionaries = [saes.load(folder) for folder in args.saes]
        with console.progress(quiet=args.quiet) as progress:
            result = universality.run(
                first,
                second,
                config,
                dictionaries=dictionaries,
                command=args.command,
                seed=args.seed,
                progress=progress,
            )
        deliver(result, folder, args)
    return 0
