"""Table of these studies, made from saved results.

Command: `python -m analyses.bydesign.summary DIR FILE`.
"""

from __future__ import annotations

import sys
from pathlib import Path

from analyses.bydesign import STUDIES
from analyses.superposition.summary import tables
from interp.results import write_atomic

HEAD = """# Interpretable by design and by pruning: every number, its band, and whether it holds

Made by `make toys`, which runs `interp toy all --full` and writes this table from the saved results; do not edit it.
Modular networks are those of Liu, Gan and Tegmark 2023 (arXiv 2305.08746); the other papers are named with their
studies' pages. These studies have one size, so that `--full` changes nothing here, and run on the processor only.

Bands that were changed or set after numbers were seen. masks: SNIP was expected to lose a layer in at least 0.8 of the
networks; random masks were first compared with SynFlow at 99.9 %, where no network learns, and with movement and
hard-concrete masks at 99 %, movement with one ranking for all layers. heads: trained together, as many heads as tokens
were expected to be needed. regression: the bands of the largest error and of the wiring cost over none come from a
shorter training, that of its test. The other bands have not changed since their studies were first committed.
"""

if __name__ == "__main__":
    write_atomic(Path(sys.argv[2]), tables(Path(sys.argv[1]), tuple(STUDIES), HEAD).encode())
