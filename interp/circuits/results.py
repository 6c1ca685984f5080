"""Results of circuits. No torch here, so that saved ones load without it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from interp.errors import UsageError, whole
from interp.report import Figure, Shown, Table
from interp.results import Result
from interp.tensors import as_tensor

if TYPE_CHECKING:
    from torch import Tensor

NamedHead = tuple[str, float, float, float]
"""(head, score, lower bound, upper bound)."""
QUANTITIES = ("scores", "pattern", "values", "writes")


@dataclass(frozen=True, eq=False)
class CircuitCheck(Shown, Result):
    """Errors of heads rebuilt from their factors.

    The heads are compared with the model's own run. Each array is (n_layer, n_head): the largest |difference| over all
    positions, `pattern` in fractions of attention, the others relative to the largest magnitude of the layer's own.
    `sums` (n_layer,) is what all rebuilt writes of a layer and its bias miss of what the layer added to the residual
    stream, relative to its largest entry.

    >>> check = circuits.check(model, tokens)
    >>> check.pattern.shape, check.worst < check.tolerance
    ((3, 4), True)
    """

    model: str
    n_token: int
    scores: np.ndarray
    pattern: np.ndarray
    values: np.ndarray
    writes: np.ndarray
    sums: np.ndarray
    tolerance: float

    @property
    def worst(self) -> float:
        """The largest error of any head."""
        return max(float(getattr(self, name).max()) for name in (*QUANTITIES, "sums"))

    @property
    def error(self) -> float:
        """The largest error, under the name every result gives it."""
        return self.worst

    def table(self) -> Table:
        """Return a table with one row for each head, worst first.

        >>> check.table().columns
        ('head', 'scores', 'pattern', 'values', 'writes')
        """
        arrays = [getattr(self, name) for name in QUANTITIES]
        rows = [
            (head_name(layer, head), *(float(array[layer, head]) for array in arrays))
            for layer, head in np.ndindex(arrays[0].shape)
        ]
        rows.sort(key=lambda row: -max(row[1:]))
        caption = f"Largest errors of {len(rows)} heads on {self.n_token} tokens; worst {self.worst:.1e}"
        return Table(("head", *QUANTITIES), tuple(rows), caption, dict.fromkeys(QUANTITIES, ".1e"))


@dataclass(frozen=True, eq=False)
class Definiteness(Shown, Result):
    """Definiteness of every head's query-key map, compared with random weights.

    It measures how close the map is to positive semidefinite. The random weights have the same shape. Arrays are
    (n_layer, n_head). `positive` and `negative` count the eigenvalues of the symmetric part of W_Q W_Kᵀ (rotation left
    out, gains folded), `symmetric_fraction` is its share of the squared norm and `positive_share` that of its positive
    eigenvalues in the sum of magnitudes. The nulls are (mean, standard deviation) over `draws` pairs of Gaussian
    factors.

    >>> result = circuits.definiteness(model, draws=5)
    >>> result.positive[0], result.negative[0]
    (array([8, 8, 8, 8]), array([8, 8, 8, 8]))
    """

    positive: np.ndarray
    negative: np.ndarray
    symmetric_fraction: np.ndarray
    positive_share: np.ndarray
    null_fraction: tuple[float, float]
    null_share: tuple[float, float]
    null_signature: tuple[int, int]
    draws: int
    seed: int

    def table(self) -> Table:
        """Return a table of all heads in order, then the null.

        >>> result.table().rows[0]
        ('L0H0', 8, 8, 0.544, 0.566)
        """
        rows = [
            (
                head_name(*at),
                int(self.positive[at]),
                int(self.negative[at]),
                float(self.symmetric_fraction[at]),
                float(self.positive_share[at]),
            )
            for at in np.ndindex(self.positive.shape)
        ]
        rows.append(("random weights", *self.null_signature, self.null_fraction[0], self.null_share[0]))
        columns = ("head", "positive", "negative", "symmetric fraction", "positive share")
        return Table(columns, tuple(rows), self.caption, {"symmetric fraction": ".3f", "positive share": ".3f"})

    @property
    def caption(self) -> str:
        """The ranges in one line."""
        fraction, share = self.symmetric_fraction, self.positive_share
        return (
            f"Symmetric fraction {fraction.min():.3f} to {fraction.max():.3f}, median {np.median(fraction):.3f} "
            f"(random weights {self.null_fraction[0]:.3f} ± {self.null_fraction[1]:.3f}); positive share "
            f"{share.min():.3f} to {share.max():.3f} (random weights {self.null_share[0]:.3f} ± "
            f"{self.null_share[1]:.3f})"
        )

    def figure(self) -> Figure:
        """Draw every head as a point: symmetric fraction against positive share.

        >>> print(result.figure().alt.partition(",")[0])
        12 heads scattered about the point of random weights
        """
        from interp.report.figures import scatter

        n = self.positive.size
        labels = [head_name(*at) for at in np.ndindex(self.positive.shape)] + ["random weights"]
        return scatter(
            "definiteness",
            np.append(self.symmetric_fraction, np.float32(self.null_fraction[0])),
            np.append(self.positive_share, np.float32(self.null_share[0])),
            caption=f"The query-key map of each of {n} heads: share of its squared norm in the symmetric part, and of "
            f"positive eigenvalues in that part. {self.caption}; ± is one standard deviation of {self.draws} draws.",
            alt=f"{n} heads scattered about the point of random weights, most of them close to a half on both axes.",
            axes=("symmetric fraction", "positive share"),
            groups=["head"] * n + ["random weights"],
            labels=labels,
        )


@dataclass(frozen=True, eq=False)
class Composition(Shown, Result):
    """How much of what each head writes each head reads.

    The score of writer w and reader r is `array[w, r]`. Heads are counted through the layers: head h of layer l is
    l·n_head + h. A score is ‖writer · reader‖ / (‖writer‖ ‖reader‖), a fraction of 1. Only pairs with the writer in an
    earlier layer compose in the model (`possible`); the others are there for comparison. `offset` says which rotation
    stands between query and key. The null turns the writer's output by a random rotation and so keeps both spectra:
    squared scores then have mean 1/`d_model` and standard deviation `spread[w, r]`.

    >>> scores = circuits.composition(model, "V")
    >>> scores.array.shape, scores.labels[:2]
    ((12, 12), ('L0H0', 'L0H1'))
    """

    kind: str
    offset: str
    array: np.ndarray
    n_head: int
    d_model: int
    spread: np.ndarray

    @property
    def baseline(self) -> tuple[float, float]:
        """Mean and typical deviation of scores under the null.

        (root mean square score, typical standard deviation of scores) of possible pairs.
        """
        mean = self.d_model**-0.5
        return mean, float(np.median(self.spread[self.possible])) / (2 * mean) if self.possible.any() else 0.0

    @property
    def z(self) -> np.ndarray:
        """Standard scores of the squared scores under the null.

        (squared score − 1/d_model) / its standard deviation under the null; 0 where that is 0.
        """
        excess = self.array**2 - 1 / self.d_model
        return np.divide(excess, self.spread, out=np.zeros_like(excess), where=self.spread > 0)

    @property
    def values(self) -> Tensor:
        """The scores as a torch tensor (writer heads, reader heads)."""
        return as_tensor(self.array)

    def __array__(self, dtype: object = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.array, dtype=dtype, copy=copy)  # type: ignore[arg-type]

    @property
    def excess(self) -> np.ndarray:
        """Scores less the root mean square under the null."""
        return self.array - self.baseline[0]

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the heads, in the order of both axes."""
        return tuple(head_name(*divmod(i, self.n_head)) for i in range(len(self.array)))

    @property
    def possible(self) -> np.ndarray:
        """True where the writer stands in an earlier layer than the reader."""
        layer = np.arange(len(self.array)) // self.n_head
        return layer[:, None] < layer[None, :]

    def top(self, k: int) -> tuple[tuple[str, str, float], ...]:
        """Return the k strongest possible pairs as (writer, reader, score).

        Raises `UsageError` for a k below 0.

        >>> scores.top(2)
        (('L0H1', 'L1H2', 0.271), ('L0H0', 'L2H3', 0.246))
        """
        k = whole(k, "k", 0)
        scores = np.where(self.possible, self.array, -np.inf)
        order = np.argsort(-scores, axis=None, kind="stable")[: min(k, int(self.possible.sum()))]
        pairs = (np.unravel_index(i, scores.shape) for i in order)
        return tuple((self.labels[w], self.labels[r], float(scores[w, r])) for w, r in pairs)

    def table(self, k: int = 50) -> Table:
        """Return the strongest pairs as a table.

        z is the distance of their squared score from the null, in standard deviations of the null.

        >>> scores.table(1).rows  # writer, reader, score, z
        (('L0H1', 'L1H2', 0.271, 3.013),)
        """
        mean, spread = self.baseline
        place = {name: i for i, name in enumerate(self.labels)}
        rows = tuple((w, r, score, float(self.z[place[w], place[r]])) for w, r, score in self.top(k))
        caption = (
            f"{self.kind}-composition, {self.offset}: {len(rows)} strongest of {int(self.possible.sum())} possible "
            f"pairs; under random rotations of the writer, which keep both spectra, {mean:.4f} ± {spread:.4f}"
        )
        return Table(("writer", "reader", "score", "z"), rows, caption, {"score": ".4f", "z": "+.1f"})

    def figure(self) -> Figure:
        """Draw the excess over the null, writers by readers.

        >>> print(scores.figure().alt.partition(";")[0])
        Matrix of writer heads by reader heads
        """
        from interp.report.figures import heatmap

        return heatmap(
            f"composition-{self.kind.lower()}",
            np.where(self.possible, self.excess, 0.0),
            caption=f"{self.kind}-composition of every pair of heads, {self.offset}, less {self.baseline[0]:.4f}, the "
            "root mean square under random rotations; zero where the writer is not in an earlier layer.",
            alt="Matrix of writer heads by reader heads; the strongest pairs stand out against a pale ground.",
            rows=list(self.labels),
            columns=list(self.labels),
            axes=("writer", "reader", "excess"),
        )


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


def head_name(layer: int, head: int) -> str:
    """Return the name of a head: "L5H2"."""
    return f"L{layer}H{head}"
