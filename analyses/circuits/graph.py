"""Composition of heads as a graph to explore.

Writers are below, readers above.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from interp.report import Edge, Explorer, Node, Table

if TYPE_CHECKING:
    from analyses.circuits.result import Circuits

LISTED = 60
"""Largest number of pairs in the table."""
KINDS = {"Q": "query", "K": "key", "V": "value"}
Pair = tuple[str, str]


def explorer(result: Circuits) -> Explorer | None:
    """Return the strongest pairs of all kinds of composition as one graph.

    None without pairs.
    """
    scores = _by_pair(result)
    if not scores:
        return None
    largest: dict[str, float] = {}
    for pair, parts in scores.items():
        for head in pair:
            largest[head] = max(largest.get(head, 0.0), *parts.values())
    edges = tuple(
        Edge(writer, reader, max(parts.values()), tuple(parts.items())) for (writer, reader), parts in scores.items()
    )
    best = max(edges, key=lambda edge: edge.value)
    return Explorer(
        "composition",
        tuple(Node(head, head, score, _layer(head)) for head, score in largest.items()),
        edges,
        caption=f"The {len(result.compositions[0].pairs)} strongest pairs of each kind of composition. An edge leads "
        "from a head up to a later one that reads what it writes; its value is the largest of its scores through the "
        "query, the key and the value. A node's value is the largest score it takes part in.",
        alt=f"Graph of {len(largest)} heads by layer; the strongest edge leads from {best.source} to {best.target}.",
    )


def table(result: Circuits) -> Table:
    """Return the strongest pairs of all kinds, the strongest first.

    >>> table(study).columns  # study = circuits.run(model)
    ('through the', 'writer', 'reader', 'score', 'z')
    """
    rows: list[tuple[str, str, str, float, float]] = [
        (KINDS[one.kind], *pair, z) for one in result.compositions for pair, z in zip(one.pairs, one.z, strict=True)
    ]
    null = "; ".join(f"{one.kind} {one.baseline[0]:.4f} ± {one.baseline[1]:.4f}" for one in result.compositions)
    return Table(
        ("through the", "writer", "reader", "score", "z"),
        tuple(sorted(rows, key=lambda row: row[3], reverse=True)[:LISTED]),
        f"The strongest of {result.compositions[0].n_possible} pairs of each kind. Under random rotations: {null}. "
        "z is of the squared score, against rotations of this writer.",
        {"score": ".4f", "z": "+.1f"},
    )


def _layer(head: str) -> int:
    """Return the layer of a head's name, such as 5 of "L5H2"."""
    return int(head[1:].partition("H")[0])


def _by_pair(result: Circuits) -> dict[Pair, dict[str, float]]:
    scores: dict[Pair, dict[str, float]] = {}
    for one in result.compositions:
        for writer, reader, score in one.pairs:
            scores.setdefault((writer, reader), {})[KINDS[one.kind]] = score
    return scores
