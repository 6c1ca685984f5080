"""The protocol's results as tables and figures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from interp.report.figures import heatmap, lines
from interp.report.table import Cell, Table

if TYPE_CHECKING:
    from interp.report.blocks import Figure
    from probes.protocol.results import Controls, LeftOut, Sweep, Transfer

NOT_CHANCE = 0.03
"""A null whose mean AUC is farther than this from 0.5 is said not to be chance."""
FORMATS = {"accuracy": ".3f", "low": ".3f", "high": ".3f", "AUC": ".3f", "AUC low": ".3f", "AUC high": ".3f"}


def sweep_table(found: Sweep) -> Table:
    """One layer and position a row; the chosen one is marked."""
    columns = ("layer", "position", "strength", "CV accuracy (train)", *FORMATS, "chosen")
    rows: list[tuple[Cell, ...]] = []
    for p, position in enumerate(found.positions):
        for i, layer in enumerate(found.layers):
            strength = float(found.strengths[p, i])
            chosen = "chosen" if (layer, position) == (found.best.layer, found.best.position) else None
            numbers = (*map(float, found.accuracy[p, i]), *map(float, found.auc[p, i]))
            rows.append(
                (
                    layer,
                    position,
                    None if np.isnan(strength) else strength,
                    float(found.cv_accuracy[p, i]),
                    *numbers,
                    chosen,
                )
            )
    caption = (
        f"{found.probe} on {found.name}: test accuracy and AUC with 95 % intervals over {found.groups_test} test "
        "groups. Layer l is the output of block l, layer -1 the embedding. Layer and strength were chosen by the "
        "cross-validated accuracy of the train side."
    )
    return Table(columns, tuple(rows), caption, {**FORMATS, "strength": ".0e", "CV accuracy (train)": ".3f"})


def layer_curve(found: Sweep, position: str | None = None) -> Figure:
    """Test accuracy over layers with its interval, and what it is held against."""
    position = found.best.position if position is None else position
    p, n = found.positions.index(position), len(found.layers)
    series = {found.probe: found.accuracy[p, :, 0]}
    for baseline in found.controls.baselines if found.controls else ():
        if np.isfinite(baseline.accuracy[0]):
            series[baseline.name] = np.full(n, baseline.accuracy[0])
    return lines(
        f"layers-{_id(found.name)}-{_id(position)}",
        np.array(found.layers),
        series,
        caption=f"{found.name}, position {position}: accuracy (fraction) on {found.n_test} test statements of "
        f"{found.groups_test} groups, layer by layer; band: 95 % over groups, of each layer by itself. The baselines "
        f"see no layer. The train side chose layer {found.best.layer}, position {found.best.position}.",
        alt=f"Accuracy of {found.probe} over the layers, {found.accuracy[p, :, 0].min():.2f} to "
        f"{found.accuracy[p, :, 0].max():.2f}.",
        axes=("layer", "accuracy (fraction)"),
        bands={found.probe: (found.accuracy[p, :, 1], found.accuracy[p, :, 2])},
    )


def controls_table(found: Controls) -> Table:
    """One control a row."""
    some = found.selectivity
    rows: list[tuple[Cell, ...]] = [
        ("truth, one row a group learnt", _cell(some.truth), None, None, some.note or None),
        ("control labels, the same rows", _mean(some.control), None, None, f"{len(some.control)} random labelings"),
        ("selectivity (truth less control)", _cell(some.value), None, None, some.note or None),
    ]
    mean, low, high = found.null.interval
    rows.append(("null AUC", mean, low, high, _null_note(found)))
    for name, values in (("accuracy", found.embedding_accuracy), ("AUC", found.embedding_auc)):
        cells = (None, None, None) if values is None else values
        rows.append((f"embedding layer, {name}", *cells, None if values else "layer -1 was not collected"))
    for baseline in found.baselines:
        rows.append((f"{baseline.name}, accuracy", *map(_cell, baseline.accuracy), baseline.note or None))
        note = baseline.note or (
            "below chance, as in balanced sets: compare with 0.5" if baseline.auc[2] < 0.5 else None
        )
        rows.append((f"{baseline.name}, AUC", *map(_cell, baseline.auc), note))
    caption = "What the probe's number is held against; intervals are 95 %, of the null its middle 95 %."
    formats = {"value": ".3f", "low": ".3f", "high": ".3f"}
    return Table(("control", "value", "low", "high", "note"), tuple(rows), caption, formats)


def _null_note(found: Controls) -> str:
    """Return how labels were shuffled, and that the draws are not chance where their mean is far from 0.5."""
    side = "train labels" if found.null.refitted else "test labels"
    done = "shuffled between and within groups" + ", refitted" * found.null.refitted
    note = f"{side} {done}, {len(found.null.auc)} times; p = {found.null.p:.3g}"
    mean = found.null.interval[0]
    if abs(mean - 0.5) <= NOT_CHANCE:
        return note
    return f"{note}; a mean of {mean:.2f} is not chance: groups whose size no other has keep their share of true rows"


def transfer_table(found: Transfer) -> Table:
    """One pair of sets a row, then the probe trained on all together."""
    columns = ("trained on", "tested on", "AUC", "AUC low", "AUC high", "accuracy", "low", "high", "accuracy, centred")
    rows: list[tuple[Cell, ...]] = []
    for i, source in enumerate(found.names):
        for j, target in enumerate(found.names):
            numbers = (found.auc[i, j], *found.auc_interval[i, j], found.accuracy[i, j], *found.accuracy_interval[i, j])
            rows.append((source, target, *map(float, numbers), float(found.accuracy_centred[i, j])))
    for j, target in enumerate(found.names):
        rows.append(("all together", target, *map(float, (*found.joint_auc[j], *found.joint_accuracy[j])), None))
    caption = (
        f"{found.probe} at layer {found.layer}, position {found.position}; test entities are the same side in every "
        "set. Centred: each set less the mean of its own train side, which uses unlabelled rows of the target "
        "(transductive)."
    )
    return Table(columns, tuple(rows), caption, dict.fromkeys(columns[2:], ".3f"))


def transfer_matrix(found: Transfer, what: str) -> Figure:
    """A matrix of train sets by test sets: `what` is "auc", "accuracy" or "accuracy_centred"."""
    words = {
        "auc": "AUC",
        "accuracy": "Accuracy with the threshold of the train set",
        "accuracy_centred": "Accuracy after centring each set on its own train side (transductive)",
    }[what]
    values = getattr(found, what)
    return heatmap(
        f"transfer-{what.replace('_', '-')}",
        values,
        caption=f"{words} at layer {found.layer}, {found.probe} trained on the set of the row and tested on that of "
        "the column. Blue: it carries over; the page's own ground, 0.5: chance; red: more often wrong than right. "
        "Intervals are in the table of pairs.",
        alt=f"From {values.min():.2f} to {values.max():.2f}.",
        rows=found.names,
        columns=found.names,
        axes=("trained on", "tested on", "AUC" if what == "auc" else "accuracy"),
        limits=(0, 1),
        centre=0.5,
        cell_text=True,
    )


def left_out_table(found: LeftOut) -> Table:
    """One left out a row."""
    columns = ("left out", "layer", *FORMATS, "centred accuracy", "train rows", "test rows", "test groups")
    rows = tuple(
        (
            name,
            int(found.layers[i]),
            *map(float, found.accuracy[i]),
            *map(float, found.auc[i]),
            float(found.accuracy_centred[i, 0]),
            int(found.n_train[i]),
            int(found.n_test[i]),
            int(found.groups_test[i]),
        )
        for i, name in enumerate(found.names)
    )
    caption = (
        f"{found.probe} trained on every other {found.by} and tested on new entities of the one left out; the layer "
        f"was chosen without it. Centred: each {found.by} less the mean of its own train side (transductive)."
    )
    return Table(columns, rows, caption, {**FORMATS, "centred accuracy": ".3f"})


def _mean(values: np.ndarray) -> float | None:
    return float(values.mean()) if len(values) else None


def _cell(value: float) -> float | None:
    return value if np.isfinite(value) else None


def _id(name: str) -> str:
    return "".join(c if c.isascii() and c.isalnum() else "-" for c in name)
