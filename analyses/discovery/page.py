"""Page of a discovery study."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from analyses.discovery.circuit_map import explorer
from interp.report import Figure, How, Note, Page, Section, Table, Tokens
from interp.report.blocks import folded
from interp.report.figures import histogram, lines

if TYPE_CHECKING:
    from analyses.discovery.result import Discovery

LIMITATIONS = (
    "A circuit is a set of edges that is sufficient on these prompts, for this counterfactual. Other sets may be "
    "sufficient too, and another counterfactual may give another circuit.",
    "Faithfulness compares means. A mean near 1 can hide pairs far above and below, so quantiles are given as well.",
    "CPR can exceed 1, and a ranking can be optimised for it by leaving out edges that work against the answer. It "
    "measures the quality of a ranking, not how much of the model is explained.",
)


SHOWN = {"circuit": 1}
"""Number of blocks that are open in each section; all others are one click away."""


def page(result: Discovery) -> Page:
    """Return the whole report."""
    verdict, ability = result.verdict, result.ability
    return Page(
        title=f"The circuit of {ability.task}",
        finding=result.finding(),
        status=(
            ("pairs", f"{len(ability.clean)}, half to score, {len(verdict.clean)} to evaluate"),
            ("edges", f"{result.circuit.size:,} of {result.circuit.graph.n_edge:,}"),
            ("counted for every query head", f"{result.circuit.counts['ungrouped']:,}"),
            ("precision", result.provenance.dtype),
        ),
        lead=(_methods(result),),
        sections=folded(
            (
                _ability(result),
                *(_marked(result, make(result)) for make in (_curves, _circuit, _checked, _heads, _verdict)),
            ),
            SHOWN,
        ),
        limitations=LIMITATIONS,
        provenance=result.provenance,
        downloads=result.downloads(),
        kind="discovery",
    )


def _marked(result: Discovery, section: Section) -> Section:
    """Return the section, with a warning if the model fails the task."""
    if result.ability.able:
        return section
    accuracy = f"right in {result.ability.accuracy:.0%} of the pairs"
    note = Note(
        f"The model cannot do this task ({accuracy}): the following sections do not explain an ability.", "warning"
    )
    return replace(section, blocks=(note, *section.blocks))


def _ability(result: Discovery) -> Section:
    both = histogram(
        "log-odds",
        {"clean": result.ability.clean, "counterfactual": result.ability.counterfactual},
        caption="Log odds of the right against the wrong answers, in nats, after each prompt.",
        alt="Two histograms; the clean prompts lie to the right where the model can do the task.",
        axes=("log odds (nats)", "pairs"),
        bins=20,
    )
    note = Note(f"One pair: {result.example}")
    warning = () if result.ability.able else (Note(result.ability.summary(), "warning"),)
    return Section(
        "ability", "Can the model do it?", result.ability.summary(), (*warning, note, both, result.ability.table())
    )


def _methods(result: Discovery) -> Figure:
    """Return faithfulness by size for each method and for random edges."""
    first = result.curves[0]
    return lines(
        "methods",
        100 * np.array(first.sizes),
        {curve.method: curve.f for curve in result.curves} | {"random": first.random},
        caption="Faithfulness on the pairs that were not scored, of the k best edges by signed score: 1 is the whole "
        f"model, 0 the counterfactual. Sizes are per cent of {first.n_edge:,} edges. Band: 95 % bootstrap interval "
        "over pairs.",
        alt="Faithfulness by size for each method; random edges stay at 0 until nearly all are taken.",
        axes=("size (% of all edges)", "faithfulness f"),
        bands={first.method: first.f_interval},
        log="x",
    )


def _curves(result: Discovery) -> Section:
    first = result.curves[0]
    rows = []
    for curve in result.curves:
        (cpr, *cpr_ends), (cmd, *cmd_ends), areas = curve.cpr_interval, curve.cmd_interval, curve.log_area
        rows.append((curve.method, cpr, *cpr_ends, cmd, *cmd_ends, areas["cpr"], areas["cmd"]))
    chance = first.random_areas
    rows.append(("random", chance["cpr"], None, None, chance["cmd"], None, None, None, None))
    columns = ("method", "CPR", "from", "to", "CMD", "from ", "to ", "CPR, log size", "CMD, log size")
    table = Table(
        columns,
        tuple(rows),
        "Areas under f (CPR, signed ranking, higher is better) and |1 − f| (CMD, by magnitude, 0 is best). Over "
        "sizes, 85 % of their weight is at 20 % of the edges and more; over the logarithm of sizes every decade has "
        "the same weight.",
        dict.fromkeys(columns[1:], ".3f"),
    )
    how = How(
        "Of the k best edges, those that are on no path from the embedding to the logits are dropped. Edges of the "
        "circuit carry values of the clean run, all other edges values of the counterfactual run, in one forward pass.",
        "f(C) = (m(C) − m(∅)) / (m(N) − m(∅)),   x_v ← x_v + Σ_u mask[u, v] (a'_u − a_u)",
        "Mueller et al., MIB (arXiv 2504.13151)",
    )
    best = max(result.curves, key=lambda curve: curve.cpr)
    claim = f"{best.method} ranks edges best: {best.summary()}."
    return Section("faithfulness", "How many edges are needed?", claim, (table, first.table()), how)


def _circuit(result: Discovery) -> Section:
    size = result.circuit.size
    drawn = explorer(result)
    strongest = result.circuit.edges[0] if size else "none"
    blocks = (*([] if drawn is None else [drawn]), result.circuit.table())
    claim = f"{size:,} edges between {len(result.circuit.nodes)} components; the strongest is {strongest}."
    return Section("circuit", "The circuit", claim, blocks)


def _checked(result: Discovery) -> Section:
    check = result.check
    how = How(
        f"Each of the {len(check.edges)} strongest edges, and of the strongest nodes, is corrupted alone in the clean "
        "run and restored alone in the counterfactual run, on the pairs on which it was scored. The secant lies "
        "between the two runs.",
        "m(clean run with x_v + a'_u − a_u) − m(clean run)",
    )
    nodes = () if result.nodes is None else (Note(result.nodes.summary()), result.nodes.table())
    return Section("measured", "Measured effects of the strongest edges", check.summary(), (check.table(), *nodes), how)


def _heads(result: Discovery) -> Section:
    drawn = tuple(
        Tokens(
            f"attention-{view.name.lower()}",
            result.places[: len(view.attention)],
            tuple(view.attention.tolist()),
            f"Attention of {view.name} at the answer's position, mean over {len(result.verdict.clean)} pairs; its "
            f"edges in the circuit have a total score of {view.score:+.3f} nats.",
            unit="fraction",
            label="attention",
        )
        for view in result.heads
    )
    if not drawn:
        return Section(
            "heads", "Attention of its heads", "No head is in the circuit.", (Note("The circuit has no head."),)
        )
    named = ", ".join(view.name for view in result.heads)
    return Section(
        "heads", "Attention of its heads", f"The heads whose edges have the largest scores are {named}.", drawn
    )


def _verdict(result: Discovery) -> Section:
    verdict = result.verdict
    templates = Table(
        ("template", "f"), tuple(verdict.by_template.items()), "Faithfulness on each template held out.", {"f": ".3f"}
    )
    order = np.argsort(-np.abs(verdict.dropped), kind="stable").tolist()
    dropped = Table(
        ("edge", "f lost"),
        tuple((verdict.dropped_edges[i], float(verdict.dropped[i])) for i in order),
        "Decrease of f when one edge is left out: near 0 for an edge that the circuit does not need.",
        {"f lost": "+.4f"},
    )
    warning = (Note(verdict.warning, "warning"),) if verdict.warning else ()
    how = How(
        "The circuit was chosen on one half of the pairs and is evaluated on the other half, which has other templates "
        "if the task has several. Random circuits have as many connected edges. Overlap: mean |A ∩ B| / |A ∪ B| of "
        "circuits chosen from resampled pairs.",
        reference="Wang et al. (arXiv 2211.00593); stability: 2510.00845",
    )
    return Section(
        "verdict", "Is it a circuit?", verdict.summary(), (*warning, verdict.table(), templates, dropped), how
    )
