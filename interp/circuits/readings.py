"""Results of one head's map: singular directions, and the tokens it moves.

No torch here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from interp.report import Shown, Table
from interp.results import Result


@dataclass(frozen=True, eq=False)
class Directions(Shown, Result):
    """Singular directions of a head's output-value map.

    The map reads along `reads` and writes along `writes`. `values` (k,) are the largest singular values of `rank`; rows
    of `reads` and `writes` (k, d_model) are unit vectors. `group` (k,) is equal for directions whose singular values
    lie within 1 % of the next: a rotation among them describes the map as well, so no single one of them means
    anything. `stable_rank` is ‖M‖²/σ₁² and `participation_rank` (Σσ²)²/Σσ⁴.

    >>> directions = circuits.ov(model, 1, 0).svd(3)
    >>> directions.values.round(3), directions.stable_rank
    (array([3.588, 3.122, 2.473]), 2.973)
    """

    name: str
    values: np.ndarray
    reads: np.ndarray
    writes: np.ndarray
    group: np.ndarray
    rank: int
    stable_rank: float
    participation_rank: float

    @property
    def degenerate(self) -> tuple[int, ...]:
        """The directions that share a group with another."""
        counts = np.bincount(self.group, minlength=1)
        return tuple(int(i) for i in np.flatnonzero(counts[self.group] > 1))

    def table(self) -> Table:
        """Return the singular values as a table, largest first.

        >>> print(directions.table())
        L1H0: rank 8, stable rank 3.0, participation rank 4.5
        direction  singular value  degenerate
                0          3.588  no
                1          3.122  no
                2          2.473  no
        """
        rows = tuple((i, float(value), i in self.degenerate) for i, value in enumerate(self.values))
        caption = (
            f"{self.name}: rank {self.rank}, stable rank {self.stable_rank:.1f}, "
            f"participation rank {self.participation_rank:.1f}"
        )
        return Table(("direction", "singular value", "degenerate"), rows, caption, {"singular value": ".4f"})


@dataclass(frozen=True, eq=False)
class TopTokens(Shown, Result):
    """Tokens that a vector promotes and suppresses most through the unembedding.

    The strongest come first. `source` says what the vector is. Values are in `unit`: logits up to the scale of the
    final norm (and of the head's norms), which is a positive number for each input; or cosines with the unembeddings,
    their mean subtracted.

    >>> top = circuits.ov(model, 1, 0).top_tokens(" Paris", k=2)
    >>> top.source, top.promoted_values
    ("L1H0 ← ' Paris'", (3.970, 3.651))
    """

    source: str
    promoted: tuple[str, ...]
    promoted_values: tuple[float, ...]
    suppressed: tuple[str, ...]
    suppressed_values: tuple[float, ...]
    unit: str = "logits"

    def table(self) -> Table:
        """Return a table of promoted and suppressed tokens, side by side.

        >>> top.table().columns
        ('promoted', 'by', 'suppressed', 'by (negative)')
        """
        rows = zip(self.promoted, self.promoted_values, self.suppressed, self.suppressed_values, strict=True)
        columns = ("promoted", "by", "suppressed", "by (negative)")
        formats = {"by": "+.3f", "by (negative)": "+.3f"}
        return Table(columns, tuple(rows), self.source, formats, tokens=("promoted", "suppressed"))


@dataclass(frozen=True, eq=False)
class FullCircuit(Shown, Result):
    """The strongest entries of a token-by-token circuit whose matrix is never formed.

    Entry i says that `sources[i]` (the attended or query token) moves `targets[i]` (the output or key token) by
    `values[i]`. `copied` is the share of all `n_source` tokens whose strongest target is themselves.

    >>> circuit = circuits.ov(model, 1, 0).full_circuit(k=3)
    >>> circuit.values.round(3), circuit.n_source
    (array([10.385, 10.384,  8.723], dtype=float32), 64)
    """

    name: str
    sources: tuple[str, ...]
    targets: tuple[str, ...]
    values: np.ndarray
    copied: float
    n_source: int

    def table(self) -> Table:
        """Return the entries as a table, largest first.

        >>> circuit.table().columns
        ('source', 'target', 'value')
        """
        rows = zip(self.sources, self.targets, (float(value) for value in self.values), strict=True)
        caption = f"{self.name}: largest of {self.n_source} × tokens; {self.copied:.1%} of them have themselves on top"
        return Table(("source", "target", "value"), tuple(rows), caption, {"value": "+.3f"}, ("source", "target"))
