"""Probes of contrast pairs.

A pair is an affirmative and a negated statement, matched by `pairs` and `polarity`.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, Self, cast

import numpy as np
from jaxtyping import Float, Int
from sklearn.utils.validation import validate_data

from interp.errors import UsageError
from probes.estimators.base import LinearProbe, Solution, as_array, one_per_row, one_sentence, read_stack

CLASSES = np.array([0, 1])
UNKNOWN = -1


@dataclass(frozen=True, eq=False)
class Pairs:
    """Row indices of pairs: pair i is the rows `affirmative[i]` and `negated[i]`.

    >>> Pairs.read(["a", "a", "b", "b"], [1, -1, 1, -1], 4).negated.tolist()
    [1, 3]
    """

    affirmative: Int[np.ndarray, " pair"]
    negated: Int[np.ndarray, " pair"]

    @classmethod
    def read(cls, pairs: Any, polarity: Any, n: int) -> Self:
        """Match the two rows of each pair by its name.

        The side of a row is +1 (affirmative) or -1 (negated). Rows with an empty pair name are left out.

        Args:
            pairs: name of each row's pair.
            polarity: side of each row.
            n: number of rows.

        Raises:
            UsageError: a pair without exactly one row of each side, or fewer than two pairs.
        """
        polarity = read_polarity(polarity, n)
        if pairs is None:
            raise UsageError("This probe learns from pairs: give pairs= (the name of each row's pair) and polarity=.")
        names = one_per_row(pairs, n, "pairs").astype(str)
        sides = [{str(name): int(row) for row, name in _rows(names, polarity == side)} for side in (1, -1)]
        counts = [int(((polarity == side) & (names != "")).sum()) for side in (1, -1)]
        shared = [name for name in sides[0] if name in sides[1]]
        if len(shared) != counts[0] or len(shared) != counts[1]:
            raise UsageError(
                f"Every pair needs one affirmative (+1) and one negated (-1) row: of {counts[0]} affirmative and "
                f"{counts[1]} negated rows, {len(shared)} pairs match."
            )
        if len(shared) < 2:
            raise UsageError(
                f"There is {len(shared)} pair, but at least 2 are needed to normalise each side by its mean."
            )
        rows = [np.array([side[name] for name in shared]) for side in sides]
        return cls(rows[0], rows[1])


def _rows(names: np.ndarray, chosen: np.ndarray) -> list[tuple[int, str]]:
    return [(int(row), str(names[row])) for row in np.flatnonzero(chosen) if names[row]]


def read_polarity(polarity: Any, n: int) -> Int[np.ndarray, " n"]:
    """Check polarities and return +1 or -1 for each row.

    Raises `UsageError` for any other value.

    >>> read_polarity([1, -1], 2).tolist()
    [1, -1]
    """
    if polarity is None:
        raise UsageError("This probe needs polarity= (+1 for an affirmative row, -1 for a negated one).")
    sides = one_per_row(polarity, n, "polarity")
    if not np.isin(sides, (-1, 1)).all():
        raise UsageError(f"polarity must be +1 (affirmative) or -1 (negated), not {np.unique(sides)[:5].tolist()}.")
    return sides.astype(np.int64)


@dataclass(frozen=True, eq=False)
class Labelled:
    """Known labels of the affirmative and negated rows of pairs.

    A label is 0, 1 or -1 (unknown).

    >>> Labelled(np.array([1, -1]), np.array([0, -1])).state
    'labelled'
    """

    affirmative: Int[np.ndarray, " pair"]
    negated: Int[np.ndarray, " pair"]

    @classmethod
    def read(cls, y: Any, pairs: Pairs, n: int) -> Self:
        """Read the labels of all rows, or None.

        Raises `UsageError` for values other than 0, 1 and -1.
        """
        labels = np.full(n, UNKNOWN) if y is None else one_per_row(y, n, "y")
        if not np.isin(labels, (0, 1, UNKNOWN)).all():
            raise UsageError("Labels of pairs must be 0 (false), 1 (true) or -1 (unknown).")
        return cls(labels[pairs.affirmative].astype(int), labels[pairs.negated].astype(int))

    @property
    def state(self) -> str:
        """State of the labels: "labelled" if any is known, else "free"."""
        return "labelled" if bool((self.all != UNKNOWN).any()) else "free"

    @property
    def all(self) -> Int[np.ndarray, " two_pairs"]:
        """Labels of the affirmative rows, then of the negated ones."""
        return np.concatenate([self.affirmative, self.negated])

    def sign(self, scores: Float[np.ndarray, "two_pairs restart"]) -> Float[np.ndarray, " restart"]:
        """Return the sign that makes true rows score higher on average.

        It is -1 if false rows score higher on average than true ones, else +1.
        """
        true, false = scores[self.all == 1], scores[self.all == 0]
        high = true.mean(0) if len(true) else np.zeros(scores.shape[1])
        low = false.mean(0) if len(false) else np.zeros(scores.shape[1])
        return np.where(high < low, -1.0, 1.0)

    def accuracy(self, scores: Float[np.ndarray, "two_pairs restart"]) -> Float[np.ndarray, " restart"]:
        """Return the fraction of labelled rows with a correct prediction.

        A row is correct if its score is on the correct side of 0. NaN if no row is labelled.
        """
        known = self.all != UNKNOWN
        if not known.any():
            return np.full(scores.shape[1], np.nan)
        return ((scores[known] > 0) == (self.all[known] == 1)[:, None]).mean(0)


@dataclass(frozen=True, eq=False)
class Normaliser:
    """Normalisation of pairs: a mean per side and one common scale.

    Means and scale are computed from the training pairs.

    `x -> (x - mean of its side) / scale`. Subtracting the side's mean removes the negation marker, which would
    otherwise be the easiest way to separate the two sides. One scale (the spread within the sides) gives a single
    direction in raw activation space; the published code divides each side by its own scale.

    >>> normaliser = Normaliser.fit(np.array([[1.0], [3.0]]), np.array([[5.0], [7.0]]))
    >>> normaliser.apply(np.ones((1, 1)), np.ones((1, 1))).tolist()
    [[-1.0], [-5.0]]
    """

    affirmative: Float[np.ndarray, " d"]
    negated: Float[np.ndarray, " d"]
    scale: Float[np.ndarray, " d"]

    @classmethod
    def fit(cls, affirmative: Float[np.ndarray, "pair d"], negated: Float[np.ndarray, "pair d"]) -> Self:
        """Compute the means of the two sides and their common scale.

        A coordinate without variance gets scale 1.
        """
        means = affirmative.mean(0), negated.mean(0)
        spread = np.sqrt((affirmative.var(0) + negated.var(0)) / 2)
        constant = spread <= 1e-12 * np.maximum(np.abs(means[0]), np.abs(means[1]))
        return cls(means[0], means[1], np.where(constant, 1.0, spread))

    def apply(
        self, affirmative: Float[np.ndarray, "pair d"], negated: Float[np.ndarray, "pair d"]
    ) -> Float[np.ndarray, "two_pairs d"]:
        """Return the normalised affirmative rows, then the negated ones."""
        return np.concatenate([affirmative - self.affirmative, negated - self.negated]) / self.scale

    def raw(self, weights: Float[np.ndarray, " d"], bias: float) -> tuple[Float[np.ndarray, " d"], float, float]:
        """Convert weights and bias to raw activation space.

        Returns the direction, the bias of affirmative rows and the bias of negated rows.
        """
        direction = weights / self.scale
        return direction, float(bias - direction @ self.affirmative), float(bias - direction @ self.negated)


class PairProbe(LinearProbe):
    """Linear probe learned from contrast pairs, with a threshold for each side.

    Attributes (in addition to those of `LinearProbe`):
        biases_: (2,) bias of affirmative and of negated rows, from the mean of their side; `bias_` is the mean of the
            two, for rows of unknown side.
        sign_: "labelled" if labels of training pairs determine which end is true; "free" if none were given, so that
            the direction may point either way.

    Example:
        >>> X, polarity = [[2.0, 0.0], [0.0, 0.0], [0.0, 1.0], [2.0, 1.0]], [1, -1, 1, -1]
        >>> probe = probes.CRC().fit(X, [1, 0, 0, 1], pairs=["a", "a", "b", "b"], polarity=polarity)
        >>> probe.biases_.round(6).tolist()
        [-1.0, -1.0]
    """

    biases_: Float[np.ndarray, " 2"]
    sign_: str

    @abstractmethod
    def _solve_pairs(
        self, affirmative: Float[np.ndarray, "pair d"], negated: Float[np.ndarray, "pair d"], sides: Labelled
    ) -> Solution:
        """Return the solution of one layer."""

    def fit(self, X: Any, y: Any = None, *, pairs: Any = None, polarity: Any = None) -> Self:
        """Fit on activations `X` (n, d) of affirmative and negated statements.

        Args:
            X: (n, d) activations, one row per statement.
            y: labels, used only for the sign; -1 if unknown. None leaves the sign free.
            pairs: name of each row's pair; rows with an empty name are left out.
            polarity: +1 for an affirmative row, -1 for a negated one.

        Returns:
            The probe itself.

        Raises:
            UsageError: missing pairs or polarity, a pair without one row of each side, or labels other than 0, 1, -1.

        Example:
            >>> X, polarity = [[2.0, 0.0], [0.0, 0.0], [0.0, 1.0], [2.0, 1.0]], [1, -1, 1, -1]
            >>> probe = probes.CRC().fit(X, [1, 0, 0, 1], pairs=["a", "a", "b", "b"], polarity=polarity)
            >>> probe.direction_.round(6).tolist(), probe.predict(X).tolist()
            ([1.0, 0.0], [1, 0, 0, 1])
        """
        rows = self._read_rows(X)
        return self._take(self._solutions(rows[None], y, pairs, polarity)[0])

    def fit_layers(self, X: Any, y: Any = None, *, pairs: Any = None, polarity: Any = None) -> list[Self]:
        """Fit one copy per layer, equal to `fit` on each.

        Args:
            X: (layer, n, d) activations.
            y: labels, used only for the sign, as in `fit`.
            pairs: name of each row's pair, as in `fit`.
            polarity: +1 for an affirmative row, -1 for a negated one.

        Returns:
            The fitted copies, in the order of the layers.

        Raises:
            UsageError: as `fit`.

        Example:
            >>> X = torch.tensor([[[2.0], [0.0], [0.0], [2.0]], [[3.0], [1.0], [1.0], [3.0]]])
            >>> fitted = probes.CRC().fit_layers(X, [1, 0, 0, 1], pairs=["a", "a", "b", "b"], polarity=[1, -1, 1, -1])
            >>> [round(probe.bias_, 6) for probe in fitted]
            [-1.0, -2.0]
        """
        stack = as_array(read_stack(X))
        solutions = self._solutions(stack, y, pairs, polarity)
        return [self.with_solution(solution, CLASSES) for solution in solutions]

    def decision_function(self, X: Any, polarity: Any = None) -> Float[np.ndarray, " n"]:
        """Return the score of each row.

        `polarity` selects the threshold of the row's side.

        >>> X, polarity = [[2.0, 0.0], [0.0, 0.0], [0.0, 1.0], [2.0, 1.0]], [1, -1, 1, -1]
        >>> probe = probes.CRC().fit(X, [1, 0, 0, 1], pairs=["a", "a", "b", "b"], polarity=polarity)
        >>> probe.decision_function(X, polarity).round(6).tolist()
        [1.0, -1.0, -1.0, 1.0]
        """
        rows = self._check(X)
        if polarity is None:
            return rows @ self.direction_ + self.bias_
        return rows @ self.direction_ + self.biases_[(read_polarity(polarity, len(rows)) < 0).astype(int)]

    def _solutions(self, stack: np.ndarray, y: Any, pairs: Any, polarity: Any) -> list[Solution]:
        matched = Pairs.read(pairs, polarity, stack.shape[1])
        sides = Labelled.read(y, matched, stack.shape[1])
        return [
            self._solve_pairs(
                layer[matched.affirmative].astype(np.float64), layer[matched.negated].astype(np.float64), sides
            )
            for layer in stack
        ]

    def _read_rows(self, X: Any) -> Float[np.ndarray, "n d"]:
        try:
            rows = cast(np.ndarray, validate_data(self, as_array(X), dtype=np.float64))
        except ValueError as error:
            raise UsageError(one_sentence(error)) from error
        self.classes_ = CLASSES
        return rows
