"""Training curves of a dictionary.

They are a section of its page, or a page of their own that needs no evaluation.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from interp.provenance import Provenance
from interp.report import Figure, Note, Page, Section, Table
from interp.report.figures import lines

History = Mapping[str, np.ndarray]
"""Metrics of a run by name (`saes.config.METRICS`), a value for each logged step."""
DRAWN = 200
"""Largest number of points of a curve."""
COMPARED = 6
"""Largest number of dictionaries of a set whose curves are drawn, evenly spaced; the table has all."""
CURVES = (
    ("fvu", "FVU", "fraction of variance unexplained on the batch trained on", 320),
    ("l0", "L0", "latents on for an input", 260),
    ("dead", "dead latents", "latents that have been silent for long", 260),
    ("lr", "learning rate", "learning rate of Adam", 180),
)
"""Metric, name, meaning and height of the figure in pixels."""


def section(history: History) -> Section:
    """Return the section of training curves of a finished run.

    Metrics that do not change are given as sentences.
    """
    steps = history["step"]
    claim = f"It was trained for {int(steps[-1]):,} steps."
    if "fvu" in history:
        fvu = history["fvu"]
        claim = f"Over {int(steps[-1]):,} steps the unexplained variance fell from {fvu[0]:.3g} to {fvu[-1]:.3g}."
    constant = [
        Note(f"{name} was {history[key][0]:.4g} at every step.")
        for key, name, *_ in CURVES
        if key in history and _constant(history[key])
    ]
    return Section("training", "Training curves", claim, (*_figures({"": history}), *constant))


def page(histories: Mapping[str, History], total: int, provenance: Provenance) -> Page:
    """Return the page of a run that may still go on.

    A set of dictionaries has a history for each hook.

    Args:
        histories: histories by hook, or under "" for a run of one dictionary; each with at least one logged step.
        total: number of steps of the whole run.
        provenance: provenance of the run so far.
    """
    name, slowest = min(histories.items(), key=lambda item: item[1]["step"][-1])
    done = int(slowest["step"][-1])
    state = "finished" if done >= total else f"at step {done:,} of {total:,}"
    last = slowest["fvu"][-1]
    of = f", {name}," if name else ""
    lead, *rest = _figures(histories)
    return Page(
        title="Training of a sparse autoencoder"
        if len(histories) == 1
        else f"Training of {len(histories)} dictionaries",
        finding=f"The run is {state}; the last logged batch{of} has {last:.1%} of its variance unexplained.",
        status=(("steps", f"{done:,} of {total:,}"), ("training time", f"{slowest['seconds'][-1]:.0f} s")),
        lead=(lead,),
        sections=(
            Section("curves", "Sparsity, dead latents, learning rate", _claim(slowest), tuple(rest)),
            Section("last", "The last logged step", "Metrics of one batch, without an interval.", (_last(histories),)),
        ),
        limitations=(
            "Curves are of batches trained on, not of text left out: interp sae evaluate measures that.",
            "Attention sinks and other activations of large norm can dominate the fraction of variance unexplained.",
        ),
        provenance=provenance,
        kind="training",
    )


def _claim(history: History) -> str:
    return (
        f"On average {history['l0'][-1]:.1f} latents are on and {history['dead'][-1]:,.0f} have been silent for long."
    )


def _figures(histories: Mapping[str, History]) -> list[Figure]:
    """Return a figure for each metric that changes in any run.

    The first metric always has a figure.
    """
    names = list(histories)
    drawn = [names[i] for i in np.unique(np.linspace(0, len(names) - 1, min(COMPARED, len(names))).astype(int))]
    shown = {name: histories[name] for name in drawn}
    few = f" {len(drawn)} of {len(names)} dictionaries are drawn." if len(drawn) < len(names) else ""
    return [
        _curve(key, name, what, height, shown, few)
        for key, name, what, height in CURVES
        if key == CURVES[0][0] or not all(_constant(one[key]) for one in shown.values() if key in one)
        if all(key in one for one in shown.values())
    ]


def _curve(key: str, name: str, what: str, height: int, histories: dict[str, History], few: str) -> Figure:
    longest = max((one["step"] for one in histories.values()), key=len)
    chosen = np.unique(np.linspace(0, len(longest) - 1, min(DRAWN, len(longest))).round().astype(int))
    thinned = f" {len(chosen)} of {len(longest)} logged steps are drawn." if len(chosen) < len(longest) else ""
    series = {label or name: _padded(one[key], len(longest))[chosen] for label, one in histories.items()}
    first = next(iter(histories.values()))[key]
    return lines(
        f"curve-{key}",
        longest[chosen],
        series,
        caption=f"{name}: {what}, by training step.{thinned}{few}",
        alt=f"{name} over {len(longest)} logged steps, from {first[0]:.3g} to {first[-1]:.3g}.",
        axes=("step", name),
        height=height,
    )


def _padded(values: np.ndarray, length: int) -> np.ndarray:
    """Return `values` followed by NaN for steps that are still missing."""
    return np.r_[np.asarray(values, float), np.full(length - len(values), np.nan)]


def _last(histories: Mapping[str, History]) -> Table:
    rows = tuple(
        (
            name or "autoencoder",
            int(one["step"][-1]),
            *(float(one[key][-1]) for key in ("fvu", "l0", "dead", "lr", "loss")),
        )
        for name, one in histories.items()
    )
    columns = ("dictionary", "step", "FVU", "L0", "dead latents", "learning rate", "loss")
    formats = {"FVU": ".4f", "L0": ".1f", "dead latents": ",.0f", "learning rate": ".2e", "loss": ".4g"}
    return Table(columns, rows, formats=formats)


def _constant(values: np.ndarray) -> bool:
    return bool(np.ptp(values) == 0)
