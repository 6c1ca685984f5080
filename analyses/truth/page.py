"""Page of a truth study: accuracy and controls, layers, mistakes and transfer."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from analyses.truth.result import interval_words
from analyses.truth.set_sections import set_sections
from interp.report import Figure, How, Note, Page, Section, Table
from interp.report.blocks import folded
from interp.report.figures import lines
from interp.report.table import Cell
from probes.protocol.figures import layer_curve, transfer_matrix

if TYPE_CHECKING:
    from analyses.truth.result import TruthStudy
    from probes.protocol.results import Sweep
    from probes.protocol.transfer_results import Transfer
    from probes.protocol.verdicts import Verdict

LIMITATIONS = (
    "A probe shows that a property can be read from the activations. It does not show that the model uses it: that "
    "requires an intervention.",
    "The probe may read any property that correlates with truth in these statements, such as their likelihood or "
    "familiarity. Negations, other topics and the baselines rule out some of these properties, not all.",
    "Intervals are over the entities of these sets. They hold for entities drawn in the same way, in these wordings.",
    "The layer was chosen on the train side, but the page shows the test accuracy of every layer. A layer picked from "
    "that curve would look better than it is.",
    "All results are from one split by entity. Another seed gives another split.",
)


SHOWN = {"headline": 1, "shows": 4, "transfer": 1}
"""Number of blocks shown open, by section. All others are folded."""


def page(result: TruthStudy) -> Page:
    """Return the whole report as a page."""
    return Page(
        title=f"Truth probes of {result.provenance.model}",
        finding=result.finding(),
        status=_status(result),
        lead=(_lead(result),),
        sections=folded(_sections(result), SHOWN),
        limitations=LIMITATIONS,
        provenance=result.provenance,
        downloads=result.downloads(),
        kind="truth",
    )


def _lead(result: TruthStudy) -> Figure:
    """Return the figure of accuracy over layers.

    One set is shown with its baselines, several sets as a line each.
    """
    if len(result.sweeps) == 1:
        return replace(layer_curve(result.sweeps[0]), id="layers")
    curves = {
        sweep.name: sweep.accuracy[sweep.positions.index(sweep.best.position)]
        for sweep in result.sweeps
        if sweep.layers == result.sweeps[0].layers
    }
    return lines(
        "layers",
        np.array(result.sweeps[0].layers),
        {name: curve[:, 0] for name, curve in curves.items()},
        caption="Accuracy (fraction) on the test statements of each set by layer, each at its chosen position; bands: "
        "95 % over groups, of each layer by itself.",
        alt=f"{len(curves)} lines of accuracy over {len(result.sweeps[0].layers)} layers.",
        axes=("layer", "accuracy (fraction)"),
        bands={name: (curve[:, 1], curve[:, 2]) for name, curve in curves.items()},
    )


def _status(result: TruthStudy) -> tuple[tuple[str, str], ...]:
    warnings = sum(v.warning for v in _verdicts(result))
    return (
        ("sets", ", ".join(one.name for one in result.sets)),
        ("probe", result.sweeps[0].probe),
        ("controls", "run" if result.config.controls else "turned off"),
        ("warnings", str(warnings)),
    )


def _sections(result: TruthStudy) -> tuple[Section | None, ...]:
    n = len(result.sweeps)
    return (
        _headline(result),
        _shows(result),
        *(p for i, s in enumerate(result.sweeps) for p in set_sections(s, result.planes.get(s.name), i, n)),
        _transfer(result.transfer) if result.transfer else None,
        _left_out(result),
        _erasure(result),
        _intervention(result),
        _data(result),
    )


def _headline(result: TruthStudy) -> Section:
    columns = tuple(_headline_column(sweep) for sweep in result.sweeps)
    every = ((name, *(column[name] for column in columns)) for name in columns[0])
    rows = tuple(row for row in every if any(cell is not None for cell in row[1:]))
    further = tuple(row for row in rows if row[0] in _further(result.sweeps[0]))
    caption = (
        "Fractions, with 95 % intervals over test groups in brackets; the null's bracket is the middle 95 % of its "
        "draws. Layer and position are chosen on the train side; the best layer on the test side is given for "
        "comparison only, because choosing it needs the test labels."
    )
    measures = ("measure", *(sweep.name for sweep in result.sweeps))
    table = Table(measures, tuple(row for row in rows if row not in further), caption)
    how = How(
        "Entities are split by a hash of their name, so that an entity is on the same side in every set. Layer, "
        "position and strength are chosen by 4-fold cross-validation over entities of the train side; intervals "
        "resample test entities 1,000 times. In the control task every entity gets a random label; the probe is "
        "trained on one row of each entity and tested on its other rows.",
        "test if sha256(salt|entity) / 2^256 ≥ 0.65;  selectivity = accuracy(truth) − accuracy(random label per "
        "entity)",
        "Hewitt and Liang 2019, arXiv 1909.03368; Marks and Tegmark 2023, arXiv 2310.06824",
    )
    claims = "; ".join(f"{s.name} {interval_words(s.best.accuracy)} at layer {s.best.layer}" for s in result.sweeps)
    return Section(
        "headline", "Accuracy and its controls", f"Accuracy: {claims}.", (table, Table(measures, further)), how
    )


def _headline_column(sweep: Sweep) -> dict[str, Cell]:
    """Return the cells of the headline table for one set, by row."""
    best, controls = sweep.best, sweep.controls
    row: dict[str, Cell] = {
        "layer, position": f"{best.layer}, {best.position}",
        "accuracy": _bracketed(best.accuracy),
        "AUC": _bracketed(best.auc),
        "test statements (groups)": f"{sweep.n_test} ({sweep.groups_test})",
    }
    if controls is None:
        return row | {"controls": "turned off"} | _further(sweep)
    selectivity = controls.selectivity
    row["selectivity"] = f"{selectivity.value:+.3f}" if np.isfinite(selectivity.value) else selectivity.note
    for baseline in controls.baselines:
        row[f"{baseline.name}, accuracy"] = _bracketed(baseline.accuracy)
    row["embedding layer, accuracy"] = _bracketed(controls.embedding_accuracy) if controls.embedding_accuracy else None
    row["truth / control labels, trained on one row per group"] = (
        f"{selectivity.truth:.3f} / {selectivity.control.mean():.3f}" if len(selectivity.control) else None
    )
    row["null AUC (p)"] = f"{_bracketed(controls.null.interval)}, p = {controls.null.p:.3f}"
    return row | _further(sweep)


def _further(sweep: Sweep) -> dict[str, Cell]:
    best = sweep.best
    return {
        "balanced accuracy": f"{best.balanced_accuracy:.3f}",
        "recall at 1 % false positives": f"{best.recall:.3f}",
        "calibration error, own / rescaled": f"{_or_none(best.ece)} / {best.ece_rescaled:.3f}",
        "best layer on test, accuracy": f"{sweep.oracle.accuracy[0]:.3f} (layer {sweep.oracle.layer})",
    }


def _bracketed(values: tuple[float, ...]) -> str | None:
    return f"{values[0]:.3f} [{values[1]:.3f}, {values[2]:.3f}]" if np.isfinite(values[0]) else None


def _verdicts(result: TruthStudy) -> list[Verdict]:
    """Return the verdicts, one of each text: sets that share statements share verdicts."""
    return list({verdict.text: verdict for verdict in result.verdicts}.values())


def _shows(result: TruthStudy) -> Section:
    verdicts = _verdicts(result)
    warnings = [v for v in verdicts if v.warning]
    notes = [Note(v.text, "warning" if v.warning else "info") for v in verdicts]
    if not result.config.controls:
        notes.append(Note("Controls were turned off, so the accuracy cannot be compared with a baseline.", "warning"))
    notes += [Note(f"Not done: {why}", "warning") for why in result.skipped]
    claim = (
        f"{len(warnings)} findings limit what the accuracy means."
        if warnings
        else "No control contradicts the probe. The limitations are at the end of the page."
    )
    return Section("shows", "What this shows and what it does not", claim, tuple(notes))


def _transfer(transfer: Transfer) -> Section:
    off = ~np.eye(len(transfer.names), dtype=bool)
    worst = np.where(off, transfer.auc, 1.0)
    i, j = np.unravel_index(int(worst.argmin()), worst.shape)
    low, high = transfer.auc_interval[i, j]
    claim = (
        f"Off the diagonal the AUC goes from {transfer.auc[off].min():.2f} to {transfer.auc[off].max():.2f}; lowest "
        f"from {transfer.names[i]} to {transfer.names[j]} ({transfer.auc[i, j]:.2f}, 95 % {low:.2f} to {high:.2f})."
    )
    notes = tuple(Note(v.text, "warning" if v.warning else "info") for v in transfer.verdicts if v.kind == "shared")
    how = How(
        "One layer for all sets: the one with the best mean cross-validated accuracy on the train sides. A low "
        "accuracy with a high AUC means that the direction transfers and its threshold does not. An AUC below 0.5 "
        "means that the direction is reversed. The sign of a score is never changed on test rows.",
        "AUC = P(score of a true statement > score of a false one)",
    )
    figures = tuple(transfer_matrix(transfer, what) for what in ("auc", "accuracy", "accuracy_centred"))
    return Section("transfer", "Transfer between sets", claim, (*figures, transfer.table(), *notes), how)


def _left_out(result: TruthStudy) -> Section | None:
    if not result.left_out:
        return None
    tables = tuple(part.table() for part in result.left_out)
    lowest = min(
        ((f.names[i], tuple(map(float, f.auc[i]))) for f in result.left_out for i in range(len(f.names))),
        key=lambda pair: pair[1][0],
    )
    claim = f"Trained on everything else, the lowest AUC is on {lowest[0]}: {interval_words(lowest[1])}."
    how = How(
        "The probe is tested on the test entities of the set left out: both the set and the entities are new to it."
    )
    return Section("left-out", "Each set left out of training", claim, tables, how)


def _erasure(result: TruthStudy) -> Section | None:
    if not result.erasures:
        return None
    blocks: list[Note | Table] = []
    for name, report in result.erasures.items():
        prefix = f"{name}: " if len(result.erasures) > 1 else ""
        blocks.append(report.table())
        blocks += [Note(f"{prefix}{sentence}") for sentence in report.sentences()]
    name, first = next(iter(result.erasures.items()))
    last = first.methods[-1]
    gone = (
        ": linear probes can no longer read the property, nonlinear ones can"
        if first.reads_on(last.nonlinear_test)
        else ""
    )
    claim = (
        f"On {name}, a linear probe fitted after LEACE has an accuracy of {last.linear_test:.2f} on test rows, and a "
        f"perceptron {last.nonlinear_test:.2f}{gone}."
    )
    how = How(
        "LEACE removes the smallest affine part of the activations that makes the classes' means equal.",
        "",
        "Belrose et al. 2023, arXiv 2306.03819",
    )
    return Section("erasure", "After erasing the direction", claim, tuple(blocks), how)


def _intervention(result: TruthStudy) -> Section | None:
    intervention = result.intervention
    if intervention is None:
        return None
    sentences = intervention.sentences()
    blocks = (intervention.figure(), intervention.table(), *(Note(sentence) for sentence in sentences[1:]))
    return Section("use", "Does the model use the direction?", sentences[0], blocks)


def _data(result: TruthStudy) -> Section:
    columns = ("set", "statements", "true", "entities", "entities from", "polarity from", "sha256")
    rows = tuple((s.name, s.n, s.n_true, s.entities, s.grouped_by, s.polarity_by, s.sha256[:12]) for s in result.sets)
    notes = tuple(Note(f"{s.name}: {problem}.", "warning") for s in result.sets for problem in s.problems)
    odd = sum(len(s.problems) for s in result.sets)
    sets = "set" if len(result.sets) == 1 else "sets"
    claim = f"{sum(s.n for s in result.sets)} statements in {len(result.sets)} {sets}; {odd} problems."
    return Section("data", "The statements", claim, (Table(columns, rows), *notes))


def _or_none(value: float) -> str:
    """Return a calibration error as text.

    It is "none" for a classifier without probabilities.
    """
    return "none" if math.isnan(value) else f"{value:.3f}"
