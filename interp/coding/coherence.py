"""Coherence of dictionaries, and the recovery that it guarantees."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.coding.neighbours import nearest
from interp.coding.shapes import unit
from interp.errors import UsageError, whole


def coherence(dictionary: Float[Tensor, "atoms d"]) -> float:
    """Return μ = max_{i≠j} |cos(d_i, d_j)|; 0 for orthogonal atoms.

    Raises `UsageError` for a single atom.

    >>> round(float(coherence(torch.tensor([[1.0, 0.0], [1.0, 1.0]]))), 4)
    0.7071
    """
    if dictionary.ndim != 2 or len(dictionary) < 2:
        raise UsageError(f"The dictionary has shape {tuple(dictionary.shape)}; a coherence needs two atoms or more.")
    atoms, _ = unit(dictionary)
    return float(nearest(atoms, atoms, 1, absolute=True).value.abs().max())


def welch_bound(atoms: int, d: int) -> float:
    """Return the least possible coherence of `atoms` directions in `d` dimensions.

    It is sqrt((n − d)/(d (n − 1))), and 0 up to n = d.

    >>> round(welch_bound(4, 3), 4)
    0.3333
    """
    return math.sqrt(max(0, atoms - d) / (d * (atoms - 1))) if atoms > 1 else 0.0


def support_bound(mu: float) -> float:
    """Return (1 + 1/μ)/2, the bound of exact recovery (Tropp 2004).

    `omp` and the lasso recover every signal made of fewer atoms.

    >>> support_bound(0.5)
    1.5
    """
    return math.inf if mu == 0 else (1 + 1 / mu) / 2


def exact_recovery(dictionary: Float[Tensor, "atoms d"], support: Int[Tensor, " k"]) -> tuple[float, float]:
    """Return the terms of the exact-recovery guarantee of `omp`.

    They guarantee that it selects exactly these atoms for a sum of them.

    (max |cos| of an atom of the support with any other, max over the other atoms of ‖pinv(support) atom‖₁). A second
    number below 1 is the guarantee (Tropp 2004, the exact recovery condition).

    >>> exact_recovery(torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]), torch.tensor([0]))
    (0.707, 0.707)
    """
    atoms, _ = unit(dictionary)
    chosen = atoms[support]
    cosines = chosen @ atoms.T
    cosines[torch.arange(len(support)), support] = 0.0
    sums = (torch.linalg.pinv(chosen.T) @ atoms.T).abs().sum(0)
    sums[support] = 0.0
    return float(cosines.abs().max()), float(sums.max())


def hadamard(size: int, *, dtype: torch.dtype = torch.float64) -> Float[Tensor, "size size"]:
    """Return the orthonormal Hadamard matrix of a power of two.

    [I | H] has coherence 1/sqrt(size).

    >>> hadamard(2)
    tensor([[ 0.7071,  0.7071],
            [ 0.7071, -0.7071]], dtype=torch.float64)
    """
    if size < 1 or size & (size - 1):
        raise UsageError(f"A Hadamard matrix is made here for a power of two, not for {size}.")
    matrix = torch.ones(1, 1, dtype=dtype)
    while len(matrix) < size:
        matrix = torch.cat([torch.cat([matrix, matrix], 1), torch.cat([matrix, -matrix], 1)]) / math.sqrt(2)
    return matrix


def random_dictionary(
    atoms: int, d: int, *, generator: torch.Generator, dtype: torch.dtype = torch.float32
) -> Float[Tensor, "atoms d"]:
    """Return uniformly random directions, to compare any score with.

    Their largest |cos| is about sqrt(2 ln(n²)/d).

    Args:
        atoms: how many.
        d: their length.
        generator: source of randomness.
        dtype: of the result.

    Returns:
        Rows of length 1.

    >>> drawn = random_dictionary(16, 8, generator=torch.Generator().manual_seed(0))
    >>> drawn.shape, coherence(drawn)
    (torch.Size([16, 8]), 0.755)
    """
    atoms, d = whole(atoms, "atoms", 1), whole(d, "d", 1)
    return unit(torch.randn(atoms, d, generator=generator, dtype=dtype, device=generator.device))[0]


def packed_dictionary(
    atoms: int, d: int, *, generator: torch.Generator, steps: int = 200, dtype: torch.dtype = torch.float32
) -> Float[Tensor, "atoms d"]:
    """Return almost orthogonal directions, with a coherence near Welch's bound.

    Alternating projection (Tropp, Dhillon, Heath and Strohmer 2005): clip the Gram matrix to the bound off its
    diagonal, then return to rank d and lengths of 1; the least coherent of `steps` rounds is returned.

    Args:
        atoms: how many.
        d: their length.
        generator: source of randomness.
        steps: rounds of projection.
        dtype: of the result.

    Returns:
        Rows of length 1.

    >>> packed = packed_dictionary(16, 8, generator=torch.Generator().manual_seed(0))
    >>> coherence(packed), welch_bound(16, 8)
    (0.336, 0.258)
    """
    result = random_dictionary(atoms, d, generator=generator, dtype=torch.float64)
    best, least, bound = result, coherence(result), welch_bound(atoms, d)
    diagonal = torch.arange(atoms, device=result.device)
    for _ in range(steps):
        gram = (result @ result.T).clamp(-bound, bound)
        gram[diagonal, diagonal] = 1
        values, vectors = torch.linalg.eigh(gram)
        result = unit(vectors[:, -d:] * values[-d:].clamp_min(0).sqrt())[0]
        if (mu := coherence(result)) < least:
            best, least = result, mu
    return best.to(dtype)
