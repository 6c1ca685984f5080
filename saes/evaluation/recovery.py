"""Recovery of a known dictionary: matching, coverage, copies, firing, absorption. numpy only.

A dictionary is (atoms, d), one direction per row; sign and length are ignored. Every score is compared with chance
(`chance`), since in few dimensions a random dictionary matches surprisingly well.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from saes.evaluation.scores import derived_seed

METRICS = ("matched cosine", "recovered above 0.9", "firing F1", "L0", "FVU")


def cosines(true: Float[np.ndarray, "features d"], dictionary: Float[np.ndarray, "atoms d"]) -> np.ndarray:
    """Return |cos| of every pair (features, atoms).

    A zero row has cosine 0 with all others.

    >>> cosines(np.eye(2), np.array([[0.0, -2.0]])).tolist()
    [[0.0], [1.0]]
    """
    unit = [d / np.maximum(np.linalg.norm(d, axis=1, keepdims=True), 1e-12) for d in (true, dictionary)]
    return np.abs(unit[0] @ unit[1].T)


def match(
    true: Float[np.ndarray, "features d"], dictionary: Float[np.ndarray, "atoms d"]
) -> tuple[Int[np.ndarray, " matched"], Int[np.ndarray, " matched"], Float[np.ndarray, " matched"]]:
    """Match features to atoms one to one with the largest total |cosine|.

    Returns:
        Indices of features, indices of atoms, and their |cosines|.

    Example:
        >>> match(np.eye(2), np.array([[0.0, -1.0], [3.0, 0.0]]))[1].tolist()
        [1, 0]
    """
    return assign(cosines(true, dictionary))


def assign(
    cosine: Float[np.ndarray, "features atoms"],
) -> tuple[Int[np.ndarray, " matched"], Int[np.ndarray, " matched"], Float[np.ndarray, " matched"]]:
    """Match features to atoms like `match`, given the cosines.

    >>> assign(np.array([[0.1, 0.9], [0.8, 0.2]]))[1].tolist()
    [1, 0]
    """
    from scipy.optimize import linear_sum_assignment

    rows, columns = linear_sum_assignment(-cosine)
    return rows, columns, cosine[rows, columns]


@dataclass(frozen=True)
class Match:
    """Similarity of a dictionary to the true one.

    Attributes:
        per_feature: (features,) largest |cos| with any atom.
        per_atom: (atoms,) largest |cos| with any feature.
        matched: (features,) |cos| in the one-to-one matching; 0 for a feature without an atom.
        atom: (features,) index of the matched atom, -1 if there is none.
        nearest: (atoms,) index of the nearest feature.

    Example:
        >>> Match.of(np.eye(2), np.eye(2)).coverage
        1.0
    """

    per_feature: Float[np.ndarray, " features"]
    per_atom: Float[np.ndarray, " atoms"]
    matched: Float[np.ndarray, " features"]
    atom: Int[np.ndarray, " features"]
    nearest: Int[np.ndarray, " atoms"]

    @classmethod
    def of(cls, true: Float[np.ndarray, "features d"], dictionary: Float[np.ndarray, "atoms d"]) -> Match:
        """Match the directions `dictionary` to `true`.

        >>> match = Match.of(np.eye(2), np.array([[0.0, 2.0], [1.0, 1.0]]))
        >>> match.atom.tolist(), match.matched.round(2).tolist()
        ([1, 0], [0.71, 1.0])
        """
        cosine = cosines(true, dictionary)
        rows, columns, values = assign(cosine)
        matched, atom = np.zeros(len(true)), np.full(len(true), -1)
        matched[rows], atom[rows] = values, columns
        return cls(cosine.max(1), cosine.max(0), matched, atom, cosine.argmax(0))

    @property
    def coverage(self) -> float:
        """Largest fraction that a dictionary of this size can recover.

        It is min(atoms, features) / features.
        """
        return min(1.0, len(self.nearest) / len(self.matched))

    @property
    def uniqueness(self) -> float:
        """Number of distinct nearest features, divided by the largest possible number.

        It is 1 for a dictionary without copies, and 1 / min(atoms, features) if all atoms are equal.
        """
        return len(np.unique(self.nearest)) / min(len(self.nearest), len(self.matched))


@dataclass(frozen=True)
class Firing:
    """Counts over `rows` of active features, firing matched latents, and both.

    >>> Firing.of(np.array([[True], [True]]), np.array([[True], [False]])).recall.tolist()
    [0.5]
    """

    active: Int[np.ndarray, " features"]
    fired: Int[np.ndarray, " features"]
    both: Int[np.ndarray, " features"]
    rows: int

    @classmethod
    def of(cls, active: Bool[np.ndarray, "n features"], fired: Bool[np.ndarray, "n features"]) -> Firing:
        """Count aligned columns: feature j and its latent.

        >>> firing = Firing.of(np.array([[True], [True], [False]]), np.array([[True], [False], [False]]))
        >>> firing.precision.tolist(), firing.recall.tolist()
        ([1.0], [0.5])
        """
        return cls(active.sum(0), fired.sum(0), (active & fired).sum(0), len(active))

    @property
    def precision(self) -> Float[np.ndarray, " features"]:
        """P(active | fired); NaN for a latent that never fires."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return self.both / self.fired

    @property
    def recall(self) -> Float[np.ndarray, " features"]:
        """P(fired | active); NaN for a feature that is never active."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return self.both / self.active

    @property
    def f1(self) -> Float[np.ndarray, " features"]:
        """Harmonic mean of precision and recall.

        It is 0 without agreement, and NaN if neither ever occurs.
        """
        with np.errstate(invalid="ignore", divide="ignore"):
            return 2 * self.both / (self.active + self.fired)

    @property
    def chance(self) -> Float[np.ndarray, " features"]:
        """F1 of a latent that fires independently of the feature.

        The latent fires as often as the matched one: F1 = 2 p q / (p + q).
        """
        p, q = self.active / self.rows, self.fired / self.rows
        with np.errstate(invalid="ignore", divide="ignore"):
            return 2 * p * q / (p + q)


def by_decile(frequency: Float[np.ndarray, " features"], value: Float[np.ndarray, " features"]) -> np.ndarray:
    """Return the mean frequency and value for deciles of frequency.

    A row has mean frequency, mean value and number of features, rarest decile first. Features with NaN values are
    excluded; a decile without features has no row.

    >>> by_decile(np.arange(10) / 10, np.ones(10)).shape
    (10, 3)
    """
    known = np.flatnonzero(~np.isnan(value))
    order = known[np.argsort(frequency[known], kind="stable")]
    return np.array([(frequency[p].mean(), value[p].mean(), len(p)) for p in np.array_split(order, 10) if len(p)])


@dataclass(frozen=True)
class Absorption:
    """Counts of a parent's latent with and without the child.

    gap = P(on | no child) - P(on | child). Only rows with an active parent are counted. A gap near 1 means that the
    child's latent has absorbed the parent (Chanin et al. 2024, arXiv 2409.14507); 0 means no absorption.

    >>> Absorption(parent=0, child=1, alone=10, on_alone=9, both=20, on_both=1).gap
    0.85
    """

    parent: int
    child: int
    alone: int
    on_alone: int
    both: int
    on_both: int

    @property
    def gap(self) -> float | None:
        """The gap, or None if it is undefined.

        It is undefined if the parent was never active without, or never with, the child.
        """
        if not self.alone or not self.both:
            return None
        return self.on_alone / self.alone - self.on_both / self.both


def absorption(
    pairs: tuple[tuple[int, int], ...],
    active: Bool[np.ndarray, "n features"],
    fired: Bool[np.ndarray, "n features"],
) -> tuple[Absorption, ...]:
    """Count absorption for each pair of parent and child.

    Args:
        pairs: (parent, child) features.
        active: (n, features) active features.
        fired: (n, features) whether the latent matched to each feature fires.

    Example:
        >>> active = np.array([[True, False], [True, True]])
        >>> absorption(((0, 1),), active, np.array([[True, False], [False, True]]))[0].gap
        1.0
    """
    counted = []
    for parent, child in pairs:
        on, with_child = fired[:, parent], active[:, child]
        alone, both = active[:, parent] & ~with_child, active[:, parent] & with_child
        counts = (alone.sum(), (alone & on).sum(), both.sum(), (both & on).sum())
        counted.append(Absorption(parent, child, *map(int, counts)))
    return tuple(counted)


def chance(
    true: Float[np.ndarray, "features d"], atoms: int, *, seed: int, draws: int = 3
) -> dict[str, tuple[float, float]]:
    """Return the mean and largest similarity scores of random dictionaries.

    The scores are mean |cos| per feature, per latent and one to one.

    Args:
        true: (features, d) known directions.
        atoms: number of atoms of the random dictionaries.
        seed: seed of the draws.
        draws: number of random dictionaries.

    Example:
        >>> values = chance(np.eye(8), atoms=16, seed=0)
        >>> [round(mean, 1) for mean, largest in values.values()]
        [0.7, 0.7, 0.7]
    """
    draw = np.random.default_rng(derived_seed(seed, "chance"))
    matches = [Match.of(true, draw.standard_normal((atoms, true.shape[1]))) for _ in range(draws)]
    values = {
        "per feature": [m.per_feature.mean() for m in matches],
        "per latent": [m.per_atom.mean() for m in matches],
        "one to one": [m.matched.mean() for m in matches],
    }
    return {name: (float(np.mean(v)), float(np.max(v))) for name, v in values.items()}


def judge(
    true: Float[np.ndarray, "features d"],
    active: Float[np.ndarray, "n features"],
    dictionary: Float[np.ndarray, "atoms d"],
    codes: Float[np.ndarray, "n atoms"],
    error: float,
) -> Float[np.ndarray, " metrics"]:
    """Evaluate a dictionary and its codes on signals with known coefficients.

    Computes `METRICS`. Matched cosine and the fraction above 0.9 count features without an atom as 0. Firing F1 is the
    mean over features of the F1 of "the code of its atom is not 0" for "the feature is active".

    Args:
        true: (features, d) known directions.
        active: (n, features) true coefficients.
        dictionary: (atoms, d) the evaluated directions.
        codes: (n, atoms) its codes.
        error: fraction of variance unexplained.
    """
    rows, columns, cosine = match(true, dictionary)
    counts = Firing.of(active[:, rows] != 0, codes[:, columns] != 0)
    n = len(true)
    f1 = np.nan_to_num(counts.f1).sum() / n
    return np.array([cosine.sum() / n, (cosine > 0.9).sum() / n, f1, (codes != 0).sum(1).mean(), error])
