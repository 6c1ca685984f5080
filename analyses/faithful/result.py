"""What the study of faithfulness holds. No torch here: a saved one is read and drawn without it."""

from __future__ import annotations

from dataclasses import dataclass

from analyses.study import Study
from interp.provenance import Provenance
from interp.report import Table
from interp.results import Result

METHODS = ("secant", "eap", "eap-ig-inputs", "frozen")


@dataclass(frozen=True, eq=False)
class Config(Result):
    """What is compared.

    `pairs` of every task are drawn from `seed`; the first half scores edges, the second judges them. `nodes` are the
    tasks whose node scores are held against exact node patching in both directions, which costs a run for each node.
    `steps` are those of integrated gradients.
    """

    tasks: tuple[str, ...] = ("ioi", "subject_verb", "country_capital", "gendered_pronoun")
    methods: tuple[str, ...] = METHODS
    pairs: int = 24
    nodes: tuple[str, ...] = ("ioi",)
    steps: int = 5


@dataclass(frozen=True, eq=False)
class Row(Result):
    """One method on one task: areas under held-out faithfulness curves with 95 % intervals, and the seconds to score.

    `cpr` is the area of f for circuits ranked by signed score (larger is better), `cmd` that of |1 − f| for circuits
    ranked by magnitude (0 is best); `random` are the same of random edges. `pearson` is the correlation of node scores
    with exact node patching, the mean of both directions; None where it was not computed.
    """

    task: str
    method: str
    cpr: tuple[float, float, float]
    cmd: tuple[float, float, float]
    random: tuple[float, float]
    seconds: float
    pearson: float | None


@dataclass(frozen=True, eq=False)
class Faithfulness(Study):
    """All methods on all tasks, and the relative size of the largest part of the difference that the secant misses."""

    config: Config
    provenance: Provenance
    rows: tuple[Row, ...]

    def finding(self) -> str:
        """Return on how many tasks the secant is level with or better than the best other method."""
        level = [task for task in self.config.tasks if self._level(task)]
        return (
            f"On {len(level)} of {len(self.config.tasks)} tasks secant attribution is at least level with integrated "
            f"gradients of {self.config.steps} steps by both areas on held-out pairs."
        )

    def _level(self, task: str) -> bool:
        found = {row.method: row for row in self.rows if row.task == task}
        secant, other = found.get("secant"), found.get("eap-ig-inputs")
        return bool(secant and other and secant.cpr[0] >= other.cpr[0] and secant.cmd[0] <= other.cmd[0])

    def table(self) -> Table:
        """Every task and method."""
        rows = tuple(
            (
                row.task,
                row.method,
                _interval(row.cpr),
                _interval(row.cmd),
                f"{row.random[0]:.2f} / {row.random[1]:.2f}",
                row.seconds,
                "" if row.pearson is None else f"{row.pearson:.3f}",
            )
            for row in self.rows
        )
        columns = ("task", "method", "CPR", "CMD", "random CPR / CMD", "seconds", "Pearson with node patching")
        caption = "Held-out faithfulness of edge rankings, with 95 % bootstrap intervals over pairs."
        return Table(columns, rows, caption, {"seconds": ".1f"})

    def markdown(self) -> str:
        """Return the table for a documentation page."""
        table = self.table()
        lines = ["| " + " | ".join(table.columns) + " |", "|" + "---|" * len(table.columns)]
        lines += [
            "| " + " | ".join(f"{x:.1f}" if isinstance(x, float) else str(x) for x in row) + " |" for row in table.rows
        ]
        return "\n".join(lines)

    def summary(self) -> str:
        """Return the finding and the table."""
        return f"{self.finding()}\n{self.markdown()}"


def _interval(value: tuple[float, float, float]) -> str:
    return f"{value[0]:.3f} ({value[1]:.3f} to {value[2]:.3f})"
