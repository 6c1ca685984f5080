"""Results about attention heads: their behaviour, and the loss without them. No torch here."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from interp.circuits.results import head_name
from interp.errors import UsageError
from interp.report import Figure, Shown, Table
from interp.results import Result

NamedHead = tuple[str, float, float, float]
"""(head, score, lower bound, upper bound)."""


@dataclass(frozen=True, eq=False)
class HeadScores(Shown, Result):
    """Scores of every head's attention on text of known structure.

    `scores` and the bounds `low` and `high` are (text, score, n_layer, n_head), in the order of `texts` and `names`:
    fractions of attention, "positional" a similarity up to 1. `chance` (text, score) is what attention spread evenly
    over the earlier tokens would score. `copying` (n_layer, n_head) is the eigenvalue copying score of the weights,
    −1 to 1. `error` is how far rows of the patterns are from summing to 1.

    >>> scores = circuits.head_scores(model, n_text=4, length=12)
    >>> scores.names, scores.texts
    (('previous', 'duplicate', 'induction', 'first', 'positional'), ('repeated', 'natural'))
    """

    names: tuple[str, ...]
    texts: tuple[str, ...]
    scores: np.ndarray
    low: np.ndarray
    high: np.ndarray
    chance: np.ndarray
    copying: np.ndarray
    n_text: tuple[int, ...]
    n_token: tuple[int, ...]
    seed: int
    error: float

    @property
    def induction(self) -> np.ndarray:
        """(n_layer, n_head) induction scores on repeated text."""
        return self.of("induction")

    @property
    def previous(self) -> np.ndarray:
        """(n_layer, n_head) previous-token scores on repeated text."""
        return self.of("previous")

    @property
    def duplicate(self) -> np.ndarray:
        """(n_layer, n_head) duplicate-token scores on repeated text."""
        return self.of("duplicate")

    def of(self, name: str, text: str = "repeated") -> np.ndarray:
        """Return one score on one kind of text, (n_layer, n_head).

        Raises `UsageError` if there is none of that name.

        >>> scores.of("previous").round(3)
        array([[0.105, 0.134, 0.109, 0.115],
               [0.137, 0.144, 0.097, 0.115],
               [0.105, 0.131, 0.097, 0.141]], dtype=float32)
        """
        return self.scores[self._at(name, text)]

    def named(self, name: str, text: str = "repeated", threshold: float = 0.3) -> tuple[NamedHead, ...]:
        """Return heads whose whole interval lies above a threshold.

        Args:
            name: of the score.
            text: the kind of text.
            threshold: a fraction of attention.

        Returns:
            (head, score, lower, upper bound), strongest first.

        >>> scores.named("previous", threshold=0.11)
        (('L2H3', 0.141, 0.112, 0.168), ('L2H1', 0.131, 0.114, 0.148))
        """
        mean, low, high = (array[self._at(name, text)] for array in (self.scores, self.low, self.high))
        heads = [(head_name(*at), float(mean[at]), float(low[at]), float(high[at])) for at in np.ndindex(mean.shape)]
        return tuple(sorted((head for head in heads if head[2] > threshold), key=lambda head: -head[1]))

    def table(self) -> Table:
        """Return a table with one row for each head.

        Its columns are every score on every text with its bounds, and the copying score.

        >>> scores.table().columns[:3]
        ('head', 'copying', 'previous (repeated)')
        """
        scored = [(name, text) for text in self.texts for name in self.names]
        columns = ["head", "copying"]
        for name, text in scored:
            columns += [f"{name} ({text})", f"{name} ({text}), low", f"{name} ({text}), high"]
        rows = []
        for at in np.ndindex(self.copying.shape):
            row: list[str | float] = [head_name(*at), float(self.copying[at])]
            for name, text in scored:
                row += [float(array[self._at(name, text)][at]) for array in (self.scores, self.low, self.high)]
            rows.append(tuple(row))
        kinds = " and ".join(
            f"{count} {text} texts of {n} tokens"
            for text, count, n in zip(self.texts, self.n_text, self.n_token, strict=True)
        )
        caption = f"Scores of {len(rows)} heads on {kinds}; 95 % intervals over resampled texts."
        return Table(tuple(columns), tuple(rows), caption, dict.fromkeys(columns[1:], ".3f"))

    def figure(self, name: str = "induction", text: str = "repeated") -> Figure:
        """Draw one score by layer and head.

        >>> scores.figure("induction")
        Figure(score-induction-repeated: Layers by heads; L1H1 is the strongest.)
        """
        from interp.report.figures import heatmap

        values, at_score = self.of(name, text), self._at(name, text)
        best = tuple(int(i) for i in np.unravel_index(values.argmax(), values.shape))
        low, high = (float(array[at_score][best]) for array in (self.low, self.high))
        unit = "similarity, 1 for a pattern that does not depend on the text" if name == "positional" else "attention"
        return heatmap(
            f"score-{name}-{text}",
            values,
            caption=f"{name.capitalize()} score of every head on {text} text ({unit}); attention spread evenly would "
            f"score {self.chance[at_score]:.3f}. The strongest is {head_name(*best)} with {values[best]:.2f} "
            f"({low:.2f} to {high:.2f}, 95 % interval).",
            alt=f"Layers by heads; {head_name(*best)} is the strongest.",
            rows=[str(i) for i in range(values.shape[0])],
            columns=[str(i) for i in range(values.shape[1])],
            axes=("layer", "head", "score"),
            signed=name == "positional",
            limits=(-1.0, 1.0) if name == "positional" else (0.0, 1.0),
        )

    def _at(self, name: str, text: str) -> tuple[int, int]:
        if name not in self.names:
            raise UsageError(f'There is no score "{name}"; there are: {", ".join(self.names)}.')
        if text not in self.texts:
            raise UsageError(f"Nothing was scored on {text} text; there is: {', '.join(self.texts)}.")
        return self.texts.index(text), self.names.index(name)


@dataclass(frozen=True, eq=False)
class Ablation(Shown, Result):
    """Loss on repeated text after ablating heads, compared with random heads.

    The loss is that on the second half of the text, in nats a token. `effect` is the rise when `heads` are removed,
    `control` (n_controls,) the rises for as many random heads each time. `baseline` is the loss of the whole model;
    `method` is "zero" or "mean". `ratio` is effect / median |control|.

    >>> scores = circuits.head_scores(model, n_text=4, length=12)
    >>> ablation = circuits.ablate_induction(model, scores, k=2, n_controls=5, length=12)
    >>> ablation.effect, ablation.control.round(3)
    (0.105, array([-0.056, -0.056, -0.056, -0.056, -0.056]))
    """

    method: str
    heads: tuple[str, ...]
    baseline: float
    effect: float
    control: np.ndarray
    control_heads: tuple[tuple[str, ...], ...]
    seed: int

    @property
    def ratio(self) -> float:
        """Ratio of the effect to the median magnitude of random effects."""
        return self.effect / float(np.median(np.abs(self.control)))

    def table(self) -> Table:
        """Return a table of the chosen heads, then every random set.

        >>> ablation.table().rows[0]
        ('L1H1, L1H2', 'chosen', 0.105)
        """
        rows = [(", ".join(self.heads), "chosen", self.effect)]
        rows += [
            (", ".join(heads), "random", float(value))
            for heads, value in zip(self.control_heads, self.control, strict=True)
        ]
        caption = f"{self.method} ablation: loss on the repeated half {self.baseline:.3f} nats with every head in place"
        return Table(("heads", "set", "rise in loss (nats)"), tuple(rows), caption, {"rise in loss (nats)": "+.4f"})
