"""Base of the studies: checks with bands, results and pages.

Loads no torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from jaxtyping import Float

from analyses.study import Study
from interp import toy
from interp.progress import Progress, every
from interp.provenance import Provenance
from interp.results import Result

if TYPE_CHECKING:
    from interp.report import Page, Section, Table

PAPER = "Elhage et al. 2022, Toy Models of Superposition, arXiv 2209.10652"


@dataclass(frozen=True, eq=False)
class Check(Result):
    """Number that must lie in a band.

    >>> Check("largest interference", "below one half", 0.31, 0.0, 0.5).passed
    True
    """

    claim: str
    expected: str
    """What is expected from the paper or the theory, in words."""
    value: float
    low: float
    high: float

    @property
    def passed(self) -> bool:
        """Whether the value lies in the band. A NaN does not."""
        return self.low <= self.value <= self.high


def extreme(
    claim: str, expected: str, values: Float[np.ndarray, " n"], low: float, high: float, *, largest: bool = False
) -> tuple[Check, ...]:
    """Return a check of the smallest (or largest) of `values`.

    Args:
        claim: what the value is.
        expected: what is expected from the paper or the theory, in words.
        values: values of which the extreme is checked.
        low: lower end of the band.
        high: upper end of the band.
        largest: check the largest value instead of the smallest.

    Returns:
        One check, or none without values: some settings leave them out.

    Example:
        >>> extreme("smallest norm", "near one", np.array([0.98, 1.01]), 0.9, 1.1)[0].value
        0.98
    """
    if len(values) == 0:
        return ()
    value = values.max() if largest else values.min()
    return (Check(claim, expected, float(value), low, high),)


@dataclass(frozen=True, eq=False)
class ToyStudy(Study):
    """Base of the studies' results.

    A subclass adds its arrays, and describes them in `finding` and `sections`.
    """

    title: ClassVar[str]
    limitations: ClassVar[tuple[str, ...]] = ()

    checks: tuple[Check, ...]
    provenance: Provenance

    def sections(self) -> tuple[Section, ...]:
        """Return the sections of the report: claims and their figures."""
        raise NotImplementedError

    @property
    def passed(self) -> bool:
        """Whether every check is in its band."""
        return all(check.passed for check in self.checks)

    def failures(self) -> str:
        """Return the checks outside their bands as one sentence.

        It is empty when all checks pass.
        """
        return "; ".join(
            f"{c.claim}: {c.value:.4g}, expected {c.low:g} to {c.high:g}" for c in self.checks if not c.passed
        )

    def summary(self) -> str:
        """Return the finding and every check as text."""
        lines = [
            f"  {'pass' if c.passed else 'FAIL'}  {c.claim}: {c.value:.4g}  [{c.low:g}, {c.high:g}]  {c.expected}"
            for c in self.checks
        ]
        return "\n".join([self.finding(), *lines])

    def to_dict(self) -> dict[str, Any]:
        """Return the finding and the checks as plain values, for `--json`."""
        return {"finding": self.finding(), "passed": self.passed, "checks": [_plain(c) for c in self.checks]}

    def page(self) -> Page:
        """Return the report as a page.

        The study's own sections come first, then its checks. Where a check fails, the checks come first.
        """
        from interp.report import Page, Section

        count = sum(c.passed for c in self.checks)
        claim = f"{count} of {len(self.checks)} numbers are within their bands."
        checks = Section("checks", "Checks", claim, (check_table(self.checks),), shown=0 if self.passed else None)
        own = self.sections()
        return Page(
            title=self.title,
            finding=self.finding(),
            status=(("checks passed", f"{count} of {len(self.checks)}"), ("seed", str(self.provenance.seed))),
            sections=(*own, checks) if self.passed else (checks, *own),
            limitations=self.limitations,
            provenance=self.provenance,
            kind="toy",
        )


def check_table(checks: tuple[Check, ...]) -> Table:
    """Return a table of checks.

    Its columns: the claim, the expected value, the measured value, the band, and the result.

    >>> check_table((Check("largest interference", "below one half", 0.31, 0.0, 0.5),)).rows[0]
    ('largest interference', 'below one half', 0.31, 0.0, 0.5, 'pass')
    """
    from interp.report import Table

    rows = tuple(
        (c.claim, c.expected, float(c.value), float(c.low), float(c.high), "pass" if c.passed else "FAIL")
        for c in checks
    )
    columns = ("claim", "paper or theory", "measured", "from", "to", "result")
    return Table(columns, rows, formats={"measured": ".4g", "from": ".4g", "to": ".4g"})


def trained(config: toy.Config, *, what: str, device: str = "cpu", progress: Progress | None = None) -> toy.Trained:
    """Train toy models with `toy.train`, and report the steps to `progress`.

    >>> trained(toy.Config(features=5, hidden=2, steps=3), what="training").loss.shape
    (1, 1)
    """
    return toy.train(config, device=device, progress=every(progress, max(1, config.steps // 100), what))


def _plain(check: Check) -> dict[str, Any]:
    finite = check.value == check.value and abs(check.value) != float("inf")
    value = float(check.value) if finite else None
    band = [float(end) if abs(end) != float("inf") else None for end in (check.low, check.high)]
    return {"claim": check.claim, "expected": check.expected, "value": value, "band": band, "passed": check.passed}
