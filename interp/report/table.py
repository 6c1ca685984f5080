"""Tables: the accessible form of every figure, and the data a reader downloads."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import dataclass, field

from interp.errors import UsageError
from interp.report.text import escaped, prose, visible

Cell = str | int | float | bool | None

CELLS_SHOWN = 2000
"""A page shows the first rows of a table up to about this many cells; the CSV has them all."""
COLUMNS_SHOWN = 24
ROWS_PRINTED = 60
"""Rows of a table written as plain text; a longer one states how many follow."""
PROSE = 28
"""Characters of a text beyond which its column is prose, which must not be narrow."""

SHORT = 24
"""Characters of the longest text of a column that is not broken into lines."""


@dataclass(frozen=True, repr=False)
class Table:
    """Table of rows under named columns.

    `formats` gives Python format specifications for numeric columns, for example `{"value": "+.3f"}`; the CSV has
    full precision. `tokens` names the columns that hold raw tokens: shown through `visible`, raw in the CSV.

    Raises `UsageError` when a row has not one cell per column, or when an option names no column.

    >>> table = report.Table(("head", "logits"), (("L0H1", 0.5), ("L1H0", -1.25)), formats={"logits": "+.2f"})
    >>> print(table)
    head  logits
    L0H1   +0.50
    L1H0   −1.25
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    caption: str = ""
    formats: dict[str, str] | None = None
    tokens: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        if not self.columns:
            raise UsageError("A table needs at least one column.")
        for number, row in enumerate(self.rows):
            if len(row) != len(self.columns):
                expected = f"expected {len(self.columns)} ({', '.join(self.columns)})"
                raise UsageError(f"Row {number} of a table has {len(row)} cells; {expected}.")
        for name in (*(self.formats or {}), *self.tokens):
            if name not in self.columns:
                raise UsageError(f'A table option names the column "{name}"; there is only {", ".join(self.columns)}.')

    def to_csv(self) -> str:
        """Return all rows as CSV (RFC 4180).

        Text is quoted, None is empty, and numbers have full precision.

        >>> table.to_csv().splitlines()
        ['"head","logits"', '"L0H1",0.5', '"L1H0",-1.25']
        """
        out = io.StringIO()
        writer = csv.writer(out, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")
        writer.writerow(self.columns)
        for row in self.rows:
            writer.writerow([_csv_cell(cell) for cell in row])
        return out.getvalue()

    def to_html(self) -> str:
        """Return the table as an HTML `<table>` with header cells.

        Every text is escaped; long tables end with a line that counts what is left out.

        >>> table.to_html()[:6]
        '<table'
        """
        columns = self.columns[:COLUMNS_SHOWN]
        rows = self.rows[: max(10, CELLS_SHOWN // len(columns))]
        kinds = [self._kind(index) for index in range(len(columns))]
        head = "".join(f'<th scope="col"{kind}>{escaped(name)}</th>' for name, kind in zip(columns, kinds, strict=True))
        body = "".join(f"<tr>{self._row(row, kinds)}</tr>" for row in rows)
        caption = " ".join(part for part in (prose(self.caption), self._left_out(len(rows), len(columns))) if part)
        caption = f"<caption>{caption}</caption>" if caption else ""
        return f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"

    def to_text(self, rows: int = ROWS_PRINTED) -> str:
        """Return the first rows in aligned columns, as `print(table)` shows them.

        >>> print(table.to_text(rows=1))
        head  logits
        L0H1   +0.50
        ... and 1 more rows
        """
        shown = [
            [self._plain(cell, name) for cell, name in zip(row, self.columns, strict=True)] for row in self.rows[:rows]
        ]
        widths = [max(map(len, column)) for column in zip(self.columns, *shown, strict=True)]
        right = [self._is_numeric(index) for index in range(len(widths))]
        lines = [
            "  ".join(cell.rjust(w) if r else cell.ljust(w) for cell, w, r in zip(line, widths, right, strict=True))
            for line in [list(self.columns), *shown]
        ]
        more = [f"... and {len(self.rows) - rows} more rows"] if len(self.rows) > rows else []
        return "\n".join(line.rstrip() for line in [*([self.caption] if self.caption else []), *lines, *more])

    def __repr__(self) -> str:
        return self.to_text()

    def _repr_html_(self) -> str:
        return self.to_html()

    def _row(self, row: tuple[Cell, ...], kinds: list[str]) -> str:
        cells = [self._text(cell, name) for cell, name in zip(row, self.columns, strict=True)]
        first = f'<th scope="row"{kinds[0]}>{cells[0]}</th>'
        rest = zip(cells[1:], kinds[1:], strict=False)
        return first + "".join(f"<td{kind}>{cell}</td>" for cell, kind in rest)

    def _kind(self, index: int) -> str:
        """Return the HTML class of a column's cells.

        "n" is for numbers, "prose" for texts that need a wide column, "short" for texts that need one line.
        """
        if self._is_numeric(index):
            return ' class="n"'
        cells = (row[index] for row in self.rows)
        longest = max((len(cell) for cell in cells if isinstance(cell, str)), default=0)
        return ' class="prose"' if longest > PROSE else ' class="short"' if longest <= SHORT else ""

    def _text(self, cell: Cell, column: str) -> str:
        """Return a cell in HTML."""
        shown = escaped(self._plain(cell, column))
        return f"<code>{shown}</code>" if isinstance(cell, str) and column in self.tokens else shown

    def _plain(self, cell: Cell, column: str) -> str:
        if cell is None:
            return "—"
        if isinstance(cell, str):
            return cell if cell.strip() and column not in self.tokens else visible(cell)
        if isinstance(cell, bool):
            return "yes" if cell else "no"
        if isinstance(cell, float) and not math.isfinite(cell):
            return {"nan": "NaN", "inf": "∞", "-inf": "−∞"}[str(cell)]
        default = "d" if isinstance(cell, int) else ".6g"
        return format(cell, (self.formats or {}).get(column, default)).replace("-", "−")

    def _is_numeric(self, index: int) -> bool:
        cells = [row[index] for row in self.rows if row[index] is not None]
        return bool(cells) and all(isinstance(cell, int | float) and not isinstance(cell, bool) for cell in cells)

    def _left_out(self, rows: int, columns: int) -> str:
        parts = [f"the first {rows} of {len(self.rows)} rows"] if rows < len(self.rows) else []
        parts += [f"the first {columns} of {len(self.columns)} columns"] if columns < len(self.columns) else []
        return f"Shown: {' and '.join(parts)}; the CSV has them all." if parts else ""


def _csv_cell(cell: Cell) -> Cell:
    if cell is None:
        return ""
    if isinstance(cell, str):
        # Lone surrogates cannot be written as UTF-8; the escape keeps them recognisable.
        return cell.encode("utf-8", "backslashreplace").decode()
    return cell
