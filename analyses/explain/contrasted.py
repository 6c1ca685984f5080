"""Result of the comparison with a counterfactual prompt, which loads without torch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from interp.attribution.paths import PathTree
from interp.attribution.results import Direct, Sources, Verification
from interp.results import Result


@dataclass(frozen=True, eq=False)
class Contrasted(Result):
    """Comparison of a prompt with a counterfactual one.

    `clean` and `counterfactual` are the tokens of the two, `next_clean` and `next_counterfactual` their likeliest
    continuations with probabilities. `change` (n_layer + 1, n_token) is the length of the residual stream's
    difference before each block, and after the last, relative to the mean length of the two streams. `readers` are
    the branches of heads and the MLPs through which most reaches the target, with that amount. `frozen_mass` is the
    absolute mass of the clean prompt's own path tree with as many expansions, `error` the error of the contrast.
    """

    clean: tuple[str, ...]
    counterfactual: tuple[str, ...]
    next_clean: tuple[tuple[str, float], ...]
    next_counterfactual: tuple[tuple[str, float], ...]
    change: np.ndarray
    direct: Direct
    sources: Sources
    readers: tuple[tuple[str, float], ...]
    tree: PathTree
    frozen_mass: float
    verification: Verification | None
    error: float

    @property
    def largest_error(self) -> float:
        """Largest relative error of any part."""
        return max(self.error, self.direct.error, self.sources.error, self.tree.error)

    def differing(self) -> tuple[int, ...]:
        """Return the positions at which the two prompts have different tokens."""
        pairs = zip(self.clean, self.counterfactual, strict=True)
        return tuple(i for i, (first, second) in enumerate(pairs) if first != second)
