"""Statements in pairs: one affirmed, one denied, told apart by `polarity` and matched by `pairs`."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, Self, cast

import numpy as np
from jaxtyping import Float, Int
from sklearn.utils.validation import validate_data

from interp.errors import UsageError
from probes.estimators.base import LinearProbe, Solution, as_array, one_sentence, read_rows, read_stack

CLASSES = np.array([0, 1])
UNKNOWN = -1


@dataclass(frozen=True, eq=False)
class Pairs:
    """Row numbers: pair i is the affirmative row `affirmative[i]` and the negated row `negated[i]`."""

    affirmative: Int[np.ndarray, " pair"]
    negated: Int[np.ndarray, " pair"]

    @classmethod
    def read(cls, pairs: Any, polarity: Any, n: int) -> Self:
        """From the name of each row's pair and its side (+1 affirmative, -1 negated).

        Rows with an empty pair name stand alone and are left out. Raises `UsageError` unless every named pair has
        one row of each side, and at least two pairs there are.
        """
        polarity = read_polarity(polarity, n)
        if pairs is None:
            raise UsageError("This probe learns from pairs: give pairs= (the name of each row's pair) and polarity=.")
        names = read_rows(pairs, n, "pairs").astype(str)
        sides = [{str(name): int(row) for row, name in _rows(names, polarity == side)} for side in (1, -1)]
        counts = [int(((polarity == side) & (names != "")).sum()) for side in (1, -1)]
        shared = [name for name in sides[0] if name in sides[1]]
        if len(shared) != counts[0] or len(shared) != counts[1]:
            raise UsageError(
                f"Every pair needs one affirmative (+1) and one negated (-1) row: of {counts[0]} affirmative and "
                f"{counts[1]} negated rows, {len(shared)} pairs match."
            )
        if len(shared) < 2:
            raise UsageError(f"There is {len(shared)} pair: at least 2 are needed, to normalise each side by its mean.")
        rows = [np.array([side[name] for name in shared]) for side in sides]
        return cls(rows[0], rows[1])


def _rows(names: np.ndarray, chosen: np.ndarray) -> list[tuple[int, str]]:
    return [(int(row), str(names[row])) for row in np.flatnonzero(chosen) if names[row]]


def read_polarity(polarity: Any, n: int) -> Int[np.ndarray, " n"]:
    """+1 or -1 for each row; raises `UsageError` for anything else."""
    if polarity is None:
        raise UsageError("This probe needs polarity= (+1 for an affirmative row, -1 for a negated one).")
    sides = read_rows(polarity, n, "polarity")
    if not np.isin(sides, (-1, 1)).all():
        raise UsageError(f"polarity must be +1 (affirmative) or -1 (negated), not {np.unique(sides)[:5].tolist()}.")
    return sides.astype(np.int64)


@dataclass(frozen=True, eq=False)
class Labelled:
    """What is known of the pairs' labels: 0, 1 or -1 (unknown) of each affirmative and each negated row."""

    affirmative: Int[np.ndarray, " pair"]
    negated: Int[np.ndarray, " pair"]

    @classmethod
    def read(cls, y: Any, pairs: Pairs, n: int) -> Self:
        """From labels of all rows, or None; raises `UsageError` for other values than 0, 1 and -1."""
        labels = np.full(n, UNKNOWN) if y is None else read_rows(y, n, "y")
        if not np.isin(labels, (0, 1, UNKNOWN)).all():
            raise UsageError("Labels of pairs must be 0 (false), 1 (true) or -1 (unknown).")
        return cls(labels[pairs.affirmative].astype(int), labels[pairs.negated].astype(int))

    @property
    def state(self) -> str:
        """Whether anything is known: "labelled" or "free"."""
        return "labelled" if bool((self.all != UNKNOWN).any()) else "free"

    @property
    def all(self) -> Int[np.ndarray, " two_pairs"]:
        """Of the affirmative rows, then of the negated ones."""
        return np.concatenate([self.affirmative, self.negated])

    def sign(self, scores: Float[np.ndarray, "two_pairs restart"]) -> Float[np.ndarray, " restart"]:
        """+1, or -1 where the false rows score higher on average than the true ones; +1 if nothing is known."""
        true, false = scores[self.all == 1], scores[self.all == 0]
        high = true.mean(0) if len(true) else np.zeros(scores.shape[1])
        low = false.mean(0) if len(false) else np.zeros(scores.shape[1])
        return np.where(high < low, -1.0, 1.0)

    def accuracy(self, scores: Float[np.ndarray, "two_pairs restart"]) -> Float[np.ndarray, " restart"]:
        """The share of labelled rows on the right side of 0; NaN if there is none."""
        known = self.all != UNKNOWN
        if not known.any():
            return np.full(scores.shape[1], np.nan)
        return ((scores[known] > 0) == (self.all[known] == 1)[:, None]).mean(0)


@dataclass(frozen=True, eq=False)
class Normaliser:
    """Each side's own mean, and one scale for both, from the training pairs; kept and used again at test.

    `x -> (x - mean of its side) / scale`: subtracting the side's mean removes the negation marker, which would
    otherwise be the plainest way to tell the two sides apart. One scale (the spread within the sides) keeps a single
    direction in raw activation space; the published code divides each side by its own.
    """

    affirmative: Float[np.ndarray, " d"]
    negated: Float[np.ndarray, " d"]
    scale: Float[np.ndarray, " d"]

    @classmethod
    def fit(cls, affirmative: Float[np.ndarray, "pair d"], negated: Float[np.ndarray, "pair d"]) -> Self:
        """From the two sides; a coordinate that does not vary within the sides gets scale 1."""
        means = affirmative.mean(0), negated.mean(0)
        spread = np.sqrt((affirmative.var(0) + negated.var(0)) / 2)
        constant = spread <= 1e-12 * np.maximum(np.abs(means[0]), np.abs(means[1]))
        return cls(means[0], means[1], np.where(constant, 1.0, spread))

    def apply(
        self, affirmative: Float[np.ndarray, "pair d"], negated: Float[np.ndarray, "pair d"]
    ) -> Float[np.ndarray, "two_pairs d"]:
        """The affirmative rows, then the negated ones, normalised."""
        return np.concatenate([affirmative - self.affirmative, negated - self.negated]) / self.scale

    def raw(self, weights: Float[np.ndarray, " d"], bias: float) -> tuple[Float[np.ndarray, " d"], float, float]:
        """(direction, bias of an affirmative row, bias of a negated row) in raw activation space."""
        direction = weights / self.scale
        return direction, float(bias - direction @ self.affirmative), float(bias - direction @ self.negated)


class PairProbe(LinearProbe):
    """A direction learnt from pairs, with a threshold for each side.

    Attributes, beside those of `LinearProbe`:
        biases_: (2,) the bias of affirmative and of negated rows, from the mean of the side they belong to; `bias_` is
            the mean of the two, for rows of unknown side.
        sign_: "labelled" if labels of training pairs say which end is true; "free" if none were given: then the
            direction may point either way, and only a caller with labels can tell.
    """

    biases_: Float[np.ndarray, " 2"]
    sign_: str

    @abstractmethod
    def _solve_pairs(
        self, affirmative: Float[np.ndarray, "pair d"], negated: Float[np.ndarray, "pair d"], sides: Labelled
    ) -> Solution:
        """The solution of one layer."""

    def fit(self, X: Any, y: Any = None, *, pairs: Any = None, polarity: Any = None) -> Self:
        """Fit on activations `X` (n, d) whose rows are pairs of an affirmed and a denied statement.

        Args:
            X: activations, one row a statement.
            y: labels, used for the sign only; -1 where unknown. None: the sign stays free.
            pairs: the name of each row's pair; rows with an empty name are left out.
            polarity: +1 for an affirmative row, -1 for a negated one.

        Raises:
            UsageError: pairs or polarity missing, pairs without one row of each side, labels that are not 0, 1 or -1.
        """
        rows = self._read_rows(X)
        return self._take(self._solutions(rows[None], y, pairs, polarity)[0])

    def fit_layers(self, X: Any, y: Any = None, *, pairs: Any = None, polarity: Any = None) -> list[Self]:
        """One fitted copy a layer, equal to `fit` on each."""
        stack = as_array(read_stack(X))
        solutions = self._solutions(stack, y, pairs, polarity)
        return [self.with_solution(solution, CLASSES) for solution in solutions]

    def decision_function(self, X: Any, polarity: Any = None) -> Float[np.ndarray, " n"]:
        """The score of each row; with `polarity`, by the threshold of the side it belongs to."""
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
