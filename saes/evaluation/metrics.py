"""Scores of reconstruction, sparsity and geometry from the sums of one pass."""

from __future__ import annotations

import numpy as np

from interp.cache.sinks import TIMES
from interp.statistics import Bootstrap, jackknife, percentile_interval
from saes.evaluation.geometry import Geometry
from saes.evaluation.result import DENSE
from saes.evaluation.scores import Score, unavailable
from saes.evaluation.tally import Tally

RATIOS = (
    # key, numerator, denominator, unit, better, what must be known to read it
    ("cosine", "cosine", "directed", "cosine", "higher", "mean over rows of cos(x, x̂), the mean of x not subtracted"),
    ("norm_ratio", "ratio", "directed", "ratio", "", "mean over rows of |x̂|/|x|: below 1 is shrinkage"),
    ("relative_bias", "out", "dot", "ratio", "", "Σ|x̂|²/Σ x̂·x: 1 is unbiased, below 1 shrunk (arXiv 2404.16014)"),
)


def reconstruction(tally: Tally, bootstrap: Bootstrap, evaluated_on: str) -> tuple[Score, ...]:
    """Compute the reconstruction scores.

    Fraction of variance unexplained Σ|x − x̂|² / Σ|x − mean|², explained variance, cosine, shrinkage and bias.
    """
    group, error, variance = "reconstruction", tally.column("error"), tally.variance
    scores = []
    if variance.sum() > 1e-12 * tally.column("square").sum() and variance.sum() > 0:
        value, low, high = bootstrap.ratio(error, variance)
        scores.append(Score("fvu", group, value, low, high, "fraction", evaluated_on, "lower"))
        ends = (None, None) if low is None or high is None else (1 - high, 1 - low)
        scores.append(Score("explained_variance", group, 1 - value, *ends, "fraction", evaluated_on, "higher"))
    else:
        why = "every row is the same, so there is no variance to explain"
        scores += [unavailable("fvu", group, why), unavailable("explained_variance", group, why)]
    for key, top, bottom, unit, better, why in RATIOS:
        if not tally.column(bottom).sum():
            scores.append(unavailable(key, group, "every reconstruction is zero, or every row is"))
            continue
        value = bootstrap.ratio(tally.column(top), tally.column(bottom))
        scores.append(Score(key, group, *value, unit, evaluated_on, better, why))
    return tuple(scores)


def with_sinks(tally: Tally, extreme: Tally, seed: int) -> tuple[Score, ...]:
    """Compute the fraction of attention sinks and the FVU with them.

    Other measures exclude attention sinks. A sink's norm is more than `interp.cache.sinks.TIMES` times the median of
    the first rows read.
    """
    group, rows = "reconstruction", tally.rows + extreme.rows
    note = f"{extreme.rows:,} of {rows:,} rows have a norm above {TIMES:.0f} times the median"
    note += "; other measures exclude them"
    both = tally.merged(extreme)
    counted = Score("sink_rows", group, extreme.rows / rows, None, None, "fraction", f"{rows:,} rows", "", note)
    if not both.variance.sum():
        return counted, unavailable("fvu_with_sinks", group, "every row is the same")
    value = Bootstrap.of(len(both.used), seed).ratio(both.column("error"), both.variance)
    share = 1 - tally.variance.sum() / both.variance.sum()
    why = f"the sinks add {max(share, 0):.0%} of the variance" if extreme.rows else "there are none"
    return counted, Score("fvu_with_sinks", group, *value, "fraction", f"{rows:,} rows", "lower", why)


def sparsity(tally: Tally, bootstrap: Bootstrap, evaluated_on: str) -> tuple[Score, ...]:
    """Compute L0 and the fractions of dead and dense latents.

    A latent is dead if it fires on none of the evaluated rows, and dense if it fires on more than `DENSE` of them. The
    intervals of the two fractions are jackknife intervals over groups of contexts.
    """
    group, rows = "sparsity", tally.rows
    l0 = bootstrap.ratio(tally.column("l0"), tally.column("rows"))
    bound = f"on no row; with 95 % confidence such a latent fires on fewer than {3 / rows:.1e} of rows"
    # The rule of three assumes independent rows, which neighbours are not, but nothing better exists for zero counts.
    return (
        Score("l0", group, *l0, "latents", evaluated_on),
        _fraction("dead_latents", tally, evaluated_on, bound, dense=False),
        _fraction("dense_latents", tally, evaluated_on, f"fire on more than {DENSE:.0%} of rows", dense=True),
    )


def _fraction(key: str, tally: Tally, evaluated_on: str, why: str, *, dense: bool) -> Score:
    used = np.flatnonzero(tally.part_rows)
    fired, rows = tally.fired.sum(0), tally.rows

    def fraction(fired: np.ndarray, rows: int) -> float:
        return float((fired > DENSE * rows).mean() if dense else (fired == 0).mean())

    value = fraction(fired, rows)
    without = [fraction(fired - tally.fired[p], rows - tally.part_rows[p]) for p in used] if len(used) > 1 else []
    return Score(key, "sparsity", value, *jackknife(value, np.array(without)), "fraction", evaluated_on, "lower", why)


def coherence(geometry: Geometry, seed: int) -> tuple[Score, ...]:
    """Compute how similar decoder rows are to their nearest other row.

    Returns the mean and the largest |cos|.
    """
    cosine = np.abs(geometry.cosine)
    if len(cosine) < 2:
        return (unavailable("coherence_mean", "geometry", "one latent has no other"),)
    draws = cosine[np.random.default_rng(seed).integers(len(cosine), size=(200, len(cosine)))].mean(1)
    low, high = percentile_interval(draws)
    on, chance = f"{len(cosine):,} latents", f"random directions: {geometry.chance:.3f}"
    mean = Score(
        "coherence_mean",
        "geometry",
        float(cosine.mean()),
        float(low),
        float(high),
        "cosine",
        on,
        "lower",
        f"mean over latents of |cos| with the nearest other; {chance}",
    )
    largest = float(cosine.max())
    note = "|cos| of the two most similar latents"
    return mean, Score("coherence_largest", "geometry", largest, None, None, "cosine", on, "lower", note)
