"""Activations in any form as batches of rows.

Each row comes with its context.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from interp.cache import source as sources
from interp.cache.tensors import check_finite
from interp.errors import UsageError

if TYPE_CHECKING:
    from saes.autoencoder import SAE

BLOCK = 64
"""Number of neighbouring rows in a cluster if contexts are unknown."""
CLUSTERS = 2048
"""Maximal number of clusters; with more contexts, several share a cluster, so that the sums stay small."""
NUMBERS = 2**24
"""Number of latent values in memory."""


@dataclass(frozen=True)
class Rows:
    """Batch of rows.

    Attributes:
        x: inputs of the autoencoder.
        y: targets; the same tensor except for a transcoder.
        first: number of the first row, counted from the start of the activations.
        cluster: cluster of each row.
        number: number of each row.
    """

    x: Float[Tensor, "n ..."]
    y: Float[Tensor, "n ..."]
    first: int
    cluster: Int[np.ndarray, " n"]
    number: Int[np.ndarray, " n"]

    def where(self, chosen: Bool[Tensor, " n"]) -> Rows:
        """Return the chosen rows."""
        x = self.x[chosen]
        y = x if self.y is self.x else self.y[chosen]
        mask = chosen.numpy()
        return Rows(x, y, self.first, self.cluster[mask], self.number[mask])


@dataclass(frozen=True)
class Source:
    """Activations that are read in batches, in order.

    Attributes:
        sae: the autoencoder, which determines shapes and device.
        given: the activations; for a store, the hooks that the autoencoder reads and writes.
        groups: context of each row, if known.
        limit: maximal number of rows.
    """

    sae: SAE
    given: sources.Source
    groups: np.ndarray | None
    limit: int

    @classmethod
    def of(cls, sae: SAE, activations: Any, groups: Any | None, limit: int) -> Source:
        """Return the source for the arguments of `saes.evaluate`.

        `groups` has one label per row.
        """
        if sae.variant == "crosslayer":
            raise UsageError(
                "One layer's part of a cross-layer transcoder reconstructs no hook alone: evaluate the whole set."
            )
        given = sources.open_source(activations)
        if given.store is not None:
            given = sources.open_source(activations, _hooks(sae, given.hooks))
        numbers = None if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1].ravel() % CLUSTERS
        return cls(sae, given, numbers, limit)

    @property
    def again(self) -> bool:
        """True if the rows can be read more than once."""
        return self.given.again

    @property
    def cluster(self) -> str:
        """Name of the clusters that intervals resample."""
        known = self.groups is not None or self.given.store is not None
        return "contexts" if known else f"blocks of {self._block} neighbouring rows"

    def batches(self) -> Iterator[Rows]:
        """Yield all rows, in order.

        Raises `UsageError` for a wrong shape, values that are not finite, or no rows.
        """
        size, first = max(64, min(4096, NUMBERS // self.sae.width)), 0
        for inputs, outputs in _resized(self._pairs(size), size):
            x = inputs[: self.limit - first].cpu()
            y = outputs[: self.limit - first].cpu() if self.sae.variant == "transcoder" else x
            self._check(x, y, first)
            yield Rows(x, y, first, self._clusters(first, len(x)), np.arange(first, first + len(x)))
            first += len(x)
            if first >= self.limit:
                return
        if first == 0:
            raise UsageError("There are no activations to evaluate on: give at least one row.")

    def _pairs(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield input and output of every batch."""
        variant, stored = self.sae.variant, self.given.store is not None
        for given in self.given.batches(size):
            parts = (torch.stack(given, 1),) if stored and variant == "crosscoder" else given
            wanted = 2 if variant == "transcoder" else 1
            if len(parts) != wanted:
                raise UsageError(
                    f"This {variant} is evaluated on {wanted} tensor{'s' * (wanted > 1)} a batch; given were "
                    f"{len(parts)}."
                )
            yield parts[0], parts[-1]

    def _check(self, x: Tensor, y: Tensor, first: int) -> None:
        for name, value, expected in (("input", x, _shape(self.sae, "in")), ("output", y, _shape(self.sae, "out"))):
            if tuple(value.shape[1:]) != expected:
                raise UsageError(
                    f"The {name} activations have shape {tuple(value.shape)}; this {self.sae.variant} takes "
                    f"(n, {', '.join(map(str, expected))})."
                )
            check_finite(value, f"{name} activations", first=first)

    @property
    def _block(self) -> int:
        rows = self.given.rows
        return BLOCK if rows is None else max(1, min(BLOCK, min(rows, self.limit) // 32))

    def _clusters(self, first: int, count: int) -> np.ndarray:
        if self.groups is not None:
            groups = self.groups[first : first + count]
            if len(groups) != count:
                raise UsageError(f"There are {len(self.groups)} groups but more rows: give one group per row.")
            return groups
        if self.given.store is not None:
            return self.given.store.places(first, first + count)[:, 0].numpy() % CLUSTERS
        return np.arange(first, first + count) // self._block % CLUSTERS


def _shape(sae: SAE, side: str) -> tuple[int, ...]:
    """Return the shape of one row."""
    width, layers = sae.d_in if side == "in" else sae.d_out, sae.settings.get("layers")
    return (layers, width // layers) if layers else (width,)


def _hooks(sae: SAE, stored: Sequence[str]) -> tuple[str, ...]:
    """Return the hooks of a store on which `sae` is evaluated."""
    reads, writes = sae.metadata.get("hook_name"), sae.metadata.get("hook_name_out")
    if sae.variant == "crosslayer":
        raise UsageError(
            "One layer's part of a cross-layer transcoder reconstructs no hook alone: evaluate the whole set."
        )
    if sae.variant == "crosscoder":
        return tuple(sae.metadata.get("hook_names") or stored)
    if reads is None and len(stored) > 1:
        raise UsageError(
            f"The autoencoder does not say which hook it reads, and the store holds {', '.join(stored)}: set "
            "sae.metadata['hook_name']."
        )
    if sae.variant == "transcoder" and writes is None:
        raise UsageError("The transcoder does not say what it writes: set sae.metadata['hook_name_out'].")
    first = str(reads) if reads is not None else stored[0]
    return (first, str(writes)) if sae.variant == "transcoder" else (first,)


def _resized(pairs: Iterator[tuple[Tensor, Tensor]], size: int) -> Iterator[tuple[Tensor, Tensor]]:
    for x, y in pairs:
        if len(x) != len(y):
            raise UsageError(f"Inputs and outputs must have as many rows: these have {len(x)} and {len(y)}.")
        yield from ((a, b) for a, b in zip(x.split(size), y.split(size), strict=True) if len(a))
