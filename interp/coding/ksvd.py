"""Dictionary learning without gradients: K-SVD and the method of optimal directions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from interp.coding.omp import omp
from interp.coding.shapes import check, check_k, unit
from interp.errors import UsageError

Refit = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(signals, codes, dictionary) -> new dictionary of atoms of length 1; updates the codes in place to go with it."""

TWIN, WEAK = 0.9, 0.3


@dataclass(frozen=True)
class Learned:
    """A dictionary learned from signals.

    >>> signals = torch.eye(3).repeat(4, 1)
    >>> learned = coding.ksvd(signals, atoms=3, k=1, iterations=5, generator=torch.Generator().manual_seed(0))
    >>> learned.dictionary.shape, learned.codes.shape
    (torch.Size([3, 3]), torch.Size([12, 3]))
    """

    dictionary: Float[Tensor, "atoms d"]
    """Atoms of length 1."""
    codes: Float[Tensor, "n atoms"]
    errors: tuple[float, ...]
    """Mean ‖y − x D‖² after each iteration."""
    replaced: int
    """How many times a useless atom was pointed along the residuals."""


def ksvd(
    signals: Float[Tensor, "n d"], atoms: int, k: int, *, iterations: int = 30, generator: torch.Generator
) -> Learned:
    """Learn a dictionary by alternating `omp` with k atoms and rank-one refits.

    Each atom is refitted with its coefficients. The dictionary step never increases the error while the supports stay.

    Starts from signals drawn at random; an atom that is hardly used, or repeats another, is pointed along a principal
    direction of the residuals during the first two thirds of the iterations. Aharon, Elad and Bruckstein 2006.

    Args:
        signals: vectors to learn from.
        atoms: how many.
        k: atoms of a code.
        iterations: rounds.
        generator: source of randomness.

    Returns:
        The dictionary, the codes, and the error after every round.

    Raises:
        UsageError: fewer signals than atoms.

    >>> signals = torch.eye(3).repeat(4, 1)
    >>> learned = ksvd(signals, atoms=3, k=1, iterations=5, generator=torch.Generator().manual_seed(0))
    >>> (signals - learned.codes @ learned.dictionary).abs().max()
    tensor(0.)
    """
    return _learn(signals, atoms, k, iterations, generator, _refit_atom_by_atom)


def mod(
    signals: Float[Tensor, "n d"], atoms: int, k: int, *, iterations: int = 30, generator: torch.Generator
) -> Learned:
    """Learn a dictionary as `ksvd`, with all atoms refitted at once.

    The refit is least squares, D = X⁺ Y (Engan, Aase and Husøy 1999).

    Args:
        signals: vectors to learn from.
        atoms: how many.
        k: atoms of a code.
        iterations: rounds.
        generator: source of randomness.

    Returns:
        The dictionary, the codes, and the error after every round.

    >>> signals = torch.eye(3).repeat(4, 1)
    >>> learned = mod(signals, atoms=3, k=1, iterations=5, generator=torch.Generator().manual_seed(0))
    >>> (signals - learned.codes @ learned.dictionary).abs().max()
    tensor(0.)
    """
    return _learn(signals, atoms, k, iterations, generator, _refit_at_once)


def _learn(signals: Tensor, atoms: int, k: int, iterations: int, generator: torch.Generator, refit: Refit) -> Learned:
    dictionary = _from_signals(signals, atoms, generator)
    check(signals, dictionary)
    check_k(k, dictionary)
    errors, replaced = [], 0
    for iteration in range(iterations):
        codes = omp(signals, dictionary, k)
        dictionary = refit(signals, codes, dictionary)
        errors.append(float((signals - codes @ dictionary).square().sum(1).mean()))
        # The last third of the iterations settles what is there.
        if 3 * iteration < 2 * iterations:
            dictionary, count = _replace(signals, codes, dictionary)
            replaced += count
    dictionary, _ = unit(dictionary)
    return Learned(dictionary, omp(signals, dictionary, k), tuple(errors), replaced)


def _from_signals(signals: Tensor, atoms: int, generator: torch.Generator) -> Tensor:
    usable = signals[signals.norm(dim=1) > 0]
    if len(usable) < atoms:
        raise UsageError(f"{len(usable)} signals that are not zero cannot start {atoms} atoms; give at least as many.")
    order = torch.randperm(len(usable), generator=generator, device=generator.device)[:atoms].to(signals.device)
    return unit(usable[order])[0]


def _refit_atom_by_atom(signals: Tensor, codes: Tensor, dictionary: Tensor) -> Tensor:
    """Return new atoms; `codes` is updated in place."""
    dictionary, residual = dictionary.clone(), signals - codes @ dictionary
    for j in range(len(dictionary)):
        users = codes[:, j].nonzero().squeeze(1)
        if len(users) == 0:
            continue
        own = residual[users] + codes[users, j, None] * dictionary[j]
        # The leading right singular vector of `own`, from its d x d Gram matrix.
        atom = torch.linalg.eigh(own.T @ own).eigenvectors[:, -1]
        dictionary[j] = atom
        codes[users, j] = own @ atom
        residual[users] = own - codes[users, j, None] * atom
    return dictionary


def _refit_at_once(signals: Tensor, codes: Tensor, dictionary: Tensor) -> Tensor:
    """Return D = (XᵀX)⁺ XᵀY; unused atoms do not change.

    `codes` is rescaled in place to atoms of length 1.
    """
    used = codes.abs().sum(0) > 0
    fitted = dictionary.clone()
    fitted[used] = torch.linalg.pinv(codes[:, used].T @ codes[:, used], hermitian=True) @ (codes[:, used].T @ signals)
    length = fitted.norm(dim=1).clamp_min(torch.finfo(fitted.dtype).tiny)
    codes *= length
    return fitted / length[:, None]


def _replace(signals: Tensor, codes: Tensor, dictionary: Tensor) -> tuple[Tensor, int]:
    """Replace useless atoms by the principal directions of the residuals.

    (The single worst residual is usually that of a signal with more than k features: a mixture, no feature.)
    Useless: unused, of under `WEAK` times the median energy, or the weaker of two atoms with a cosine above `TWIN`.
    """
    energy, residual = codes.square().sum(0), signals - codes @ dictionary
    stronger = energy.unsqueeze(0) > energy.unsqueeze(1)
    twin = (((dictionary @ dictionary.T).abs() > TWIN) & stronger).any(dim=1)
    useless = (twin | (energy <= WEAK * energy.median())).nonzero().squeeze(1)[: dictionary.shape[1]]
    lacking = torch.linalg.eigh(residual.T @ residual).eigenvectors.T.flip(0)
    dictionary = dictionary.clone()
    dictionary[useless] = lacking[: len(useless)]
    return dictionary, len(useless)
