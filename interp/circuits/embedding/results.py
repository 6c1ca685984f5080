"""What the studies of embedding space report. No torch here."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from interp.circuits.readings import TopTokens
from interp.report import Figure, Shown, Table
from interp.results import Result


@dataclass(frozen=True, eq=False)
class Comparison(Shown, Result):
    """Comparison of the embedding with the unembedding, and of streams with both.

    It says where a stream turns from the token read to the token predicted.

    `cosine` is the mean cosine of a token's two vectors (as stored, the final norm's gain left out), `overlap` the mean
    share of common tokens among the `neighbours` nearest of each side, `chance` that of random neighbours.
    `aligned_cosine` is the mean cosine after the orthogonal map that brings the two closest (Procrustes).
    `identity` and `prediction` (n_layer + 1,) are, over the positions of some texts, the mean cosine of the residual
    stream with the embedding of the token read there and with the unembedding (gain in) of the token the model
    predicts; row 0 is the embedding. `turn` is the first row from which the prediction stays ahead, -1 if none is.

    >>> from interp.circuits import embedding
    >>> comparison = embedding.compare(model, tokens, neighbours=3)
    >>> comparison.identity.round(3), comparison.prediction.round(3)
    (array([1.   , 0.397, 0.135, 0.145], dtype=float32), array([0.165, 0.221, 0.321, 0.377], dtype=float32))
    """

    tied: bool
    cosine: float
    aligned_cosine: float
    overlap: float
    neighbours: int
    chance: float
    identity: np.ndarray
    prediction: np.ndarray
    n_position: int

    @property
    def turn(self) -> int:
        """First row from which the prediction stays ahead to the end.

        -1 if there is none.
        """
        behind = np.flatnonzero(self.prediction <= self.identity)
        first = int(behind[-1]) + 1 if len(behind) else 0
        return first if first < len(self.identity) else -1

    def table(self) -> Table:
        """Return cosines with the tokens read and predicted, by layer.

        >>> comparison.table().rows[0]
        ('embed', 1.0, 0.165)
        """
        labels = ["embed", *(f"layer {i}" for i in range(len(self.identity) - 1))]
        rows = tuple(zip(labels, map(float, self.identity), map(float, self.prediction), strict=True))
        caption = (
            f"Embedding against unembedding: cosine {self.cosine:.3f}, {self.aligned_cosine:.3f} after alignment, "
            f"neighbours shared {self.overlap:.1%} (by chance {self.chance:.2%})"
        )
        formats = {"read": ".3f", "predicted": ".3f"}
        return Table(("after", "read", "predicted"), rows, caption, formats)

    def figure(self) -> Figure:
        """Draw the mean cosines with tokens read and predicted, by layer.

        >>> comparison.figure()
        Figure(turn: Two lines that cross: similarity to the token read falls, similarity to the token predicted rises.)
        """
        from interp.report.figures import lines

        rows = np.arange(len(self.identity)) - 1
        where = "does not end ahead" if self.turn < 0 else f"stays ahead from layer {self.turn - 1}"
        return lines(
            "turn",
            rows,
            {"token read": self.identity, "token predicted": self.prediction},
            caption="Mean cosine of the residual stream after a layer (−1 is the embedding) with the embedding of the "
            "token read there and with the unembedding of the token the model predicts there, over "
            f"{self.n_position} positions; the prediction {where}.",
            alt="Two lines that cross: similarity to the token read falls, similarity to the token predicted rises.",
            axes=("layer", "mean cosine"),
        )


@dataclass(frozen=True, eq=False)
class Analogy(Shown, Result):
    """Whether pairs (a, b) share one offset b − a.

    `parallelism` is the mean cosine between offsets of different pairs; `ranks` (n_pair,) are where b comes among all
    tokens when the mean offset of the other pairs is added to a (0 is first; a and the other pairs' words are left
    out). The nulls are the same numbers with the second words shuffled: each shuffle's parallelism, and median rank.

    >>> from interp.circuits import embedding
    >>> result = embedding.analogy(model, [(1, 11), (2, 12), (3, 13)], n_controls=20)
    >>> result.ranks, result.p_value
    ((55, 9, 1), 0.524)
    """

    pairs: tuple[tuple[str, str], ...]
    parallelism: float
    ranks: tuple[int, ...]
    null_parallelism: np.ndarray
    null_median_rank: np.ndarray
    seed: int

    @property
    def p_value(self) -> float:
        """Share of shuffles that are at least as parallel.

        The pairs themselves are counted among them.
        """
        return float((1 + (self.null_parallelism >= self.parallelism).sum()) / (1 + len(self.null_parallelism)))

    def table(self) -> Table:
        """Return a table with one row for each pair.

        >>> result.table().columns
        ('from', 'to', 'rank')
        """
        rows = tuple((a, b, rank) for (a, b), rank in zip(self.pairs, self.ranks, strict=True))
        caption = (
            f"Offsets have mean cosine {self.parallelism:.3f} (shuffled pairs {self.null_parallelism.mean():.3f}, "
            f"p = {self.p_value:.3f}); median rank of the answer {np.median(self.ranks):.0f} "
            f"(shuffled {np.median(self.null_median_rank):.0f})"
        )
        return Table(("from", "to", "rank"), rows, caption, tokens=("from", "to"))


@dataclass(frozen=True, eq=False)
class Projection(Shown, Result):
    """Weights of a head or neuron read as tokens.

    `vectors` has the tokens that each vector goes with and against.

    >>> from interp.circuits import embedding
    >>> projection = embedding.project(model, layer=1, neuron=5, k=2)
    >>> [vector.source for vector in projection.vectors]
    ['reads', 'gate', 'writes']
    """

    name: str
    vectors: tuple[TopTokens, ...]

    def table(self) -> Table:
        """Return a table with one row for each vector.

        >>> projection.table().columns
        ('vector', 'with', 'against')
        """
        rows = tuple(
            (vector.source, " ".join(map(repr, vector.promoted)), " ".join(map(repr, vector.suppressed)))
            for vector in self.vectors
        )
        return Table(("vector", "with", "against"), rows, self.name)


@dataclass(frozen=True, eq=False)
class Collapse(Shown, Result):
    """Similarity of a layer's vectors over the positions of some texts.

    Rows are the embedding and the stream after each layer: `cosine` the mean cosine between two positions
    (0 ± 1/√d_model for random vectors), `effective_rank` exp of the entropy of the squared singular values'
    shares, at most min(n_position, d_model), and `norm` the mean length.

    >>> from interp.circuits import embedding
    >>> similarity = embedding.collapse(model, tokens)
    >>> similarity.cosine.round(3), similarity.effective_rank.round(1)
    (array([0.008, 0.4  , 0.53 , 0.5  ]), array([3.7, 2.7, 2.5, 2.6]))
    """

    cosine: np.ndarray
    effective_rank: np.ndarray
    norm: np.ndarray
    n_position: int
    d_model: int

    def table(self) -> Table:
        """Return a table with one row for each layer.

        >>> print(similarity.table())
        Over 4 positions; random vectors have cosine 0 ± 0.204
        after    mean cosine  effective rank  mean norm
        embed          0.008             3.7        5.6
        layer 0        0.400             2.7       20.6
        layer 1        0.530             2.5       33.8
        layer 2        0.500             2.6       39.0
        """
        labels = ["embed", *(f"layer {i}" for i in range(len(self.cosine) - 1))]
        rows = tuple(zip(labels, *(map(float, a) for a in (self.cosine, self.effective_rank, self.norm)), strict=True))
        caption = f"Over {self.n_position} positions; random vectors have cosine 0 ± {self.d_model**-0.5:.3f}"
        formats = {"mean cosine": ".3f", "effective rank": ".1f", "mean norm": ".1f"}
        return Table(("after", "mean cosine", "effective rank", "mean norm"), rows, caption, formats)

    def figure(self) -> Figure:
        """Draw the mean cosine by layer.

        >>> similarity.figure()
        Figure(collapse: One line by layer.)
        """
        from interp.report.figures import lines

        return lines(
            "collapse",
            np.arange(len(self.cosine)) - 1,
            {"mean cosine": self.cosine},
            caption=f"Mean cosine between the residual streams of two positions, by layer (−1 is the embedding), over "
            f"{self.n_position} positions; random vectors would have 0 ± {self.d_model**-0.5:.3f}.",
            alt="One line by layer.",
            axes=("layer", "mean cosine"),
        )


@dataclass(frozen=True, eq=False)
class SparseCode(Shown, Result):
    """Sum of a few token vectors that approximates a vector.

    The tokens are in the order in which orthogonal matching pursuit chose them.

    `coefficients` belong to rows of length 1; `left` (k,) is the share of the squared norm unexplained after each.
    `coherence` is the largest |cosine| between a chosen row and any other row of the dictionary. `recovery` is Tropp's
    exact-recovery coefficient of the chosen rows: below 1, a vector made of exactly these rows is certain to be
    decoded into them (IEEE Trans. Inf. Theory 50, 2231, 2004); above, it may or may not.

    >>> from interp.circuits import embedding
    >>> vector = model.weights.W_E[3] + 0.5 * model.weights.W_E[7]
    >>> code = embedding.sparse_code(model, vector, k=2, dictionary="embedding")
    """

    dictionary: str
    tokens: tuple[str, ...]
    coefficients: np.ndarray
    left: np.ndarray
    coherence: float
    recovery: float

    def table(self) -> Table:
        """Return a table with one row for each token.

        >>> code.table().columns
        ('token', 'coefficient', 'left unexplained')
        """
        rows = tuple(zip(self.tokens, map(float, self.coefficients), map(float, self.left), strict=True))
        sure = "recovery is certain" if self.recovery < 1 else "recovery is not certain"
        caption = (
            f"Rows of the {self.dictionary}: coherence {self.coherence:.3f}, "
            f"exact-recovery coefficient {self.recovery:.2f} ({sure})"
        )
        formats = {"coefficient": "+.3f", "left unexplained": ".1%"}
        return Table(("token", "coefficient", "left unexplained"), rows, caption, formats, ("token",))
