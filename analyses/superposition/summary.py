"""Table of all studies, made from saved results.

Command: `python -m analyses.superposition.summary DIR FILE`.
"""

from __future__ import annotations

import sys
from pathlib import Path

from analyses.superposition import STUDIES
from analyses.superposition.base import Check, ToyStudy
from interp import results
from interp.errors import MissingInputError
from interp.results import write_atomic

HEAD = """# Toy models: every number, its band, and whether it holds

Made by `make toys`, which runs `interp toy all --full` and writes this table from the saved results; do not edit it.
The paper is Elhage et al. 2022, *Toy Models of Superposition*, arXiv 2209.10652.
"""


def summary(folder: Path) -> str:
    """Return the tables of every study of superposition.

    See `tables`.
    """
    return tables(folder, tuple(STUDIES), HEAD)


def tables(folder: Path, names: tuple[str, ...], head: str) -> str:
    """Return each study's finding and table of checks as Markdown.

    Args:
        folder: folder with a saved result for each study, under its name.
        names: studies, in the order of the text.
        head: text above the tables.

    Raises:
        MissingInputError: a study's result is not in the folder of its name.
    """
    parts = [head]
    for name in names:
        result = results.load(folder / name)
        if not isinstance(result, ToyStudy):
            raise MissingInputError(f"{folder / name} holds no study: run them all into {folder} first.")
        rows = "\n".join(_row(check) for check in result.checks)
        parts.append(
            f"## {name}\n\n{result.finding()}\n\nReproduce: `interp toy {name} --full --seed "
            f"{result.provenance.seed}`\n\n"
            f"| claim | paper or theory | measured | band | result |\n|---|---|---|---|---|\n{rows}\n"
        )
    return "\n".join(parts)


def _row(check: Check) -> str:
    cells = (check.claim, check.expected, f"{check.value:.4g}", f"{check.low:g} to {check.high:g}")
    shown = " | ".join(cell.replace("|", "\\|") for cell in cells)
    return f"| {shown} | {'pass' if check.passed else '**FAIL**'} |"


if __name__ == "__main__":
    write_atomic(Path(sys.argv[2]), summary(Path(sys.argv[1])).encode())
