"""Sparse coding with any dictionary: an SAE's decoder, the unembedding, or one learned here by K-SVD.

A dictionary is (atoms, d), one atom a row, as an SAE's `W_dec` is; signals are (n, d); codes are (n, atoms) with
signals ≈ codes @ dictionary. These are the classical methods that say whether an SAE failed or the problem is hard.

>>> coding.omp(torch.tensor([[0.0, 2.0, 0.5]]), torch.eye(3), k=1)
tensor([[0., 2., 0.]])
"""

from interp.coding.coherence import (
    coherence,
    exact_recovery,
    hadamard,
    packed_dictionary,
    random_dictionary,
    support_bound,
    welch_bound,
)
from interp.coding.iht import iht
from interp.coding.ista import fista, ista, kkt_violation, objective
from interp.coding.ksvd import Learned, ksvd, mod
from interp.coding.matching_pursuit import matching_pursuit
from interp.coding.neighbours import Neighbours, nearest
from interp.coding.omp import Pursuit, omp, pursue

__all__ = [
    "omp",
    "pursue",
    "Pursuit",
    "matching_pursuit",
    "ista",
    "fista",
    "objective",
    "kkt_violation",
    "iht",
    "ksvd",
    "mod",
    "Learned",
    "nearest",
    "Neighbours",
    "coherence",
    "welch_bound",
    "support_bound",
    "exact_recovery",
    "hadamard",
    "random_dictionary",
    "packed_dictionary",
]
