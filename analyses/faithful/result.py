"""Result of the study of faithfulness.

It loads without torch.
"""

from __future__ import annotations

from dataclasses import dataclass

from analyses.study import Study
from interp.provenance import Provenance
from interp.report import Table
from interp.results import Result

OTHER = "eap-ig-inputs"
"""Method that the finding compares the first one with."""
MARGIN = 0.05
"""Difference of areas below which they count as the same."""
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
    """Settings of the comparison.

    Attributes:
        tasks: names of tasks.
        methods: names of `discovery.METHODS`, with settings after a blank: "eap at=both", "eap-ig-inputs steps=20". The
            others are compared with the first one.
        pairs: number of pairs of every task, drawn from the seed.
        nodes: tasks whose node scores are compared with exact node patching in both directions.
        judged: number of pairs that are used to judge, half by default; the others score edges.

    Example:
        >>> Config(("ioi",), ("secant", "eap"), pairs=12)
        Config(tasks=('ioi',), methods=('secant', 'eap'), pairs=12, nodes=('ioi',), judged=None)
    """

    tasks: tuple[str, ...] = ("ioi", "subject_verb", "country_capital", "gendered_pronoun")
    methods: tuple[str, ...] = METHODS
    pairs: int = 24
    nodes: tuple[str, ...] = ("ioi",)
    judged: int | None = None

    @property
    def ours(self) -> str:
        """Method that the others are compared with."""
        return self.methods[0]

    @property
    def n_judged(self) -> int:
        """Number of pairs of each task that are used to judge."""
        return self.pairs - self.pairs // 2 if self.judged is None else self.judged


@dataclass(frozen=True, eq=False)
class Row(Result):
    """Result of one method on one task.

    It has the areas under faithfulness curves on pairs that were not scored, with 95 % intervals, and the processor
    seconds.

    `cpr` is the area of f for circuits ranked by signed score (larger is better), `cmd` that of |1 − f| for circuits
    ranked by magnitude (0 is best); `random` are the same of random edges. `pearson` is the correlation of node scores
    with exact node patching, the mean of both directions; None where it was not computed. `cpr_more` and `cmd_more` are
    the areas less those of the first method, over the same resampled pairs; None for that one. `accuracy` is the
    fraction of the judging pairs for which the model prefers the right answer.

    >>> row = study.rows[0]  # study = faithful.run(model, config)
    >>> row.task, row.method, round(row.cpr[0], 3), round(row.cmd[0], 3)
    ('induction', 'secant', 0.985, 0.014)
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
    """Result of all methods on all tasks.

    >>> [row.method for row in study.rows]  # study = faithful.run(model, config)
    ['secant', 'eap-ig-inputs', 'random']
    """

    config: Config
    provenance: Provenance
    rows: tuple[Row, ...]

    def finding(self) -> str:
        """Return the comparison of the first method with gradients, in words.

        It gives the number of tasks on which the first method is not worse than integrated gradients of 5 steps, and
        its share of their time.

        Not worse means that the 95 % intervals of both paired differences lie within `MARGIN` of 0 or on the better
        side: a test of non-inferiority, which few pairs cannot pass.

        >>> study.finding()  # study = faithful.run(model, config)
        'On 1 of 1 tasks secant is not worse than integrated gradients of 5 steps by more than 0.05 of either ...'
        """
        rows = {row.task: row for row in self.rows if row.method == OTHER and row.cpr_more and row.cmd_more}
        ours = self.config.ours
        if not rows:
            return f"{len(self.config.methods)} methods were compared on {len(self.config.tasks)} tasks."
        level = [row for row in rows.values() if _within(row)]
        ahead = sum(_below(row.cpr_more) for row in rows.values())
        behind = sum(_above(row.cpr_more) for row in rows.values())
        cost = sum(row.seconds for row in self.rows if row.method == ours and row.task in rows)
        share = cost / sum(row.seconds for row in rows.values())
        return (
            f"On {len(level)} of {len(rows)} tasks {ours} is not worse than integrated gradients of 5 steps by more "
            f"than {MARGIN:g} of either area on held-out pairs (95 % intervals of the paired differences), in "
            f"{share:.0%} of their time; its CPR is larger on {ahead} and smaller on {behind} by intervals that "
            "exclude 0."
        )

    def losses(self) -> tuple[Row, ...]:
        """Return the rows whose CPR is larger than the first method's.

        The difference must be larger than the interval of the paired difference.

        >>> [row.method for row in study.losses()]  # study = faithful.run(model, config)
        ['eap-ig-inputs']
        """
        return tuple(row for row in self.rows if _above(row.cpr_more))

    def table(self) -> Table:
        """Return the table of every task and method.

        >>> study.table().columns[:4]  # study = faithful.run(model, config)
        ('task', 'method', 'CPR', 'CMD')
        """
        rows = tuple(
            (
                f"{row.task}, right {row.accuracy:.0%}",
                row.method,
                _interval(row.cpr),
                _interval(row.cmd),
                None if row.cpr_more is None else _interval(row.cpr_more, "+"),
                f"{row.random[0]:.2f} / {row.random[1]:.2f}",
                row.seconds,
                None if row.pearson is None else f"{row.pearson:.3f}",
            )
            for row in self.rows
        )
        columns = (
            *("task", "method", "CPR", "CMD", "CPR less the first's", "random CPR / CMD", "seconds"),
            "Pearson with node patching",
        )
        caption = "Held-out faithfulness of edge rankings, with 95 % bootstrap intervals over pairs."
        return Table(columns, rows, caption, {"seconds": ".1f"})

    def markdown(self) -> str:
        """Return the text of a documentation page.

        It has the command, the seed, the pairs and the table.

        >>> print(study.markdown().splitlines()[2])  # study = faithful.run(model, config)
        | task | method | CPR | CMD | CPR less the first's | random CPR / CMD | seconds | Pearson with node ...
        """
        table, provenance, judged = self.table(), self.provenance, self.config.n_judged
        lines = [
            f"`{provenance.command}` on {provenance.model}, {provenance.dtype}, seed {provenance.seed}: "
            f"{self.config.pairs - judged} pairs of each task score edges, {judged} others judge them. Intervals are "
            "95 % bootstrap intervals over the pairs that judge.",
            "",
        ]
        lines += ["| " + " | ".join(table.columns) + " |", "|" + "---|" * len(table.columns)]
        lines += [
            "| " + " | ".join("" if x is None else f"{x:.1f}" if isinstance(x, float) else str(x) for x in row) + " |"
            for row in table.rows
        ]
        return "\n".join(lines)

    def summary(self) -> str:
        """Return the finding and the table.

        >>> print(study.summary().splitlines()[0])  # study = faithful.run(model, config)
        On 1 of 1 tasks secant is not worse than integrated gradients of 5 steps by more than 0.05 of either ...
        """
        return f"{self.finding()}\n{self.markdown()}"


def _interval(value: tuple[float, float, float], sign: str = "") -> str:
    return f"{value[0]:{sign}.3f} ({value[1]:{sign}.3f} to {value[2]:{sign}.3f})"


def _within(row: Row) -> bool:
    """Return whether the first method is not worse by more than `MARGIN`.

    This must hold for both areas.
    """
    assert row.cpr_more is not None and row.cmd_more is not None
    return row.cpr_more[2] <= MARGIN and row.cmd_more[1] >= -MARGIN


def _above(interval: tuple[float, float, float] | None) -> bool:
    return interval is not None and interval[1] > 0


def _below(interval: tuple[float, float, float] | None) -> bool:
    return interval is not None and interval[2] < 0
