"""How much of a known dictionary was found: matching, coverage, copies, firing, absorption. numpy only.

A dictionary is (atoms, d), one direction a row; its sign and length do not count. Every score says what chance gives
(`chance`): in few dimensions a random dictionary matches surprisingly well.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from saes.evaluation.scores import apart

METRICS = ("matched cosine", "found above 0.9", "firing F1", "L0", "FVU")


def cosines(true: Float[np.ndarray, "features d"], found: Float[np.ndarray, "atoms d"]) -> np.ndarray:
    """(features, atoms): |cos| of every pair; a zero row has cosine 0 with everything."""
    unit = [d / np.maximum(np.linalg.norm(d, axis=1, keepdims=True), 1e-12) for d in (true, found)]
    return np.abs(unit[0] @ unit[1].T)


def match(
    true: Float[np.ndarray, "features d"], found: Float[np.ndarray, "atoms d"]
) -> tuple[Int[np.ndarray, " matched"], Int[np.ndarray, " matched"], Float[np.ndarray, " matched"]]:
    """The one-to-one matching of features to atoms of largest total |cosine|: (features, atoms, |cosines|)."""
    return assign(cosines(true, found))


def assign(
    cosine: Float[np.ndarray, "features atoms"],
) -> tuple[Int[np.ndarray, " matched"], Int[np.ndarray, " matched"], Float[np.ndarray, " matched"]]:
    """`match`, from the cosines."""
    from scipy.optimize import linear_sum_assignment

    rows, columns = linear_sum_assignment(-cosine)
    return rows, columns, cosine[rows, columns]


@dataclass(frozen=True)
class Match:
    """What a dictionary has in common with the true one.

    Attributes:
        per_feature: (features,) the largest |cos| with any atom.
        per_atom: (atoms,) the largest |cos| with any feature.
        matched: (features,) |cos| in the one-to-one matching of largest total; 0 for a feature without an atom.
        atom: (features,) the atom matched, -1 where there is none.
        nearest: (atoms,) the feature each atom is most like.
    """

    per_feature: Float[np.ndarray, " features"]
    per_atom: Float[np.ndarray, " atoms"]
    matched: Float[np.ndarray, " features"]
    atom: Int[np.ndarray, " features"]
    nearest: Int[np.ndarray, " atoms"]

    @classmethod
    def of(cls, true: Float[np.ndarray, "features d"], found: Float[np.ndarray, "atoms d"]) -> Match:
        """Match `found` to `true`."""
        cosine = cosines(true, found)
        rows, columns, values = assign(cosine)
        matched, atom = np.zeros(len(true)), np.full(len(true), -1)
        matched[rows], atom[rows] = values, columns
        return cls(cosine.max(1), cosine.max(0), matched, atom, cosine.argmax(0))

    @property
    def coverage(self) -> float:
        """min(atoms, features) / features: what a dictionary of this size could find at most."""
        return min(1.0, len(self.nearest) / len(self.matched))

    @property
    def uniqueness(self) -> float:
        """Distinct features among those the atoms are most like, over the number there could be.

        1 for a dictionary without copies; all atoms alike give 1 / min(atoms, features).
        """
        return len(np.unique(self.nearest)) / min(len(self.nearest), len(self.matched))


@dataclass(frozen=True)
class Firing:
    """How often each feature is active, its matched latent fires, and both: counts over `rows`."""

    active: Int[np.ndarray, " features"]
    fired: Int[np.ndarray, " features"]
    both: Int[np.ndarray, " features"]
    rows: int

    @classmethod
    def of(cls, active: Bool[np.ndarray, "n features"], fired: Bool[np.ndarray, "n features"]) -> Firing:
        """Counts from aligned columns: feature j and its latent."""
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
        """Harmonic mean of the two; 0 where nothing agrees, NaN where neither ever happens."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return 2 * self.both / (self.active + self.fired)

    @property
    def chance(self) -> Float[np.ndarray, " features"]:
        """F1 of a latent that fires as often, but independently of the feature: 2 p q / (p + q)."""
        p, q = self.active / self.rows, self.fired / self.rows
        with np.errstate(invalid="ignore", divide="ignore"):
            return 2 * p * q / (p + q)


def by_decile(frequency: Float[np.ndarray, " features"], value: Float[np.ndarray, " features"]) -> np.ndarray:
    """(10, 3): for tenths of the features from rarest to commonest, (mean frequency, mean of `value`, features).

    Features whose `value` is NaN are left out; a tenth without any is left out of the rows too.
    """
    known = np.flatnonzero(~np.isnan(value))
    order = known[np.argsort(frequency[known], kind="stable")]
    return np.array([(frequency[p].mean(), value[p].mean(), len(p)) for p in np.array_split(order, 10) if len(p)])


@dataclass(frozen=True)
class Absorption:
    """Whether a parent's latent falls silent where the child is active: gap = P(on | no child) - P(on | child).

    Counted on rows where the parent is active. A gap near 1 means that the child's latent has absorbed the parent
    (Chanin et al. 2024, arXiv 2409.14507); 0 that the parent's latent does not care.
    """

    parent: int
    child: int
    alone: int
    on_alone: int
    together: int
    on_together: int

    @property
    def gap(self) -> float | None:
        """The gap, or None if the parent was never active alone, or never together with the child."""
        if not self.alone or not self.together:
            return None
        return self.on_alone / self.alone - self.on_together / self.together


def absorption(
    pairs: tuple[tuple[int, int], ...],
    active: Bool[np.ndarray, "n features"],
    fired: Bool[np.ndarray, "n features"],
) -> tuple[Absorption, ...]:
    """For each (parent, child) the counts; `fired[:, j]` is the latent matched to feature j."""
    found = []
    for parent, child in pairs:
        on, with_child = fired[:, parent], active[:, child]
        alone, together = active[:, parent] & ~with_child, active[:, parent] & with_child
        counts = (alone.sum(), (alone & on).sum(), together.sum(), (together & on).sum())
        found.append(Absorption(parent, child, *map(int, counts)))
    return tuple(found)


def chance(
    true: Float[np.ndarray, "features d"], atoms: int, *, seed: int, draws: int = 3
) -> dict[str, tuple[float, float]]:
    """Per feature, per atom and one-to-one mean |cos| of random dictionaries of `atoms` atoms: (mean, largest)."""
    draw = np.random.default_rng(apart(seed, "chance"))
    found = [Match.of(true, draw.standard_normal((atoms, true.shape[1]))) for _ in range(draws)]
    values = {
        "per feature": [m.per_feature.mean() for m in found],
        "per latent": [m.per_atom.mean() for m in found],
        "one to one": [m.matched.mean() for m in found],
    }
    return {name: (float(np.mean(v)), float(np.max(v))) for name, v in values.items()}


def judge(
    true: Float[np.ndarray, "features d"],
    active: Float[np.ndarray, "n features"],
    found: Float[np.ndarray, "atoms d"],
    codes: Float[np.ndarray, "n atoms"],
    error: float,
) -> Float[np.ndarray, " metrics"]:
    """`METRICS` of a dictionary and its codes on signals whose true coefficients are `active`.

    Matched cosine and the fraction above 0.9 count features without an atom as 0. Firing F1 is the mean over features
    of the harmonic mean of precision and recall of "its atom's code is not 0" for "it is active". `error` is the
    fraction of variance unexplained.
    """
    rows, columns, cosine = match(true, found)
    counts = Firing.of(active[:, rows] != 0, codes[:, columns] != 0)
    n = len(true)
    f1 = np.nan_to_num(counts.f1).sum() / n
    return np.array([cosine.sum() / n, (cosine > 0.9).sum() / n, f1, (codes != 0).sum(1).mean(), error])
