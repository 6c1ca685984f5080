"""What two models have in common, as values. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from analyses.study import Study
from interp.circuits.results import HeadScores
from interp.provenance import Provenance
from interp.results import Result

BEHAVIOURS = ("previous", "duplicate", "induction")


@dataclass(frozen=True, eq=False)
class Config(Result):
    """What is compared.

    `texts` are read by both models (eight pieces of prose if there are none), `draws` the random pairings of texts that
    similarity is held against, `least` the attention that makes a head one of a behaviour, on random text of `length`
    tokens said twice.
    """

    texts: tuple[str, ...] = ()
    draws: int = 200
    least: float = 0.3
    length: int = 25


@dataclass(frozen=True, eq=False)
class Matches(Result):
    """Latents of two dictionaries that are active together on shared text.

    For each latent of the first that is active at `least_active` positions or more, `latents`, its largest correlation
    with any of the second, `best`, at `partners`; `null` are those largest correlations where texts are paired at
    random, one row a pairing.
    """

    first: str
    second: str
    latents: np.ndarray
    partners: np.ndarray
    best: np.ndarray
    null: np.ndarray
    least_active: int

    @property
    def bar(self) -> float:
        """The correlation that 1 % of the latents exceed where texts are paired at random."""
        return float(np.quantile(self.null, 0.99))

    @property
    def share(self) -> float:
        """The fraction of latents whose partner is better than that; 1 % is chance."""
        return float((self.best > self.bar).mean())


@dataclass(frozen=True, eq=False)
class Universality(Study):
    """Heads that do the same, layers that represent alike and latents that are active together, of two models.

    Attributes:
        config: what was compared.
        names: the two models.
        heads: each model's behaviour scores.
        cka: (n_layer of the first, n_layer of the second) similarity of what leaves their blocks.
        low, high: jackknife intervals over texts of `cka`'s best partner of each layer of the first.
        null: (draw, n_layer of the first) the best of each layer where texts are paired at random.
        untrained: (n_layer of the first,) the best of each layer where the entries of each of the second model's
            weight matrices are in random order: what reading the same words makes alike.
        n_text, per_text: texts, and aligned positions of each.
        matches: of two dictionaries, if given.
        provenance, other: the run with the first model, and the second model's identity.
    """

    config: Config
    names: tuple[str, str]
    heads: tuple[HeadScores, HeadScores]
    cka: np.ndarray
    low: np.ndarray
    high: np.ndarray
    null: np.ndarray
    untrained: np.ndarray
    n_text: int
    per_text: int
    matches: Matches | None
    provenance: Provenance
    other: dict[str, Any]

    @property
    def best(self) -> np.ndarray:
        """(n_layer of the first,) similarity to the most alike layer of the second."""
        return self.cka.max(1)

    @property
    def bar(self) -> np.ndarray:
        """(n_layer of the first,) what 1 % of random pairings of texts reach."""
        return np.quantile(self.null, 0.99, axis=0)

    @property
    def alike(self) -> np.ndarray:
        """(n_layer of the first,) whether the interval lies above both controls."""
        return self.low > np.maximum(self.bar, self.untrained)

    def doing(self, behaviour: str) -> tuple[int, int]:
        """Return how many heads of each model have a score whose interval is above `config.least`."""
        first, second = (len(scores.named(behaviour, threshold=self.config.least)) for scores in self.heads)
        return first, second

    def finding(self) -> str:
        """Return what both have, with its size and its control."""
        counts = [f"{name} {' and '.join(map(str, self.doing(name)))}" for name in BEHAVIOURS]
        layer = int(self.best.argmax())
        text = (
            f"Heads of {self.names[0]} and {self.names[1]} by behaviour: {', '.join(counts)}. "
            f"{int(self.alike.sum())} of {len(self.best)} layers of the first represent shared text like some layer of "
            f"the second, beyond both controls: CKA up to {self.best[layer]:.2f} (layer {layer}; texts paired at "
            f"random {self.bar[layer]:.2f}, second model untrained {self.untrained[layer]:.2f})."
        )
        if self.matches is None:
            return text
        return f"{text} {self.matches.share:.0%} of latents have a partner beyond chance (1 %)."

    def to_dict(self) -> dict[str, Any]:
        """Return the finding and its numbers."""
        values: dict[str, Any] = {
            "finding": self.finding(),
            "models": list(self.names),
            "heads": {name: list(self.doing(name)) for name in BEHAVIOURS},
            "cka": self.best.tolist(),
            "partner": self.cka.argmax(1).tolist(),
            "chance": self.bar.tolist(),
            "untrained": self.untrained.tolist(),
            "alike": self.alike.tolist(),
        }
        if self.matches is not None:
            values["latents"] = {"share": self.matches.share, "bar": self.matches.bar, "n": len(self.matches.best)}
        return values
