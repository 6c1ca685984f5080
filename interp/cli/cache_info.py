"""`interp cache info`: show the contents of a store, without torch."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from interp.cli.cache import write_store

HELP = "show the contents of a store of activations"
EXAMPLE = "interp cache info out/acts"


def add_arguments(parser: ArgumentParser) -> None:
    """Add the store."""
    parser.add_argument("folder", metavar="DIR", help="folder written by interp cache run")


def run(args: Namespace) -> int:
    """Read the manifest and print it."""
    from interp.cache import Manifest

    write_store(Manifest.load(args.folder), Path(args.folder), args)
    return 0
