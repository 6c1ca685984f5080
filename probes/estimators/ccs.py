"""Contrast-consistent search.

It finds a direction on which a statement and its negation have opposite answers.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from interp.errors import UsageError
from probes.estimators.base import Solution
from probes.estimators.pairs import Labelled, Normaliser, PairProbe

LEARNING_RATE = 0.01
DEGENERATE_LOSS = 0.19
"""Loss above which a fit counts as degenerate: one answer for every row has 1/4 at p = 1/2 and 1/5 at p = 2/5."""
DEGENERATE_SPREAD = 0.1
"""Standard deviation of p(affirmed) - p(denied) below which a fit counts as degenerate: all pairs agree."""


class CCS(PairProbe):
    """Contrast-consistent search, an unsupervised probe of contrast pairs.

    Burns et al. 2022, arXiv 2212.03827. Labels are used only for the sign. Each side is normalised by its own training
    mean (see `Normaliser`). Over several random initialisations,

        minimise  mean over pairs of (p⁺ + p⁻ - 1)^2 + min(p⁺, p⁻)^2,      p = sigmoid(w · x + b)

    and the fit with the lowest loss is returned. **The lowest loss need not be truth:** on small models most
    initialisations end at chance. Report the losses and accuracies of all of them.

    Attributes (in addition to those of `LinearProbe` and `PairProbe`):
        losses_: (restart,) final loss of every initialisation.
        accuracies_: (restart,) accuracy on the labelled training rows, which also set the sign (NaN without labels).
        degenerate_: (restart,) whether all rows or all pairs have the same answer.
        chosen_: index of the chosen initialisation.

    Args:
        restarts: number of random initialisations, trained in one batch.
        steps: number of full-batch Adam steps; the learning rate decays to zero along a cosine.
        weight_decay: L2 penalty on w on the normalised scale; without it w grows without bound.
        seed: seed of the initialisations.

    Example:
        >>> X, polarity = np.random.default_rng(0).normal(size=(8, 3)), np.tile([1, -1], 4)
        >>> probes.CCS(restarts=2, steps=5).fit(X, pairs=np.arange(8) // 2, polarity=polarity).losses_.shape
        (2,)
    """

    losses_: Float[np.ndarray, " restart"]
    accuracies_: Float[np.ndarray, " restart"]
    degenerate_: np.ndarray
    chosen_: int

    def __init__(self, restarts: int = 10, steps: int = 300, weight_decay: float = 1e-3, seed: int = 0):
        self.restarts = restarts
        self.steps = steps
        self.weight_decay = weight_decay
        self.seed = seed

    def _solve_pairs(
        self, affirmative: Float[np.ndarray, "pair d"], negated: Float[np.ndarray, "pair d"], sides: Labelled
    ) -> Solution:
        if self.restarts < 1 or self.steps < 1:
            raise UsageError(f"restarts and steps must be at least 1, not {self.restarts} and {self.steps}.")
        normaliser = Normaliser.fit(affirmative, negated)
        rows = normaliser.apply(affirmative, negated)
        weights, biases = self._descend(torch.from_numpy(rows).float())
        scores = rows @ weights + biases
        losses = _loss(torch.from_numpy(scores)).numpy()  # before the sign is set: min(p, p) differs for 1 - p
        degenerate = _degenerate(scores, losses)
        signs = sides.sign(scores)
        scores, weights, biases = scores * signs, weights * signs, biases * signs
        chosen = int(losses.argmin())
        direction, above, below = normaliser.raw(weights[:, chosen], float(biases[chosen]))
        extra = {
            "biases_": np.array([above, below]),
            "sign_": sides.state,
            "losses_": losses,
            "accuracies_": sides.accuracy(scores),
            "degenerate_": degenerate,
            "chosen_": chosen,
        }
        return Solution(torch.from_numpy(direction), (above + below) / 2, extra=extra)

    def _descend(self, rows: Float[Tensor, "two_pairs d"]) -> tuple[np.ndarray, np.ndarray]:
        """Train all initialisations and return their weights and biases.

        Weights (d, restart) and biases (restart,) are on the normalised scale.
        """
        generator = torch.Generator().manual_seed(self.seed)
        # (restart, d) @ (d, n) is several times faster than (n, d) @ (d, restart) for few restarts.
        weights = torch.randn(self.restarts, rows.shape[1], generator=generator)
        weights = (weights / weights.norm(dim=1, keepdim=True)).requires_grad_()
        biases = torch.zeros(self.restarts, requires_grad=True)
        descent = torch.optim.Adam([weights, biases], lr=LEARNING_RATE, fused=True)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(descent, self.steps)
        for _ in range(self.steps):
            descent.zero_grad()
            loss = _loss((weights @ rows.T).T + biases) + self.weight_decay * (weights**2).sum(1)
            loss.sum().backward()  # each restart has its own weights, so that the sum trains them independently
            descent.step()
            schedule.step()
        return weights.detach().T.double().numpy(), biases.detach().double().numpy()


def _loss(scores: Float[Tensor, "two_pairs restart"]) -> Float[Tensor, " restart"]:
    above, below = torch.sigmoid(scores).chunk(2)
    return ((above + below - 1) ** 2 + torch.minimum(above, below) ** 2).mean(0)


def _degenerate(scores: Float[np.ndarray, "two_pairs restart"], losses: np.ndarray) -> np.ndarray:
    above, below = np.split(1 / (1 + np.exp(-np.clip(scores, -700, 700))), 2)
    return (losses > DEGENERATE_LOSS) | ((above - below).std(0) < DEGENERATE_SPREAD)
