"""`interp cache verify`: check every byte of a store."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from interp.cli import console

HELP = "read every byte of a store and compare it with its checksums"
EXAMPLE = "interp cache verify out/acts"


def add_arguments(parser: ArgumentParser) -> None:
    """Add the store."""
    parser.add_argument("folder", metavar="DIR", help="folder written by interp cache run")


def run(args: Namespace) -> int:
    """Verify; exit code 4 names what differs."""
    from interp import cache

    manifest = cache.verify(args.folder)
    size = sum(shard.bytes for shard in manifest.shards)
    if args.json:
        console.write_json({"store": args.folder, "verified": True, "shards": len(manifest.shards), "bytes": size})
    elif not args.quiet:
        console.write(f"{len(manifest.shards)} shards, {size / 1e9:.3f} GB: all checksums match")
    return 0
