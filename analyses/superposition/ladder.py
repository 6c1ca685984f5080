"""Sparse autoencoders compared with K-SVD, an oracle and chance.

The same problem for every method shows whether an autoencoder fails or the problem is hard.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

import saes
from analyses.superposition.base import Check, ToyStudy, trained
from interp import toy
from interp.progress import Progress
from interp.provenance import Stopwatch
from interp.results import Result
from saes.evaluation.recovery import METRICS, judge

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from interp.report import Figure, Section

PROBLEMS = ("packed directions", "trained toy model")
TOLERANCE = 0.1
"""Residual at which coders stop, as a fraction of a signal's length."""
METHODS = ("true dictionary, OMP", "K-SVD", "MOD", "TopK autoencoder", "L1 autoencoder", "random dictionary, OMP")


@dataclass(frozen=True, eq=False)
class Config(Result):
    """Settings of the problems and of the methods.

    Features are active with probability `density` and have values of 0.5 to 1.5. Coders use `k` atoms per signal.
    `l1` is the `sparsity` of the L1 autoencoder (see `saes.Config`).

    >>> Config(seed=1)
    Config(features=64, hidden=32, density=0.05, k=4, l1=1.0, signals=4000, sae_steps=1000, toy_steps=3000, ...
    """

    features: int = 64
    hidden: int = 32
    density: float = 0.05
    k: int = 4
    l1: float = 1.0
    signals: int = 4000
    sae_steps: int = 1000
    toy_steps: int = 3000
    seeds: int = 3
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Ladder(ToyStudy):
    """Metrics of every method on both problems."""

    title = "Recovery of a known dictionary"
    limitations = (
        "The autoencoders are those of `saes`, with one setting each; they see fresh data at every step, "
        "the classical methods a fixed set.",
        "Autoencoder codes are non-negative, those of OMP and K-SVD signed. A trained toy model puts features into "
        "antipodal pairs, and a signed code needs one atom for a pair: K-SVD recovers the lines, not their two ends.",
    )

    config: Config
    scores: Float[np.ndarray, "problems methods seeds metrics"]
    coherence: Float[np.ndarray, "problems seeds"]

    def score(self, problem: str, method: str, metric: str) -> Float[np.ndarray, " seeds"]:
        """Return one metric of one method on one problem."""
        return self.scores[PROBLEMS.index(problem), METHODS.index(method), :, METRICS.index(metric)]

    def finding(self) -> str:
        """Return the matched cosines of K-SVD, the autoencoders and chance."""
        ksvd, topk, l1, chance = (self.score(PROBLEMS[0], METHODS[i], "matched cosine").mean() for i in (1, 3, 4, 5))
        return (
            f"{self.config.features} directions in {self.config.hidden} dimensions: the matched cosine of K-SVD is "
            f"{ksvd:.3f}, that of autoencoders {topk:.2f} (TopK) and {l1:.2f} (L1), and chance is {chance:.2f} "
            f"({self.config.seeds} seeds)."
        )

    def sections(self) -> tuple[Section, ...]:
        """Return a section with a figure and a table for each problem."""
        from interp.report import How, Section, Table

        how = How(
            "Matched cosine: one-to-one matching of features and atoms of largest total |cosine|; features without an "
            "atom count 0. Firing F1: of 'the matched atom is used' for 'the feature is active'. FVU: fraction of "
            "variance unexplained; it favours dense codes, which explain more variance with less meaning.",
            "K-SVD: Aharon, Elad, Bruckstein 2006; OMP: Tropp 2004",
        )
        sections = []
        for index, problem in enumerate(PROBLEMS):
            mean, spread = self.scores[index].mean(1), self.scores[index].std(1, ddof=1 if self.config.seeds > 1 else 0)
            columns = ("method", *(name for metric in METRICS for name in (metric, f"± {metric}")))
            rows = tuple(
                (method, *(float(x) for pair in zip(mean[m], spread[m], strict=True) for x in pair))
                for m, method in enumerate(METHODS)
            )
            table = Table(
                columns,
                rows,
                caption="Mean and standard deviation over seeds.",
                formats={c: ".3f" for c in columns[1:]},
            )
            claim = (
                f"Coherence {self.coherence[index].mean():.2f}. With the true dictionary, signed OMP reaches a firing "
                f"F1 of {mean[0, 2]:.2f}; a random dictionary, chance, has a matched cosine of {mean[-1, 0]:.2f}."
            )
            sections.append(Section(f"problem-{index}", problem.capitalize(), claim, (self._bars(index), table), how))
        return tuple(sections)

    def _bars(self, index: int) -> Figure:
        from interp.report import figures

        return figures.bars(
            f"cosine-{index}",
            METHODS,
            self.scores[index, :, :, 0].mean(1),
            errors=self.scores[index, :, :, 0].std(1),
            caption=f"Matched cosine, mean over {self.config.seeds} seeds; error bars are standard deviations. The "
            "last bar is chance.",
            alt="K-SVD is near one, autoencoders below it, a random dictionary near 0.4.",
            axes=("method", "matched cosine"),
        )


def run(config: Config, *, device: str = "cpu", command: str | None = None, progress: Progress | None = None) -> Ladder:
    """Score all methods on both problems with all seeds."""
    watch = Stopwatch()
    scored = [
        _problem(config, dictionaries) for dictionaries in (_packed(config), _from_toys(config, device, progress))
    ]
    scores, coherence = np.stack([s for s, _ in scored]), np.stack([c for _, c in scored])
    result = Ladder((), watch.provenance(command=command, seed=config.seed, device=device), config, scores, coherence)
    return Ladder(_checks(result), result.provenance, config, scores, coherence)


def _checks(result: Ladder) -> tuple[Check, ...]:
    packed, trained_toy = ({m: result.score(problem, m, "matched cosine") for m in METHODS} for problem in PROBLEMS)
    oracle = float(result.score(PROBLEMS[0], METHODS[0], "firing F1").min())
    chance = max(float(value[METHODS[5]].max()) for value in (packed, trained_toy))
    learned = min(float(value[m].min()) for value in (packed, trained_toy) for m in METHODS[3:5])
    signed = float((trained_toy[METHODS[3]] - trained_toy["K-SVD"]).min())
    return (
        Check("packed: K-SVD, least matched cosine", "above 0.98", float(packed["K-SVD"].min()), 0.98, 1),
        Check("packed: true dictionary with OMP, least firing F1", "the ceiling", oracle, 0.85, 1),
        Check("random dictionary, largest matched cosine", "chance, about 0.4", chance, 0.3, 0.5),
        Check("autoencoders, least matched cosine", "far above chance", learned, 0.8, 1),
        Check(
            "toy model: TopK autoencoder minus K-SVD, least", "above 0: antipodal features need signs", signed, 0.05, 1
        ),
    )


def _packed(config: Config) -> Tensor:
    """Return (seeds, features, hidden) directions of length 1 near Welch's bound."""
    import torch

    from interp import coding

    generators = [torch.Generator().manual_seed((config.seed << 20) + s) for s in range(config.seeds)]
    packed = [coding.packed_dictionary(config.features, config.hidden, generator=g) for g in generators]
    return torch.stack(packed)


def _from_toys(config: Config, device: str, progress: Progress | None) -> Tensor:
    """Train toy models on such data and return their feature directions.

    The shape is (seeds, features, hidden).
    """
    import torch

    grid = toy.Config(
        config.features,
        config.hidden,
        density=(config.density,),
        starts=config.seeds,
        lr=5e-3,
        steps=config.toy_steps,
        seed=config.seed,
    )
    models = trained(grid, what="toy models", device=device, progress=progress)
    return torch.from_numpy(models.features_in[0].copy())


def _problem(config: Config, dictionaries: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Return (methods, seeds, metrics), and the coherence of every seed's dictionary."""
    import torch

    from interp import coding

    stream = torch.Generator().manual_seed((config.seed << 20) + 777)
    by_seed = []
    for seed, true in enumerate(dictionaries, config.seed << 20):
        train, test = _active(config, config.signals, stream) @ true, _active(config, config.signals, stream)
        h, learned = test @ true, _classical(config, true, train, stream)
        # Enough atoms for nearly every signal; the coder stops by itself when the signal is explained.
        codes = [(d, coding.omp(h, d, 2 * config.k, tolerance=TOLERANCE)) for d in learned]
        codes = [(d, f, f @ d) for d, f in codes]
        autoencoders = _autoencoders(config, true, seed, stream)
        with torch.no_grad():
            codes[3:3] = [(sae.W_dec, *sae.run(h)) for sae in autoencoders]
        by_seed.append([_judge(true, test, h, *each) for each in codes])
    return np.swapaxes(np.array(by_seed), 0, 1), np.array([coding.coherence(d) for d in dictionaries])


def _active(config: Config, count: int, generator: torch.Generator) -> Tensor:
    """Draw (count, features) coefficients."""
    import torch

    shape = (count, config.features)
    active = torch.rand(shape, generator=generator) < config.density
    return active * (torch.rand(shape, generator=generator) + 0.5)


def _autoencoders(config: Config, true: Tensor, seed: int, generator: torch.Generator) -> list[saes.SAE]:
    """Train a TopK and an L1 autoencoder.

    Both are trained on new signals at every step.
    """

    def signals() -> Iterator[Tensor]:
        while True:
            yield _active(config, 512, generator) @ true

    shared = saes.Config(width=config.features, k=config.k, steps=config.sae_steps, batch_size=512, lr=3e-3, seed=seed)
    kinds = (shared, replace(shared, architecture="standard", sparsity=config.l1))
    return [saes.train(kind, signals) for kind in kinds]


def _classical(config: Config, true: Tensor, train: Tensor, generator: torch.Generator) -> list[Tensor]:
    """Return the dictionaries of the classical methods.

    They are the true one, those that K-SVD and MOD learn from `train`, and a random one.
    """
    from interp import coding

    learners: tuple[Callable[..., coding.Learned], ...] = (coding.ksvd, coding.mod)
    learned = [learn(train, config.features, config.k, generator=generator).dictionary for learn in learners]
    return [true, *learned, coding.random_dictionary(config.features, config.hidden, generator=generator)]


def _judge(true: Tensor, active: Tensor, h: Tensor, atoms: Tensor, codes: Tensor, rebuilt: Tensor) -> np.ndarray:
    unexplained = float((h - rebuilt).square().sum() / (h - h.mean(0)).square().sum())
    return judge(true.numpy(), active.numpy(), atoms.detach().numpy(), codes.numpy(), unexplained)
