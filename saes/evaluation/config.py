"""Settings of an evaluation. Plain values: no torch."""

from __future__ import annotations

from dataclasses import dataclass

from interp.errors import UsageError


@dataclass(frozen=True)
class Config:
    """Settings of `saes.evaluate`.

    Attributes:
        baselines: whether to run other methods on the same activations, which takes some seconds.
        rows: maximal number of activations.
        seed: seed of all draws.

    Example:
        >>> Config(baselines=False).rows
        100000
    """

    baselines: bool = True
    rows: int = 100_000
    seed: int = 0

    def __post_init__(self) -> None:
        if self.rows < 1:
            raise UsageError(f"rows={self.rows} must be at least 1.")
