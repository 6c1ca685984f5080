"""Results of circuits. No torch here, so that saved ones load without it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from interp.errors import whole
from interp.report import Figure, Shown, Table
from interp.results import Result
from interp.tensors import as_tensor

if TYPE_CHECKING:
    from torch import Tensor

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
        pairs, labels = (np.unravel_index(i, scores.shape) for i in order), self.labels
        return tuple((labels[w], labels[r], float(scores[w, r])) for w, r in pairs)

    def table(self, k: int = 50) -> Table:
        """Return the strongest pairs as a table.

        z is the distance of their squared score from the null, in standard deviations of the null.

        >>> scores.table(1).rows  # writer, reader, score, z
        (('L0H1', 'L1H2', 0.271, 3.013),)
        """
        mean, spread = self.baseline
        place, z = {name: i for i, name in enumerate(self.labels)}, self.z
        rows = tuple((w, r, score, float(z[place[w], place[r]])) for w, r, score in self.top(k))
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


def head_name(layer: int, head: int) -> str:
    """Return the name of a head: "L5H2"."""
    return f"L{layer}H{head}"
