"""Page of a study of steering.

It shows the dose-response curve, what else changes, the vector, single prompts and what the model writes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from interp.report import Figure, How, Note, Page, Section, Table
from interp.report.blocks import folded
from interp.report.figures import heatmap, histogram, lines
from interp.statistics import mean_interval
from interp.steering.response import WRONG_WAY

if TYPE_CHECKING:
    from analyses.steering.result import Steering

LIMITATIONS = (
    "If a vector steers, the model reads this direction. It need not be how the model represents the behaviour: other "
    "directions may have the same effect (arXiv 2602.06801).",
    "The measure is the log odds of a few words after a few prompts. Another wording may give another result.",
    "Mean slopes hide prompts that change in the opposite direction, so their fraction is given.",
)


SHOWN = {"cost": 1, "texts": 1}
"""Number of blocks that are open in each section; all others are one click away."""


def page(result: Steering) -> Page:
    """Return the page of a study."""
    response = result.response
    return Page(
        title=f"Steering {result.behaviour.name}",
        finding=result.finding(),
        status=(
            ("verdict", "steers" if response.steers else "does not steer"),
            ("prompts", f"{int(response.chooses.sum())} to choose the layer, {int(response.judges.sum())} to evaluate"),
            ("controls", f"{response.random.shape[1]} random directions, {response.shuffled.shape[1]} shuffled labels"),
            ("precision", result.provenance.dtype),
        ),
        lead=(response.figure(),),
        sections=folded((_layers(result), _prompts(result), _cost(result), _texts(result), _vector(result)), SHOWN),
        limitations=LIMITATIONS,
        provenance=result.provenance,
        downloads=result.downloads(),
        kind="steering",
    )


def _layers(result: Steering) -> Section:
    response = result.response
    mean, low, high = mean_interval(response.slopes.T, seed=response.seed)
    random = np.abs(response.random_slopes)
    bounds = np.quantile(random, 0.99, axis=1) if random.size else np.full(len(mean), np.nan)
    labels = np.abs(response.shuffled_slopes)
    worst = labels.max(1) if labels.size else np.full(len(mean), np.nan)
    wrong = (response.slopes < 0).mean(1)
    rows = zip(response.layers, mean, low, high, bounds, worst, wrong, strict=True)
    columns = ("layer", "slope", "low", "high", "random, 99th", "shuffled, largest", "wrong way")
    formats = dict.fromkeys(columns[1:-1], "+.2f") | {"wrong way": ".0%"}
    table = Table(
        columns,
        tuple((int(layer), *map(float, rest)) for layer, *rest in rows),
        "Slope of the measure per norm of the stream, mean over all prompts with 95 % bootstrap interval; controls by "
        "magnitude.",
        formats,
    )
    drawn = heatmap(
        "by-layer",
        response.values.mean(-1) - response.values[:, [response.strengths.index(0.0)]].mean(-1),
        caption=f"Change of the mean {response.measure} from the unsteered model; {len(response.prompts)} prompts.",
        alt="Heat map of the change by layer and strength.",
        rows=[f"layer {layer}" for layer in response.layers],
        columns=[f"{strength:g}" for strength in response.strengths],
        axes=("layer", "strength", "change (nats)"),
    )
    how = How(
        "The vector is added to the stream that leaves the block, at every position, with a norm of strength times the "
        "stream's median norm. The layer is chosen on one half of the prompts and evaluated on the other.",
        "x ← x + s · |x| · v / |v|,   slope = Σ_s (s − s̄) m(s) / Σ_s (s − s̄)²",
        "steering-bench (arXiv 2407.12404)",
    )
    claim = f"Layer {response.layers[response.best]} has the largest slope on the first half of the prompts."
    return Section("layers", "Which layer?", claim, (drawn, table), how)


def _prompts(result: Steering) -> Section:
    response = result.response
    share, low, high = response.wrong_way
    slopes = response.slopes[response.best]
    drawn = histogram(
        "slopes",
        slopes,
        caption=f"Slope of each of {len(slopes)} prompts at layer {response.layers[response.best]}, in nats per norm "
        "of the stream.",
        alt=f"Histogram of slopes; {share:.0%} of the evaluated prompts lie below 0.",
        axes=("slope", "prompts"),
        bins=16,
    )
    order = np.argsort(slopes, kind="stable")
    first, last, zero = 0, len(response.strengths) - 1, response.strengths.index(0.0)
    values = response.values[response.best]
    rows = tuple(
        (response.prompts[i], *(float(values[dose, i]) for dose in (first, zero, last)), float(slopes[i]))
        for i in order.tolist()
    )
    columns = ("prompt", *(f"at {response.strengths[dose]:g}" for dose in (first, zero, last)), "slope")
    table = Table(columns, rows, f"{response.measure}, prompt by prompt.", dict.fromkeys(columns[1:], "+.2f"))
    warning = ()
    if share > WRONG_WAY:
        warning = (Note(f"{share:.0%} of the prompts move the wrong way, so the mean slope is misleading.", "warning"),)
    claim = f"{share:.0%} of the evaluated prompts move the wrong way (95 % interval {low:.0%} to {high:.0%})."
    return Section("prompts", "Does it work on every prompt?", claim, (*warning, drawn, table))


def _cost(result: Steering) -> Section:
    response, best = result.response, result.response.best
    doses = np.array(response.strengths)
    kl, kl_low, kl_high = mean_interval(response.kl[best].T, seed=response.seed)
    drawn = lines(
        "kl",
        doses,
        {"KL divergence": kl},
        caption=f"KL divergence from the unsteered model on {response.kl.shape[2]} neutral texts, nats per token; "
        "band: 95 % bootstrap interval over texts.",
        alt="Cost by strength; it grows on both sides of 0.",
        axes=("strength", "KL (nats per token)"),
        bands={"KL divergence": (kl_low, kl_high)},
    )
    others = _others(result)
    at = int(np.argmax(doses))
    claim = (
        f"At strength {doses[at]:g} the KL divergence on neutral text is {kl[at]:.2f} nats per token, and the "
        f"perplexity is {np.exp(response.loss[best, at].mean()):.1f} instead of "
        f"{np.exp(response.loss[best, response.strengths.index(0.0)].mean()):.1f}."
    )
    return Section("cost", "What else changes?", claim, (drawn, *others, response.table()))


def _others(result: Steering) -> tuple[Figure, ...]:
    response = result.response
    if not response.off_target:
        return ()
    zero = response.strengths.index(0.0)
    changes = {"target": response.values[response.best]} | {
        name: values[response.best]
        for name, values in zip(response.off_target, response.off_target_values, strict=True)
    }
    moved = {name: mean_interval((values - values[zero]).T, seed=response.seed) for name, values in changes.items()}
    return (
        lines(
            "off-target",
            np.array(response.strengths),
            {name: mean for name, (mean, _, _) in moved.items()},
            caption="Change of the log odds of the steered behaviour and of others, mean over their prompts, in nats. "
            "Bands: 95 % bootstrap intervals over prompts.",
            alt="Change of each behaviour by strength.",
            axes=("strength", "change (nats)"),
            bands={name: (low, high) for name, (_, low, high) in moved.items()},
        ),
    )


def _texts(result: Steering) -> Section:
    response, best = result.response, result.response.best
    rows = tuple(
        (prompt, strength, texts[i])
        for i, prompt in enumerate(response.written_prompts)
        for strength, texts in zip(response.strengths, response.written[best], strict=True)
    )
    table = Table(("prompt", "strength", "added text"), rows, "Greedy continuations.", {"strength": "+g"})
    repeated = response.repetition[best]
    claim = (
        f"{repeated[-1]:.0%} of the triples of words are repetitions at strength {response.strengths[-1]:g}, "
        f"{repeated[response.strengths.index(0.0)]:.0%} without steering."
    )
    return Section("texts", "What does the model write?", claim, (table,))


def _vector(result: Steering) -> Section:
    response, what = result.response, result.behaviour
    vector = response.vectors[response.best]
    pairs = Table(
        ("positive", "negative"),
        tuple(zip(what.positive, what.negative, strict=False)),
        "The pairs from which the vector is computed.",
    )
    answers = Note(f"Right answers: {', '.join(what.right)}. Wrong answers: {', '.join(what.wrong)}.")
    claim = (
        f"The differences of single pairs have a mean cosine of {vector.agreement:.2f} with the vector; it separates "
        f"held-out prompts with a ROC area of {vector.separation:.2f}."
    )
    how = How(
        "The vector is computed from the streams at the last token of the pairs. In the control with shuffled labels "
        "half of each class is on each side, so that the contrast cancels.",
        reference="Rimsky et al. (arXiv 2312.06681); agreement and separation: arXiv 2505.22637",
    )
    return Section("vector", "The vector", claim, (vector.table(), answers, pairs), how)
