"""Modular addition and permutations with priced wires.

The study asks whether the embedding concentrates on few parts of the group's basis.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from analyses.bydesign import require_cpu
from analyses.superposition.base import Check, ToyStudy
from interp.progress import Progress, every
from interp.provenance import Stopwatch
from interp.results import Result
from interp.toy import modular

if TYPE_CHECKING:
    from interp.report import Figure, Section, Table

PAPER = "Liu, Gan and Tegmark 2023, arXiv 2305.08746; Nanda et al. 2023, arXiv 2301.05217"
SETTINGS = ("wiring cost", "L1 alone", "no price")


@dataclass(frozen=True, eq=False)
class Config(Result):
    """Settings: a prime modulus, and permutations of four things, under three prices.

    >>> Config(seed=1)
    Config(modulus=31, seeds=2, strength=1.0, permutation_strength=10.0, locality=2.0, steps=3000, seed=1)
    """

    modulus: int = 31
    seeds: int = 2
    strength: float = 1.0
    permutation_strength: float = 10.0
    locality: float = 2.0
    steps: int = 3000
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Addition(ToyStudy):
    """Energies of the embeddings of trained and untrained networks.

    They are (settings, seeds, parts). `null` are the same networks before training.

    >>> run(Config(modulus=5, seeds=2, steps=10)).title
    'Modular addition and permutations'
    """

    title = "Modular addition and permutations"
    limitations = (
        "Only the embedding is analysed, not which neurons use which frequency.",
        "The paper reports neurons for the parity of a permutation; the energy of the embedding does not show them "
        "here.",
        "The group is small, so that most pairs are needed for training: a fifth is left out.",
    )

    config: Config
    fourier: Float[np.ndarray, "settings seeds frequencies"]
    fourier_null: Float[np.ndarray, "settings seeds frequencies"]
    irreps: Float[np.ndarray, "settings seeds irreps"]
    irreps_null: Float[np.ndarray, "settings seeds irreps"]
    accuracy: Float[np.ndarray, "groups settings seeds"]
    """Accuracy on pairs left out of training."""
    loss: Float[np.ndarray, "groups settings seeds"]
    """Loss on the training pairs, nats."""

    def key_counts(self) -> tuple[np.ndarray, np.ndarray]:
        """Return how many frequencies hold 90 % of the energy.

        The first array is that of the trained networks, the second that of the untrained ones.
        """
        return modular.keys(self.fourier), modular.keys(self.fourier_null)

    def finding(self) -> str:
        """Return how many frequencies carry the energy, with and without training."""
        trained, null = self.key_counts()
        return (
            f"90 % of the embedding's energy is in {trained[0].min()} to {trained[0].max()} of "
            f"{self.fourier.shape[-1]} frequencies with the wiring cost, in {trained[2].min()} to {trained[2].max()} "
            f"without a price and in {null.min()} to {null.max()} before training."
        )

    def sections(self) -> tuple[Section, ...]:
        """Return the sections on frequencies and on irreducible representations."""
        from interp.report import How, Section

        frequencies = How(
            "Discrete Fourier transform of the embedding over tokens without its mean, summed over dimensions and "
            "normalised.",
            "E_k ∝ Σ_dimensions |Σ_t e_t exp(−2πi k t / n)|²",
            PAPER,
        )
        group = How(
            "Energy of the embedding in each irreducible representation of the group.",
            "P_ρ = d_ρ / 24 Σ_h χ_ρ(h⁻¹) h",
            PAPER,
        )
        parity, before = self.irreps[0, :, 1].mean(), self.irreps_null[0, :, 1].mean()
        return (
            Section(
                "frequencies",
                "Modular addition",
                "Trained networks use few frequencies; in untrained ones all are equally strong.",
                (self._spectrum(), self._table(0)),
                frequencies,
            ),
            Section(
                "permutations",
                "Permutations",
                f"The accuracy on new pairs is {self.accuracy[1, 0].mean():.2f} with the wiring cost and "
                f"{self.accuracy[1, 2].mean():.2f} without a price, but the energy is not concentrated: the sign of a "
                f"permutation has {parity:.0%} of it, {before:.0%} before training.",
                (self._irreps(), self._table(1)),
                group,
            ),
        )

    def _spectrum(self) -> Figure:
        from interp.report import figures

        energy = np.concatenate([self.fourier[:, 0], self.fourier_null[:1, 0]])
        return figures.heatmap(
            "spectrum",
            energy,
            rows=[*SETTINGS, "before training"],
            columns=[str(k + 1) for k in range(energy.shape[1])],
            axes=("setting", "frequency", "share of energy"),
            signed=False,
            caption=f"Share of the embedding's energy in each frequency modulo {self.config.modulus}, first seed.",
            alt="Trained rows have few bright cells, the row before training has none.",
        )

    def _irreps(self) -> Figure:
        from interp.report import figures

        energy = np.concatenate([self.irreps.mean(1), self.irreps_null[:1].mean(1)])
        return figures.heatmap(
            "irreps",
            energy,
            rows=[*SETTINGS, "before training"],
            columns=list(modular.IRREPS),
            axes=("setting", "representation", "share of energy"),
            signed=False,
            caption=f"Mean share of the embedding's energy in each representation over {self.config.seeds} seeds.",
            alt="Energy is proportional to the size of the representation, before and after training.",
        )

    def _table(self, group: int) -> Table:
        from interp.report import Table

        trained = (self.fourier, self.irreps)[group]
        rows = tuple(
            (name, seed, float(self.loss[group, k, seed]), float(self.accuracy[group, k, seed]), int(count))
            for k, name in enumerate(SETTINGS)
            for seed, count in enumerate(modular.keys(trained[k]))
        )
        parts = ("frequencies", "representations")[group]
        columns = ("setting", "seed", "training loss (nats)", "accuracy on new pairs", f"{parts} for 90 %")
        return Table(columns, rows, formats={"training loss (nats)": ".4f", "accuracy on new pairs": ".3f"})


def run(
    config: Config, *, device: str = "cpu", command: str | None = None, progress: Progress | None = None
) -> Addition:
    """Train both groups under three prices and compute their embeddings' energies.

    >>> result = run(Config(modulus=5, seeds=2, steps=10))  # small, in place of the defaults
    >>> result.checks[0].claim
    'addition, wiring cost: least accuracy on new pairs'
    """
    require_cpu(device)
    watch = Stopwatch()
    tables = (modular.addition_table(config.modulus), modular.permutation_table())
    names = ("addition", "permutations")
    strengths = (config.strength, config.permutation_strength)
    learned = [
        _learn(table, config, strength, name, progress)
        for table, strength, name in zip(tables, strengths, names, strict=True)
    ]
    grid = (len(SETTINGS), config.seeds, -1)
    result = Addition(
        checks=(),
        provenance=watch.provenance(command=command, seed=config.seed, device="cpu"),
        config=config,
        fourier=modular.fourier_energy(learned[0].embedding).reshape(grid),
        fourier_null=modular.fourier_energy(learned[0].start).reshape(grid),
        irreps=modular.irrep_energy(learned[1].embedding).reshape(grid),
        irreps_null=modular.irrep_energy(learned[1].start).reshape(grid),
        accuracy=np.stack([networks.accuracy.reshape(grid[:2]) for networks in learned]),
        loss=np.stack([networks.loss.reshape(grid[:2]) for networks in learned]),
    )
    return replace(result, checks=_checks(result))


def _learn(table: np.ndarray, config: Config, strength: float, name: str, progress: Progress | None) -> modular.Learned:
    import torch

    settings = torch.tensor([[1.0, config.locality, 1], [1, 0, 0], [0, 0, 0]]).repeat_interleave(config.seeds, 0)
    price = modular.Price(strength * settings[:, 0], settings[:, 1], settings[:, 2].bool())

    seeds = [config.seed * 1000 + s for s in range(config.seeds)] * len(SETTINGS)
    report = every(progress, 50, name)
    return modular.learn_table(table, price, seeds, steps=config.steps, seed=config.seed, progress=report)


def _checks(result: Addition) -> tuple[Check, ...]:
    trained, null = result.key_counts()
    frequencies = result.fourier.shape[-1]
    return (
        Check("addition, wiring cost: least accuracy on new pairs", "1", float(result.accuracy[0, 0].min()), 0.95, 1),
        Check("most frequencies for 90 % of energy, wiring cost", "few", float(trained[0].max()), 1, frequencies / 3),
        Check(
            "least frequencies for 90 % of energy, untrained",
            "nearly all",
            float(null.min()),
            0.7 * frequencies,
            frequencies,
        ),
        Check(
            "permutations: mean accuracy on new pairs, wiring cost minus no price",
            "far above 0: only networks with a wiring cost generalise to new pairs",
            float(result.accuracy[1, 0].mean() - result.accuracy[1, 2].mean()),
            0.5,
            1,
        ),
    )
