"""Pruning before and after training.

The study asks which scores leave weights in every layer, and what loss each has at each sparsity.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float, Int

from analyses.bydesign import require_cpu
from analyses.superposition.base import Check, ToyStudy
from interp.progress import Progress
from interp.provenance import Stopwatch
from interp.results import Result
from interp.statistics import mean_interval

if TYPE_CHECKING:
    from interp.report import Figure, Section, Table

PAPER = "Tanaka et al. 2020, SynFlow, arXiv 2006.05467"
BEFORE = ("random", "magnitude", "SNIP", "GraSP", "SynFlow")
"""Scores of the untrained network."""
AFTER = ("magnitude, trained", "movement", "hard-concrete")
"""Scores of the trained network.

The network is then trained on: twice the steps or, with gates, three times.
"""
METHODS = BEFORE + AFTER
ROUNDS = {"SynFlow": 100}
"""Rounds of pruning. The other methods have one, as in their papers."""


@dataclass(frozen=True, eq=False)
class Config(Result):
    """Settings of a perceptron 64 → widths → 10 on digits.

    It is pruned at the start or after training, and then trained.

    >>> Config(seed=1)
    Config(widths=5 items, seeds=5, densities=(0.1, 0.01, 0.001), steps=100, batch_size=64, lr=0.005, ...
    """

    widths: tuple[int, ...] = (32, 32, 512, 32, 32)
    """Widths of the hidden layers.

    One is wide: its weights are many and each scores low, so that it is the first to be lost.
    """
    seeds: int = 5
    densities: tuple[float, ...] = (0.1, 0.01, 0.001)
    steps: int = 100
    batch_size: int = 64
    lr: float = 0.005
    price: float = 1.0
    """Price of all gates of the hard-concrete masks, nats."""
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Masks(ToyStudy):
    """Weights left and losses of every method of pruning.

    Arrays are (methods, densities, seeds, ...).
    """

    title = "Pruning before and after training"
    limitations = (
        "One small perceptron on images of 8 by 8 pixels: the best score depends on the network and the task.",
        "Magnitude, SNIP and GraSP prune in one round, as published. If all hidden layers have 128 neurons, no "
        "layer is lost with SNIP on these images; with one wide layer a layer is lost in some networks.",
        "Methods that prune a trained network need two or three times the steps: compare them with one another. "
        "Compared with methods for untrained networks they show the value of the data.",
        "Hard-concrete gates are learned once, at one price; weights are pruned in the order of their log-odds.",
    )

    config: Config
    left: Int[np.ndarray, "methods densities seeds tensors"]
    """Weights left in every layer."""
    loss: Float[np.ndarray, "methods densities seeds"]
    """Cross-entropy on new images after training, nats."""
    accuracy: Float[np.ndarray, "methods densities seeds"]
    dense_loss: Float[np.ndarray, " seeds"]
    """Loss of the whole network after the same training, nats."""
    conservation: Float[np.ndarray, " seeds"]
    """Largest relative deviation of a layer's summed SynFlow score from the flow through the network."""
    neuron_conservation: Float[np.ndarray, " seeds"]
    """The same deviation for what enters and what leaves a hidden neuron."""
    snip_conservation: Float[np.ndarray, " seeds"]
    """Control: the deviation of SNIP's layer sums from their mean."""

    def collapsed(self) -> Bool[np.ndarray, "methods densities seeds"]:
        """Return which networks have lost all weights of a layer."""
        return (self.left == 0).any(-1)

    def finding(self) -> str:
        """Return which methods lose a layer at the highest sparsity."""
        lost = dict(zip(METHODS, self.collapsed()[:, -1].sum(1), strict=True))
        words = ", ".join(f"{name} {lost[name]}" for name in ("magnitude", "SNIP", "GraSP"))
        return (
            f"At a sparsity of {1 - self.config.densities[-1]:.1%} SynFlow loses a layer in {lost['SynFlow']} of "
            f"{self.config.seeds} networks; {words}."
        )

    def sections(self) -> tuple[Section, ...]:
        """Return the sections on surviving layers and on loss against sparsity."""
        from interp.report import How, Section

        scores = How(
            "Before training: the weights with the highest scores of the untrained network remain. SynFlow is computed "
            "again in each of 100 rounds that remove the same fraction of the remaining weights. After training: "
            "magnitudes; movement, which prunes each layer to the same fraction during further training; and gates "
            "learned on fixed weights, of which the most probable remain.",
            "magnitude |θ|;  SNIP |θ ∂L/∂θ|;  GraSP θ Hg;  SynFlow θ ∂R/∂θ at |θ|, R = 1ᵀ ∏|W| 1",
            f"{PAPER}; SNIP 1810.02340; GraSP 2002.07376; movement 2005.07683; hard-concrete 1712.01312",
        )
        return (
            Section("surviving", "Layers that are not lost", self.finding(), (self._layers(),), scores),
            Section(
                "loss",
                "Loss by sparsity",
                "A network without a layer learns nothing; with all layers the loss grows with the sparsity.",
                (self._curves(), self._losses()),
                scores,
            ),
        )

    def _layers(self) -> Figure:
        from interp.report import figures

        left = self.left[:, -1].mean(1)
        return figures.heatmap(
            "layers",
            left,
            rows=list(METHODS),
            columns=[f"layer {k + 1}" for k in range(left.shape[1])],
            axes=("score", "layer", "weights left"),
            signed=False,
            caption=f"Weights left in each layer at a sparsity of {1 - self.config.densities[-1]:.1%}, mean of "
            f"{self.config.seeds} networks.",
            alt="With magnitude whole layers are empty, with SNIP nearly, with SynFlow no layer is.",
        )

    def _curves(self) -> Figure:
        from interp.report import figures

        density = np.array(self.config.densities)
        curves, bands = {}, {}
        for k, name in enumerate(METHODS):
            mean, low, high = mean_interval(self.loss[k].T, seed=self.config.seed)
            curves[name], bands[name] = mean, (low, high)
        return figures.lines(
            "curves",
            density,
            curves,
            bands=bands,
            caption=f"Cross-entropy on new images after {self.config.steps} steps against the density; "
            f"bands are 95 % bootstrap intervals over {self.config.seeds} seeds. The whole network has "
            f"{self.dense_loss.mean():.3f}; chance is {np.log(10):.3f}.",
            alt="Losses rise with sparsity, to chance for scores that lose a layer.",
            axes=("density", "cross-entropy (nats)"),
            log="x",
        )

    def _losses(self) -> Table:
        from interp.report import Table

        rows = []
        for k, name in enumerate(METHODS):
            for d, density in enumerate(self.config.densities):
                mean, low, high = mean_interval(self.loss[k, d], seed=self.config.seed)
                lost = f"{int(self.collapsed()[k, d].sum())} of {self.config.seeds}"
                rows.append(
                    (name, density, float(mean), float(low), float(high), float(self.accuracy[k, d].mean()), lost)
                )
        columns = ("score", "density", "loss (nats)", "from", "to", "accuracy", "networks with an empty layer")
        formats = {"density": "g", "loss (nats)": ".3f", "from": ".3f", "to": ".3f", "accuracy": ".3f"}
        return Table(columns, tuple(rows), formats=formats)


def run(config: Config, *, device: str = "cpu", command: str | None = None, progress: Progress | None = None) -> Masks:
    """Score, prune and train every method, density and seed."""
    from analyses.bydesign.masks_run import compute

    require_cpu(device)
    watch = Stopwatch()
    arrays: dict[str, Any] = compute(config, BEFORE, ROUNDS, AFTER, progress)
    provenance = watch.provenance(command=command, seed=config.seed, device="cpu")
    result = Masks((), provenance, config, **arrays)
    return replace(result, checks=_checks(result))


def _checks(result: Masks) -> tuple[Check, ...]:
    lost = dict(zip(METHODS, result.collapsed()[:, -1].mean(1), strict=True))
    # At the last density no network of this size learns, so that the comparison is at the one before it.
    last = max(0, len(result.config.densities) - 2)

    def gain(name: str, density: int) -> float:
        """Return a lower bound of the gain in loss over random masks."""
        lower = result.loss[METHODS.index("random"), density] - result.loss[METHODS.index(name), density]
        return float(mean_interval(lower, seed=result.config.seed)[1])

    most = f"at {1 - result.config.densities[0]:.0%}"
    before = f"at {1 - result.config.densities[last]:.0%}"
    at = f"at {1 - result.config.densities[-1]:.1%}"
    return (
        Check(f"networks that lose a layer {at}: SynFlow", "none", float(lost["SynFlow"]), 0, 0),
        Check(f"networks that lose a layer {at}: magnitude", "all", float(lost["magnitude"]), 1, 1),
        Check(f"networks that lose a layer {at}: SNIP", "some", float(lost["SNIP"]), 0.2, 1),
        Check(
            "SynFlow: largest deviation of a layer's sum from the flow",
            "0 (theorem)",
            float(result.conservation.max()),
            0,
            1e-9,
        ),
        Check(
            "SynFlow: largest difference of inflow and outflow of a neuron",
            "0 (theorem)",
            float(result.neuron_conservation.max()),
            0,
            1e-9,
        ),
        Check("SNIP: the same for layers", "not conserved", float(result.snip_conservation.min()), 0.1, np.inf),
        Check(
            f"loss of random masks minus SynFlow's {before}, lower bound",
            "above 0",
            gain("SynFlow", last),
            1e-9,
            np.inf,
        ),
        *(
            Check(f"loss of random masks minus {name}'s {most}, lower bound", "above 0", gain(name, 0), 1e-9, np.inf)
            for name in ("movement", "hard-concrete")
        ),
    )
