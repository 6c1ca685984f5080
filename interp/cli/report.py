"""`interp report`: draw the report of a saved result again, without the model and without torch."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from interp.cli import options
from interp.cli.deliver import output_folder, save, show, study_of

HELP = "draw the report of a saved result again, without the model"
EXAMPLE = "interp report out/explain"


def add_arguments(parser: ArgumentParser) -> None:
    """Add the result folder, and where the page goes."""
    parser.add_argument("result", metavar="RESULT", help="folder of a saved result")
    options.add_out(parser, None, "folder for report.html, listed in index.html (default: the result's own)")


def run(args: Namespace) -> int:
    """Load the result, draw its page and list it."""
    from interp import results

    study = study_of(results.load(args.result))
    given = Path(args.result)
    source = given.parent if given.is_file() else given
    with output_folder(source if args.out is None else args.out) as folder:
        show(study, source, save(study, folder, result=False), args)
    return 0
