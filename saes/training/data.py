"""Where batches come from: a tensor, a pair of tensors, a store of activations, or an iterable of batches.

Every source gives (x, y) matrices, y being x itself except for a transcoder, and can start at any batch, so that a run
that stopped goes on where it was. A crosscoder's (n, layer, d) is flattened.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice
from typing import Any, Protocol, TypeAlias

import torch
from torch import Tensor

from interp.errors import UsageError
from saes.config import Config

Pair: TypeAlias = tuple[Tensor, Tensor]
Activations: TypeAlias = Any
"""A tensor (n, d_in), a pair of them, an `interp.cache.Store`, an iterable of batches or a callable that gives one."""
SAMPLE = 16_384
"""Rows from which the mean, the scale and an inference threshold are measured (rounded up to batches)."""


class Source(Protocol):
    """What the trainer asks.

    Attributes:
        layers: of a crosscoder, from its activations; else 1.
        metadata: what the activations themselves say of where they come from.
    """

    layers: int
    metadata: dict[str, Any]

    def batches(self, start: int) -> Iterator[Pair]:
        """Batches from number `start` on, without end if they can be repeated."""
        ...

    def recent(self, step: int) -> list[Pair]:
        """Batches with `SAMPLE` rows that come before number `step`; at step 0 the first ones."""
        ...


def open_source(config: Config, activations: Activations) -> Source:
    """The source for what `train` was given; `UsageError` for what cannot be one."""
    if isinstance(activations, Tensor):
        return Tensors(config, _pair(config, activations))
    if isinstance(activations, tuple) and len(activations) == 2 and all(isinstance(a, Tensor) for a in activations):
        return Tensors(config, _pair(config, activations))
    if hasattr(activations, "batches") and hasattr(activations, "hooks"):
        return Stored(config, activations)
    if callable(activations) or isinstance(activations, Iterable):
        return Streamed(config, activations)
    kind = type(activations).__name__
    raise UsageError(f"Cannot train on a {kind}: give a tensor, a store, or an iterable of batches.")


class Tensors:
    """Rows of tensors in memory, in a new order every epoch; rows that do not fill a last batch are left out of it."""

    def __init__(self, config: Config, pair: Pair) -> None:
        self.x, self.y = (_matrix(config, part) for part in pair)
        if len(self.x) != len(self.y):
            raise UsageError(f"{len(self.x)} inputs and {len(self.y)} outputs: a transcoder needs one for each.")
        if not len(self.x):
            raise UsageError("There are no activations to train on: the tensor is empty.")
        check_finite(self.x, "inputs")
        check_finite(self.y, "outputs")
        self.size = min(config.batch_size, len(self.x))
        self.seed = config.seed
        self.same = pair[0] is pair[1]
        self.layers, self.metadata = _layers(pair[0]), {}

    def batches(self, start: int) -> Iterator[Pair]:
        """See `Source`."""
        epoch, first = divmod(start, len(self.x) // self.size)
        while True:
            generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
            order = torch.randperm(len(self.x), generator=generator)
            whole = len(order) - len(order) % self.size
            for rows in order[first * self.size : whole].split(self.size):
                x = self.x[rows.to(self.x.device)]
                yield x, x if self.same else self.y[rows.to(self.y.device)]
            epoch, first = epoch + 1, 0

    def recent(self, step: int) -> list[Pair]:
        """See `Source`."""
        count = min(-(-SAMPLE // self.size), len(self.x) // self.size)
        return list(islice(self.batches(max(step - count, 0)), count))


class Stored:
    """A store, in a new order every epoch: one hook; input and output of a transcoder; all layers of a crosscoder."""

    def __init__(self, config: Config, store: Any) -> None:
        wanted = {"autoencoder": 1, "transcoder": 2}.get(config.variant, len(store.hooks))
        if len(store.hooks) != wanted:
            found = f"{len(store.hooks)} hooks ({', '.join(store.hooks)})"
            raise UsageError(f"The store holds {found}; {config.variant} training needs {wanted}.")
        if not len(store):
            raise UsageError("There are no activations to train on: the store is empty.")
        self.store, self.config = store, config
        self.size = min(config.batch_size, len(store))
        self.layers = wanted if config.variant == "crosscoder" else 1
        told = getattr(store, "manifest", None)
        self.metadata = origin(told, tuple(store.hooks), config.variant) if told is not None else {}

    def batches(self, start: int) -> Iterator[Pair]:
        """See `Source`."""
        epoch, first = divmod(start, len(self.store) // self.size)
        while True:
            seed = self.config.seed * 1_000_003 + epoch
            parts = [
                self.store.batches(self.size, seed=seed, hook=hook, start=first * self.size)
                for hook in self.store.hooks
            ]
            for found in zip(*parts, strict=True):
                if len(found[0]) < self.size:
                    break
                yield self._pair(found)
            epoch, first = epoch + 1, 0

    def recent(self, step: int) -> list[Pair]:
        """See `Source`."""
        count = min(-(-SAMPLE // self.size), len(self.store) // self.size)
        return list(islice(self.batches(max(step - count, 0)), count))

    def _pair(self, found: tuple[Tensor, ...]) -> Pair:
        if self.config.variant == "transcoder":
            return found[0], found[1]
        joined = found[0] if len(found) == 1 else torch.cat(found, dim=1)
        return joined, joined


class Streamed:
    """Batches as they come. An iterator can be read once only; a callable or a collection starts again at its end."""

    def __init__(self, config: Config, batches: Callable[..., Any] | Iterable[Any]) -> None:
        self.config = config
        self._give = batches if callable(batches) else lambda: iter(batches)
        self._repeats = not isinstance(batches, Iterator)
        self._read = self._endless()
        self._ahead: list[Pair] = []
        self._count = -(-SAMPLE // config.batch_size)
        self._kept: deque[Pair] = deque(maxlen=self._count)
        self._position = 0
        self.layers, self.metadata = 1, {}

    def batches(self, start: int) -> Iterator[Pair]:
        """See `Source`; a stream goes only forward."""
        if start < self._position:
            raise UsageError(
                f"The stream of activations is past batch {start} already: give it anew to go on from there."
            )
        for pair in chain(self._taken(), self._read):
            self._position += 1
            self._kept.append(pair)
            if self._position > start:
                yield pair
        raise UsageError(
            f"The activations ended after {self._position} of {self.config.steps} batches: give more, "
            f"or set steps={self._position}."
        )

    def recent(self, step: int) -> list[Pair]:
        """See `Source`."""
        if step == 0 and not self._kept:
            if not self._ahead:
                self._ahead = list(islice(self._read, self._count))
            if not self._ahead:
                raise UsageError("There are no activations to train on: the iterable is empty.")
            return list(self._ahead)
        if self._position < step:  # a run that goes on behind its last step has read nothing yet
            next(self.batches(step - 1))
        return list(self._kept)

    def _taken(self) -> Iterator[Pair]:
        while self._ahead:
            yield self._ahead.pop(0)

    def _endless(self) -> Iterator[Pair]:
        while True:
            count = 0
            for item in self._give():
                count += 1
                yield self._pair(item)
            if not count or not self._repeats:
                return

    def _pair(self, item: Any) -> Pair:
        x, y = (_matrix(self.config, part) for part in _pair(self.config, item))
        if not len(x) or len(x) != len(y):
            raise UsageError(
                f"A batch has {len(x)} inputs and {len(y)} outputs: it needs as many of both, one at least."
            )
        self.layers = _layers(item[0] if isinstance(item, tuple | list) else item)
        return x, y


def origin(manifest: Any, hooks: tuple[str, ...], variant: str) -> dict[str, Any]:
    """The metadata of an SAE that was trained on these hooks of a store, under the names that SAELens knows."""
    named: dict[str, Any] = {"hook_name": hooks[0]}
    if variant == "transcoder":
        named["hook_name_out"] = hooks[-1]
    elif variant == "crosscoder":
        named["hook_names"] = list(hooks)
    return {
        "model_name": manifest.model["model"],
        "model_weights_sha256": manifest.model["weights_sha256"],
        "model_dtype": manifest.model["dtype"],
        **named,
        "context_size": manifest.context,
        "prepend_bos": bool(manifest.prepend_bos),
        "excluded_positions": list(manifest.exclude),
        "token_sha256": manifest.token_sha256,
    }


def check_finite(part: Tensor, name: str) -> None:
    """`UsageError` if a tensor holds NaN or infinite values; one pass over it, as its sum then is not finite."""
    if not torch.isfinite(part.sum(dtype=torch.float32)):
        bad = (~torch.isfinite(part)).any(1).nonzero().squeeze(1)
        shown = ", ".join(map(str, bad[:3].tolist())) + (", ..." if len(bad) > 3 else "")
        raise UsageError(
            f"The {name} hold NaN or infinite values in {len(bad)} of {len(part)} rows (row {shown}): remove "
            "these rows or harvest them again."
        )


def _pair(config: Config, item: Any) -> Pair:
    """Input and output: two tensors of a transcoder, else one tensor (which may come in a tuple) that is both."""
    parts = tuple(item) if isinstance(item, tuple | list) else (item,)
    if config.variant == "transcoder" and len(parts) != 2:
        raise UsageError("A transcoder is trained on pairs (inputs, outputs); given was one tensor.")
    if config.variant != "transcoder" and len(parts) != 1:
        raise UsageError(
            f'{len(parts)} tensors in a tuple or list are inputs and outputs of variant="transcoder"; this is '
            f'"{config.variant}".'
        )
    return parts[0], parts[-1]


def _layers(x: Tensor) -> int:
    return x.shape[1] if x.ndim == 3 else 1


def _matrix(config: Config, value: Tensor) -> Tensor:
    """(n, d), of a crosscoder's (n, layer, d) too."""
    wanted = 3 if config.variant == "crosscoder" else 2
    if not isinstance(value, Tensor) or value.ndim != wanted or not value.is_floating_point():
        shape = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
        form = "(n, layer, d)" if wanted == 3 else "(n, d)"
        raise UsageError(f"To train, the {config.variant} takes floating-point tensors {form}; given was {shape}.")
    value = value.detach()
    return value.flatten(1) if wanted == 3 else value
