"""Sections of a dictionary's page: quality, trade-off, frequency and latents."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from analyses.dictionary import summary
from analyses.dictionary.cards import deck
from interp.report import Figure, How, Note, Section, Table
from interp.report.figures import bars, histogram, lines, scatter
from saes.evaluation.result import BINS, DENSE

if TYPE_CHECKING:
    from analyses.dictionary.features import Features
    from analyses.dictionary.result import DictionaryStudy
    from saes.evaluation.result import Evaluation


def quality(evaluation: Evaluation) -> Section:
    """Return the section that compares the reconstruction with other methods."""
    fvu = evaluation.score("fvu")
    blocks: list[Figure | Table | Note] = []
    methods = [b for b in evaluation.baselines if b.fvu is not None]
    left = [float(b.fvu or 0) for b in methods]
    if len(methods) > 1:
        blocks.append(
            bars(
                "baselines",
                [b.name.partition(",")[0] for b in methods],  # the table has the whole names
                left,
                caption="Fraction of variance unexplained (smaller is better) of the autoencoder and of other methods "
                "that write the same activations with about as many directions at a time. Error bars: 95 % intervals "
                f"over {evaluation.cluster}, where there is one. A random dictionary is the chance level.",
                alt=f"FVU {left[0]:.3g}; of the other methods {min(left[1:]):.3g} to {max(left[1:]):.3g}.",
                axes=("method", "FVU (fraction)"),
                errors=[(_gap(b.fvu, b.low), _gap(b.high, b.fvu)) for b in methods],
            )
        )
    if evaluation.baselines:
        blocks.append(_baselines(evaluation))
    blocks.append(_scores(evaluation))
    how = How(
        "FVU is the squared error of the reconstruction over the variance of the activations: 0 is perfect, 1 is no "
        "better than the mean. Loss recovered compares the model's loss when the activations are replaced by their "
        "reconstructions with its own loss and with that under ablation. Dead latents fired on none of the rows, dense "
        f"ones on more than {DENSE:.0%}. Intervals draw whole contexts, because neighbouring tokens are not "
        "independent.",
        "FVU = Σ |x − x̂|² / Σ |x − mean|²;  loss recovered = (ablated − spliced) / (ablated − original)",
        "Gao et al., Scaling and evaluating sparse autoencoders (arXiv 2406.04093)",
    )
    claim = f"The fraction of variance unexplained is {summary.number(fvu)}; {_verdict(evaluation)}"
    return Section("quality", "Reconstruction quality", claim, tuple(blocks), how)


def _scores(evaluation: Evaluation) -> Table:
    """Return the table of all measures.

    Where there is no value the last column says why.
    """
    columns = ("measure", "value", "low", "high", "unit", "better", "note")
    rows = tuple((s.name, s.value, s.low, s.high, s.unit, s.better or None, s.why or None) for s in evaluation.scores)
    rows_in = f"{evaluation.rows:,} rows in {evaluation.clusters:,} {evaluation.cluster}"
    caption = f"Evaluated on {rows_in}. Low and high: 95 % interval."
    return Table(columns, rows, caption, dict.fromkeys(("value", "low", "high"), ".4g"))


def _baselines(evaluation: Evaluation) -> Table:
    columns = ("method", "directions", "rows", "L0", "FVU", "low", "high", "note")
    rows = tuple(
        (b.name, b.atoms or None, b.rows or None, b.l0, b.fvu, b.low, b.high, b.note or None)
        for b in evaluation.baselines
    )
    formats = dict.fromkeys(("FVU", "low", "high"), ".4f") | {"L0": ".1f"}
    return Table(columns, rows, "Other methods on the same activations. Low and high: 95 % interval.", formats)


def _verdict(evaluation: Evaluation) -> str:
    """Compare the unexplained variance with that of other methods, in words."""
    own = evaluation.score("fvu").value
    rest = [b for b in evaluation.baselines[1:] if b.fvu is not None]
    if own is None or not rest:
        return "there is nothing to compare it with."
    better = [b.name for b in rest if own < float(b.fvu or 0)]
    worse = [f"{b.name} ({b.fvu:.3g})" for b in rest if own >= float(b.fvu or 0)]
    sentence = f"better than {len(better)} of {len(rest)} simpler methods with as many directions at a time"
    return f"{sentence}." if not worse else f"{sentence}, but {' and '.join(worse)} is as good or better."


def _gap(high: float | None, low: float | None) -> float:
    return 0.0 if high is None or low is None else max(0.0, high - low)


def trade(study: DictionaryStudy, evaluation: Evaluation) -> Section:
    """Return the section that plots FVU against L0.

    It has every autoencoder and the baselines.
    """
    entries = [(study.name, evaluation)] + [(other.name, other.evaluation) for other in study.others]
    points = [
        (name, float(l0), float(fvu))
        for name, one in entries
        if (l0 := one.score("l0").value) is not None and (fvu := one.score("fvu").value) is not None
    ]
    best = pareto([(l0, fvu) for _, l0, fvu in points])
    groups = ["not dominated" if good else "dominated" for good in best]
    points += [
        (b.name.partition(",")[0], float(b.l0), float(b.fvu))
        for b in evaluation.baselines[1:]
        if b.fvu is not None and b.l0 is not None
    ]
    groups += ["other methods"] * (len(points) - len(groups))
    drawn = scatter(
        "pareto",
        [point[1] for point in points],
        [point[2] for point in points],
        caption="Number of active latents (L0) against the fraction of variance unexplained (FVU), both on the same "
        "rows; lower and further left is better. An autoencoder is dominated if another is at least as good in both "
        "and better in one. There are no error bars: the intervals are in the tables.",
        alt=f"{len(entries)} autoencoders, {sum(best)} of them not dominated.",
        axes=("L0 (latents)", "FVU (fraction)"),
        groups=groups,
        labels=[point[0] for point in points],
        written=len(points) <= WRITTEN,
    )
    blocks: list[Figure | Table] = [drawn]
    if len(evaluation.pca) > 1:
        blocks.append(
            lines(
                "components",
                np.arange(1, len(evaluation.pca) + 1),
                {"principal components": evaluation.pca},
                caption="FVU of the first principal components, by their number. Components are the same directions "
                "for every activation, while the autoencoder chooses other directions for each.",
                alt=f"A falling line that is at {evaluation.pca[min(31, len(evaluation.pca) - 1)]:.3g} with 32 "
                "components.",
                axes=("components", "FVU (fraction)"),
            )
        )
    if study.others:
        blocks.append(_others(study))
        claim = f"Of {len(entries)} autoencoders on the same rows, {sum(best)} are not dominated."
    else:
        claim = "The error of the autoencoder and the number of latents that it uses, compared with other methods."
    return Section("trade", "Sparsity against fidelity", claim, tuple(blocks))


WRITTEN = 16
"""Largest number of points whose names are drawn; with more they are shown on hovering."""


def pareto(points: list[tuple[float, float]]) -> list[bool]:
    """Return whether each (L0, FVU) is on the Pareto front.

    It is if no other point is at most as large in both and smaller in one.

    >>> pareto([(32, 0.2), (64, 0.1), (64, 0.3), (32, 0.2)])
    [True, True, False, True]
    """
    return [not any(a <= x and b <= y and (a, b) != (x, y) for a, b in points) for x, y in points]


def _others(study: DictionaryStudy) -> Table:
    rows = []
    entries = [(study.name, study.evaluation)] + [(other.name, other.evaluation) for other in study.others]
    for name, one in entries:
        if one is not None:
            l0, fvu, dead = (one.score(key) for key in ("l0", "fvu", "dead_latents"))
            about = one.sae
            rows.append(
                (name, about["architecture"], about["width"], l0.value, fvu.value, fvu.low, fvu.high, dead.value)
            )
    columns = ("autoencoder", "architecture", "latents", "L0", "FVU", "low", "high", "dead")
    formats = dict.fromkeys(("FVU", "low", "high", "dead"), ".4f") | {"L0": ".1f"}
    return Table(columns, tuple(rows), "Low and high: 95 % interval of the FVU.", formats)


def frequency(study: DictionaryStudy) -> Section:
    """Return the section with the histogram of firing frequencies."""
    if study.features is not None:
        frequency, rows = study.features.fired / study.features.rows, study.features.rows
    else:
        assert study.evaluation is not None
        frequency, rows = study.evaluation.latents.frequency, study.evaluation.rows
    dead, dense = int((frequency == 0).sum()), int((frequency > DENSE).sum())
    fired = np.log10(np.maximum(frequency[frequency > 0], 10 ** BINS[0]))
    blocks: list[Figure | Note] = []
    if len(fired):
        groups = {"latents": fired[fired <= np.log10(DENSE)], "dense latents": fired[fired > np.log10(DENSE)]}
        blocks.append(
            histogram(
                "frequencies",
                {name: values for name, values in groups.items() if len(values)},
                caption=f"How many latents fire on which fraction of {rows:,} rows (log10: −2 is one in 100). Dense "
                f"ones fire on more than {DENSE:.0%}; {dead:,} dead ones fired on none and are not shown.",
                alt=f"{len(fired)} latents; half fire on fewer than {10 ** float(np.median(fired)):.2%} of rows.",
                axes=("log10 of the fraction of rows", "latents"),
            )
        )
    width = len(frequency)
    claim = f"{dead:,} of {width:,} latents are dead and {dense:,} dense; the others fire on few tokens each."
    blocks.append(
        Note(
            f"A latent that fired on none of {rows:,} rows fires on fewer than {3 / rows:.1e} of such rows "
            "(95 % confidence, if rows were independent)."
        )
    )
    return Section("frequency", "How often latents fire", claim, tuple(blocks))


def features(latents: Features, asked: tuple[int, ...]) -> Section:
    """Return the section with the cards of latents."""
    drawn = deck(latents, asked)
    alive = int((latents.fired > 0).sum())
    claim = f"{alive:,} of {latents.width:,} latents fire somewhere in the text. "
    if asked:
        claim += f"This page shows the {len(asked):,} that were requested."
    elif len(drawn.cards) < latents.width:
        claim += (
            f"This page shows the {len(drawn.cards):,} that rank first, the first of them with examples; the others "
        )
        claim += "are in features.jsonl in the same folder."
    else:
        claim += "This page shows all of them, and the examples of those that rank first."
    notes = [Note(f"Raised and lowered tokens are not shown: {latents.no_logits}.")] if latents.no_logits else []
    chance = latents.fewer_common_rows_by_chance
    if chance is not None:
        notes.append(
            Note(
                f"Of random pairs of latents, {chance:.0%} also fire together less often than independent latents "
                "would, so this alone is not evidence. An inhibitor must have a negative virtual weight as well."
            )
        )
    how = How(
        "Latents are sorted by the variance they carry, mean(value²)·|decoder row|². Dense latents come after these, "
        "then latents that fired fewer than 10 times, then dead ones. Examples with the same text are shown once. "
        "Besides the strongest examples, one firing is drawn at random from each quarter of the latent's values, "
        "because most firings of a latent are weaker than its strongest examples and often differ from them.\n\n"
        "Raised and lowered tokens are the effect of the direct path alone: the decoder row through the final norm's "
        "gain and the unembedding, divided by the typical scale of that norm, minus the mean over the vocabulary. The "
        "effect through later blocks is left out; at a middle layer it is the larger part.\n\n"
        "A latent is inhibited by another if the other's decoder row lowers its pre-activation (the virtual "
        "weight is negative) and both fire on the same row less often than independent latents would "
        "(Poisson, p < 0.001 for each latent). This is a correlation with a possible mechanism, not an "
        "intervention.",
        "logits(i) = d_i W_U / s − mean;  virtual weight(i → j) = dec_i · enc_j;  expected = n_i n_j / rows",
        "Bricken et al., Towards Monosemanticity (2023); Dunefsky et al., Transcoders (arXiv 2406.11944)",
    )
    return Section("features", "Examples of the latents", claim, (drawn, *notes), how)
