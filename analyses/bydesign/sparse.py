"""Weight-sparse transformers compared with dense ones of equal loss.

The study counts the edges that a faithful circuit needs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int

from analyses.bydesign import require_cpu
from analyses.superposition.base import Check, ToyStudy
from interp.progress import Progress, every
from interp.provenance import Stopwatch
from interp.results import Result
from interp.statistics import mean_interval

if TYPE_CHECKING:
    from interp.report import Figure, Section, Table

PAPER = "Weight-sparse transformers have interpretable circuits, arXiv 2511.13653"
TASKS = ("quotes", "brackets", "lookup")
KINDS = ("sparse", "dense")


@dataclass(frozen=True, eq=False)
class Config(Result):
    """Settings of one-layer transformers on three tasks, sparse and dense.

    >>> Config(seed=1)
    Config(density=0.08, seeds=5, steps=900, faithful=0.9, seed=1)
    """

    density: float = 0.08
    seeds: int = 5
    steps: int = 900
    faithful: float = 0.9
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Sparse(ToyStudy):
    """Edges of faithful circuits in sparse and dense networks.

    Arrays are (tasks, kinds, seeds); kinds are sparse and dense.
    """

    title = "Weight-sparse transformers"
    limitations = (
        "One layer, 32 dimensions and tasks of one question each: the paper's ratio of about 16 is for language models "
        "on Python.",
        "Circuits come from learned masks, not from a search over all circuits: smaller ones may exist in both kinds.",
        "A removed edge carries its mean value; resampled values would give other numbers.",
    )

    config: Config
    edges: Int[np.ndarray, "tasks kinds seeds"]
    """Number of edges of the smallest circuit."""
    random_edges: Int[np.ndarray, "tasks kinds seeds"]
    """Edges needed when they are taken in random order."""
    total: Int[np.ndarray, "tasks kinds seeds"]
    """Number of nonzero weights."""
    faithfulness: Float[np.ndarray, "tasks kinds seeds"]
    loss: Float[np.ndarray, "tasks kinds seeds"]
    """Cross-entropy of the whole network, nats."""
    accuracy: Float[np.ndarray, "tasks kinds seeds"]

    def ratio(self, task: int) -> tuple[float, float, float]:
        """Return dense edges over sparse edges with a 95 % interval.

        It is the geometric mean over seeds.
        """
        logs = np.log(self.edges[task, 1] / self.edges[task, 0])
        mean, low, high = (float(np.exp(bound)) for bound in mean_interval(logs, seed=self.config.seed))
        return mean, low, high

    def finding(self) -> str:
        """Return the ratio of edges in each task."""
        words = []
        for k, task in enumerate(TASKS):
            mean, low, high = self.ratio(k)
            words.append(f"{mean:.1f} [{low:.1f}, {high:.1f}] on {task}")
        factors = ", ".join(words)
        return f"For {self.config.faithful:.0%} faithfulness a dense network needs more edges by a factor of {factors}."

    def sections(self) -> tuple[Section, ...]:
        """Return the sections on edges by task and on the networks."""
        from interp.report import How, Section

        how = How(
            "Sparse: after every step all but the largest weights of each matrix are set to zero. Dense: the same "
            "network, trained until its loss equals that of the sparse one of the same seed. Masks over all edges are "
            "learned with one price per edge; the circuit has the fewest edges, by log-odds, that reach the "
            "faithfulness.",
            "f(C) = (L(∅) − L(C)) / (L(∅) − L(all)),  y = (M ∘ W) x + ((1 − M) ∘ W) x̄",
            PAPER,
        )
        return (
            Section("edges", "Edges of a faithful circuit", self.finding(), (self._bars(), self._ratios()), how),
            Section(
                "networks",
                "The networks",
                "The training of dense networks ends when they reach the loss of the sparse ones.",
                (self._networks(),),
                how,
            ),
        )

    def _bars(self) -> Figure:
        from interp.report import figures

        mean = np.exp(np.log(self.edges).mean(2))
        labels = [f"{task}, {kind}" for task in TASKS for kind in KINDS]
        return figures.bars(
            "edge-counts",
            labels,
            mean.ravel(),
            caption=f"Edges of the smallest circuit of {self.config.faithful:.0%} faithfulness, geometric mean of "
            f"{self.config.seeds} seeds.",
            alt="Sparse networks need fewer edges than dense ones in every task.",
            axes=("task and network", "edges"),
        )

    def _ratios(self) -> Table:
        from interp.report import Table

        rows = []
        for k, task in enumerate(TASKS):
            mean = np.exp(np.log(self.edges[k]).mean(1))
            random = np.exp(np.log(self.random_edges[k]).mean(1))
            rows.append((task, float(mean[0]), float(mean[1]), *self.ratio(k), float(random[0]), float(random[1])))
        columns = ("task", "sparse", "dense", "ratio", "from", "to", "sparse, random order", "dense, random order")
        return Table(columns, tuple(rows), formats=dict.fromkeys(columns[1:], ".1f"))

    def _networks(self) -> Table:
        from interp.report import Table

        rows = tuple(
            (
                task,
                kind,
                float(self.loss[t, k].mean()),
                float(self.accuracy[t, k].mean()),
                float(self.total[t, k].mean()),
                float(self.faithfulness[t, k].min()),
            )
            for t, task in enumerate(TASKS)
            for k, kind in enumerate(KINDS)
        )
        columns = ("task", "network", "loss (nats)", "accuracy", "weights not zero", "least faithfulness")
        formats = {"loss (nats)": ".4f", "accuracy": ".3f", "weights not zero": ".0f", "least faithfulness": ".3f"}
        return Table(columns, rows, formats=formats)


def run(config: Config, *, device: str = "cpu", command: str | None = None, progress: Progress | None = None) -> Sparse:
    """Train both kinds on every task and find their circuits.

    All seeds are trained at once.
    """
    require_cpu(device)
    watch = Stopwatch()
    measured = [_compare(config, name, progress) for name in TASKS]
    provenance = watch.provenance(command=command, seed=config.seed, device="cpu")
    arrays = {name: np.stack([task[name] for task in measured]) for name in measured[0]}
    result = Sparse((), provenance, config, **arrays)
    return replace(result, checks=_checks(result))


def _compare(config: Config, name: str, progress: Progress | None) -> dict[str, np.ndarray]:
    """Return the arrays of one task, (kinds, seeds)."""
    from interp.threads import one_thread
    from interp.toy import sparse

    task, seeds = sparse.sequences(name), [config.seed * 1000 + s for s in range(config.seeds)]

    report = every(progress, 20, name)
    with one_thread():
        few = sparse.train(task, density=config.density, seeds=seeds, steps=config.steps, progress=report)
        # Dense networks learn many times faster: a third of the steps is enough to reach the loss.
        many = sparse.train(task, density=1.0, seeds=seeds, steps=config.steps // 3, until=few.loss, progress=report)
        circuits = [sparse.circuit(networks, task, faithful=config.faithful) for networks in (few, many)]
    return {
        "edges": np.stack([circuit.edges.numpy() for circuit in circuits]),
        "random_edges": np.stack([circuit.random_edges.numpy() for circuit in circuits]),
        "total": np.stack([circuit.total.numpy() for circuit in circuits]),
        "faithfulness": np.stack([circuit.faithfulness.numpy() for circuit in circuits]),
        "loss": np.stack([networks.loss.numpy() for networks in (few, many)]),
        "accuracy": np.stack([networks.accuracy.numpy() for networks in (few, many)]),
    }


def _checks(result: Sparse) -> tuple[Check, ...]:
    ratios = [
        Check(f"{task}: dense edges over sparse, lower bound", "above 1 (about 16 in the paper)", low, 1.0, np.inf)
        for task, (_, low, _) in ((task, result.ratio(k)) for k, task in enumerate(TASKS))
    ]
    gap = result.loss[:, 1] - result.loss[:, 0]
    smaller = result.edges / result.random_edges
    return (
        *ratios,
        Check("least accuracy of a network", "1", float(result.accuracy.min()), 0.95, 1),
        Check("largest loss of a dense network beyond the sparse one's, nats", "0", float(gap.max()), -np.inf, 0.02),
        Check(
            "least faithfulness of a circuit",
            "as required",
            float(result.faithfulness.min()),
            result.config.faithful,
            1.2,
        ),
        Check("edges over those needed in random order, largest", "below 1", float(smaller.max()), 0, 0.9),
    )
