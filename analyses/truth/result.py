"""Result of a study of truth probes. Loads no torch.

A saved result can therefore be read and drawn without torch.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from analyses.study import Study
from interp.provenance import Provenance
from interp.results import Result
from probes.erasure_report import ErasureReport
from probes.intervention.results import Intervention
from probes.layers import Layered
from probes.protocol.results import Sweep
from probes.protocol.transfer_results import LeftOut, Transfer

if TYPE_CHECKING:
    from interp.report import Download
    from probes.protocol.verdicts import Verdict


CARRIED = 160_000
"""Most bytes of result files that a page offers for download."""


@dataclass(frozen=True, eq=False)
class Config(Layered):
    """Settings of the study: statements, probe, position and controls.

    Attributes:
        data: CSV or JSONL files, or names of generated sets.
        probe: "logistic", "mass-mean", "lda", "ridge", "ccs", "crc", "ttpd" or "saplma".
        position: which token of a statement is read.
        layers: l is the output of block l, -1 the embedding; empty for all.
        group: column or regular expression of the entities; None finds them.
        controls: selectivity, null, embedding, baselines and erasure.
        causal: also add the direction while the model answers whether statements are true.

    Example:
        >>> Config(("cities.csv", "neg_cities.csv"), probe="mass-mean").position
        'last'
    """

    data: tuple[str, ...] = ()
    probe: str = "logistic"
    position: str = "last"
    layers: tuple[int, ...] = ()
    group: str | None = None
    controls: bool = True
    causal: bool = False


@dataclass(frozen=True, eq=False)
class SetOf(Result):
    """Size, entities and irregularities of one set of statements.

    >>> one = study.sets[0]  # study = truth.run(model, config, data=[places])
    >>> one.name, one.n, one.n_true, one.entities
    ('places', 72, 36, 36)
    """

    name: str
    n: int
    n_true: int
    entities: int
    grouped_by: str
    polarity_by: str
    sha256: str
    problems: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Plane(Result):
    """Test activations of one set in the plane of its probe.

    Attributes:
        x: (n,) signed distance from the probe's threshold along its direction, units of the residual stream.
        y: (n,) along the first principal component of the train side after the direction is taken out.
        shares: fraction of the train side's variance along the direction, and along that component.

    Example:
        >>> plane = study.planes["places"]  # study = truth.run(model, config, data=[places])
        >>> plane.x.shape, np.round(plane.shares, 2).tolist()
        ((20,), [0.51, 0.18])
    """

    x: np.ndarray
    y: np.ndarray
    shares: tuple[float, float]

    def __repr__(self) -> str:
        return f"Plane({len(self.x)} statements)"


@dataclass(frozen=True, eq=False)
class TruthStudy(Study):
    """Result of a truth study: everything its report says.

    `planes` and `erasures` are by set name. `skipped` says what was not done, and why.

    >>> study.sweeps[0].best  # study = truth.run(model, config, data=[places])
    Score(layer 0, position last: accuracy 1.000 [0.692, 1.000], AUC 1.000 [0.692, 1.000])
    """

    config: Config
    provenance: Provenance
    sets: tuple[SetOf, ...]
    sweeps: tuple[Sweep, ...]
    transfer: Transfer | None
    left_out: tuple[LeftOut, ...]
    planes: dict[str, Plane]
    erasures: dict[str, ErasureReport]
    intervention: Intervention | None
    skipped: tuple[str, ...]

    @property
    def verdicts(self) -> tuple[Verdict, ...]:
        """Verdicts computed from the numbers, inversions first."""
        verdicts = [v for sweep in self.sweeps for v in sweep.verdicts]
        verdicts += self.transfer.verdicts if self.transfer else ()
        return tuple(sorted(verdicts, key=lambda v: (v.kind != "inverted", not v.warning)))

    def finding(self) -> str:
        """Return the first set's accuracy and its main limit, as one sentence.

        The accuracy is that on new entities.

        >>> study.finding()  # study = truth.run(model, config, data=[places])
        'On places a mass mean probe at layer 0 tells true from false statements about 10 unseen groups with ...'
        """
        sweep = self.sweeps[0]
        best = sweep.best
        kinds = {v.kind for v in sweep.verdicts}
        verb = "tells" if "reads" in kinds else "does not tell"
        text = (
            f"On {sweep.name} {probe_words(sweep)} at layer {best.layer} {verb} true from false statements about "
            f"{sweep.groups_test} unseen groups with accuracy {interval_words(best.accuracy)}"
        )
        inverted = [v for v in self.verdicts if v.kind == "inverted"]
        if "reads" not in kinds:
            text += "; its answers are inverted" if "inverted" in kinds else "; its AUC is not above chance"
        elif inverted:
            denied = " under negation" if any(v.negation for v in inverted) else " on another set"
            text += f"; but the probe is inverted{denied}, so what it reads is not truth"
        elif kinds & {"leak", "surface", "entities", "null"}:
            text += "; but a control may account for it: see what it shows"
        elif sweep.controls is None:
            text += "; no control was run"
        return f"{text}."

    def downloads(self) -> tuple[Download, ...]:
        """Return the result's files if they are small enough for a page.

        In any case they are saved next to the page.

        >>> [file.name for file in study.downloads()]  # study = truth.run(model, config, data=[places])
        ['result.json', 'arrays.safetensors']
        """
        files = super().downloads()
        return files if sum(len(file.content) for file in files) <= CARRIED else ()

    def summary(self) -> str:
        """Return the finding and the verdicts as a few lines of text.

        >>> print(study.summary().splitlines()[1])  # study = truth.run(model, config, data=[places])
          ! places: words (TF-IDF) alone does about as well (AUC 1.00, 95 % 0.69 to 1.00) as the probe (1.00): ...
        """
        return "\n".join([self.finding(), *(f"  {'! ' if v.warning else '  '}{v.text}" for v in self.verdicts)])

    def to_dict(self) -> dict[str, Any]:
        """Return the finding and its numbers as plain values, for `--json`.

        >>> list(study.to_dict())  # study = truth.run(model, config, data=[places])
        ['finding', 'sets', 'verdicts']
        """
        return {
            "finding": self.finding(),
            "sets": [_summary(sweep) for sweep in self.sweeps],
            "verdicts": [{"kind": v.kind, "warning": v.warning, "text": v.text} for v in self.verdicts],
        } | ({"transfer_auc": self.transfer.auc.tolist()} if self.transfer else {})


def _summary(sweep: Sweep) -> dict[str, Any]:
    controls = sweep.controls
    selectivity = controls.selectivity.value if controls else float("nan")
    return {
        "name": sweep.name,
        "layer": sweep.best.layer,
        "accuracy": list(sweep.best.accuracy),
        "auc": list(sweep.best.auc),
        "test_groups": sweep.groups_test,
        "selectivity": selectivity if np.isfinite(selectivity) else None,
    }


def probe_words(sweep: Sweep) -> str:
    """Return the kind of a sweep's probe in words.

    An example is "a mass mean probe".

    >>> probe_words(study.sweeps[0])  # study = truth.run(model, config, data=[places])
    'a mass mean probe'
    """
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", sweep.probe)
    return f"a {words} probe" if words.isupper() else f"a {words.lower()} probe"


def interval_words(values: tuple[float, ...]) -> str:
    """Return an estimate with its 95 % interval as text.

    >>> interval_words((0.9, 0.85, 0.94))
    '0.90 (95 % 0.85 to 0.94)'
    """
    return f"{values[0]:.2f} (95 % {values[1]:.2f} to {values[2]:.2f})"
