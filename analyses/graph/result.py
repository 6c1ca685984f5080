"""Result of the study of a prompt's attribution graph.

It loads without torch.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from analyses.study import Study
from interp.attribution.graphs.checks import Interventions
from interp.attribution.graphs.result import Graph
from interp.attribution.paths import Path
from interp.provenance import Provenance
from interp.results import Result

if TYPE_CHECKING:
    from interp.report import Download

GRAPH_JSON = "graph.json"
"""Name of the file with the graph in the form of Neuronpedia and circuit-tracer's viewer."""
MOST_CARRIED = 4_000_000
"""Largest size of that file on a page, in bytes; a larger one is only saved next to the page."""


@dataclass(frozen=True, eq=False)
class Config(Result):
    """Settings of the study of an attribution graph.

    Attributes:
        prompt: text whose next token is traced.
        dictionaries: folder of a `saes.DictionarySet`; if empty, neurons of the MLPs are used as latents.
        neurons: number of neurons used without dictionaries: those that write most in each MLP at each position.
        answer: single token, by default the likeliest next token.
        versus: single token, by default the second likeliest; the paths and the interventions explain the difference of
            the logits of `answer` and `versus`.
        node_share: share of the influence that the nodes of the pruned graph have.
        edge_share: share of what edges carry that the edges of the pruned graph have.
        max_latents: largest number of latents that are traced.
        expansions: largest number of nodes of the path tree that are expanded.
        changed: number of latents that are ablated in the running model.
        first: first position that dictionaries explain; positions before it are left to the errors.
        texts: file of texts, one a line, that is searched for examples of the graph's latents.

    Example:
        >>> Config("The Eiffel Tower is located in the city of", dictionaries="out/transcoders").node_share
        0.8
    """

    prompt: str
    dictionaries: str = ""
    neurons: int = 16
    answer: str | None = None
    versus: str | None = None
    node_share: float = 0.8
    edge_share: float = 0.98
    max_latents: int = 4000
    expansions: int = 2000
    changed: int = 20
    first: int = 0
    texts: str = ""


@dataclass(frozen=True, eq=False)
class GraphStudy(Study):
    """Result of the study of one prompt's attribution graph.

    `paths` are the largest complete paths of the tree of the `difference`, in logits. The tree's `total`, the `value`
    in the model, the absolute `mass` and the `error` show whether the tree is complete. `shares` is the share of flow
    that each dictionary leaves to its error. `checks` are interventions: latents ablated in a free run, then with MLPs
    and patterns fixed.

    >>> study.difference, round(study.value, 2)  # study = graph.run(model, config)
    ("logit of ' Paris' − ' London'", 3.04)
    """

    config: Config
    provenance: Provenance
    graph: Graph
    difference: str
    paths: tuple[Path, ...]
    total: float
    value: float
    mass: float
    error: float
    expanded: int
    shares: dict[str, float]
    checks: tuple[Interventions, ...]

    def finding(self) -> str:
        """Return the graph's scores and how well it predicts interventions, in words.

        >>> study.finding()  # study = graph.run(model, config)
        "llama object: 24 of 192 active latents and 1 errors hold 80% of the influence on 10 targets, with 416 ..."
        """
        rank, low, high = self.checks[0].correlation
        return (
            f"{self.provenance.model}: {self.graph.summary()} Latents ablated for real change the {self.difference} as "
            f"predicted with rank correlation {rank:+.2f} [{low:+.2f}, {high:+.2f}]."
        )

    def summary(self) -> str:
        """Return the finding, the checks and the largest paths.

        >>> print(study.summary().splitlines()[1])  # study = graph.run(model, config)
        Latents of the graph, set to 0: rank correlation of predicted and actual change +0.80 [-1.00, +1.00], ...
        """
        lines = "\n".join(f"  {path}" for path in self.paths[:5])
        checks = "\n".join(check.summary() for check in self.checks)
        return f"{self.finding()}\n{checks}\n{self.conservation()}\n{lines}"

    def conservation(self) -> str:
        """Return the path tree's sum and the model's value, in words.

        >>> study.conservation()  # study = graph.run(model, config)
        "A path tree of 100 expansions through latents and errors sums to ..."
        """
        gap = abs(self.total - self.value) / self.mass if self.mass else 0.0
        return (
            f"A path tree of {self.expanded:,} expansions through latents and errors sums to {self.total:+.6f} logits; "
            f"the model's difference is {self.value:+.6f}, {gap:.0e} of the absolute mass apart."
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the finding as plain values, for `--json`.

        >>> study.to_dict()["edges"], round(study.to_dict()["completeness"], 2)  # study = graph.run(model, config)
        (416, 0.98)
        """
        graph = self.graph
        return {
            "finding": self.finding(),
            "nodes": len(graph.kind),
            "edges": len(graph.weight),
            "replacement": graph.replacement,
            "completeness": graph.completeness,
            "error_share": graph.error_share,
            "rank_correlation": list(self.checks[0].correlation),
            "rank_correlation_random": list(self.checks[0].correlation_controls),
            "tree_total": self.total,
            "value": self.value,
        }

    def extra_files(self) -> dict[str, bytes]:
        """Return `graph.json`, for Neuronpedia's and circuit-tracer's viewers.

        >>> list(study.extra_files())  # study = graph.run(model, config)
        ['graph.json']
        """
        return {GRAPH_JSON: json.dumps(self.graph.to_neuronpedia(), allow_nan=False).encode()}

    def downloads(self) -> tuple[Download, ...]:
        """Return the files of the result, and the graph if small enough.

        >>> [file.name for file in study.downloads()]  # study = graph.run(model, config)
        ['graph.json', 'result.json', 'arrays.safetensors']
        """
        from interp.report import Download

        content = self.extra_files()[GRAPH_JSON]
        if len(content) > MOST_CARRIED:
            return super().downloads()
        return (Download(GRAPH_JSON, content, "application/json"), *super().downloads())
