"""Lottery tickets, from masks of training and rewinding.

The study asks whether such masks train better from their own start than from another.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from analyses.bydesign import require_cpu
from analyses.superposition.base import Check, ToyStudy
from interp.progress import Progress
from interp.provenance import Stopwatch
from interp.results import Result
from interp.statistics import mean_interval

if TYPE_CHECKING:
    from interp.report import Figure, Section, Table

PAPER = "Frankle and Carbin 2018, The Lottery Ticket Hypothesis, arXiv 1803.03635"
KINDS = ("ticket", "same mask, new weights", "random mask")


@dataclass(frozen=True, eq=False)
class Config(Result):
    """Settings of a perceptron on digits.

    Its layers are 64 → width → width / 2 → 10. It is pruned in rounds and rewound to its start.

    >>> Config(seed=1)
    Config(width=100, seeds=10, density=0.02, rounds=6, steps=300, batch_size=64, lr=0.003, rewind=0, seed=1)
    """

    width: int = 100
    seeds: int = 10
    density: float = 0.02
    rounds: int = 6
    steps: int = 300
    batch_size: int = 64
    lr: float = 0.003
    rewind: int = 0
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Tickets(ToyStudy):
    """Losses and accuracies of tickets and of their controls.

    Arrays are (kinds, rounds + 1, seeds). Round 0 is the whole network, of which all kinds are copies.

    >>> run(Config(width=16, seeds=2, rounds=2, steps=10)).title
    'Lottery tickets'
    """

    title = "Lottery tickets"
    limitations = (
        "One small perceptron on images of 8 by 8 pixels, where a rewind to the very start works; larger networks "
        "need a rewind to an early step (arXiv 1903.01611).",
    )

    config: Config
    density: Float[np.ndarray, " rounds"]
    loss: Float[np.ndarray, "kinds rounds seeds"]
    """Cross-entropy on new images after training, nats."""
    accuracy: Float[np.ndarray, "kinds rounds seeds"]

    def advantage(self, kind: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the loss of a control minus the ticket's.

        For every round it gives the mean and the 95 % interval over seeds.
        """
        return mean_interval((self.loss[kind] - self.loss[0]).T, seed=self.config.seed)

    def finding(self) -> str:
        """Return the ticket's advantage in the last round."""
        mean, low, high = (float(bound[-1]) for bound in self.advantage(1))
        return (
            f"With {self.density[-1]:.1%} of its weights a ticket has a loss lower by {mean:.3f} nats "
            f"[{low:.3f}, {high:.3f}] than the same mask with new weights."
        )

    def sections(self) -> tuple[Section, ...]:
        """Return one section: loss against weights left, and the advantages."""
        from interp.report import How, Section

        how = How(
            "Train, prune the smallest weights of every layer, reset the rest to their initial values, and repeat; "
            "each round removes the same fraction. Controls are trained on the same batches: the ticket's mask with "
            "weights of another seed, and a random mask with as many weights in each layer and the ticket's initial "
            "values.",
            "m_k = top ρ^(k/n) of |θ_trained| among m_(k−1);  start again from m_k ⊙ θ_0",
            PAPER,
        )
        claim = "Tickets reach a lower loss than the same masks with new weights."
        return (Section("loss", "Loss by sparsity", claim, (self._curves(), self._table()), how),)

    def _curves(self) -> Figure:
        from interp.report import figures

        curves, bands = {}, {}
        for k, name in enumerate(KINDS):
            mean, low, high = mean_interval(self.loss[k].T, seed=self.config.seed)
            curves[name], bands[name] = mean, (low, high)
        return figures.lines(
            "curves",
            self.density,
            curves,
            bands=bands,
            caption=f"Cross-entropy on new images after {self.config.steps} steps against the density; "
            f"bands are 95 % bootstrap intervals over {self.config.seeds} seeds.",
            alt="The ticket's loss is the lowest at every sparsity.",
            axes=("density", "cross-entropy (nats)"),
            log="x",
        )

    def _table(self) -> Table:
        from interp.report import Table

        rows = []
        for kind in (1, 2):
            for r, (mean, low, high) in enumerate(zip(*self.advantage(kind), strict=True)):
                right = (float(self.accuracy[0, r].mean()), float(self.accuracy[kind, r].mean()))
                rows.append((KINDS[kind], float(self.density[r]), float(mean), float(low), float(high), *right))
        columns = (
            "control",
            "density",
            "its loss minus the ticket's",
            "from",
            "to",
            "ticket's accuracy",
            "its accuracy",
        )
        formats = dict.fromkeys(columns[2:5], "+.3f") | dict.fromkeys(columns[5:], ".3f") | {"density": ".3f"}
        return Table(columns, tuple(rows[1:]) if self.config.rounds else tuple(rows), formats=formats)


def run(
    config: Config, *, device: str = "cpu", command: str | None = None, progress: Progress | None = None
) -> Tickets:
    """Find tickets and train their controls.

    Tickets of all seeds are trained at once, and so are the controls of all rounds.

    >>> result = run(Config(width=16, seeds=2, rounds=2, steps=10))  # small, in place of the defaults
    >>> result.checks[0].claim
    "new weights' loss minus the ticket's with 2.1% of the weights, lower bound"
    """
    from analyses.bydesign.tickets_run import compute

    require_cpu(device)
    watch = Stopwatch()
    densities, loss, accuracy = compute(config, progress)
    provenance = watch.provenance(command=command, seed=config.seed, device="cpu")
    result = Tickets((), provenance, config, densities, loss, accuracy)
    return replace(result, checks=_checks(result))


def _checks(result: Tickets) -> tuple[Check, ...]:
    new, random = (float(result.advantage(kind)[1][-1]) for kind in (1, 2))
    first = result.loss[0]
    last = f"with {result.density[-1]:.1%} of the weights"
    return (
        Check(f"new weights' loss minus the ticket's {last}, lower bound", "above 0", new, 1e-9, np.inf),
        Check(f"random mask's loss minus the ticket's {last}, lower bound", "above 0", random, 1e-9, np.inf),
        Check("the controls are the same network in round 0: largest difference", "0", _spread(result), 0, 1e-6),
        Check(
            "least loss of a ticket over the whole network's, mean of seeds",
            "about 1: tickets are as good as the whole network",
            float((first[1:].mean(1) / first[0].mean()).min()),
            0,
            1.1,
        ),
    )


def _spread(result: Tickets) -> float:
    return float(np.abs(result.loss[:, 0] - result.loss[0, 0]).max())
