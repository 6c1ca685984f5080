"""`interp cache info`: what a store on disk holds. Loads no torch."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from interp.cli.cache import tell

HELP = "what a store of activations holds"
EXAMPLE = "interp cache info out/acts"


def add_arguments(parser: ArgumentParser) -> None:
    """The store."""
    parser.add_argument("folder", metavar="DIR", help="a folder that interp cache run wrote")


def run(args: Namespace) -> int:
    """Read the manifest and tell."""
    from interp.cache import Manifest

    tell(Manifest.load(args.folder), Path(args.folder), args)
    return 0
