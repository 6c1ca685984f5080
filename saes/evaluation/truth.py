"""Recovery of known features by an autoencoder. numpy only."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from interp.errors import UsageError
from interp.statistics import DRAWS, percentile_interval
from saes.evaluation.recovery import Absorption, Firing, Match, absorption, by_decile, chance
from saes.evaluation.result import Known
from saes.evaluation.scores import Score, unavailable

GROUP = "known features"
RECOVERED = (0.9, 0.99)


@dataclass(frozen=True)
class Truth:
    """Known features of activations.

    Attributes:
        directions: (features, d), one per row; a tensor or an array. Sign and length are ignored.
        coefficients: (rows, features), not 0 if a feature is active in a row; None if unknown.
        pairs: (parent, child) features for the absorption gap; the child is active only with its parent.
        offset: (d,) constant added to every row; None for none.

    Example:
        >>> Truth(np.eye(2), coefficients=np.array([[1.0, 0.0]])).active(0, 1).tolist()
        [[True, False]]
    """

    directions: Any
    coefficients: Any | None = None
    pairs: tuple[tuple[int, int], ...] = ()
    offset: Any | None = None

    def __post_init__(self) -> None:
        directions = _array(self.directions)
        if directions.ndim != 2 or not np.isfinite(directions).all() or not np.linalg.norm(directions, axis=1).all():
            raise UsageError(f"Directions are (features, d), finite and not zero; these are {directions.shape}.")
        object.__setattr__(self, "directions", directions)
        if self.coefficients is not None:
            coefficients = _array(self.coefficients)
            if coefficients.ndim != 2 or coefficients.shape[1] != len(directions):
                expected = f"(rows, {len(directions)})"
                raise UsageError(f"Coefficients are {expected} for these directions, not {coefficients.shape}.")
            object.__setattr__(self, "coefficients", coefficients)
        if self.offset is not None:
            object.__setattr__(self, "offset", _array(self.offset))
            if self.offset.shape != directions.shape[1:]:
                raise UsageError(f"The offset has shape {self.offset.shape}, but directions {directions.shape}.")
        for pair in self.pairs:
            if len(pair) != 2 or not all(0 <= feature < len(directions) for feature in pair):
                raise UsageError(f"The pair {pair} names features that do not exist: there are {len(directions)}.")

    def active(self, first: int, count: int) -> Bool[np.ndarray, "count features"]:
        """Return which features are active in `count` rows from `first` on.

        >>> Truth(np.eye(2), coefficients=np.array([[1.0, 0.0], [0.0, 2.0]])).active(1, 1).tolist()
        [[False, True]]
        """
        rows = self.coefficients[first : first + count] if self.coefficients is not None else np.zeros((0, 0))
        if len(rows) != count:
            raise UsageError(f"The coefficients have no row {first + len(rows)}: give one for every activation.")
        return rows != 0


@dataclass
class TruthTally:
    """Counts of agreement between features and matched latents, summed over batches."""

    truth: Truth
    match: Match
    counts: np.ndarray = field(init=False)
    pairs: np.ndarray = field(init=False)
    rows: int = 0

    def __post_init__(self) -> None:
        self.counts = np.zeros((3, len(self.truth.directions)), dtype=np.int64)
        self.pairs = np.zeros((len(self.truth.pairs), 4), dtype=np.int64)

    def add(self, first: int, on: Bool[np.ndarray, "n width"]) -> None:
        """Add one batch of latents; does nothing if activity is unknown."""
        if self.truth.coefficients is None:
            return
        active = self.truth.active(first, len(on))
        fired = on[:, self.match.atom] & (self.match.atom >= 0)
        firing = Firing.of(active, fired)
        self.counts += np.stack((firing.active, firing.fired, firing.both))
        for index, one in enumerate(absorption(self.truth.pairs, active, fired)):
            self.pairs[index] += (one.alone, one.on_alone, one.both, one.on_both)
        self.rows += len(on)

    @property
    def firing(self) -> Firing | None:
        """Counts over all rows; None if activity is unknown."""
        active, fired, both = self.counts
        return Firing(active, fired, both, self.rows) if self.rows else None

    @property
    def absorption(self) -> tuple[Absorption, ...]:
        """Absorption of each pair."""
        pairs = zip(self.truth.pairs, self.pairs, strict=True)
        return tuple(Absorption(*pair, *map(int, row)) for pair, row in pairs)


def known(tally: TruthTally) -> Known:
    """Return the measures by feature."""
    match, firing = tally.match, tally.firing
    empty = np.zeros(0)
    if firing is None:
        values = dict(frequency=empty, precision=empty, recall=empty, f1=empty, deciles=np.zeros((0, 3)))
    else:
        frequency = firing.active / firing.rows
        values = dict(frequency=frequency, precision=firing.precision, recall=firing.recall, f1=firing.f1)
        values["deciles"] = by_decile(frequency, firing.recall)
    pairs = np.array([list(p) for p in tally.truth.pairs], dtype=np.int64).reshape(-1, 2)
    counted = np.hstack([pairs, tally.pairs])
    return Known(match.per_feature, match.matched, match.atom, **values, absorption=counted)


def scores(tally: TruthTally, seed: int, oracle: float | None, no_oracle: str) -> tuple[Score, ...]:
    """Return every measure of recovery.

    Args:
        tally: counts over all rows.
        seed: seed of the resamples.
        oracle: firing F1 of the true dictionary with `omp`; None if not computed.
        no_oracle: reason why it was not computed.
    """
    match = tally.match
    return (*_directions(tally.truth, match, seed), *_firing(tally, seed, oracle, no_oracle), *_absorbed(tally))


def _directions(truth: Truth, match: Match, seed: int) -> tuple[Score, ...]:
    features, latents = len(match.matched), len(match.per_atom)
    random = chance(truth.directions, latents, seed=seed)
    named = (
        ("cosine_feature_to_latent", match.per_feature, "per feature", f"{features:,} features"),
        ("cosine_latent_to_feature", match.per_atom, "per latent", f"{latents:,} latents"),
        ("cosine_one_to_one", match.matched, "one to one", f"{features:,} features"),
    )
    scores = [
        _mean(key, value, on, "cosine", seed, f"a random dictionary of this size: {random[drawn][0]:.3f}")
        for key, value, drawn, on in named
    ]
    scores += [
        _mean(f"recovered_above_{level}", match.matched > level, f"{features:,} features", "fraction", seed, "")
        for level in RECOVERED
    ]
    size = f"{latents:,} latents for {features:,} features"
    copies = "distinct features among those that latents are most like, over the number there could be"
    return (
        *scores,
        Score("coverage", GROUP, match.coverage, unit="fraction", evaluated_on=size, better="higher"),
        Score("uniqueness", GROUP, match.uniqueness, unit="fraction", evaluated_on=size, better="higher", why=copies),
    )


def _firing(tally: TruthTally, seed: int, oracle: float | None, no_oracle: str) -> tuple[Score, ...]:
    firing = tally.firing
    wanted = ("firing_precision", "firing_recall", "firing_f1", "firing_f1_oracle")
    if firing is None:
        why = "it is not known in which rows a feature is active: give Truth(coefficients=...)"
        return tuple(unavailable(key, GROUP, why) for key in wanted)
    active = firing.active > 0
    if not active.any():
        return tuple(unavailable(key, GROUP, "no known feature is active in these rows") for key in wanted)
    on = f"{int(active.sum()):,} features active in {firing.rows:,} rows"
    luck = float(np.nan_to_num(firing.chance[active]).mean())
    fired = active & (firing.fired > 0)
    precision = (
        _mean(wanted[0], firing.precision[fired], f"{int(fired.sum()):,} features whose latent fires", "fraction", seed)
        if fired.any()
        else unavailable(wanted[0], GROUP, "no latent that is matched to a feature ever fires")
    )
    ceiling = (
        unavailable(wanted[3], GROUP, no_oracle)
        if oracle is None
        else Score(wanted[3], GROUP, oracle, unit="fraction", evaluated_on="a sample of the rows", why="the ceiling")
    )
    return (
        precision,
        _mean(wanted[1], firing.recall[active], on, "fraction", seed, "a feature without a latent counts 0"),
        _mean(wanted[2], firing.f1[active], on, "fraction", seed, f"latents that fire at random: {luck:.3f}"),
        ceiling,
    )


def _absorbed(tally: TruthTally) -> tuple[Score, ...]:
    key = "absorption_gap"
    if not tally.truth.pairs or not tally.rows:
        why = "no pairs of parent and child were given" if tally.rows else "it is not known where features are active"
        return (unavailable(key, GROUP, why),)
    gaps = [(one, one.gap) for one in tally.absorption]
    values = [gap for _, gap in gaps if gap is not None]
    if not values:
        counts = "; ".join(f"{o.parent} and {o.child}: {o.alone} alone, {o.both} with it" for o, _ in gaps[:3])
        why = f"no parent is active both alone and with its child (features {counts})"
        return (unavailable(key, GROUP, why),)
    alone, both = (sum(getattr(o, side) for o, g in gaps if g is not None) for side in ("alone", "both"))
    on = f"{len(values)} of {len(gaps)} pairs, {alone:,} rows with the parent alone, {both:,} with both"
    note = "P(parent's latent on | parent alone) - P(on | with child): 0 is none"
    return (Score(key, GROUP, float(np.mean(values)), unit="fraction", evaluated_on=on, better="lower", why=note),)


def _mean(key: str, value: Float[np.ndarray, " n"], evaluated_on: str, unit: str, seed: int, why: str = "") -> Score:
    """Return the mean over features (or latents) with its interval.

    The interval is from resampling them.
    """
    value = np.asarray(value, dtype=float)
    draw = np.random.default_rng(seed)
    means = [value[draw.integers(len(value), size=len(value))].mean() for _ in range(DRAWS // 5)]
    low, high = map(float, percentile_interval(np.array(means))) if len(value) > 1 else (None, None)
    return Score(key, GROUP, float(value.mean()), low, high, unit, evaluated_on, "higher", why)


def _array(value: Any) -> np.ndarray:
    if hasattr(value, "detach"):
        value = value.detach().cpu().numpy()
    return np.asarray(value)
