"""Modular networks from wires that cost their length.

The study asks whether a network splits into the parts of its formula, with and without that cost.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from analyses.bydesign import require_cpu
from analyses.superposition.base import Check, ToyStudy
from interp.progress import Progress, every
from interp.provenance import Stopwatch
from interp.results import Result
from interp.toy import modular
from interp.toy.modular.tasks import FORMULAS, MOONS

if TYPE_CHECKING:
    from interp.report import Figure, Section, Table

PAPER = "Liu, Gan and Tegmark 2023, Seeing is Believing, arXiv 2305.08746"
SETTINGS = ("wiring", "local", "l1", "none")
WORDS = {
    "wiring": "wiring cost and exchanges",
    "local": "wiring cost, neurons stay",
    "l1": "L1 alone",
    "none": "no price",
}


@dataclass(frozen=True, eq=False)
class Config(Result):
    """Settings of the independent formulas and of the other tasks.

    >>> Config(seed=1)
    Config(seeds=10, strength=0.01, stronger=3.0, locality=8.0, width=20, steps=3000, other_seeds=2, seed=1)
    """

    seeds: int = 10
    strength: float = 0.01
    stronger: float = 3.0
    """Multiple of the strength at which the independent formulas are trained again; there L1 alone may suffice."""
    locality: float = 8.0
    width: int = 20
    steps: int = 3000
    other_seeds: int = 2
    """Seeds of each task other than the independent formulas."""
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Modular(ToyStudy):
    """Trained networks of every task.

    `independent` and `strong`: two formulas of separate inputs. `others`: the remaining tasks.

    >>> run(Config(seeds=2, steps=20, width=6, other_seeds=1)).title
    'Modular networks'
    """

    title = "Modular networks"
    limitations = (
        "Parts are read after pruning by magnitude without retraining, at a stated error; another error gives other "
        "counts.",
        "Exchanges are the best permutation of one layer at a time, not of all layers together.",
        "L1 alone splits the network as well at a higher strength: the wiring cost is not the only way to parts, but "
        "shortens the wires besides.",
    )

    config: Config
    independent: modular.Trained
    strong: modular.Trained
    others: tuple[modular.Trained, ...]

    def finding(self) -> str:
        """Return how many networks split, with and without a price."""
        split = dict(zip(SETTINGS, self.independent.split().sum(1), strict=True))
        return (
            f"With the wiring cost {split['wiring']} of {self.config.seeds} networks split into the two parts of their "
            f"formulas; {split['l1']} do under L1 alone of the same strength, and {split['none']} without any price."
        )

    def sections(self) -> tuple[Section, ...]:
        """Return the sections: drawings, counts, and the other tasks."""
        from interp.report import How, Section

        how = How(
            "Neurons have places in (0, 1) along their layer. The price is λ/10 in the first and last quarter of the "
            "steps; every 200 steps each layer's neurons exchange places so that wires are shortest. Weights are "
            "then cut from the smallest on while the error on new inputs stays at or below "
            f"{self.independent.config.allowed:g} of the variance.",
            "L = error + λ Σ_layers mean |w| (A |p_out − p_in| + 1/2) + λ/2 Σ mean |b|",
            PAPER,
        )
        first = self.independent
        counts = (self._counts(first), self._counts(self.strong))
        return (
            Section("networks", "Before and after", self._claim(), (self._drawing(first, "drawing", 0),), how),
            Section(
                "counts",
                "Networks that split into parts",
                "Networks that split need fewer and shorter wires; at three times the strength L1 alone splits too."
                if self.strong.split()[2].mean() > 0.5
                else "Networks that split need fewer and shorter wires.",
                counts,
                how,
            ),
            *(
                Section(
                    f"task-{k}",
                    other.config.task.capitalize(),
                    self._fewer(other),
                    (self._drawing(other, f"drawing-{k}", 0), self._counts(other)),
                )
                for k, other in enumerate(self.others)
            ),
        )

    def _claim(self) -> str:
        return f"x₁ and x₃ go to one output, x₂ and x₄ to the other: {FORMULAS['independent'][0]}."

    def _fewer(self, trained: modular.Trained) -> str:
        wires, q = trained.wires().mean(1), trained.modularity().mean(1)
        first, last = trained.config.settings.index("wiring"), trained.config.settings.index("none")
        return (
            f"At the same error {wires[first]:.0f} weights remain with the wiring cost and {wires[last]:.0f} without "
            f"a price; the modularity is {q[first]:.2f} and {q[last]:.2f}."
        )

    def _drawing(self, trained: modular.Trained, id: str, seed: int) -> Figure:
        from analyses.bydesign.connectome import Panel, connectome

        names = trained.config.settings
        even = [np.sort(places[0, seed]) for places in trained.places]
        panels = [Panel("before training", [w[0, seed] for w in trained.start], even)]
        for setting in [s for s in ("none", "l1", "wiring") if s in names]:
            k = names.index(setting)
            places = [place[k, seed] for place in trained.places]
            panels.append(Panel(WORDS[setting], trained.network(k, seed), places))
        inputs = [f"x{i + 1}" for i in range(trained.matrices[0].shape[-1])]
        outputs = [f"y{i + 1}" for i in range(trained.matrices[-1].shape[-2])]
        return connectome(
            id,
            panels,
            caption=f"One network (seed {seed}) of the task “{trained.config.task}”, inputs at the bottom, outputs at "
            "the top. Blue wires are positive, red ones negative, in three widths by their share of the heaviest. "
            f"After training: the network pruned to an error of {trained.config.allowed:g} of the variance.",
            alt="Before training all neurons are connected; with the wiring cost few and short connections remain.",
            inputs=inputs,
            outputs=outputs,
        )

    def _counts(self, trained: modular.Trained) -> Table:
        from interp.report import Table

        rows = tuple(
            (
                WORDS[name],
                float(trained.config.strength) if name != "none" else 0.0,
                f"{int(split.sum())} of {len(split)}",
                float(q.mean()),
                float(wires.mean()),
                float(cost.mean()),
                float(error.mean()),
            )
            for name, split, q, wires, cost, error in zip(
                trained.config.settings,
                trained.split(),
                trained.modularity(),
                trained.wires(),
                trained.cost,
                trained.error,
                strict=True,
            )
        )
        right = "right parts" if len(trained.parts) > 1 else "one part"
        columns = ("setting", "λ", right, "modularity Q", "weights left", "wiring cost", "error before pruning")
        formats = {"λ": ".3g", "modularity Q": ".3f", "weights left": ".1f", "wiring cost": ".3f"}
        return Table(columns, rows, formats={**formats, "error before pruning": ".4f"})


def run(
    config: Config, *, device: str = "cpu", command: str | None = None, progress: Progress | None = None
) -> Modular:
    """Train all tasks under all settings.

    The checks count the networks with the right parts.

    >>> result = run(Config(seeds=2, steps=20, width=6, other_seeds=1))  # small, in place of the defaults
    >>> result.checks[0].claim
    'share of networks with the right parts, wiring cost'
    """
    require_cpu(device)
    watch = Stopwatch()
    first = modular.Config(
        settings=SETTINGS,
        strength=config.strength,
        locality=config.locality,
        width=config.width,
        seeds=config.seeds,
        steps=config.steps,
        seed=config.seed,
    )
    independent = _train(first, progress)
    strong = _train(replace(first, strength=config.stronger * config.strength), progress)
    others = tuple(
        _train(
            replace(
                first,
                task=name,
                settings=("wiring", "l1", "none"),
                seeds=config.other_seeds,
                hidden=3 if name == "nested" else 2,
                allowed=0.05,
            ),
            progress,
        )
        for name in ("shared", "nested", MOONS)
    )
    provenance = watch.provenance(command=command, seed=config.seed, device="cpu")
    result = Modular((), provenance, config, independent, strong, others)
    return replace(result, checks=_checks(result))


def _train(config: modular.Config, progress: Progress | None) -> modular.Trained:
    return modular.train(config, progress=every(progress, 100, f"{config.task}, λ {config.strength:g}"))


def _checks(result: Modular) -> tuple[Check, ...]:
    trained, share = result.independent, result.independent.split().mean(1)
    wiring, _, l1, none = range(4)
    q, wires, cost = trained.modularity().mean(1), trained.wires().mean(1), trained.cost.mean(1)
    return (
        Check("share of networks with the right parts, wiring cost", "8 of 10 or more", float(share[wiring]), 0.8, 1),
        Check("the same without a price", "2 of 10 or fewer", float(share[none]), 0, 0.2),
        Check("the same under L1 alone of equal strength", "2 of 10 or fewer", float(share[l1]), 0, 0.2),
        Check("modularity, wiring cost minus none", "above 0", float(q[wiring] - q[none]), 0.1, 1),
        Check("weights left, wiring cost over none", "far below 1", float(wires[wiring] / wires[none]), 0, 0.5),
        Check("length of wires, wiring cost over L1 alone", "below 1", float(cost[wiring] / cost[l1]), 0, 0.9),
        Check(
            "largest error of a network before pruning",
            f"below the {trained.config.allowed:g} allowed",
            float(trained.error.max()),
            0,
            trained.config.allowed,
        ),
    )
