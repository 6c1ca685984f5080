"""Heads trained together, one after the other or apart: what joint training adds, and how many heads a task needs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from analyses.superposition.base import Check, ToyStudy
from interp.progress import Progress, stages
from interp.provenance import Stopwatch
from interp.results import Result
from interp.statistics import mean_interval

if TYPE_CHECKING:
    from interp.report import Figure, Section, Table

WAYS = ("together", "one after the other", "apart")
SOLVED = 0.05
"""Loss per wanted token, nats, from which the task counts as solved; ln 4 = 1.39 is chance."""


@dataclass(frozen=True, eq=False)
class Config(Result):
    """Tokens to be brought to the last position, and up to how many heads are tried."""

    wanted: int = 4
    most: int = 6
    seeds: int = 4
    steps: int = 250
    """Of every training: of all heads together, or of one head."""
    seed: int = 0


@dataclass(frozen=True, eq=False)
class HeadsAlone(ToyStudy):
    """Arrays are (ways, ...) in the order of `WAYS`."""

    title = "Heads alone"
    limitations = (
        "One attention layer without an MLP, on a task of look-backs: heads of a language model have more to share.",
        "Heads one after the other get as many steps each as all heads together.",
    )

    config: Config
    loss: Float[np.ndarray, "ways counts seeds"]
    """Cross-entropy per wanted token by number of heads, nats."""
    similarity: Float[np.ndarray, "ways seeds heads heads"]
    """Between what the first `wanted` heads write."""

    def needed(self) -> np.ndarray:
        """Return how many heads solve the task, (ways, seeds); one more than were tried where none do."""
        solved = self.loss <= SOLVED
        return np.where(solved.any(1), solved.argmax(1) + 1, self.config.most + 1)

    def alike(self) -> Float[np.ndarray, "ways seeds"]:
        """Return the mean similarity of two different heads."""
        pairs = ~np.eye(self.similarity.shape[-1], dtype=bool)
        return self.similarity[..., pairs].mean(-1)

    def finding(self) -> str:
        """Heads needed, and what is gained."""
        needed = self.needed()
        words = [f"{sorted(row)[len(row) // 2]} {way}" for way, row in zip(WAYS, needed[:2], strict=False)]
        gap = self.loss[2, self.config.wanted - 1] - self.loss[0, self.config.wanted - 1]
        return (
            f"Bringing {self.config.wanted} tokens takes {' and '.join(words)}; {self.config.wanted} heads trained "
            f"apart lose {gap.mean():.2f} nats a token beyond those trained together."
        )

    def sections(self) -> tuple[Section, ...]:
        """Loss by number of heads, and how alike heads are."""
        from interp.report import How, Section

        how = How(
            "One attention layer; embeddings and unembedding are random and fixed. Together: all heads at once. One "
            "after the other: each head on what those before it, frozen, leave. Apart: each as if it were the only "
            "one, their writes then added.",
            "s_ab = ‖C_ab‖² / (‖C_aa‖ ‖C_bb‖)",
            "Similarity: linear CKA, arXiv 1905.00414",
        )
        alike = self.alike().mean(1)
        claim = f"Two heads trained apart write alike ({alike[2]:.2f}), trained together they do not ({alike[0]:.2f})."
        return (
            Section("loss", "Loss by number of heads", self.finding(), (self._curves(), self._table()), how),
            Section("similarity", "What heads write", claim, (self._heatmap(),), how),
        )

    def _curves(self) -> Figure:
        from interp.report import figures

        curves, bands = {}, {}
        for k, way in enumerate(WAYS):
            mean, low, high = mean_interval(self.loss[k].T, seed=self.config.seed)
            curves[way], bands[way] = mean, (low, high)
        return figures.lines(
            "curves",
            np.arange(1, self.config.most + 1),
            curves,
            bands=bands,
            caption=f"Cross-entropy per wanted token on new sequences; bands are 95 % bootstrap intervals over "
            f"{self.config.seeds} seeds. Chance is {np.log(4):.2f} nats.",
            alt="The loss falls to zero for heads trained together or in turn, and stays up for heads trained apart.",
            axes=("heads", "loss (nats)"),
        )

    def _heatmap(self) -> Figure:
        from interp.report import figures

        mean = self.similarity.mean(1)
        names = [f"{way}, head {h + 1}" for way in WAYS for h in range(mean.shape[1])]
        return figures.heatmap(
            "alike",
            mean.reshape(-1, mean.shape[-1]),
            rows=names,
            columns=[f"head {h + 1}" for h in range(mean.shape[-1])],
            axes=("way and head", "head", "similarity"),
            signed=False,
            caption=f"Similarity of what two heads write at the last position, mean of {self.config.seeds} seeds.",
            alt="Off the diagonal only heads trained apart are alike.",
        )

    def _table(self) -> Table:
        from interp.report import Table

        rows = tuple(
            (
                way,
                ", ".join(str(n) if n <= self.config.most else f"over {self.config.most}" for n in self.needed()[k]),
                *map(float, mean_interval(self.loss[k, self.config.wanted - 1], seed=self.config.seed)),
                float(self.alike()[k].mean()),
            )
            for k, way in enumerate(WAYS)
        )
        loss = f"loss of {self.config.wanted} heads"
        columns = ("trained", f"heads for {SOLVED:g} nats, by seed", loss, "from", "to", "similarity")
        return Table(columns, rows, formats=dict.fromkeys(columns[2:], ".3f"))


def run(
    config: Config, *, device: str = "cpu", command: str | None = None, progress: Progress | None = None
) -> HeadsAlone:
    """Train all numbers of heads in the three ways, all seeds together."""
    del device
    watch = Stopwatch()
    arrays = _compute(config, progress)
    provenance = watch.provenance(command=command, seed=config.seed, device="cpu")
    result = HeadsAlone((), provenance, config, **arrays)
    return replace(result, checks=_checks(result))


def _compute(config: Config, progress: Progress | None) -> dict[str, Any]:
    from interp.threads import one_thread
    from interp.toy import heads

    task, seeds = heads.Task(wanted=config.wanted), [config.seed * 1000 + s for s in range(config.seeds)]
    counts = range(1, config.most + 1)

    step = stages(progress, (*WAYS, "done"))
    with one_thread():
        step(0)
        joint = heads.together(
            task, [count for count in counts for _ in seeds], seeds * config.most, steps=config.steps
        )
        step(1)
        turns = heads.in_turn(task, config.most, seeds, steps=config.steps)
        step(2)
        alone = heads.apart(task, config.most, seeds, steps=config.steps)
    first = (config.wanted - 1) * config.seeds
    writes = (
        joint.writes[first : first + config.seeds],
        turns[config.wanted - 1].writes,
        alone[config.wanted - 1].writes,
    )
    losses = [joint.loss.view(config.most, config.seeds).numpy()]
    losses += [np.stack([networks.loss.numpy() for networks in way]) for way in (turns, alone)]
    return {
        "loss": np.stack(losses),
        "similarity": np.stack([[heads.similarity(w[:, : config.wanted]) for w in way] for way in writes]),
    }


def _checks(result: HeadsAlone) -> tuple[Check, ...]:
    at, seed, needed, alike = result.config.wanted - 1, result.config.seed, result.needed(), result.alike()
    apart = mean_interval(result.loss[2, at] - result.loss[0, at], seed=seed)[1]
    turn = mean_interval(result.loss[1, 1] - result.loss[0, 1], seed=seed)[1]
    more = mean_interval(alike[2] - alike[0], seed=seed)[1]
    most = result.config.most
    return (
        Check(
            "heads needed, trained together, most over seeds", "at most one a token", float(needed[0].max()), 2, at + 1
        ),
        Check("heads needed, one after the other, most over seeds", "one or two more", float(needed[1].max()), 2, most),
        Check(f"{at + 1} heads apart: loss beyond joint training, lower bound", "above 0", float(apart), 1e-9, np.inf),
        Check("2 heads in turn: loss beyond joint training, lower bound", "above 0", float(turn), 1e-9, np.inf),
        Check("similarity of heads apart beyond together, lower bound", "above 0", float(more), 1e-9, np.inf),
        Check("loss of one head", "not solved by one", float(result.loss[:, 0].min()), SOLVED, np.log(4)),
    )
