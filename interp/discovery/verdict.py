"""Tests of a circuit on a held-out task, and their verdict. No torch here."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from interp.report import Shown, Table
from interp.results import Result
from interp.statistics import Bootstrap

FAITHFUL = 0.95
"""Faithfulness from which a circuit counts as carrying the behaviour."""


@dataclass(frozen=True, eq=False)
class Verdict(Shown, Result):
    """A circuit judged on pairs it was not chosen on.

    `circuit`, `complement`, `clean` and `corrupted` (n_pair,) are measures in nats of the circuit alone, of everything
    else alone, of the whole model and of the counterfactual; `control` (n_controls,) the faithfulness of random
    circuits of the same size; `dropped` (n_dropped,) by how much f falls when one edge is left out, for the edges
    `dropped_edges`.

    >>> circuit = discovery.circuit(discovery.score(model, task), share=0.2)
    >>> verdict = discovery.judge(model, task, circuit, n_controls=5)
    >>> verdict.f, verdict.f_complement
    (0.866, -0.611)
    """

    how: dict[str, str]
    task: str
    size: int
    n_edge: int
    circuit: np.ndarray
    complement: np.ndarray
    clean: np.ndarray
    corrupted: np.ndarray
    control: np.ndarray
    dropped: np.ndarray
    dropped_edges: tuple[str, ...]
    templates: tuple[str, ...]
    stability: float = float("nan")
    warning: str = ""
    seed: int = 0

    @property
    def f(self) -> float:
        """Faithfulness of the circuit."""
        return float((self.circuit - self.corrupted).mean() / (self.clean - self.corrupted).mean())

    @property
    def f_interval(self) -> tuple[float, float]:
        """95 % bootstrap interval of `f` over pairs."""
        interval = Bootstrap.of(len(self.clean), self.seed).ratio(
            self.circuit - self.corrupted, self.clean - self.corrupted
        )
        return (float("nan") if interval[1] is None else interval[1]), (
            float("nan") if interval[2] is None else interval[2]
        )

    @property
    def f_complement(self) -> float:
        """Faithfulness of everything but the circuit.

        Near 0 where the circuit is complete.
        """
        return float((self.complement - self.corrupted).mean() / (self.clean - self.corrupted).mean())

    @property
    def quantiles(self) -> tuple[float, float, float, float, float]:
        """Minimum, quartiles and maximum of faithfulness, pair by pair.

        A mean can hide them (2407.15166).
        """
        each = (self.circuit - self.corrupted) / (self.clean - self.corrupted)
        low, first, middle, third, high = np.percentile(each, [0, 25, 50, 75, 100])
        return float(low), float(first), float(middle), float(third), float(high)

    @property
    def by_template(self) -> dict[str, float]:
        """Faithfulness on each template."""
        ratios = {}
        for template in dict.fromkeys(self.templates):
            rows = [i for i, name in enumerate(self.templates) if name == template]
            top, bottom = ((x[rows] - self.corrupted[rows]).mean() for x in (self.circuit, self.clean))
            ratios[template] = float(top / bottom)
        return ratios

    @property
    def superfluous(self) -> float:
        """Share of dropped edges that change f by less than 0.001."""
        return float((np.abs(self.dropped) < 1e-3).mean()) if len(self.dropped) else float("nan")

    def summary(self) -> str:
        """Return the verdict in one sentence.

        >>> print(verdict.summary().partition("%")[0])
        37 of 190 edges (19.5
        """
        low, high = self.f_interval
        carries = "carry" if self.f >= FAITHFUL and self.f > self._chance else "do not carry"
        return (
            f"{self.size:,} of {self.n_edge:,} edges ({self.size / self.n_edge:.1%}) {carries} {self.task} on "
            f"{len(self.clean)} pairs that were not seen: f = {self.f:.2f} ({low:.2f} to {high:.2f}), everything else "
            f"{self.f_complement:.2f}, {len(self.control)} random circuits of this size at most {self._chance:.2f}."
        )

    def table(self) -> Table:
        """Return every test of the circuit.

        >>> verdict.table().rows[0]
        ('faithfulness f', 0.866, '-0.975 to 0.866')
        """
        low, high = self.f_interval
        quantiles = self.quantiles
        rows = [
            ("faithfulness f", self.f, f"{low:.3f} to {high:.3f}"),
            ("f of the complement", self.f_complement, "near 0 where the circuit is complete"),
            ("f of random circuits, largest", self._chance, f"of {len(self.control)} of the same size"),
            ("f pair by pair, median", quantiles[2], f"{quantiles[0]:.2f} to {quantiles[4]:.2f}"),
            ("f by template, smallest", min(self.by_template.values()), f"of {len(self.by_template)} templates"),
            ("edges whose loss changes f by < 0.001", self.superfluous, f"of {len(self.dropped)} left out one by one"),
            ("overlap of bootstrap circuits", self.stability, self.warning or "stable"),
        ]
        return Table(("test", "value", "range or note"), tuple(rows), self.summary(), {"value": ".3f"})

    @property
    def _chance(self) -> float:
        return float(self.control.max()) if len(self.control) else float("nan")

    def __repr__(self) -> str:
        return self.summary()
