"""`Vector`: a direction of the residual stream after one block, and what is known of it before use. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from interp.provenance import Provenance
from interp.report import Shown, Table
from interp.results import Result

if TYPE_CHECKING:
    from interp.edit import Edit


@dataclass(frozen=True, eq=False)
class Vector(Shown, Result):
    """A steering vector of the stream that leaves block `layer`.

    A strength is in units of `stream_norm`, so that strengths mean the same in every layer: steering with strength s
    adds s · stream_norm · direction / |direction|.

    Attributes:
        layer: the block whose output is steered.
        direction: (d_model,), as its method computes it: not scaled.
        method: how it was made.
        stream_norm: median norm of the stream over the positions of the prompts it was made from.
        shuffled: (n_shuffled, d_model), the same method on labels that are shuffled, half of each class in each: the
            control without the contrast. Without rows where there are no labels.
        agreement: mean cosine between the direction and each pair's own difference; NaN without pairs.
        separation: ROC area with which a direction from one half of the prompts separates the other half's classes,
            mean over both halves; 0.5 is chance, NaN without classes. Low values predict that steering fails (arXiv
            2505.22637).

    >>> v = steering.vector(model, ["a b", "the tower"], ["is in", "London Paris"], layer=1)
    >>> v.hook, v.agreement, v.separation
    ('blocks.1.hook_resid_post', 0.820, 1.0)
    """

    layer: int
    direction: np.ndarray
    method: str
    stream_norm: float
    shuffled: np.ndarray
    agreement: float
    separation: float
    provenance: Provenance

    @property
    def hook(self) -> str:
        """The hook point that is steered."""
        return f"blocks.{self.layer}.hook_resid_post"

    @property
    def unit(self) -> np.ndarray:
        """(d_model,) the direction with norm 1."""
        return self.direction / np.linalg.norm(self.direction)

    def edit(self, strength: float, positions: int | slice | None = None) -> Edit:
        """Return the edit that steers, for `model.edited` and `model.generate`.

        >>> model.generate("the tower is", max_tokens=2, edits=[v.edit(0.3)])
        ' 🗼'
        """
        import torch

        from interp import edit

        return edit.add(self.hook, torch.from_numpy(self.unit * self.stream_norm), strength, positions)

    def cosine(self, other: Vector) -> float:
        """Return the cosine of the angle between two directions.

        >>> v.cosine(steering.from_direction(model, -v.direction, 1, texts=["the tower"]))
        -1.000
        """
        return float(self.unit @ other.unit)

    def table(self) -> Table:
        """Return what is known of the vector.

        >>> v.table().rows[0]
        ('method', 'difference')
        """
        rows = (
            ("method", self.method),
            ("steered", self.hook),
            ("norm of the direction", float(np.linalg.norm(self.direction))),
            ("median norm of the stream", self.stream_norm),
            ("agreement of the pairs (cosine)", self.agreement),
            ("separation of held-out prompts (ROC area)", self.separation),
            ("vectors of shuffled labels", len(self.shuffled)),
        )
        return Table(("measure", "value"), rows, formats={"value": ".3f"})

    def __repr__(self) -> str:
        return (
            f"Vector({self.method}, {self.hook}, norm {np.linalg.norm(self.direction):.2f} in a stream of "
            f"{self.stream_norm:.1f}, agreement {self.agreement:.2f}, separation {self.separation:.2f})"
        )
