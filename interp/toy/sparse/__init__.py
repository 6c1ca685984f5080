"""Weight-sparse transformers, and the number of edges of their circuits (arXiv 2511.13653).

    task = sparse.sequences("lookup")
    few = sparse.train(task, density=0.05, seeds=range(5), steps=1000)
    many = sparse.train(task, density=1.0, seeds=range(5), steps=1000, until=few.loss)      # dense, of equal loss
    sparse.circuit(few, task).edges                 # edges for nine tenths of what the whole network does

All networks of a call train in one batch, one for each seed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from interp.lazy import attach

if TYPE_CHECKING:
    from interp.toy.sparse.circuits import Circuit as Circuit, circuit as circuit, faithfulness as faithfulness
    from interp.toy.sparse.tasks import NAMES as NAMES, Sequences as Sequences, sequences as sequences
    from interp.toy.sparse.training import Networks as Networks, train as train

attach(__name__)
