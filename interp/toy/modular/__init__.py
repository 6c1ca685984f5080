"""Networks trained to be modular, with a cost on wiring (arXiv 2305.08746).

Neurons have places, and wires cost their length.

    config = modular.Config(task="independent", seeds=10)
    trained = modular.train(config)                 # settings x seeds as one batched product
    trained.split()                                 # (settings, seeds): does the pruned network have the right parts?

The tasks, the structure and the results need numpy and scipy only; any network of matrices between layers is trained
by `train_wired`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from interp.lazy import attach

if TYPE_CHECKING:
    from interp.toy.modular.formulas import train as train
    from interp.toy.modular.operands import Learned as Learned, learn_table as learn_table
    from interp.toy.modular.regression import InContext as InContext, learn_in_context as learn_in_context
    from interp.toy.modular.structure import (
        adjacency as adjacency,
        components as components,
        live as live,
        modularity as modularity,
        parts as parts,
        splits as splits,
    )
    from interp.toy.modular.tables import (
        IRREPS as IRREPS,
        addition_table as addition_table,
        fourier_energy as fourier_energy,
        irrep_energy as irrep_energy,
        irrep_projectors as irrep_projectors,
        keys as keys,
        permutation_table as permutation_table,
    )
    from interp.toy.modular.tasks import NAMES as NAMES, Task as Task, task as task
    from interp.toy.modular.trained import Config as Config, Trained as Trained
    from interp.toy.modular.training import Price as Price, train_wired as train_wired
    from interp.toy.modular.wires import (
        Wires as Wires,
        even_places as even_places,
        lengths as lengths,
        perceptron_wires as perceptron_wires,
        rearrange as rearrange,
        wiring_cost as wiring_cost,
    )

attach(__name__)
