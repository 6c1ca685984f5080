"""What interventions on a graph's latents say. No torch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from interp.report import Figure, Shown, Table
from interp.results import Result


@dataclass(frozen=True, eq=False)
class Interventions(Shown, Result):
    """Result of real interventions on latents, with predicted and actual changes.

    `predicted` and `actual` are changes of the target (n_node,), in `unit`. `done` says what was done to each of the
    `nodes`, and to the random active latents `controls`. The correlations are (Spearman's rank correlation of predicted
    and actual, lower, upper bound of its 95 % interval).

    >>> mixed, target = attribution.features(attribution.freeze(model, tokens), 4), attribution.logit(model, " Paris")
    >>> graph = attribution.graph(mixed, target)
    >>> interventions = attribution.intervene(mixed, graph, target, k=3)
    """

    target: str
    unit: str
    done: str
    nodes: tuple[str, ...]
    predicted: np.ndarray
    actual: np.ndarray
    controls: tuple[str, ...]
    predicted_controls: np.ndarray
    actual_controls: np.ndarray
    correlation: tuple[float, float, float]
    correlation_controls: tuple[float, float, float]

    @property
    def sizes(self) -> tuple[float, float]:
        """Mean absolute actual change of the graph's latents and of random ones."""
        return float(np.abs(self.actual).mean()), float(np.abs(self.actual_controls).mean())

    def summary(self) -> str:
        """Return one sentence that compares prediction of effects with random latents.

        >>> print(interventions.summary().partition(":")[0])
        Latents of the graph, set to 0
        """
        rank, low, high = self.correlation
        (own, others), chance = self.sizes, self.correlation_controls
        return (
            f"Latents of the graph, {self.done}: rank correlation of predicted and actual change {rank:+.2f} "
            f"[{low:+.2f}, {high:+.2f}], mean change {own:.3f} {self.unit}; {len(self.controls)} random active latents "
            f"change it by {others:.3f} (rank correlation {chance[0]:+.2f} [{chance[1]:+.2f}, {chance[2]:+.2f}])."
        )

    def table(self) -> Table:
        """Return predicted and actual change of each latent as a table.

        Latents of the graph come first.

        >>> interventions.table().rows[0]
        ('MLP1.f4@3', 'graph', -0.863, -1.037)
        """
        rows = [
            (name, where, predicted, actual)
            for where, names, first, second in (
                ("graph", self.nodes, self.predicted, self.actual),
                ("random", self.controls, self.predicted_controls, self.actual_controls),
            )
            for name, predicted, actual in zip(names, first.tolist(), second.tolist(), strict=True)
        ]
        formats = {"predicted": "+.4f", "actual": "+.4f"}
        return Table(("latent", "from", "predicted", "actual"), tuple(rows), self.summary(), formats)

    def figure(self) -> Figure:
        """Draw predicted against actual change, for the graph's and for random latents.

        >>> interventions.figure()
        Figure(interventions: Scatter of predicted against actual change; rank correlation +1.00.)
        """
        from interp.report.figures import scatter

        return scatter(
            "interventions",
            np.concatenate([self.predicted, self.predicted_controls]),
            np.concatenate([self.actual, self.actual_controls]),
            caption=f"Each point is a latent, {self.done} in a run of its own. {self.summary()}",
            alt=f"Scatter of predicted against actual change; rank correlation {self.correlation[0]:+.2f}.",
            axes=(f"predicted change ({self.unit})", f"actual change ({self.unit})"),
            groups=["graph"] * len(self.nodes) + ["random"] * len(self.controls),
            labels=[*self.nodes, *self.controls],
        )
