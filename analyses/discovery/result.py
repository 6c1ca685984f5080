"""Result of a discovery study, which loads without torch."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np

from analyses.study import Study
from interp.discovery.circuit import CIRCUIT_JSON, Circuit
from interp.discovery.curve import Curve
from interp.discovery.verdict import Verdict
from interp.provenance import Provenance
from interp.report import Shown, Table
from interp.results import Result
from interp.tasks.score import TaskScore


@dataclass(frozen=True, eq=False)
class Config(Result):
    """Settings of a discovery study.

    Attributes:
        task: name of a task of `interp.tasks`, or a file of pairs.
        pairs: number of pairs drawn, one half to score and one to judge.
        methods: methods that score the edges; the first one chooses the circuit.
        share: fraction of the edges in the circuit, or 0 for the fewest edges that reach f = 0.95 on the half that was
            scored on.
        n_controls: number of random circuits that the circuit is compared with.

    Example:
        >>> Config("ioi", methods=("eap",))
        Config(task='ioi', pairs=20, methods=('eap',), share=0.0, n_controls=20)
    """

    task: str = "ioi"
    pairs: int = 20
    methods: tuple[str, ...] = ("secant", "eap-ig-inputs", "eap")
    share: float = 0.0
    n_controls: int = 20


@dataclass(frozen=True, eq=False)
class HeadView(Result):
    """View of where a head looks from the answer's position.

    `attention` (T,) is the mean over the judged pairs.

    >>> study.heads[0].name, round(study.heads[0].score, 2)  # study = discovery.run(model, config)
    ('L1H0', -7.47)
    """

    name: str
    score: float
    attention: np.ndarray


@dataclass(frozen=True, eq=False)
class EdgeCheck(Shown, Result):
    """Test of the strongest edges or nodes by running the model.

    `score` (n,) is the method's, `noise` the measured change of the log odds when the edge alone is corrupted in the
    clean run, `denoise` minus the change when it alone is restored in the counterfactual run; in nats. `what` says
    whether `edges` names edges or nodes.

    >>> round(study.check.pearson, 3), study.check.edges[0]  # study = discovery.run(model, config)
    (1.0, 'L1H0 → logits')
    """

    method: str
    edges: tuple[str, ...]
    score: np.ndarray
    noise: np.ndarray
    denoise: np.ndarray
    what: str = "edges"

    @property
    def measured(self) -> np.ndarray:
        """Mean of both directions."""
        return (self.noise + self.denoise) / 2

    @property
    def pearson(self) -> float:
        """Correlation of the scores with the mean of both directions."""
        if min(self.score.std(), self.measured.std()) == 0:
            return float("nan")
        return float(np.corrcoef(self.score, self.measured)[0, 1])

    def summary(self) -> str:
        """Say how far scores and measurements agree."""
        same = int((np.sign(self.score) == np.sign(self.measured)).sum())
        return (
            f"Of the {len(self.edges)} strongest {self.what} of {self.method}, run for real, {same} have the sign of "
            f"their score; scores and the mean of both directions correlate by {self.pearson:.3f}."
        )

    def table(self) -> Table:
        """Return the table of every edge."""
        columns = (self.what.removesuffix("s"), "score", "corrupted", "restored", "mean of both")
        values = (self.score, self.noise, self.denoise, self.measured)
        rows = tuple(zip(self.edges, *(tuple(map(float, x)) for x in values), strict=True))
        return Table(columns, rows, self.summary(), dict.fromkeys(columns[1:], "+.4f"))


@dataclass(frozen=True, eq=False)
class Discovery(Study):
    """Result of a study of one task on one model.

    `by_position` (n_chosen, T) are the scores of the circuit's edges, in the order of the graph, at each position;
    `places` (T,) are the names of the positions. `check` is the test of the strongest edges, `nodes` that of the
    strongest nodes; `example` is one pair in words.

    >>> study.circuit.edges, study.places[:3]  # study = discovery.run(model, discovery.Config("induction"))
    (('L1H0 → logits', 'embed → L0H0.v', 'L0H0 → L1H0.k'), ('0', '1', '2'))
    """

    config: Config
    provenance: Provenance
    ability: TaskScore
    curves: tuple[Curve, ...]
    circuit: Circuit
    check: EdgeCheck
    by_position: np.ndarray
    places: tuple[str, ...]
    heads: tuple[HeadView, ...]
    verdict: Verdict
    example: str
    nodes: EdgeCheck | None = None

    def finding(self) -> str:
        """Return the verdict, after a warning if the model fails the task.

        >>> study.finding()  # study = discovery.run(model, discovery.Config("induction"))
        'gpt2 object: 3 of 198 edges (1.5%) carry induction ...'
        """
        if not self.ability.able:
            return (
                f"{self.ability.summary()} The following sections do not explain an ability. {self.verdict.summary()}"
            )
        return f"{self.provenance.model}: {self.verdict.summary()}"

    def summary(self) -> str:
        """Return the verdict, the model's ability and each method's areas.

        >>> print(study.summary().splitlines()[2])  # study = discovery.run(model, discovery.Config("induction"))
          secant on induction: CPR 0.99 (0.99 to 0.99; random 0.25), CMD 0.014 (0.014 to 0.014; random 0.75), ...
        """
        lines = "\n".join(f"  {curve.summary()}" for curve in self.curves)
        warning = f"\n{self.verdict.warning}" if self.verdict.warning else ""
        return f"{self.finding()}\n{self.ability.summary()}\n{lines}\n{self.check.summary()}{warning}"

    def to_dict(self) -> dict[str, Any]:
        """Return the finding as plain values, for `--json`.

        >>> round(study.to_dict()["methods"]["secant"]["cpr"], 3)  # study = discovery.run(model, config)
        0.985
        """
        return {
            "finding": self.finding(),
            "able": self.ability.able,
            "accuracy": self.ability.accuracy,
            "edges": self.circuit.size,
            "edges_ungrouped": self.circuit.counts["ungrouped"],
            "f": self.verdict.f,
            "f_interval": [None if np.isnan(bound) else bound for bound in self.verdict.f_interval],
            "f_complement": self.verdict.f_complement,
            "checked_pearson": None if np.isnan(self.check.pearson) else self.check.pearson,
            "nodes_pearson": None if self.nodes is None or np.isnan(self.nodes.pearson) else self.nodes.pearson,
            "stability": None if np.isnan(self.verdict.stability) else self.verdict.stability,
            "methods": {curve.method: {"cpr": curve.cpr, "cmd": curve.cmd} for curve in self.curves},
        }

    def extra_files(self) -> dict[str, bytes]:
        """Return `circuit.json`, the circuit for other programs.

        >>> list(study.extra_files())  # study = discovery.run(model, discovery.Config("induction"))
        ['circuit.json']
        """
        return {CIRCUIT_JSON: json.dumps(self.circuit.to_dict()).encode()}
