"""Contrast-consistent search: a direction along which a statement and its negation get opposite answers."""

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
"""One answer for every row has a loss of 1/4 at p = 1/2 and 1/5 at best (p = 2/5): that near to it nothing is found."""
DEGENERATE_SPREAD = 0.1
"""So has one whose pairs all get the same answer: the standard deviation of p(affirmed) - p(denied) below this."""


class CCS(PairProbe):
    """Contrast-consistent search (Burns et al. 2022, arXiv 2212.03827): no labels but for the sign.

    Each side is normalised by its own training mean (see `Normaliser`); then, over several random beginnings,

        minimise  mean over pairs of (p⁺ + p⁻ - 1)^2 + min(p⁺, p⁻)^2,      p = sigmoid(w · x + b)

    and the fit of the lowest loss is kept. **The lowest loss need not be truth:** on small models most beginnings end
    at chance, so the losses and accuracies of all are kept, to be reported together.

    Attributes, beside those of `LinearProbe` and `PairProbe`:
        losses_: (restart,) final loss of every beginning.
        accuracies_: (restart,) accuracy of each on the labelled training rows, its sign set by them (NaN without).
        degenerate_: (restart,) whether it ended with one answer for all rows or all pairs.
        chosen_: which beginning was kept.

    Args:
        restarts: random beginnings, all trained in one batch.
        steps: full-batch Adam steps, the rate falling to zero along a cosine.
        weight_decay: L2 penalty on w on the normalised scale; without one, w grows without end.
        seed: of the beginnings.
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
        losses = _loss(torch.from_numpy(scores)).numpy()  # of p as it was trained: min(p, p) is not that of 1 - p
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
        """Weights (d, restart) and biases (restart,) at the end of every descent, on the normalised scale."""
        generator = torch.Generator().manual_seed(self.seed)
        # (restart, d) @ (d, n): several times faster than (n, d) @ (d, restart) when there are few beginnings.
        weights = torch.randn(self.restarts, rows.shape[1], generator=generator)
        weights = (weights / weights.norm(dim=1, keepdim=True)).requires_grad_()
        biases = torch.zeros(self.restarts, requires_grad=True)
        descent = torch.optim.Adam([weights, biases], lr=LEARNING_RATE, fused=True)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(descent, self.steps)
        for _ in range(self.steps):
            descent.zero_grad()
            loss = _loss((weights @ rows.T).T + biases) + self.weight_decay * (weights**2).sum(1)
            loss.sum().backward()  # each beginning has its own weights: the sum trains them side by side
            descent.step()
            schedule.step()
        return weights.detach().T.double().numpy(), biases.detach().double().numpy()


def _loss(scores: Float[Tensor, "two_pairs restart"]) -> Float[Tensor, " restart"]:
    above, below = torch.sigmoid(scores).chunk(2)
    return ((above + below - 1) ** 2 + torch.minimum(above, below) ** 2).mean(0)


def _degenerate(scores: Float[np.ndarray, "two_pairs restart"], losses: np.ndarray) -> np.ndarray:
    above, below = np.split(1 / (1 + np.exp(-np.clip(scores, -700, 700))), 2)
    return (losses > DEGENERATE_LOSS) | ((above - below).std(0) < DEGENERATE_SPREAD)
