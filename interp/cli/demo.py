"""`interp demo`: run the studies on a model that needs no network, into one folder of reports."""

from __future__ import annotations

import contextlib
import io
import json
import shlex
from argparse import ArgumentParser, Namespace
from pathlib import Path

from interp.cli import console, options
from interp.cli.deliver import output_folder
from interp.cli.main import execute

HELP = "run every study on a small real model and write one folder of reports"
EXAMPLE = "interp demo --out out"

STEPS = (
    ("explain", "explain 'The Eiffel Tower is located in the city of' --target ' Paris' --versus ' London'"),
    (
        "sae",
        "sae train --resume --text python-docs --max-tokens 100000 --hook blocks.10.hook_resid_post --width 2304 "
        "--steps 600 --batch-size 1024 --lr 0.001",
    ),
    ("dictionary", "sae evaluate {out}/sae --tokens 10000"),
)
"""Each step is the folder under --out it writes into, and a command as a person would type it; {out} is --out itself.

Training resumes, so that a second demo does not train again what is there.
"""


def add_arguments(parser: ArgumentParser) -> None:
    """Add where the reports go."""
    options.add_out(parser, "out", "folder for index.html and one folder for each study")


def run(args: Namespace) -> int:
    """Run the steps in order, then write the page that lists them."""
    with output_folder(args.out) as folder:
        output = [_step(name, line, folder, args) for name, line in STEPS]
        from interp import report

        index = Path(report.write_index(folder))
    if args.json:
        console.write_json({"index": str(index), "steps": output})
    else:
        console.write(str(index))
    return 0


def _step(name: str, command: str, folder: Path, args: Namespace) -> dict[str, object]:
    """Run one command and return its JSON.

    Its text goes to stdout unless only the index is wanted.
    """
    line = [*(word.replace("{out}", str(folder)) for word in shlex.split(command)), "--out", str(folder / name)]
    if args.quiet:
        line.append("--quiet")
    if not (args.json or args.quiet):
        execute(line)
        return {}
    with contextlib.redirect_stdout(io.StringIO()) as output:
        execute([*line, "--json"])
    return json.loads(output.getvalue())
