"""Sums of one pass over the activations, per cluster.

The memory is independent of the number of rows.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from saes.evaluation.rows import CLUSTERS, Rows
from saes.sparse_codes import SparseCodes

PARTS = 32
"""Number of groups of contexts with separate firing counts, for intervals of dead and dense fractions."""
COVARIANCE = 4096
"""Largest width whose covariance is summed (for PCA)."""
SUMS = ("rows", "directed", "error", "l0", "cosine", "ratio", "dot", "out", "square")


@dataclass
class Tally:
    """Sums of one pass over the activations.

    Moments are about the first batch's mean, so that a large mean costs no precision.

    Attributes:
        width: number of latents.
        size: width of the output.
        sums: (cluster, name): rows, rows that are not zero and, summed over them, squared error, latents on, cosine,
            |x̂|/|x|, x̂·x, |x̂|² and |x − centre|².
        vectors: (cluster, size): Σ (x − centre).
        fired: (part, width): number of rows on which each latent fires.
        strength: (width,): sum of its values there.
        part_rows: number of rows of each part.
        covariance: (size, size): Σ (x − centre)(x − centre)ᵀ, None for very long rows.
    """

    width: int
    size: int
    sums: np.ndarray = field(init=False)
    vectors: np.ndarray = field(init=False)
    fired: np.ndarray = field(init=False)
    strength: np.ndarray = field(init=False)
    part_rows: np.ndarray = field(init=False)
    covariance: np.ndarray | None = field(init=False)
    centre: Tensor | None = field(default=None, init=False)
    moments: bool = True
    """Whether the covariance is summed."""

    def __post_init__(self) -> None:
        self.sums = np.zeros((CLUSTERS, len(SUMS)))
        self.vectors = np.zeros((CLUSTERS, self.size))
        self.fired = np.zeros((PARTS, self.width), dtype=np.int64)
        self.strength = np.zeros(self.width)
        self.part_rows = np.zeros(PARTS, dtype=np.int64)
        self.covariance = np.zeros((self.size, self.size)) if self.moments and self.size <= COVARIANCE else None

    def add(self, rows: Rows, codes: SparseCodes, rebuilt: Float[Tensor, "n ..."]) -> None:
        """Add one batch."""
        y = rows.y.flatten(1).double()
        out = rebuilt.flatten(1).to("cpu", torch.float64)
        if self.centre is None:
            self.centre = y.mean(0)
        shifted = y - self.centre
        length, dot = y.norm(dim=1), (y * out).sum(1)
        directed = length > 0
        columns = (
            torch.ones(len(y), dtype=torch.float64),
            directed.double(),
            (y - out).square().sum(1),
            codes.counts.double().cpu(),
            dot / (length * out.norm(dim=1)).clamp_min(1e-30),
            directed * out.norm(dim=1) / length.clamp_min(1e-30),
            dot,
            out.square().sum(1),
            shifted.square().sum(1),
        )
        cluster = torch.from_numpy(rows.cluster)
        torch.from_numpy(self.sums).index_add_(0, cluster, torch.stack(columns, 1))
        torch.from_numpy(self.vectors).index_add_(0, cluster, shifted)
        latents = codes.latents.cpu()
        self._count(latents, codes.rows.cpu(), torch.from_numpy(rows.cluster % PARTS))
        self.strength += latents.bincount(codes.values.double().cpu(), minlength=self.width).numpy()
        if self.covariance is not None:
            self.covariance += (shifted.T @ shifted).numpy()

    def merged(self, other: Tally) -> Tally:
        """Return the sums of both, without the covariance.

        `other` has the same centre or no rows.
        """
        both = Tally(self.width, self.size, moments=False)
        both.centre = self.centre
        for name in ("sums", "vectors", "fired", "strength", "part_rows"):
            setattr(both, name, getattr(self, name) + getattr(other, name))
        return both

    def _count(self, latents: Tensor, rows: Tensor, part: Tensor) -> None:
        pairs = part[rows] * self.width + latents
        self.fired += pairs.bincount(minlength=PARTS * self.width).view(PARTS, self.width).numpy()
        self.part_rows += part.bincount(minlength=PARTS).numpy()

    def column(self, name: str) -> Float[np.ndarray, " cluster"]:
        """Return one of `SUMS` for the clusters with rows."""
        return self.sums[self.used, SUMS.index(name)]

    @property
    def used(self) -> np.ndarray:
        """Indices of clusters with rows."""
        return np.flatnonzero(self.sums[:, 0])

    @property
    def rows(self) -> int:
        """Total number of rows."""
        return int(self.sums[:, 0].sum())

    @property
    def shift(self) -> Float[np.ndarray, " size"]:
        """The mean row minus the centre."""
        return self.vectors.sum(0) / self.rows

    @property
    def mean(self) -> Float[np.ndarray, " size"]:
        """The mean row."""
        assert self.centre is not None
        return self.centre.numpy() + self.shift

    @property
    def variance(self) -> Float[np.ndarray, " cluster"]:
        """Σ |x − mean|² of each cluster's rows.

        It is |x − c|² − 2 (x − c)·s + |s|² with s the shift of the mean.
        """
        s, used = self.shift, self.used
        variance = self.column("square") - 2 * self.vectors[used] @ s + self.column("rows") * (s @ s)
        return np.maximum(variance, 0)

    @property
    def eigenvalues(self) -> Float[np.ndarray, " size"]:
        """Eigenvalues of the covariance times the number of rows.

        The largest is first. Empty if the covariance was not summed.
        """
        if self.covariance is None:
            return np.zeros(0)
        s = self.shift
        return np.maximum(np.linalg.eigvalsh(self.covariance - self.rows * np.outer(s, s))[::-1], 0)
