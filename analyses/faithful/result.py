"""What the study of faithfulness holds. No torch here: a saved one is read and drawn without it."""

from __future__ import annotations

from dataclasses import dataclass

from analyses.study import Study
from interp.provenance import Provenance
from interp.report import Table
from interp.results import Result

OTHER = "eap-ig-inputs"
"""The method that the finding compares the secant with."""
METHODS = (
    "secant",
    OTHER,
    "eap-ig-inputs steps=20",
    "eap",
    "eap at=counterfactual",
    "eap at=both",
    "relp",
    "frozen",
    "random",
)


@dataclass(frozen=True, eq=False)
class Config(Result):
    """What is compared.

    `methods` are names of `discovery.METHODS`, with settings after a blank: "eap at=both", "eap-ig-inputs steps=20".
    `pairs` of every task are drawn from `seed`; the first half scores edges, the second judges them. `nodes` are the
    tasks whose node scores are held against exact node patching in both directions.
    """

    tasks: tuple[str, ...] = ("ioi", "subject_verb", "country_capital", "gendered_pronoun")
    methods: tuple[str, ...] = METHODS
    pairs: int = 24
    nodes: tuple[str, ...] = ("ioi",)


@dataclass(frozen=True, eq=False)
class Row(Result):
    """One method on one task: areas under held-out faithfulness curves with 95 % intervals, and processor seconds.

    `cpr` is the area of f for circuits ranked by signed score (larger is better), `cmd` that of |1 − f| for circuits
    ranked by magnitude (0 is best); `random` are the same of random edges. `pearson` is the correlation of node scores
    with exact node patching, the mean of both directions; None where it was not computed. `cpr_more` and `cmd_more` are
    the areas less those of the secant, over the same resampled pairs; None without it. `accuracy` is the fraction of
    the pairs that judge of which the model prefers the right answer.
    """

    task: str
    method: str
    cpr: tuple[float, float, float]
    cmd: tuple[float, float, float]
    random: tuple[float, float]
    seconds: float
    pearson: float | None
    accuracy: float
    cpr_more: tuple[float, float, float] | None = None
    cmd_more: tuple[float, float, float] | None = None


@dataclass(frozen=True, eq=False)
class Faithfulness(Study):
    """All methods on all tasks."""

    config: Config
    provenance: Provenance
    rows: tuple[Row, ...]

    def finding(self) -> str:
        """Return on how many tasks the secant is level with or better than integrated gradients, or that one is absent.

        Level means that by neither area the 95 % interval of the paired difference lies on the wrong side of 0.
        """
        rows = {row.task: row for row in self.rows if row.method == OTHER and row.cpr_more is not None}
        if not rows:
            return f"{len(self.config.methods)} methods were compared on {len(self.config.tasks)} tasks."
        level = [task for task, row in rows.items() if not (_above(row.cpr_more) or _below(row.cmd_more))]
        cost = sum(row.seconds for row in self.rows if row.method == "secant" and row.task in rows)
        share = cost / sum(row.seconds for row in rows.values())
        return (
            f"On {len(level)} of {len(rows)} tasks secant attribution is level with or better than integrated "
            f"gradients of 5 steps by both areas on held-out pairs, in {share:.0%} of their time."
        )

    def losses(self) -> tuple[Row, ...]:
        """Return the rows of other methods whose CPR is larger than the secant's by more than the interval."""
        return tuple(row for row in self.rows if _above(row.cpr_more))

    def table(self) -> Table:
        """Every task and method."""
        rows = tuple(
            (
                f"{row.task}, right {row.accuracy:.0%}",
                row.method,
                _interval(row.cpr),
                _interval(row.cmd),
                "" if row.cpr_more is None else _interval(row.cpr_more, "+"),
                f"{row.random[0]:.2f} / {row.random[1]:.2f}",
                row.seconds,
                "" if row.pearson is None else f"{row.pearson:.3f}",
            )
            for row in self.rows
        )
        columns = (
            *("task", "method", "CPR", "CMD", "CPR less the secant's", "random CPR / CMD", "seconds"),
            "Pearson with node patching",
        )
        caption = "Held-out faithfulness of edge rankings, with 95 % bootstrap intervals over pairs."
        return Table(columns, rows, caption, {"seconds": ".1f"})

    def markdown(self) -> str:
        """Return the command, the seed, the pairs and the table for a documentation page."""
        table, provenance, half = self.table(), self.provenance, self.config.pairs // 2
        lines = [
            f"`{provenance.command}` on {provenance.model}, {provenance.dtype}, seed {provenance.seed}: {half} pairs "
            f"of each task score edges, {self.config.pairs - half} others judge them. Intervals are 95 % bootstrap "
            "intervals over the pairs that judge.",
            "",
        ]
        lines += ["| " + " | ".join(table.columns) + " |", "|" + "---|" * len(table.columns)]
        lines += [
            "| " + " | ".join(f"{x:.1f}" if isinstance(x, float) else str(x) for x in row) + " |" for row in table.rows
        ]
        return "\n".join(lines)

    def summary(self) -> str:
        """Return the finding and the table."""
        return f"{self.finding()}\n{self.markdown()}"


def _interval(value: tuple[float, float, float], sign: str = "") -> str:
    return f"{value[0]:{sign}.3f} ({value[1]:{sign}.3f} to {value[2]:{sign}.3f})"


def _above(interval: tuple[float, float, float] | None) -> bool:
    return interval is not None and interval[1] > 0


def _below(interval: tuple[float, float, float] | None) -> bool:
    return interval is not None and interval[2] < 0
