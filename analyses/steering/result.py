"""Result of a study of steering one behaviour, which loads without torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from analyses.study import Study
from interp.provenance import Provenance
from interp.results import Result
from interp.steering.behaviours import Behaviour
from interp.steering.neutral import NEUTRAL
from interp.steering.response import DoseResponse


@dataclass(frozen=True, eq=False)
class Config(Result):
    """Settings of a study of steering.

    Attributes:
        behaviour: name of `interp.steering.names()`, or a JSON file with the fields of a `Behaviour`.
        method: method that makes the vectors.
        layers: blocks that are steered, by default five spread over the model.
        strengths: strengths of every vector, in units of the stream's median norm; 0 is added.
        n_controls: number of random directions of the same norm in every layer, as a control.
        off_target: behaviours of the catalogue that should not change, by default all others of it.
        neutral: texts on which the cost is measured.

    Example:
        >>> Config("sentiment", layers=(12,), n_controls=20).strengths
        (-0.6, -0.3, -0.1, 0.1, 0.3, 0.6)
    """

    behaviour: str = "sentiment"
    method: str = "difference"
    layers: tuple[int, ...] = ()
    strengths: tuple[float, ...] = (-0.6, -0.3, -0.1, 0.1, 0.3, 0.6)
    n_controls: int = 100
    off_target: tuple[str, ...] | None = None
    neutral: tuple[str, ...] = NEUTRAL


@dataclass(frozen=True, eq=False)
class Steering(Study):
    """Result of a study of steering one behaviour of one model.

    >>> study.behaviour.name, study.response.layers  # study = steering.run(model, config)
    ('place', (1,))
    """

    config: Config
    provenance: Provenance
    behaviour: Behaviour
    response: DoseResponse

    def finding(self) -> str:
        """Return the verdict in one sentence.

        >>> study.finding()  # study = steering.run(model, config)
        'llama object, place: The vector does not steer: -1.70 [-2.48, -0.83] per norm of the stream in log ...'
        """
        return f"{self.provenance.model}, {self.behaviour.name}: {self.response.verdict()}"

    def summary(self) -> str:
        """Return the verdict and the mean slope of every layer.

        >>> print(study.summary().splitlines()[-1])  # study = steering.run(model, config)
          layer  1  slope -1.70  agreement of the pairs 0.82
        """
        means = self.response.slopes.mean(1)
        lines = "\n".join(
            f"  layer {layer:>2}  slope {slope:+.2f}  agreement of the pairs {vector.agreement:.2f}"
            for layer, slope, vector in zip(self.response.layers, means, self.response.vectors, strict=True)
        )
        return f"{self.finding()}\nmean slope over all prompts:\n{lines}"

    def to_dict(self) -> dict[str, Any]:
        """Return the finding as plain values, for `--json`.

        >>> study.to_dict()["steers"], round(study.to_dict()["slope"], 2)  # study = steering.run(model, config)
        (False, -1.7)
        """
        response = self.response
        slope, *interval = response.slope
        return {
            "finding": self.finding(),
            "steers": response.steers,
            "layer": response.layers[response.best],
            "slope": slope,
            "slope_interval": [None if np.isnan(end) else end for end in interval],
            "p_random": response.p_random,
            "wrong_way": response.wrong_way[0],
            "kl": dict(zip(map(str, response.strengths), response.kl[response.best].mean(1).tolist(), strict=True)),
        }
