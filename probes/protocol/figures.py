"""Tables and figures of the protocol's results."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from interp.report.figures import heatmap, lines
from interp.report.table import Cell, Table

if TYPE_CHECKING:
    from interp.report.blocks import Figure
    from probes.protocol.control_results import Controls
    from probes.protocol.results import Sweep
    from probes.protocol.transfer_results import LeftOut, Transfer

NOT_CHANCE = 0.03
"""A null whose mean AUC is farther than this from 0.5 is reported as not chance."""
FORMATS = {"accuracy": ".3f", "low": ".3f", "high": ".3f", "AUC": ".3f", "AUC low": ".3f", "AUC high": ".3f"}


def sweep_table(sweep: Sweep) -> Table:
    """Return a table with one row per layer and position.

    The chosen row is marked.

    >>> len(sweep_table(probes.sweep(acts, probe=probes.MassMean(), controls=False)).rows)  # acts: 4 layers
    4
    """
    columns = ("layer", "position", "strength", "CV accuracy (train)", *FORMATS, "chosen")
    rows: list[tuple[Cell, ...]] = []
    for p, position in enumerate(sweep.positions):
        for i, layer in enumerate(sweep.layers):
            strength = float(sweep.strengths[p, i])
            chosen = "chosen" if (layer, position) == (sweep.best.layer, sweep.best.position) else None
            numbers = (*map(float, sweep.accuracy[p, i]), *map(float, sweep.auc[p, i]))
            rows.append(
                (
                    layer,
                    position,
                    None if np.isnan(strength) else strength,
                    float(sweep.cv_accuracy[p, i]),
                    *numbers,
                    chosen,
                )
            )
    caption = (
        f"{sweep.probe} on {sweep.name}: test accuracy and AUC with 95 % intervals over {sweep.groups_test} test "
        "groups. Layer l is the output of block l, layer -1 the embedding. Layer and strength were chosen by the "
        "cross-validated accuracy of the train side."
    )
    return Table(columns, tuple(rows), caption, {**FORMATS, "strength": ".0e", "CV accuracy (train)": ".3f"})


def layer_curve(sweep: Sweep, position: str | None = None) -> Figure:
    """Plot test accuracy over layers with its interval and the baselines.

    >>> layer_curve(probes.sweep(acts, probe=probes.MassMean(), controls=False)).id  # acts = probes.collect(...)
    'layers-planted-last'
    """
    position = sweep.best.position if position is None else position
    p, n = sweep.positions.index(position), len(sweep.layers)
    series = {sweep.probe: sweep.accuracy[p, :, 0]}
    for baseline in sweep.controls.baselines if sweep.controls else ():
        if np.isfinite(baseline.accuracy[0]):
            series[baseline.name] = np.full(n, baseline.accuracy[0])
    return lines(
        f"layers-{_id(sweep.name)}-{_id(position)}",
        np.array(sweep.layers),
        series,
        caption=f"{sweep.name}, position {position}: accuracy (fraction) on {sweep.n_test} test statements of "
        f"{sweep.groups_test} groups at each layer; band: 95 % interval over groups for each layer. The baselines use "
        f"no layer. The train side chose layer {sweep.best.layer}, position {sweep.best.position}.",
        alt=f"Accuracy of {sweep.probe} over the layers, {sweep.accuracy[p, :, 0].min():.2f} to "
        f"{sweep.accuracy[p, :, 0].max():.2f}.",
        axes=("layer", "accuracy (fraction)"),
        bands={sweep.probe: (sweep.accuracy[p, :, 1], sweep.accuracy[p, :, 2])},
    )


def controls_table(controls: Controls) -> Table:
    """Return a table with one row per control.

    >>> controls = probes.sweep(acts, probe=probes.MassMean()).controls  # acts = probes.collect(model, data)
    >>> controls_table(controls).columns
    ('control', 'value', 'low', 'high', 'note')
    """
    selectivity = controls.selectivity
    rows: list[tuple[Cell, ...]] = [
        ("true labels, one train row per group", _cell(selectivity.truth), None, None, selectivity.note or None),
        (
            "control labels, same rows",
            _mean(selectivity.control),
            None,
            None,
            f"{len(selectivity.control)} random labelings",
        ),
        ("selectivity (true minus control)", _cell(selectivity.value), None, None, selectivity.note or None),
    ]
    mean, low, high = controls.null.interval
    rows.append(("null AUC", mean, low, high, _null_note(controls)))
    for name, values in (("accuracy", controls.embedding_accuracy), ("AUC", controls.embedding_auc)):
        cells = (None, None, None) if values is None else values
        rows.append((f"embedding layer, {name}", *cells, None if values else "layer -1 was not collected"))
    for baseline in controls.baselines:
        rows.append((f"{baseline.name}, accuracy", *map(_cell, baseline.accuracy), baseline.note or None))
        note = baseline.note or (
            "below chance, as expected in balanced sets: compare with 0.5" if baseline.auc[2] < 0.5 else None
        )
        rows.append((f"{baseline.name}, AUC", *map(_cell, baseline.auc), note))
    caption = "Controls and baselines of the probe, with 95 % intervals (for the null the middle 95 % of its draws)."
    formats = {"value": ".3f", "low": ".3f", "high": ".3f"}
    return Table(("control", "value", "low", "high", "note"), tuple(rows), caption, formats)


def _null_note(controls: Controls) -> str:
    """Return how labels were shuffled.

    Includes a warning if the mean of the draws is far from 0.5.
    """
    side = "train labels" if controls.null.refitted else "test labels"
    done = "shuffled between and within groups" + ", refitted" * controls.null.refitted
    note = f"{side} {done}, {len(controls.null.auc)} times; p = {controls.null.p:.3g}"
    mean = controls.null.interval[0]
    if abs(mean - 0.5) <= NOT_CHANCE:
        return note
    return f"{note}; a mean of {mean:.2f} is not chance: groups of a unique size keep their share of true rows"


def transfer_table(transfer: Transfer) -> Table:
    """Return a table with one row per pair of sets.

    The probe trained on all sets jointly follows.

    >>> result = probes.transfer([acts, other], probe=probes.MassMean(), layer=1)
    >>> len(transfer_table(result).rows)  # four pairs of sets, and a joint probe on each
    6
    """
    columns = ("trained on", "tested on", "AUC", "AUC low", "AUC high", "accuracy", "low", "high", "accuracy, centred")
    rows: list[tuple[Cell, ...]] = []
    for i, source in enumerate(transfer.names):
        for j, target in enumerate(transfer.names):
            numbers = (
                transfer.auc[i, j],
                *transfer.auc_interval[i, j],
                transfer.accuracy[i, j],
                *transfer.accuracy_interval[i, j],
            )
            rows.append((source, target, *map(float, numbers), float(transfer.accuracy_centred[i, j])))
    for j, target in enumerate(transfer.names):
        rows.append(("all sets", target, *map(float, (*transfer.joint_auc[j], *transfer.joint_accuracy[j])), None))
    caption = (
        f"{transfer.probe} at layer {transfer.layer}, position {transfer.position}; a test entity is on the test side "
        "of every set. Centred: each set minus the mean of its own train side, which uses unlabelled rows of the "
        "target (transductive)."
    )
    return Table(columns, tuple(rows), caption, dict.fromkeys(columns[2:], ".3f"))


def transfer_matrix(transfer: Transfer, what: str) -> Figure:
    """Plot a matrix of train sets by test sets.

    Args:
        transfer: the result.
        what: "auc", "accuracy" or "accuracy_centred".

    Example:
        >>> result = probes.transfer([acts, other], probe=probes.MassMean(), layer=1)
        >>> transfer_matrix(result, "accuracy").alt
        'From 0.79 to 0.89.'
    """
    words = {
        "auc": "AUC",
        "accuracy": "Accuracy with the threshold of the train set",
        "accuracy_centred": "Accuracy after centring each set on its own train side (transductive)",
    }[what]
    values = getattr(transfer, what)
    return heatmap(
        f"transfer-{what.replace('_', '-')}",
        values,
        caption=f"{words} at layer {transfer.layer}, {transfer.probe} trained on the set of the row and tested on "
        "that of the column. Blue: above chance; background colour: chance, 0.5; red: below chance. Intervals are in "
        "the table of pairs.",
        alt=f"From {values.min():.2f} to {values.max():.2f}.",
        rows=transfer.names,
        columns=transfer.names,
        axes=("trained on", "tested on", "AUC" if what == "auc" else "accuracy"),
        limits=(0, 1),
        centre=0.5,
        cell_text=True,
    )


def left_out_table(left_out: LeftOut) -> Table:
    """Return a table with one row per left-out topic, template or set.

    >>> result = probes.leave_one_out([acts, other], probe=probes.MassMean(), layer=1)
    >>> [row[0] for row in left_out_table(result).rows]
    ['planted', 'negated']
    """
    columns = ("left out", "layer", *FORMATS, "centred accuracy", "train rows", "test rows", "test groups")
    rows = tuple(
        (
            name,
            int(left_out.layers[i]),
            *map(float, left_out.accuracy[i]),
            *map(float, left_out.auc[i]),
            float(left_out.accuracy_centred[i, 0]),
            int(left_out.n_train[i]),
            int(left_out.n_test[i]),
            int(left_out.groups_test[i]),
        )
        for i, name in enumerate(left_out.names)
    )
    caption = (
        f"{left_out.probe} trained on every other {left_out.by} and tested on new entities of the one left out; the "
        f"layer was chosen without it. Centred: each {left_out.by} minus the mean of its own train side (transductive)."
    )
    return Table(columns, rows, caption, {**FORMATS, "centred accuracy": ".3f"})


def _mean(values: np.ndarray) -> float | None:
    return float(values.mean()) if len(values) else None


def _cell(value: float) -> float | None:
    return value if np.isfinite(value) else None


def _id(name: str) -> str:
    return "".join(c if c.isascii() and c.isalnum() else "-" for c in name)
