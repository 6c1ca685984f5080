"""A circuit: edges of a graph chosen by their scores. No torch here."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float

from interp.discovery.graph import ARROW, Graph
from interp.errors import DamagedFileError, UsageError
from interp.files import read_text
from interp.report import Shown, Table
from interp.results import Result

if TYPE_CHECKING:
    from interp.model import Model
    from interp.tasks import Pairs, Task

CIRCUIT_JSON = "circuit.json"


@dataclass(frozen=True, eq=False)
class Circuit(Shown, Result):
    """Circuit as a set of edges of a graph, with their scores.

    `included` (n_edge,) marks the edges of the circuit, `scores` (n_edge,) are those they were chosen by. `asked` is
    how many edges were to be chosen; those without a path from the embedding or to the logits were dropped, so `size`
    may be smaller. `how` says which method and rule chose them. `by_position` (n_edge, n_token) says at which positions
    each edge belongs to the circuit; without it, at all positions.

    >>> circuit = discovery.circuit(discovery.score(model, task), share=0.1)
    >>> circuit.size, circuit.nodes[:3]
    (16, ('embed', 'L0H0', 'L0H1'))
    """

    graph: Graph
    included: np.ndarray
    scores: np.ndarray
    asked: int
    how: dict[str, Any] = field(default_factory=dict)
    by_position: np.ndarray | None = None

    @property
    def mask(self) -> Bool[np.ndarray, "n_edge ..."]:
        """Return what belongs to the circuit: edges, or edges at positions."""
        return self.included if self.by_position is None else self.by_position

    @property
    def edges(self) -> tuple[str, ...]:
        """Names of the edges, the largest scores first."""
        places = np.flatnonzero(self.included)
        order = places[np.argsort(-np.abs(self.scores[places]), kind="stable")]
        return tuple(self.graph.edges[i] for i in order.tolist())

    @property
    def nodes(self) -> tuple[str, ...]:
        """Names of the writers with an edge in the circuit.

        In writing order.
        """
        used = np.unique(self.graph.writer[self.included])
        return tuple(self.graph.writers[i] for i in used.tolist())

    @property
    def size(self) -> int:
        """Number of edges."""
        return int(self.included.sum())

    @property
    def counts(self) -> dict[str, int]:
        """Numbers of edges.

        "edges", and "ungrouped": those counted for every query head as MIB does.
        """
        return {"edges": self.size, "ungrouped": int(self.graph.weight[self.included].sum())}

    @property
    def complement(self) -> Circuit:
        """Circuit of all other edges, or of all other edges at positions."""
        rest, how = ~self.mask, {**self.how, "complement": True}
        if self.by_position is None:
            return Circuit(self.graph, rest, self.scores, int(rest.sum()), how)
        return Circuit(self.graph, np.asarray(rest.any(1)), self.scores, int(rest.sum()), how, rest)

    def run(self, model: Model, task: Task | Pairs, *, outside: Any = "counterfactual") -> Float[np.ndarray, " n_pair"]:
        """Run a task with the circuit's edges alone.

        Edges of the circuit carry what the clean run gives them, all others what `outside` says.

        Args:
            model: the model.
            task: the pairs.
            outside: "counterfactual" (what the counterfactual run writes), "mean" (over the task) or "zero".

        Returns:
            Each pair's measure, in nats.

        Raises:
            UsageError: a model of another architecture, or prompts of another length than a circuit at single positions
                was chosen on.

        >>> circuit.run(model, task).round(3)
        array([2.416, 0.327])
        """
        from interp.discovery.masks import evaluate
        from interp.discovery.pairs import checked

        task = checked(model, task)
        if Graph.of(model.spec, grouped=self.graph.grouped) != self.graph:
            raise UsageError(f"The circuit is of another architecture than {model.name}.")
        self.check_length(task.clean.shape[1])
        return evaluate(model, self.graph, task, [~self.mask], outside=outside)[0]

    def check_length(self, n_token: int) -> None:
        """Raise `UsageError` for prompts that lack the positions, or have others.

        >>> circuit.check_length(4)  # a circuit at all positions takes prompts of any length
        """
        if self.by_position is not None and self.by_position.shape[1] != n_token:
            raise UsageError(
                f"The circuit was chosen at the positions of {self.by_position.shape[1]} tokens, and these prompts "
                f"have {n_token}: choose it without by_position, or take prompts of the same form."
            )

    def table(self) -> Table:
        """Return every edge with its score.

        >>> circuit.table().rows[0]
        ('L0H3', 'MLP0', 1.993)
        """
        caption = f"{self.size:,} of {self.graph.n_edge:,} edges; score: change of the log odds when corrupted (nats)."
        places = [self.graph.index(edge) for edge in self.edges]
        rows = tuple((*self.graph.edges[i].split(ARROW), float(self.scores[i])) for i in places)
        if self.by_position is None:
            return Table(("from", "to", "score"), rows, caption, {"score": "+.4f"})
        at = [", ".join(map(str, np.flatnonzero(self.by_position[i]).tolist())) for i in places]
        rows = tuple((*row, where) for row, where in zip(rows, at, strict=True))
        return Table(("from", "to", "score", "positions"), rows, caption, {"score": "+.4f"})

    def files(self) -> dict[str, bytes]:
        """Return what `save` writes: the result, and `circuit.json` in MIB's form.

        >>> list(circuit.files())
        ['arrays.safetensors', 'result.json', 'circuit.json']
        """
        return {**super().files(), CIRCUIT_JSON: json.dumps(self.to_dict()).encode()}

    def to_dict(self) -> dict[str, Any]:
        """Return the circuit in the JSON form of MIB.

        Heads and layers are counted from 0.

        {cfg: {...}, nodes: {name: {in_graph}}, edges: {"a0.h1->a3.h2<q>": {score, in_graph}}}. Edges of the circuit
        alone are listed; an edge into keys that heads share stands once for each head.

        >>> list(circuit.to_dict()), list(circuit.to_dict()["edges"])[:2]
        (['cfg', 'nodes', 'edges'], ['input->a0.h2<k>', 'input->a0.h3<k>'])
        """
        graph = self.graph
        names = _mib_names(graph)
        edges = {}
        for i in np.flatnonzero(self.included).tolist():
            for reader in _mib_readers(graph, int(graph.reader[i])):
                score: dict[str, Any] = {"score": float(self.scores[i]), "in_graph": True}
                if self.by_position is not None:
                    score["positions"] = np.flatnonzero(self.by_position[i]).tolist()
                edges[f"{names[graph.writer[i]]}->{reader}"] = score
        used = {edge.partition("->")[0] for edge in edges}
        nodes = {name: {"in_graph": name in used} for name in names} | {"logits": {"in_graph": bool(edges)}}
        facts = {"n_layers": graph.n_layer, "n_heads": graph.n_head, "parallel_attn_mlp": graph.parallel}
        ours = {"n_key_value_heads": graph.n_kv_head, "grouped": graph.grouped, "asked": self.asked, "how": self.how}
        ours |= {} if self.by_position is None else {"n_tokens": self.by_position.shape[1]}
        return {"cfg": facts | ours, "nodes": nodes, "edges": edges}

    @classmethod
    def read(cls, path: str | Path) -> Circuit:
        """Read a circuit from `circuit.json`.

        The file is this toolkit's, or one of the MIB benchmark's with the same facts.

        Raises `DamagedFileError` for a file that is not a circuit, `UsageError` for an edge that the graph lacks or a
        shared key that only some of its heads have.

        >>> circuit_folder = circuit.save(folder)
        >>> discovery.Circuit.read(circuit_folder).size == circuit.size
        True
        """
        path = Path(path)
        path = path / CIRCUIT_JSON if path.is_dir() else path
        try:
            body = json.loads(read_text(path))
            facts, edges = body["cfg"], body["edges"]
            heads, keys = facts["n_heads"], facts.get("n_key_value_heads", facts["n_heads"])
            parallel, grouped = facts.get("parallel_attn_mlp", False), facts.get("grouped", False)
            graph = Graph(facts["n_layers"], heads, keys, parallel, grouped)
            listed = {name: float(edge.get("score") or 0.0) for name, edge in edges.items() if edge.get("in_graph")}
        except (json.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError) as error:
            raise DamagedFileError(f"{path} is not a circuit in JSON: {error}.") from error
        included, scores = _from_mib(graph, listed, path)
        where = _positions_from_mib(graph, edges, included, facts["n_tokens"]) if "n_tokens" in facts else None
        return cls(graph, included, scores, int(facts.get("asked", included.sum())), dict(facts.get("how", {})), where)

    def __repr__(self) -> str:
        return f"Circuit({self.size:,} of {self.graph.n_edge:,} edges, {len(self.nodes)} nodes, {self.how})"


def _mib_names(graph: Graph) -> tuple[str, ...]:
    """Return the writers' names in MIB: "input", "a5.h2", "m5"."""
    names = ["input"]
    for layer in range(graph.n_layer):
        names += [*(f"a{layer}.h{head}" for head in range(graph.n_head)), f"m{layer}"]
    return tuple(names)


def _mib_readers(graph: Graph, reader: int) -> list[str]:
    """Return a reader's names in MIB, one for each head that reads."""
    names, branch = _mib_names(graph), graph.readers[reader].partition(".")[2]
    return [names[owner] + (f"<{branch}>" if branch else "") for owner in graph.owners[reader]] or ["logits"]


def _from_mib(graph: Graph, listed: dict[str, float], path: Path) -> tuple[Bool[np.ndarray, " n_edge"], np.ndarray]:
    included, scores = np.zeros(graph.n_edge, bool), np.zeros(graph.n_edge)
    names, left = _mib_names(graph), dict(listed)
    by_reader = [_mib_readers(graph, reader) for reader in range(len(graph.readers))]
    place = {name: at for at, group in enumerate(by_reader) for name in group}
    for edge, value in listed.items():
        writer, _, reader = edge.partition("->")
        if writer not in names or reader not in place:
            raise UsageError(f'{path} has an edge "{edge}" that its graph lacks.')
        group, by = place[reader], names.index(writer)
        if by >= graph.visible[group] or any(f"{writer}->{other}" not in left for other in by_reader[group]):
            raise UsageError(f'{path} has an edge "{edge}" that stands alone, or against the order of the layers.')
        at = int(graph.offsets[group]) + by
        included[at], scores[at] = True, value
    return included, scores


def _positions_from_mib(graph: Graph, edges: dict[str, Any], included: np.ndarray, n_token: int) -> np.ndarray:
    """Read the positions of edges that `to_dict` wrote."""
    names, positions = _mib_names(graph), np.zeros((graph.n_edge, n_token), bool)
    for i in np.flatnonzero(included).tolist():
        name = f"{names[graph.writer[i]]}->{_mib_readers(graph, int(graph.reader[i]))[0]}"
        positions[i, edges[name].get("positions", range(n_token))] = True
    return positions
