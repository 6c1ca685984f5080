"""`interp attention`: attention patterns of chosen heads on chosen prompts."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from interp.cli import options
from interp.cli.deliver import deliver, output_folder
from interp.errors import UsageError

HELP = "show the attention patterns of chosen heads on chosen prompts"
EXAMPLE = 'interp attention "When Mary and John went home, John gave it to" --heads L16H8,L23H4 --out out/attention'


def add_arguments(parser: ArgumentParser) -> None:
    """Add the prompts, the heads, and where the report goes."""
    parser.add_argument("prompts", metavar="PROMPT", nargs="+", help="a prompt; several are shown one below the other")
    parser.add_argument("--heads", metavar="H,H", required=True, help="heads by name, such as L23H4,L10H0")
    options.add_out(parser, "out/attention", "folder for result.json, arrays.safetensors and report.html")
    options.add_model(parser)


def run(args: Namespace) -> int:
    """Read the patterns, save, report."""
    from analyses import attention

    heads = [name.strip() for name in args.heads.split(",") if name.strip()]
    if not heads:
        raise UsageError("--heads: name at least one head, such as L23H4")
    with output_folder(args.out) as folder:
        model = options.load_model(args)
        deliver(attention.run(model, args.prompts, heads, command=args.command), folder, args)
    return 0
