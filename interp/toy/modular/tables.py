"""Groups as tables of two operands, and embeddings in the group's basis; numpy only."""

from __future__ import annotations

from itertools import permutations

import numpy as np
from jaxtyping import Float, Int

from interp.errors import UsageError

IRREPS = ("trivial", "sign", "two-dimensional", "standard", "standard x sign")
"""Irreducible representations of the permutations of four things."""
CHARACTERS = {
    (1, 1, 1, 1): (1, 1, 2, 3, 3),
    (2, 1, 1): (1, -1, 0, 1, -1),
    (2, 2): (1, 1, 2, -1, -1),
    (3, 1): (1, 1, -1, 0, 0),
    (4,): (1, -1, 0, -1, 1),
}
"""Cycle lengths -> the trace in each representation."""


def addition_table(modulus: int) -> Int[np.ndarray, "modulus modulus"]:
    """Return (a + b) mod n.

    Raises `UsageError` for an even or too small modulus.

    >>> addition_table(3)
    array([[0, 1, 2],
           [1, 2, 0],
           [2, 0, 1]])
    """
    if modulus < 3 or modulus % 2 == 0:
        raise UsageError(f"The modulus is {modulus}; it must be odd and 3 or more, so that frequencies come in pairs.")
    values = np.arange(modulus)
    return (values[:, None] + values[None]) % modulus


def permutation_table() -> Int[np.ndarray, "24 24"]:
    """Return the composition table of the permutations of four things.

    Entries are the index of b ∘ a for permutations a, b. They are in lexical order, and (b ∘ a)(i) = b(a(i)).

    >>> permutation_table()[1, :6]
    array([1, 0, 3, 2, 5, 4])
    """
    elements = list(permutations(range(4)))
    index = {element: k for k, element in enumerate(elements)}
    return np.array([[index[tuple(b[i] for i in a)] for b in elements] for a in elements])


def fourier_energy(
    embedding: Float[np.ndarray, "*networks width modulus"],
) -> Float[np.ndarray, "*networks frequencies"]:
    """Return the share of an embedding's variance over tokens in each frequency.

    Frequencies are 1 … (n − 1) / 2; shares sum to 1.

    The energy of frequency k is that of its cosine and sine over all dimensions (Nanda et al. 2023, arXiv 2301.05217).

    >>> fourier_energy(np.cos(2 * np.pi * np.arange(5) / 5)[None]).round(3)
    array([1., 0.])
    """
    spectrum = np.square(np.abs(np.fft.rfft(embedding, axis=-1))).sum(-2)[..., 1:]
    return spectrum / spectrum.sum(-1, keepdims=True)


def irrep_energy(embedding: Float[np.ndarray, "*networks width 24"]) -> Float[np.ndarray, "*networks irreps"]:
    """Return the share of an embedding's energy in each irreducible representation.

    The group is that of the permutations of four things.

    P_ρ = d_ρ / 24 Σ_h χ_ρ(h⁻¹) h projects on representation ρ; the shares sum to 1.

    >>> irrep_energy(np.ones((1, 24))).round(3)  # a constant is in the trivial representation
    array([1., 0., 0., 0., 0.])
    """
    projectors = irrep_projectors()
    energy = np.stack([np.square(embedding @ p).sum((-1, -2)) for p in projectors], axis=-1)
    return energy / energy.sum(-1, keepdims=True)


def irrep_projectors() -> Float[np.ndarray, "irreps 24 24"]:
    """Return the projectors on the functions of each representation.

    Their ranks are 1, 1, 4, 9 and 9.

    >>> [int(np.linalg.matrix_rank(projector)) for projector in irrep_projectors()]
    [1, 1, 4, 9, 9]
    """
    elements = list(permutations(range(4)))
    quotients = [[_cycles(tuple(a[b.index(i)] for i in range(4))) for b in elements] for a in elements]
    trace = np.array([[CHARACTERS[q] for q in row] for row in quotients], dtype=float)
    dimension = np.array(CHARACTERS[1, 1, 1, 1])
    return np.moveaxis(trace * dimension / len(elements), -1, 0)


def keys(energy: Float[np.ndarray, "*networks parts"], share: float = 0.9) -> Int[np.ndarray, "*networks"]:
    """Return how many of the largest parts hold `share` of the energy.

    >>> keys(np.array([0.05, 0.6, 0.35]))
    array(2)
    """
    largest = np.sort(energy, axis=-1)[..., ::-1].cumsum(-1)
    return np.asarray((largest < share - 1e-12).sum(-1) + 1)


def _cycles(permutation: tuple[int, ...]) -> tuple[int, ...]:
    """Return lengths of the cycles, longest first."""
    left, lengths = set(range(len(permutation))), []
    while left:
        start = here = min(left)
        size = 0
        while size == 0 or here != start:
            left.discard(here)
            here, size = permutation[here], size + 1
        lengths.append(size)
    return tuple(sorted(lengths, reverse=True))
