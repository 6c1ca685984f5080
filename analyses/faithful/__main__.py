"""Command line of the study: `python -m analyses.faithful --out out/faithful --docs docs/contrast.md`."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

from interp.files import write_between


def main() -> None:
    """Run the study, save it, print it and write its table.

    With --docs the table is written between the marks of a documentation page.
    """
    import interp
    from analyses.faithful import Config, run

    parser = argparse.ArgumentParser(description="Secant attribution against its peers on held-out pairs.")
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--tasks", nargs="+", default=list(Config().tasks))
    parser.add_argument("--methods", nargs="+", default=list(Config().methods))
    parser.add_argument("--nodes", nargs="*", default=list(Config().nodes))
    parser.add_argument("--pairs", type=int, default=Config().pairs)
    parser.add_argument("--judged", type=int, help="how many of the pairs judge; half by default")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("out/faithful"))
    parser.add_argument("--docs", type=Path)
    args = parser.parse_args()
    config = Config(tuple(args.tasks), tuple(args.methods), args.pairs, tuple(args.nodes), args.judged)
    command = "python -m analyses.faithful " + shlex.join(_shown(sys.argv[1:]))
    result = run(interp.load(args.model), config, command=command, seed=args.seed, progress=_report)
    result.save(args.out)
    sys.stdout.write(result.summary() + "\n")
    if args.docs:
        write_between(args.docs, "faithfulness", result.markdown())


def _shown(arguments: list[str]) -> list[str]:
    """Return the arguments without --out and --docs."""
    shown, skip = [], False
    for argument in arguments:
        written = argument in ("--out", "--docs")
        if not (written or skip):
            shown.append(argument)
        skip = written
    return shown


def _report(done: int, total: int, what: str) -> None:
    sys.stderr.write(f"{done} of {total}: {what}\n")


if __name__ == "__main__":
    main()
