"""Page of the study of an attribution graph.

It shows the graph, the dictionaries' errors, interventions on latents, and paths.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from interp.report import How, Note, Page, Section, Table
from interp.report.blocks import folded
from interp.report.figures import bars

if TYPE_CHECKING:
    from analyses.graph.result import GraphStudy

WEAK = 0.5
"""Replacement score, or rank correlation, below which a warning is shown."""
LIMITATIONS = (
    "A graph explains one run: attention patterns, norm scales and the set of active latents are fixed. Why a head "
    "attends to a token is not in the edges, but in the scores of the section on attention.",
    "A latent is a direction that was useful for reconstruction. Its label, the tokens that it raises, is a hint, not "
    "an explanation.",
    "Error nodes carry what the dictionaries do not reconstruct. A low replacement score means that much of the answer "
    "comes through them, and that latents explain only the rest.",
)


SHOWN = {"graph": 1, "checks": 2}
"""Number of blocks that are open in each section; all others are one click away."""


def page(result: GraphStudy) -> Page:
    """Return the page of a study."""
    graph = result.graph
    return Page(
        title=f"Attribution graph of “{result.config.prompt}”",
        finding=result.finding(),
        status=(
            ("nodes", f"{len(graph.kind):,}"),
            ("active latents", f"{graph.n_active:,}"),
            ("edges", f"{len(graph.weight):,}"),
            ("replacement", f"{graph.replacement:.2f}"),
            ("precision", result.provenance.dtype),
        ),
        sections=folded((_graph(result), _errors(result), _checks(result), _paths(result), _attention(result)), SHOWN),
        limitations=LIMITATIONS,
        provenance=result.provenance,
        downloads=result.downloads(),
        kind="graph",
    )


def _graph(result: GraphStudy) -> Section:
    graph = result.graph
    targets = [(node.label, chance) for node, chance in zip(_targets(result), graph.probabilities, strict=True)]
    table = Table(
        ("target", "probability"), tuple(targets), "The targets, weighted by probability.", {"probability": ".3f"}
    )
    how = How(
        "Effects pass through residual streams, fixed attention patterns and norm scales. The graph has the nodes with "
        f"{graph.node_share:.0%} of the influence, and of their edges those with {graph.edge_share:.0%} of the flow. "
        "The pruned part of each node is given, so that all values sum.",
        "A[i, j] = write(j) · J · a_i,   influence = w ((I − A~)⁻¹ − I)",
        "Ameisen et al. 2025, Circuit tracing; scores and pruning as in circuit-tracer",
    )
    claim = graph.summary()
    return Section("graph", "The graph", claim, (graph.explorer(), table, graph.table(30)), how)


def _targets(result: GraphStudy):
    return [node for node in result.graph.nodes if node.kind == "target"]


def _errors(result: GraphStudy) -> Section:
    graph, shares = result.graph, result.shares
    drawn = bars(
        "error-shares",
        list(shares),
        list(shares.values()),
        caption=f"Absolute flow to the {result.difference} through the error of each dictionary, relative to the flow "
        "through the activations that it reconstructs: 0 for a perfect reconstruction, 1 for none.",
        alt="Bars of the error share by place.",
        axes=("place", "error share"),
    )
    claim = (
        f"Errors carry {graph.error_share:.0%} of the flow; replacement {graph.replacement:.2f}, completeness "
        f"{graph.completeness:.2f}."
    )
    low = graph.replacement < WEAK
    warning = (Note("Most of the influence comes from errors: latents explain the smaller part.", "warning"),)
    return Section("errors", "What the dictionaries do not explain", claim, (*(warning if low else ()), drawn))


def _checks(result: GraphStudy) -> Section:
    free, fixed = result.checks
    weak = not free.correlation[0] > WEAK
    note = (Note("Predicted and actual changes agree only weakly in a free run.", "warning"),) if weak else ()
    how = How(
        "The output of a latent is removed at its position and the rest of the model is run: norms, patterns, gates "
        "and other latents change. The prediction is that of the linear map. In the second row MLPs and attention "
        "patterns are fixed at their values before the change.",
        "predicted = −f d · g",
    )
    names = {"a free run": free, "MLPs and patterns fixed": fixed}
    rows = tuple((name, *check.correlation, *check.correlation_controls, *check.sizes) for name, check in names.items())
    columns = ("run", "rank correlation", "low", "high", "random latents", "low ", "high ", "change", "random change")
    table = Table(
        columns, rows, "Latents of the graph, compared with random active latents.", dict.fromkeys(columns[1:], "+.2f")
    )
    return Section(
        "checks", "Measured effects of latents", free.summary(), (*note, free.figure(), table, free.table()), how
    )


def _paths(result: GraphStudy) -> Section:
    rows = tuple((i + 1, " <- ".join(path.components), path.value) for i, path in enumerate(result.paths))
    caption = f"The largest complete paths to the {result.difference}, through latents, errors and heads."
    table = Table(("rank", "path", "logits"), rows, caption, {"logits": "+.4f"})
    return Section("paths", "Paths", result.conservation(), (table,))


def _attention(result: GraphStudy) -> Section:
    tables = []
    for node, score in result.graph.queries.items():
        rows = tuple((query, key, float(value)) for query, key, value in score["pairs"][:8])
        tokens = result.graph.tokens
        caption = (
            f"{node}: {score['head']} attends from {tokens[score['query']]!r} to {tokens[score['key']]!r}, score "
            f"{score['score']:+.2f}; the largest terms."
        )
        tables.append(Table(("query", "key", "part"), rows, caption, {"part": "+.3f"}))
    claim = (
        f"For {len(tables)} latents: the head that contributes most to each, and the largest terms of its attention "
        "score."
        if tables
        else "No head writes into the graph's latents."
    )
    return Section(
        "attention",
        "Attention scores of the heads in the graph",
        claim,
        tuple(tables[:6]) or (Note("Nothing to list."),),
    )
