"""Sections of one set: layers, controls, calibration, plane and worst mistakes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from interp.report import Figure, How, Note, Section, Table
from interp.report.figures import scatter
from probes.protocol.figures import layer_curve
from probes.protocol.metrics import calibration

if TYPE_CHECKING:
    from analyses.truth.result import Plane
    from probes.protocol.results import Sweep

MISTAKES = 10
POINTS = 800
"""Most points drawn in all planes of a page in total, so that many sets stay within its budget."""


def set_sections(sweep: Sweep, plane: Plane | None, number: int, n_sets: int) -> tuple[Section, ...]:
    """Return the sections on a set's layers and on its statements.

    The second shows the answers of the chosen probe on single statements.

    Args:
        sweep: sweep of the set.
        plane: test activations in the plane of the probe, if there are any.
        number: zero-based number of the set on the page. Ids are made of it, since names may contain any character.
        n_sets: number of sets on the page.
    """
    return _layers(sweep, number, n_sets), _answers(sweep, plane, number, n_sets)


def _layers(sweep: Sweep, number: int, n_sets: int) -> Section:
    best, oracle = sweep.best, sweep.oracle
    claim = (
        f"The train side chose layer {best.layer} (cross-validated {best.cv_accuracy:.2f}); on the test side it has "
        f"{best.accuracy[0]:.2f}, the best of all layers (layer {oracle.layer}) {oracle.accuracy[0]:.2f}."
    )
    # The curve of a single set is shown above all sections.
    curves = tuple(
        replace(layer_curve(sweep, position), id=f"curve-{number}-{i}")
        for i, position in enumerate(sweep.positions)
        if n_sets > 1 or position != best.position
    )
    controls = (sweep.controls.table(),) if sweep.controls else (Note("Controls were turned off.", "warning"),)
    how = How(
        "Each layer's probe is fitted on the train side with a strength chosen there. Layer l is the residual "
        "stream after block l, before any final norm; layer -1 is the embedding.",
    )
    title = f"Layers of {sweep.name}" if n_sets > 1 else "Layers"
    return Section(f"layers-{number}", title, claim, (*curves, *controls), how)


def _answers(sweep: Sweep, plane: Plane | None, number: int, n_sets: int) -> Section:
    answers = sweep.predictions
    wrong = np.flatnonzero((answers.scores > 0) != (answers.labels == 1))
    rescaled = f"{sweep.best.ece_rescaled:.3f} after rescaling on the train side"
    own = (
        f"Its probabilities are off by {sweep.best.ece:.3f} on average, {rescaled}."
        if len(answers.probabilities)
        else f"It gives no probabilities; its scores are off by {rescaled}, on average."
    )
    claim = f"{len(wrong)} of {len(answers.scores)} test statements are on the wrong side. {own}"
    blocks: list[Figure | Table] = [_calibration(sweep, number)]
    if plane is not None:
        blocks.append(_scatter(sweep, plane, number, POINTS // n_sets))
    if len(wrong):
        blocks.append(_mistakes(sweep, wrong))
    how = How(
        "Expected calibration error: over tenths of the probability, the distance between the fraction of true "
        "statements and the mean probability. It is above 0 by chance alone. Rescaling fits one slope and one offset "
        "to scores of held-out train entities.",
        "p = 1 / (1 + exp(−(a · score + b)))",
        "Platt scaling; Guo et al. 2017, arXiv 1706.04599",
    )
    title = f"Answers on {sweep.name}" if n_sets > 1 else "Answers"
    return Section(f"answers-{number}", title, claim, tuple(blocks), how)


def _calibration(sweep: Sweep, number: int) -> Figure:
    answers = sweep.predictions
    points: list[tuple[str, float, float, str]] = []
    for name, probabilities in (("the probe's own", answers.probabilities), ("rescaled", answers.rescaled)):
        if not len(probabilities):  # a classifier without probabilities
            continue
        mean, true, count = calibration(probabilities, answers.labels)
        points += [
            (name, float(mean[i]), float(true[i]), f"{count[i]} statements") for i in np.flatnonzero(count).tolist()
        ]
    names, x, y, labels = zip(*points, strict=True)
    return scatter(
        f"calibration-{number}",
        x,
        y,
        caption=f"{sweep.name}, layer {sweep.best.layer}: the {len(answers.labels)} test statements by tenths of "
        "probability, at their mean probability and the fraction of them that is true; no error bars. Above the "
        "diagonal the probe is too doubtful of truth, below it too sure. Rescaled: by one slope and offset from the "
        "train side.",
        alt="Fraction true against probability, with the diagonal.",
        axes=("probability of true", "fraction true"),
        groups=names,
        labels=labels,
        diagonal="perfect",
    )


def _scatter(sweep: Sweep, plane: Plane, number: int, most: int) -> Figure:
    answers, n = sweep.predictions, len(plane.x)
    drawn = _spread(answers.labels, most)
    left_out = f" Drawn: {len(drawn)}, evenly spaced in their order." if len(drawn) < n else ""
    along, across = plane.shares
    return scatter(
        f"plane-{number}",
        plane.x[drawn],
        plane.y[drawn],
        caption=f"Test statements of {sweep.name} (n = {n}) at layer {sweep.best.layer}: across, the distance from "
        f"the probe's threshold along its direction (right: read as true; {along:.1%} of the train side's variance); "
        f"up, the first principal component of the remainder ({across:.1%}). Units of the residual stream.{left_out}",
        alt=f"{(answers.labels == 1).sum()} true and {(answers.labels == 0).sum()} false statements in a plane.",
        axes=("along the probe direction", "first component orthogonal to it"),
        groups=["true" if answers.labels[i] else "false" for i in drawn],
        labels=[answers.statements[i] for i in drawn],
    )


def _spread(labels: np.ndarray, most: int) -> np.ndarray:
    """Return about `most` row numbers, evenly spaced within each label.

    All rows are returned where there are fewer. Rows of false statements come first.
    """
    share = min(1.0, most / len(labels))
    chosen = []
    for label in (0, 1):
        rows = np.flatnonzero(labels == label)
        chosen.append(rows[np.linspace(0, len(rows) - 1, max(1, int(share * len(rows)))).astype(int)])
    return np.concatenate(chosen)


def _mistakes(sweep: Sweep, wrong: np.ndarray) -> Table:
    answers = sweep.predictions
    worst = wrong[np.argsort(-np.abs(answers.scores[wrong]), kind="stable")][:MISTAKES]
    rows = tuple(
        (
            answers.statements[i],
            "true" if answers.labels[i] else "false",
            float(answers.scores[i]),
            float(answers.rescaled[i]),
        )
        for i in worst
    )
    caption = f"The {len(rows)} of {len(wrong)} mistakes with the largest scores: the probe is most certain of these."
    formats = {"score": "+.2f", "probability of true": ".3f"}
    return Table(("statement", "label", "score", "probability of true"), rows, caption, formats)
