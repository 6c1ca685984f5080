"""Page of the study of faithfulness."""

from __future__ import annotations

from typing import TYPE_CHECKING

from interp.report import How, Note, Page, Section
from interp.report.figures import bars

if TYPE_CHECKING:
    from analyses.faithful.result import Faithfulness
    from interp.report import Figure

LIMITATIONS = (
    "Areas are those of edge circuits against one counterfactual for each pair; another counterfactual may rank the "
    "methods differently.",
    "Intervals are over the evaluation pairs with fixed scores: they do not cover the choice of the pairs that were "
    "scored, nor of the model.",
    "Seconds are processor time of one run, including the runs of both prompts. Only their ratios are meaningful.",
)


def page(result: Faithfulness) -> Page:
    """Return the whole report."""
    config = result.config
    return Page(
        title="Do exact attributions find the edges that matter?",
        finding=result.finding(),
        status=(
            ("tasks", str(len(config.tasks))),
            ("pairs of each", f"{config.pairs - config.n_judged} to score, {config.n_judged} to evaluate"),
            ("precision", result.provenance.dtype),
        ),
        sections=(_areas(result),),
        limitations=LIMITATIONS,
        provenance=result.provenance,
        downloads=result.downloads(),
        kind="faithfulness",
    )


def _areas(result: Faithfulness) -> Section:
    how = How(
        "Edges are scored on some of the pairs. On the other pairs the k best edges carry the clean run and all other "
        "edges the counterfactual; f is the fraction of the measure's change that they restore. CPR is the area under "
        "f over sizes for circuits of the largest signed scores, CMD the area under |1 − f| for those of the largest "
        "magnitudes.",
        "f(C) = (m(C) − m(∅)) / (m(N) − m(∅))",
        "Mueller et al., MIB (arXiv 2504.13151)",
    )
    worse = [f"{row.task} (against {row.method})" for row in result.losses()]
    note = (
        Note(
            f"The CPR of {result.config.ours} is smaller, by more than the interval of the paired difference, on "
            + ", ".join(worse)
            + ".",
            "warning",
        )
        if worse
        else None
    )
    figures = (_figure(result, task) for task in dict.fromkeys(row.task for row in result.rows))
    blocks = (*([note] if note else []), *figures, result.table())
    shown = len(blocks) - 1
    claim = "Circuits are chosen by each method's scores and evaluated on pairs that were not scored."
    return Section("areas", "Held-out faithfulness of edge rankings", claim, blocks, how, shown=shown)


def _figure(result: Faithfulness, task: str) -> Figure:
    """Draw bars of each method's signed area on one task."""
    rows = [row for row in result.rows if row.task == task]
    return bars(
        f"cpr-{task.replace('_', '-')}",
        [row.method for row in rows],
        [row.cpr[0] for row in rows],
        errors=[(row.cpr[0] - row.cpr[1], row.cpr[2] - row.cpr[0]) for row in rows],
        caption=f"CPR of every method on {task}; larger is better. Error bars: 95 % bootstrap intervals over the "
        "evaluation pairs.",
        alt=f"Bars of the area under the faithfulness curve on {task}, one for each method.",
        axes=("method", "CPR"),
    )
