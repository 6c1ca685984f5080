"""Heads or layers trained jointly, in turn or apart.

The study measures what joint training adds, and how many heads a task needs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from analyses.bydesign import require_cpu
from analyses.superposition.base import Check, ToyStudy
from interp.progress import Progress, stages
from interp.provenance import Stopwatch
from interp.results import Result
from interp.statistics import mean_interval

if TYPE_CHECKING:
    from interp.report import Figure, Section, Table
    from interp.toy import heads

WAYS = ("together", "one after the other", "apart")
SOLVED = 0.05
"""Loss per wanted token, nats, at or below which the task counts as solved; ln 4 = 1.39 is chance."""


@dataclass(frozen=True, eq=False)
class Config(Result):
    """Settings of the task and of the training.

    `wanted`: tokens to be brought to the last position. `most`: up to how many heads are tried.

    >>> Config(seed=1)
    Config(wanted=4, most=6, layers=4, seeds=4, steps=250, seed=1)
    """

    wanted: int = 4
    most: int = 6
    layers: int = 4
    """Largest number of layers of one head."""
    seeds: int = 4
    steps: int = 250
    """Steps of every training: of all heads (or layers) jointly, or of one."""
    seed: int = 0


@dataclass(frozen=True, eq=False)
class HeadsAlone(ToyStudy):
    """Losses and similarities of heads trained in three ways.

    Arrays are (ways, ...) in the order of `WAYS`.
    """

    title = "Heads trained separately"
    limitations = (
        "Attention without an MLP, on a task that copies earlier tokens: heads of a language model interact more.",
        "No layer needs the output of an earlier one: a task of two steps, such as induction, may need joint training.",
        "Heads and layers trained one after the other get the same number of steps each as all of them in joint "
        "training.",
    )

    config: Config
    loss: Float[np.ndarray, "ways counts seeds"]
    """Cross-entropy per wanted token by number of heads, nats."""
    similarity: Float[np.ndarray, "ways seeds heads heads"]
    """Similarity between what the first `wanted` heads write."""
    layer_loss: Float[np.ndarray, "ways counts seeds"]
    """Same as `loss`, by number of layers of one head each."""

    def needed(self) -> np.ndarray:
        """Return how many heads solve the task, (ways, seeds).

        It is one more than the largest number tried where no number solves it.
        """
        solved = self.loss <= SOLVED
        return np.where(solved.any(1), solved.argmax(1) + 1, self.config.most + 1)

    def alike(self) -> Float[np.ndarray, "ways seeds"]:
        """Return the mean similarity of two different heads."""
        pairs = ~np.eye(self.similarity.shape[-1], dtype=bool)
        return self.similarity[..., pairs].mean(-1)

    def finding(self) -> str:
        """Return the heads that are needed, and what joint training gains."""
        needed = self.needed()
        words = [f"{sorted(row)[len(row) // 2]} {way}" for way, row in zip(WAYS, needed[:2], strict=False)]
        gap = self.loss[2, self.config.wanted - 1] - self.loss[0, self.config.wanted - 1]
        return (
            f"To copy {self.config.wanted} tokens, the median number of heads is {' and '.join(words)}. The loss of "
            f"{self.config.wanted} heads trained apart is {gap.mean():.2f} nats per token above that of joint training."
        )

    def sections(self) -> tuple[Section, ...]:
        """Return the sections on losses, on similarity and on layers."""
        from interp.report import How, Section

        how = How(
            "Heads of one attention layer; embeddings and unembedding are random and fixed. Together: all heads are "
            "trained at once. One after the other: each head is trained with the earlier ones frozen. Apart: each head "
            "is trained as the only one, and the outputs are added. Layers have one head each and are stacked: a later "
            "one reads the output of an earlier one.",
            "s_ab = ‖C_ab‖² / (‖C_aa‖ ‖C_bb‖)",
            "Similarity: linear CKA, arXiv 1905.00414",
        )
        alike = self.alike().mean(1)
        apart, joint = f"{alike[2]:.2f}", f"{alike[0]:.2f}"
        claim = f"Heads trained apart have similar outputs ({apart}), heads trained together do not ({joint})."
        return (
            Section("loss", "Loss by number of heads", self.finding(), (self._curves(), self._table()), how),
            Section("similarity", "Similarity of the outputs", claim, (self._heatmap(),), how),
            Section("layers", "Loss by number of layers", self._layers_claim(), (self._layer_curves(),), how),
        )

    def _layers_claim(self) -> str:
        loss = self.layer_loss[:, -1].mean(1)
        words = ", ".join(f"{value:.2f} {way}" for value, way in zip(loss, WAYS, strict=True))
        return f"The loss of {self.config.layers} layers is {words} (nats per token)."

    def _curves(self) -> Figure:
        alt = "The loss falls to zero for heads trained together or in turn, and does not for heads trained apart."
        return self._loss_curves("curves", self.loss, "heads", alt)

    def _layer_curves(self) -> Figure:
        alt = "Loss by number of layers, for layers trained together, in turn and apart."
        return self._loss_curves("layer-curves", self.layer_loss, "layers of one head", alt, log="y")

    def _loss_curves(self, id: str, loss: np.ndarray, counted: str, alt: str, log: str = "") -> Figure:
        from interp.report import figures

        curves, bands = {}, {}
        for k, way in enumerate(WAYS):
            mean, low, high = mean_interval(loss[k].T, seed=self.config.seed)
            curves[way], bands[way] = mean, (low, high)
        return figures.lines(
            id,
            np.arange(1, loss.shape[1] + 1),
            curves,
            bands=bands,
            caption=f"Cross-entropy per wanted token on new sequences; bands are 95 % bootstrap intervals over "
            f"{self.config.seeds} seeds. Chance is {np.log(4):.2f} nats.",
            alt=alt,
            axes=(counted, "loss (nats)"),
            log=log,
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
            caption=f"Similarity of the outputs of two heads at the last position, mean of {self.config.seeds} seeds.",
            alt="Off the diagonal only heads trained apart are similar.",
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
    """Train all numbers of heads in three ways, all seeds at once."""
    require_cpu(device)
    watch = Stopwatch()
    arrays = _compute(config, progress)
    provenance = watch.provenance(command=command, seed=config.seed, device="cpu")
    result = HeadsAlone((), provenance, config, **arrays)
    return replace(result, checks=_checks(result))


def _compute(config: Config, progress: Progress | None) -> dict[str, Any]:
    from interp.threads import one_thread
    from interp.toy import heads

    step = stages(progress, ("heads", "layers", "done"))
    with one_thread():
        step(0)
        networks = _ways(config, heads.Task(wanted=config.wanted), config.most)
        step(1)
        stacked = heads.Task(wanted=config.wanted, slots=config.layers, head_width=8, layered=True)
        layers = _ways(config, stacked, config.layers)
    return {
        "loss": _losses(networks),
        "similarity": np.stack(
            [[heads.similarity(w[:, : config.wanted]) for w in way[config.wanted - 1].writes] for way in networks]
        ),
        "layer_loss": _losses(layers),
    }


def _ways(config: Config, task: heads.Task, most: int) -> list[list[heads.Heads]]:
    """Train networks in each of the `WAYS`.

    They have 1 to `most` heads or layers.
    """
    from interp.toy import heads

    seeds = [config.seed * 1000 + s for s in range(config.seeds)]
    counts = [count for count in range(1, most + 1) for _ in seeds]
    joint = heads.train_jointly(task, counts, seeds * most, steps=config.steps)
    return [
        joint.split(config.seeds),
        heads.train_in_turn(task, most, seeds, steps=config.steps),
        heads.train_separately(task, most, seeds, steps=config.steps),
    ]


def _losses(ways: list[list[heads.Heads]]) -> Float[np.ndarray, "ways counts seeds"]:
    return np.stack([[networks.loss.numpy() for networks in way] for way in ways])


def _checks(result: HeadsAlone) -> tuple[Check, ...]:
    at, seed, needed, alike = result.config.wanted - 1, result.config.seed, result.needed(), result.alike()
    apart = mean_interval(result.loss[2, at] - result.loss[0, at], seed=seed)[1]
    turn = mean_interval(result.loss[1, 1] - result.loss[0, 1], seed=seed)[1]
    more = mean_interval(alike[2] - alike[0], seed=seed)[1]
    most, layers, stacked = result.config.most, result.config.layers, result.layer_loss
    deeper = mean_interval(stacked[1, 0] - stacked[1, -1], seed=seed)[1]
    split = mean_interval(stacked[2, -1] - stacked[0, -1], seed=seed)[1]
    return (
        Check(
            "heads needed, trained together, most over seeds", "at most one a token", float(needed[0].max()), 2, at + 1
        ),
        Check("heads needed, one after the other, most over seeds", "one or two more", float(needed[1].max()), 2, most),
        Check(f"{at + 1} heads apart: loss beyond joint training, lower bound", "above 0", float(apart), 1e-9, np.inf),
        Check("2 heads in turn: loss beyond joint training, lower bound", "above 0", float(turn), 1e-9, np.inf),
        Check("similarity of heads trained apart minus together, lower bound", "above 0", float(more), 1e-9, np.inf),
        Check("loss of one head", "not solved by one", float(result.loss[:, 0].min()), SOLVED, np.log(4)),
        Check(f"{layers} layers together: mean loss", "solved", float(stacked[0, -1].mean()), 0, SOLVED),
        Check(f"one layer's loss beyond {layers} in turn, lower bound", "above 0", float(deeper), 1e-9, np.inf),
        Check(f"{layers} layers apart: loss beyond joint training, lower bound", "above 0", float(split), 1e-9, np.inf),
    )
