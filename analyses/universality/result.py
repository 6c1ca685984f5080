"""What two models have in common, as values. Loads no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from analyses.study import Study
from interp.circuits.head_results import HeadScores
from interp.provenance import Provenance
from interp.results import Result

BEHAVIOURS = ("previous", "duplicate", "induction")


@dataclass(frozen=True, eq=False)
class Config(Result):
    """Settings of the comparison of two models.

    Attributes:
        texts: read by both models; eight pieces of prose if there are none.
        draws: random pairings of texts, with which similarity is compared.
        least: attention above which a head counts as showing a behaviour.
        length: tokens of the random text, which is repeated once, for the behaviours.

    Example:
        >>> Config(draws=50).least
        0.3
    """

    texts: tuple[str, ...] = ()
    draws: int = 200
    least: float = 0.3
    length: int = 25


@dataclass(frozen=True, eq=False)
class Matches(Result):
    """Latents of two dictionaries that are correlated on shared text.

    Attributes:
        first, second: hooks that the dictionaries read.
        latents: latents of the first that are active at `least_active` positions or more.
        partners: the latent of the second with which each has its largest correlation.
        best: that largest correlation.
        null: largest correlations where texts are paired at random, one row for each pairing.
        least_active: positions at which a latent must be active.

    Example:
        >>> Matches("a", "b", np.arange(2), np.array([1, 0]), np.array([0.9, 0.1]), np.full((20, 2), 0.3), 4).share
        0.5
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
        """Correlation that 1 % of latents exceed by chance.

        Chance is that of texts paired at random.
        """
        return float(np.quantile(self.null, 0.99))

    @property
    def share(self) -> float:
        """Fraction of latents whose largest correlation exceeds `bar`; 1 % is chance."""
        return float((self.best > self.bar).mean())


@dataclass(frozen=True, eq=False)
class Universality(Study):
    """Similar heads, layers and latents of two models.

    Attributes:
        config: what was compared.
        names: the two models.
        heads: each model's behaviour scores.
        cka: (n_layer of the first, n_layer of the second) similarity of the outputs of their blocks.
        low, high: jackknife intervals over texts of `cka`'s best partner of each layer of the first.
        null: (draw, n_layer of the first) the best of each layer where texts are paired at random.
        untrained: (n_layer of the first,) the best of each layer where the entries of each of the second model's
            weight matrices are in random order: the similarity from reading the same words.
        n_text, per_text: texts, and aligned positions of each.
        matches: matched latents of two dictionaries, if given.
        provenance, other: the run with the first model, and the second model's identity.

    Example:
        >>> study.names, study.cka.shape  # study = universality.run(first, second)
        (('llama object', 'gpt2 object'), (3, 3))
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
        """Similarity to the most similar layer of the second model.

        Shape: (n_layer of the first,).
        """
        return self.cka.max(1)

    @property
    def bar(self) -> np.ndarray:
        """Similarity that 1 % of random pairings of texts reach.

        Shape: (n_layer of the first,).
        """
        return np.quantile(self.null, 0.99, axis=0)

    @property
    def alike(self) -> np.ndarray:
        """Whether the interval lies above both controls.

        Shape: (n_layer of the first,).
        """
        return self.low > np.maximum(self.bar, self.untrained)

    def doing(self, behaviour: str) -> tuple[int, int]:
        """Return how many heads of each model show a behaviour.

        They are those with a score whose interval is above `config.least`.

        >>> study.doing("induction")  # study = universality.run(first, second)
        (0, 0)
        """
        first, second = (len(scores.named(behaviour, threshold=self.config.least)) for scores in self.heads)
        return first, second

    def finding(self) -> str:
        """Return what both models share, with its size and its controls.

        >>> study.finding()  # study = universality.run(first, second)
        'Heads of llama object and gpt2 object by behaviour: previous 0 and 0, duplicate 0 and 0, induction 0 ...'
        """
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
        """Return the finding and its numbers.

        >>> np.round(study.to_dict()["cka"], 2).tolist()  # study = universality.run(first, second)
        [0.2, 0.08, 0.04]
        """
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
