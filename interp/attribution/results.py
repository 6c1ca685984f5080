"""Results of attributions: numbers, labels, total and error.

Nothing here imports torch, so that a saved attribution loads and draws itself without it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from interp.errors import CheckFailedError, whole
from interp.report import Figure, Shown, Table
from interp.results import Result
from interp.tensors import as_tensor

if TYPE_CHECKING:
    from torch import Tensor


Stage = Literal["resid_pre", "resid_mid", "resid_post"]
STAGES: tuple[Stage, ...] = ("resid_pre", "resid_mid", "resid_post")


@dataclass(frozen=True, eq=False)
class LogitTarget(Result):
    """Σ weight · logit(token) at a position, in logits.

    Final norm scale and softcap ratio are constant at the input's.
    """

    name: str
    unit: str
    position: int
    tokens: tuple[int, ...]
    weights: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class DirectionTarget(Result):
    """Target x · vector, with x the residual stream at one place.

    Its place is a layer, stage and position.
    """

    name: str
    unit: str
    position: int
    vector: np.ndarray
    layer: int
    stage: str


@dataclass(frozen=True, eq=False)
class ScoreTarget(Result):
    """Attention score before the softmax, as a function of one side's stream.

    `position` is that of `side`, the query's or the key's; `other` that of the side fixed at this input.
    """

    name: str
    unit: str
    position: int
    other: int
    layer: int
    head: int
    side: str


Target = LogitTarget | DirectionTarget | ScoreTarget
"""What can be attributed; made by `logit`, `logit_difference`, `direction` and `score`."""


@dataclass(frozen=True, eq=False)
class Attribution(Shown, Result):
    """Contributions that sum to a target.

    `array` holds them, in `unit`, and `labels` name the entries of its last axis; `total` is their sum and `value`
    what the model itself computes. `error` is |total − value| relative to the larger of |value| and the largest
    contribution.

    >>> frozen = attribution.freeze(model, tokens)
    >>> result = attribution.by_source(frozen, attribution.logit(model, " Paris"), layer=1, head=1)
    >>> result.labels, result.array.round(3)
    (('the', ' tower', ' is', ' in'), array([-0.016,  0.01 ,  0.805,  0.032], dtype=float32))
    """

    target: str
    unit: str
    array: np.ndarray
    labels: tuple[str, ...]
    total: float
    value: float
    error: float

    @property
    def values(self) -> Tensor:
        """The contributions as a torch tensor."""
        return as_tensor(self.array)

    def __sub__(self, other: Attribution) -> Attribution:
        """Return the difference, label by label, of two attributions.

        They are of one kind; see `subtract`.
        """
        from interp.attribution.difference import subtract

        return subtract(self, other)

    def top(self, k: int) -> tuple[tuple[str, float], ...]:
        """Return the k largest contributions, largest first.

        They are ranked by absolute value. Raises `UsageError` for a k below 0.

        >>> result.top(2)
        ((' is', 0.805), (' in', 0.032))
        """
        k = whole(k, "k", 0)
        summed = self.array.reshape(-1, self.array.shape[-1]).sum(0)
        order = np.argsort(-np.abs(summed), kind="stable")[:k]
        return tuple((self.labels[i], float(summed[i])) for i in order)

    def table(self) -> Table:
        """Return every contribution, largest first, with its share of the mass.

        >>> result.table().rows[0]
        (' is', 0.805, 0.934)
        """
        mass = float(np.abs(self.array).sum())
        rows = tuple((label, value, abs(value) / mass if mass else 0.0) for label, value in self.top(len(self.labels)))
        caption = f"{self.target}: {self.total:+.6f} {self.unit}, relative error {self.error:.1e}"
        return Table(
            ("component", self.unit, "share of mass"), rows, caption, {self.unit: "+.4f", "share of mass": ".1%"}
        )

    def figure(self, k: int = 20) -> Figure:
        """Draw bars of the k largest contributions.

        >>> result.figure()
        Figure(contributions: Bars of the 4 largest contributions; the first is  is with +0.805.)
        """
        from interp.report.figures import bars

        top = self.top(k)
        return bars(
            "contributions",
            [label for label, _ in top],
            [value for _, value in top],
            caption=f"The {len(top)} largest of {len(self.labels)} contributions to the {self.target}, in {self.unit}; "
            f"all of them sum to {self.total:+.4f}. Blue raises it, red lowers it.",
            alt=f"Bars of the {len(top)} largest contributions; the first is {top[0][0]} with {top[0][1]:+.3f}.",
            axes=("component", f"contribution ({self.unit})"),
        )


@dataclass(frozen=True, eq=False)
class Direct(Attribution):
    """Direct contributions of every component.

    `kinds`, `layers` and `heads` say what each entry of `labels` is. A layer of -1 stands for embeddings and constants,
    a head of -1 for everything but heads.

    >>> direct = attribution.direct(attribution.freeze(model, tokens), attribution.logit(model, " Paris"))
    >>> direct.labels[:3], direct.kinds[:3]
    (('embed', 'L0H0', 'L0H1'), ('embed', 'head', 'head'))
    """

    kinds: tuple[str, ...]
    layers: tuple[int, ...]
    heads: tuple[int, ...]

    def by_head(self) -> np.ndarray:
        """Return the contributions of heads alone (n_layer, n_head).

        >>> direct.by_head().round(3)
        array([[-0.001,  0.045, -0.179, -0.329],
               [-0.216,  0.831, -0.011, -0.242],
               [-0.202, -0.106,  0.453,  0.156]], dtype=float32)
        """
        is_head = np.array(self.kinds) == "head"
        shape = max(self.layers) + 1, max(self.heads) + 1
        table = np.zeros(shape, self.array.dtype)
        table[np.array(self.layers)[is_head], np.array(self.heads)[is_head]] = self.array[is_head]
        return table

    def by_layer(self) -> tuple[tuple[str, ...], np.ndarray]:
        """Return (names, contributions) by layer.

        These are embeddings and constants, then attention and MLP of each layer with their biases.

        >>> names, values = direct.by_layer()
        >>> dict(zip(names[:3], values.round(3).tolist()))
        {'embed': -0.057, 'attention 0': -0.473, 'MLP 0': -0.391}
        """
        names: dict[str, float] = {}
        for kind, layer, label, value in zip(self.kinds, self.layers, self.labels, self.array.tolist(), strict=True):
            part = "MLP" if kind in ("mlp", "expert", "mlp_bias") else "attention"
            name = label if layer < 0 else f"{part} {layer}"
            names[name] = names.get(name, 0.0) + value
        return tuple(names), np.array(list(names.values()))


@dataclass(frozen=True, eq=False)
class Sources(Attribution):
    """Contributions of every token, position and bias.

    `labels` are "embed@t" for token t, "pos_embed@t" for its position, and names of biases.

    >>> sources = attribution.sources(attribution.freeze(model, tokens), attribution.logit(model, " Paris"))
    >>> sources.labels[:2]
    ('embed@0', 'embed@1')
    """

    tokens: tuple[str, ...]

    def by_token(self) -> np.ndarray:
        """Return what enters at each position (n_token,).

        This is the position's token embedding and, where there is one, its position embedding.

        >>> dict(zip(sources.tokens, sources.by_token().round(3).tolist()))
        {'the': 0.194, ' tower': 0.255, ' is': 0.163, ' in': 0.109}
        """
        n = len(self.tokens)
        n_kinds = 1 + ("pos_embed@0" in self.labels)
        return self.array[: n_kinds * n].reshape(n_kinds, n).sum(0)


@dataclass(frozen=True, eq=False)
class Orders(Attribution):
    """Contributions by number of components traversed.

    `by_token` (n_order, n_token) splits them, biases left out.

    >>> orders = attribution.orders(attribution.freeze(model, tokens), attribution.logit(model, " Paris"))
    >>> orders.labels, orders.array.round(3)
    (('0', '1', '2', '3', '4', '5', '6'), array([-0.169, -0.084,  0.675,  0.348, -0.107, -0.07 ,  0.002],
          dtype=float32))
    """

    by_token: np.ndarray
    tokens: tuple[str, ...]
    count: str


@dataclass(frozen=True, eq=False)
class Edges(Attribution):
    """Flow from every writer to every reader.

    `array` is the flattened (reader, writer) matrix. `readers` are heads and MLPs in the order they write, and last the
    target; `own` is what each adds by its own bias. `total` is the flow into the target.

    >>> edges = attribution.edges(attribution.freeze(model, tokens), attribution.logit(model, " Paris"))
    >>> edges.flow.shape, edges.top(1)
    ((16, 22), (("MLP1 → logit of ' Paris'", 1.662),))
    """

    readers: tuple[str, ...]
    writers: tuple[str, ...]
    own: np.ndarray

    @property
    def flow(self) -> np.ndarray:
        """(n_reader, n_writer), zero where the reader comes before the writer."""
        return self.array.reshape(len(self.readers), len(self.writers))


@dataclass(frozen=True, eq=False)
class Scores(Attribution):
    """One attention score as a sum over pairs of writers.

    `array` is the flattened (query writer, key writer) matrix. `writers` are components, the last entry of each axis,
    "bias", being the head's own query or key bias.

    >>> scores = attribution.scores(attribution.freeze(model, tokens), layer=1, head=0, query=3, key=1)
    >>> scores.pairs.shape, scores.total
    ((9, 9), 4.715)
    """

    writers: tuple[str, ...]

    @property
    def pairs(self) -> np.ndarray:
        """Parts of a score by pairs of components, (n_writer, n_writer).

        What the query gets from one component times what the key gets from another.
        """
        return self.array.reshape(len(self.writers), len(self.writers))

    def by_query(self) -> np.ndarray:
        """Return what each component contributes through the query (n_writer,).

        >>> scores.by_query().round(3)
        array([ 0.439,  0.213, -0.215, -0.188,  2.327,  0.073,  1.085,  0.114,
                0.866])
        """
        return self.pairs.sum(1)

    def by_key(self) -> np.ndarray:
        """Return what each component contributes through the key (n_writer,).

        >>> scores.by_key().round(3)
        array([0.939, 0.053, 0.102, 0.349, 0.794, 0.424, 1.754, 0.054, 0.245])
        """
        return self.pairs.sum(0)


@dataclass(frozen=True, eq=False)
class Verification(Shown, Result):
    """Result of cutting paths in the model, with predicted and actual changes.

    `predicted` and `actual` are changes of the target (n_path,), in `unit`. `array` are the paths' contributions,
    `correlation` Spearman's rank correlation of predicted and actual, and `by_chance` what its absolute value stays
    below in 95 of 100 unrelated lists of this length.

    >>> tree = attribution.path_tree(attribution.freeze(model, tokens), attribution.logit(model, " Paris"), 50)
    >>> check = attribution.verify(model, tree, k=5)
    >>> check.correlation, check.by_chance
    (0.7, 0.900)
    """

    target: str
    unit: str
    paths: tuple[str, ...]
    array: np.ndarray
    predicted: np.ndarray
    actual: np.ndarray
    baseline: str
    correlation: float
    by_chance: float

    @property
    def values(self) -> Tensor:
        """The paths' contributions as a torch tensor."""
        return as_tensor(self.array)

    def table(self) -> Table:
        """Return each path with its value, predicted and actual change.

        >>> check.table().rows[0]
        ('MLP1@in <- L0H1@in <- embed@the', 0.452, -0.454, -0.625)
        """
        rows = zip(self.paths, self.array.tolist(), self.predicted.tolist(), self.actual.tolist(), strict=True)
        formats = {"value": "+.3f", "predicted": "+.3f", "actual": "+.3f"}
        caption = f"Change of the {self.target} ({self.unit}) when a path's first write is replaced ({self.baseline})."
        return Table(("path", "value", "predicted", "actual"), tuple(rows), caption, formats)

    def figure(self) -> Figure:
        """Draw predicted against actual change.

        >>> check.figure()
        Figure(cuts: Scatter of predicted against actual change for 5 paths.)
        """
        from interp.report.figures import scatter

        return scatter(
            "cuts",
            self.predicted,
            self.actual,
            caption=f"Each point is a path cut at its first component, baseline: {self.baseline}. Rank correlation "
            f"{self.correlation:+.2f}; unrelated lists of {len(self.paths)} stay below {self.by_chance:.2f} in 95 of "
            "100 cases.",
            alt=f"Scatter of predicted against actual change for {len(self.paths)} paths.",
            axes=(f"predicted change ({self.unit})", f"actual change ({self.unit})"),
            labels=self.paths,
        )


def conserved(total: float, value: float, largest: float, tolerance: float, what: str) -> float:
    """Return the relative error of a decomposition, checked.

    Raises `CheckFailedError` when it exceeds `tolerance` or is NaN.
    """
    scale = max(abs(value), largest)
    error = abs(total - value) / scale if scale else abs(total)
    if not error <= tolerance:
        raise CheckFailedError(
            f"The contributions to the {what} sum to {total:.8g}, but the model computes {value:.8g}: "
            f"relative error {error:.2e}, tolerance {tolerance:.0e}."
        )
    return error
