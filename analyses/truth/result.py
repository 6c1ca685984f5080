"""What a study of truth probes holds. No torch here: a saved one is read and drawn without it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from interp.provenance import Provenance
from interp.results import Result
from probes.erasure import ErasureReport
from probes.intervening.results import Intervention
from probes.layers import Layered
from probes.protocol.results import LeftOut, Sweep, Transfer

if TYPE_CHECKING:
    from interp.report import Page
    from probes.protocol.verdicts import Verdict


@dataclass(frozen=True, eq=False)
class Config(Layered):
    """What is studied.

    Attributes:
        data: CSV or JSONL files, or names of generated sets.
        probe: "logistic", "mass-mean", "lda", "ridge", "ccs", "crc", "ttpd" or "saplma".
        position: which token of a statement is read.
        layers: l is the output of block l, -1 the embedding; empty for all.
        group: column or regular expression of the entities; None finds them.
        controls: selectivity, null, embedding, baselines and erasure.
        causal: also add the direction while the model answers whether statements are true.
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
    """One set of statements: how many, about how many entities, and what is odd about it."""

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
    """Test activations in the top probe plane of one set.

    Attributes:
        x: (n,) signed distance from the probe's threshold along its direction, units of the residual stream.
        y: (n,) along the first principal component of the train side after the direction is taken out.
        shares: fraction of the train side's variance along the direction, and along that component.
    """

    x: np.ndarray
    y: np.ndarray
    shares: tuple[float, float]

    def __repr__(self) -> str:
        return f"Plane({len(self.x)} statements)"


@dataclass(frozen=True, eq=False)
class TruthStudy(Result):
    """Everything the report says. `planes`, `erasures` and `skipped` are by set name."""

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
        """Every sentence computed from the numbers, inversions first."""
        found = [v for sweep in self.sweeps for v in sweep.verdicts]
        found += self.transfer.verdicts if self.transfer else ()
        return tuple(sorted(found, key=lambda v: (v.kind != "inverted", not v.warning)))

    def finding(self) -> str:
        """One sentence: how well, with its interval, and whether it inverts."""
        from analyses.truth.page import finding

        return finding(self)

    def __repr__(self) -> str:
        return f"TruthStudy({self.finding()})"

    def summary(self) -> str:
        """The finding and the verdicts in a few lines of text."""
        return "\n".join([self.finding(), *(f"  {'! ' if v.warning else '  '}{v.text}" for v in self.verdicts)])

    def to_dict(self) -> dict[str, Any]:
        """The finding as plain values, for `--json`."""
        return {
            "finding": self.finding(),
            "sets": [_summary(sweep) for sweep in self.sweeps],
            "verdicts": [{"kind": v.kind, "warning": v.warning, "text": v.text} for v in self.verdicts],
        } | ({"transfer_auc": self.transfer.auc.tolist()} if self.transfer else {})

    def page(self) -> Page:
        """The report."""
        from analyses.truth.page import page

        return page(self)


def _summary(sweep: Sweep) -> dict[str, Any]:
    held = sweep.controls
    selectivity = held.selectivity.value if held else float("nan")
    return {
        "name": sweep.name,
        "layer": sweep.best.layer,
        "accuracy": list(sweep.best.accuracy),
        "auc": list(sweep.best.auc),
        "test_groups": sweep.groups_test,
        "selectivity": selectivity if np.isfinite(selectivity) else None,
    }
