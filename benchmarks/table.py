"""Every comparison in one table: our time, that of a peer or a plain loop, and the floor.

    python -m benchmarks.table [--quick] [--works paths logistic] [--repeats 5]

Both sides run in turn on one thread, in an order that changes; given are medians of processor seconds, which other work
on the machine does not lengthen as it does the clock. Before anything is timed both sides' results are compared, and a
difference beyond the tolerance of the work ends the run: no time counts for another computation. The floor is what no
method can go below: the multiplications that must be done, at the rate of one large product measured in the same run,
or the bare forward pass that is part of the work.

`--quick` does the same with a random model of two blocks and tiny sizes, to see that all sides still run and agree;
its times mean nothing.
"""

from __future__ import annotations

import argparse
import os
import platform
from collections.abc import Callable
from pathlib import Path

import torch
from threadpoolctl import threadpool_limits

from benchmarks import _attribution_works, _model_works, _sae_works
from benchmarks._work import Sizes, Work, compared

WORKS: dict[str, Callable[[Sizes], list[Work]]] = {
    "paths": _attribution_works.path_tree,
    "passes": _model_works.passes,
    "activations": _model_works.activations,
    "logistic": _model_works.regressions,
    "toy": _sae_works.toys,
    "composition": _attribution_works.composition,
    "codes": _sae_works.codes,
    "features": _sae_works.features,
    "statements": _model_works.statements,
    "stream": _model_works.stream,
    "edges": _attribution_works.edge_scores,
    "patching": _attribution_works.patches,
    "training": _sae_works.training,
}


def main(words: list[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="tiny sizes: do all sides run and agree?")
    parser.add_argument("--works", nargs="+", choices=WORKS, default=list(WORKS))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, help="a file that receives the table too")
    options = parser.parse_args(words)
    torch.set_num_threads(1)
    threadpool_limits(1)  # NumPy's threads too, which scikit-learn uses: processor time counts all of them
    sizes = Sizes.of(options.quick)
    lines = [
        f"{platform.machine()}, {os.cpu_count()} cores, one thread, Python {platform.python_version()}, torch "
        f"{torch.__version__}, load {os.getloadavg()[0]:.1f}; processor seconds\n",
        "| work | ours | peer | peer / ours | floor | ours / floor | peer is | largest difference |",
        "|---|---|---|---|---|---|---|---|",
    ]
    print("\n".join(lines), flush=True)
    for name in options.works:
        for work in WORKS[name](sizes):
            lines.append(compared(work, 1 if options.quick else options.repeats))
            print(lines[-1], flush=True)
    if options.out:
        options.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
