"""Activations as batches of rows with the context each comes from, whatever they are given as."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.errors import UsageError

if TYPE_CHECKING:
    from saes.autoencoder import SAE

BLOCK = 64
"""Neighbouring rows that are kept together when contexts are not known."""
CLUSTERS = 2048
"""Where there are more contexts, several share a cluster, so that the sums per cluster stay small."""
NUMBERS = 2**24
"""Latent values held at once."""


@dataclass(frozen=True)
class Rows:
    """`x` is what the autoencoder reads, `y` what it should give (the same tensor but for a transcoder)."""

    x: Float[Tensor, "n ..."]
    y: Float[Tensor, "n ..."]
    first: int
    cluster: Int[np.ndarray, " n"]


@dataclass(frozen=True)
class Source:
    """Activations that are read in batches.

    Attributes:
        sae: what will read them; gives the shapes, the device and, for a store, the hooks.
        activations: as `saes.evaluate` takes them.
        groups: the context of each row, if known.
        limit: rows read at most.
    """

    sae: SAE
    activations: Any
    groups: np.ndarray | None
    limit: int

    @property
    def again(self) -> bool:
        """Whether the rows can be read more than once."""
        return not isinstance(self.activations, Iterator)

    @property
    def cluster(self) -> str:
        """What rows are drawn together for intervals."""
        if self.groups is not None:
            return "contexts"
        return "contexts" if _is_store(self.activations) else f"blocks of {self._block} neighbouring rows"

    def batches(self) -> Iterator[Rows]:
        """All rows, in order.

        Raises `UsageError` for a shape that the autoencoder does not read, values that are not finite, or no rows.
        """
        size, first = max(64, min(4096, NUMBERS // self.sae.width)), 0
        for inputs, outputs in _resized(self._pairs(size), size):
            x = inputs[: self.limit - first].cpu()
            y = outputs[: self.limit - first].cpu() if self.sae.variant == "transcoder" else x
            self._check(x, y, first)
            yield Rows(x, y, first, self._clusters(first, len(x)))
            first += len(x)
            if first >= self.limit:
                return
        if first == 0:
            raise UsageError("There are no activations to judge on: give at least one row.")

    def _pairs(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        given, variant = self.activations, self.sae.variant
        if _is_store(given):
            yield from _from_store(self.sae, given, size)
        else:
            whole = isinstance(given, Tensor | np.ndarray) or (variant == "transcoder" and _is_pair(given))
            for part in (given,) if whole else _iterated(given):
                x, y = part if _is_pair(part) else (part, part)
                yield torch.as_tensor(x), torch.as_tensor(y)

    def _check(self, x: Tensor, y: Tensor, first: int) -> None:
        for name, value, expected in (("input", x, _shape(self.sae, "in")), ("output", y, _shape(self.sae, "out"))):
            if tuple(value.shape[1:]) != expected:
                raise UsageError(
                    f"The {name} activations have shape {tuple(value.shape)}; this {self.sae.variant} takes "
                    f"(n, {', '.join(map(str, expected))})."
                )
            if not torch.isfinite(value.sum(dtype=torch.float64)):
                bad = (~torch.isfinite(value.flatten(1))).any(1).nonzero()
                where = f" in row {first + int(bad[0, 0])}" if len(bad) else ""
                raise UsageError(f"The {name} activations hold NaN or infinite values{where}: remove them first.")

    @property
    def _block(self) -> int:
        given = self.activations[0] if _is_pair(self.activations) else self.activations
        if isinstance(given, Tensor | np.ndarray):
            return max(1, min(BLOCK, min(len(given), self.limit) // 32))
        return BLOCK

    def _clusters(self, first: int, count: int) -> np.ndarray:
        if self.groups is not None:
            found = self.groups[first : first + count]
            if len(found) != count:
                raise UsageError(f"There are {len(self.groups)} groups but more rows than that: give one a row.")
            return found
        if _is_store(self.activations):
            return self.activations.places(first, first + count)[:, 0].numpy() % CLUSTERS
        return np.arange(first, first + count) // self._block % CLUSTERS


def numbered(groups: Any | None) -> np.ndarray | None:
    """`groups` (labels of any kind, one a row) as numbers below `CLUSTERS`."""
    if groups is None:
        return None
    return np.unique(np.asarray(groups), return_inverse=True)[1].ravel() % CLUSTERS


def rebuilt(sae: SAE, x: Float[Tensor, "n ..."]) -> tuple[Float[Tensor, "n width"], Float[Tensor, "n ..."]]:
    """(latents, reconstruction) on the autoencoder's device and in its dtype, a skip path included."""
    x = x.to(sae.W_dec.device, sae.W_dec.dtype)
    latents = sae.encode(x)
    skip = getattr(sae, "W_skip", None)
    out = sae.decode(latents)
    return latents, out if skip is None else out + x @ skip.T


def _is_store(given: Any) -> bool:
    return hasattr(given, "manifest") and hasattr(given, "places")


def _is_pair(given: Any) -> bool:
    return isinstance(given, tuple | list) and len(given) == 2 and all(hasattr(part, "shape") for part in given)


def _shape(sae: SAE, side: str) -> tuple[int, ...]:
    """Of one row."""
    width, layers = sae.d_in if side == "in" else sae.d_out, sae.settings.get("layers")
    return (layers, width // layers) if layers else (width,)


def _iterated(given: Any) -> Iterator[Any]:
    given = given() if isinstance(given, Callable) else given
    if not isinstance(given, Iterable):
        raise UsageError(f"Activations are a tensor, a store or batches, not {type(given).__name__}.")
    return iter(given)


def _from_store(sae: SAE, store: Any, size: int) -> Iterator[tuple[Tensor, Tensor]]:
    names = [sae.metadata.get("hook_name"), sae.metadata.get("hook_name_out")]
    if sae.variant == "crosscoder":
        parts = [store.batches(size, seed=None, hook=hook) for hook in sae.metadata.get("hook_names") or store.hooks]
        for layers in zip(*parts, strict=True):
            stacked = torch.stack(layers, 1)
            yield stacked, stacked
        return
    first = store.batches(size, seed=None, hook=names[0])
    if sae.variant == "transcoder":
        if names[1] is None:
            raise UsageError("The transcoder does not say what it writes: set sae.metadata['hook_name_out'].")
        yield from zip(first, store.batches(size, seed=None, hook=names[1]), strict=True)
        return
    for batch in first:
        yield batch, batch


def _resized(pairs: Iterator[tuple[Tensor, Tensor]], size: int) -> Iterator[tuple[Tensor, Tensor]]:
    for x, y in pairs:
        if len(x) != len(y):
            raise UsageError(f"Inputs and outputs must have as many rows: these have {len(x)} and {len(y)}.")
        yield from ((a, b) for a, b in zip(x.split(size), y.split(size), strict=True) if len(a))
