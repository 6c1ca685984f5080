"""Batches for training, from activations in any form (see `interp.cache.source`).

Every source gives (x, y) matrices, y being x itself except for a transcoder, and can start at any batch, so that a run
that stopped goes on where it was. A crosscoder's (n, layer, d) is flattened.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from itertools import chain, islice
from typing import Any, Protocol, TypeAlias, runtime_checkable

import torch
from torch import Tensor

from interp.cache import source as sources
from interp.cache.tensors import check_finite
from interp.errors import UsageError
from saes.config import Config

Pair: TypeAlias = tuple[Tensor, Tensor]
Activations: TypeAlias = Any
"""A tensor (n, d_in), a pair of them, an `interp.cache.Store`, an iterable of batches or a callable that gives one."""
SAMPLE = 16_384
"""Rows from which the mean, the scale and an inference threshold are measured (rounded up to batches)."""
FIX = "remove these rows or harvest them again"


@runtime_checkable
class Source(Protocol):
    """Source of batches for the trainer.

    Attributes:
        layers: number of layers of a crosscoder; else 1.
        metadata: origin of the activations, as far as they state it.
    """

    layers: int
    metadata: dict[str, Any]

    def batches(self, start: int) -> Iterator[Pair]:
        """Yield batches from number `start` on.

        They do not end if they can be repeated.
        """
        ...

    def recent(self, step: int) -> list[Pair]:
        """Return batches with `SAMPLE` rows before number `step`.

        At step 0 they are the first batches.
        """
        ...


def open_source(config: Config, activations: Activations) -> Source:
    """Return the source for the activations of `train`.

    Raises `UsageError` for unsupported activations.

    >>> open_source(Config(width=8, k=2, batch_size=16), torch.rand(64, 4)).layers
    1
    """
    if isinstance(activations, Source):
        return activations
    given = sources.open_source(activations)
    return Streamed(config, given) if given.rows is None else Epochs(config, given, given.rows)


class Epochs:
    """Tensors or a store in a new order every epoch.

    An incomplete last batch is skipped.
    """

    def __init__(self, config: Config, given: sources.Source, rows: int) -> None:
        if not rows:
            raise UsageError("There are no activations to train on: the tensor or store is empty.")
        self.config, self.given, self.rows, self.size = config, given, rows, config.batch_size
        self.layers = 1
        if isinstance(given, sources.InMemory):
            self._check(given)
        else:
            self._check_hooks(given.hooks)
        if config.batch_size > rows:
            raise UsageError(
                f"batch_size={config.batch_size:,} is larger than the {rows:,} activations there are: make it smaller, "
                "or give more."
            )
        store = given.store
        self.metadata = {} if store is None else origin(store.manifest, given.hooks, config.variant)

    def _check(self, given: sources.InMemory) -> None:
        """Raise `UsageError` unless the tensors have the variant's shape and finite values."""
        pair = _pair(self.config, given.tensors)
        self.layers = _layers(pair[0])
        for name, part in zip(("inputs", "outputs"), given.tensors, strict=False):
            check_finite(_matrix(self.config, part), name, fix=FIX)

    def _check_hooks(self, hooks: tuple[str, ...]) -> None:
        variant = self.config.variant
        wanted = {"autoencoder": 1, "transcoder": 2, "crosslayer": len(hooks) + len(hooks) % 2}.get(variant, len(hooks))
        if len(hooks) != wanted:
            raise UsageError(
                f"The store holds {len(hooks)} hooks ({', '.join(hooks)}); {variant} training needs {wanted}."
            )
        self.layers = {"crosscoder": wanted, "crosslayer": wanted // 2}.get(variant, 1)

    def batches(self, start: int) -> Iterator[Pair]:
        """Return batches, see `Source`."""
        epoch, first = divmod(start, self.rows // self.size)
        while True:
            seed = self.config.seed * 1_000_003 + epoch
            for parts in self.given.batches(self.size, seed=seed, start=first * self.size):
                if len(parts[0]) < self.size:
                    break
                yield self._read(parts)
            epoch, first = epoch + 1, 0

    def recent(self, step: int) -> list[Pair]:
        """Return batches, see `Source`."""
        count = min(-(-SAMPLE // self.size), self.rows // self.size)
        return list(islice(self.batches(max(step - count, 0)), count))

    def _read(self, parts: tuple[Tensor, ...]) -> Pair:
        """Return (x, y) of one batch.

        The hooks of a crosscoder are concatenated.
        """
        if isinstance(self.given, sources.InMemory):
            x, y = _pair(self.config, parts)
            x_read = _matrix(self.config, x)
            return x_read, x_read if y is x else _matrix(self.config, y)
        if self.config.variant == "transcoder":
            return parts[0], parts[1]
        if self.config.variant == "crosslayer":  # the inputs of all layers, then their outputs
            return torch.cat(parts[: self.layers], dim=1), torch.cat(parts[self.layers :], dim=1)
        joined = parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)
        return joined, joined


class Streamed:
    """Batches in the given order.

    An iterator is read once, a callable or a collection repeatedly.
    """

    def __init__(self, config: Config, given: sources.Source) -> None:
        self.config, self.given = config, given
        self._read = self._endless()
        self._ahead: list[Pair] = []
        self._count = -(-SAMPLE // config.batch_size)
        self._recent: deque[Pair] = deque(maxlen=self._count)
        self._position = 0
        self.layers, self.metadata = 1, {}

    def batches(self, start: int) -> Iterator[Pair]:
        """Yield batches, see `Source`; a stream cannot go back."""
        if start < self._position:
            raise UsageError(
                f"The stream of activations is past batch {start} already: start the stream again to continue."
            )
        for pair in chain(self._taken(), self._read):
            self._position += 1
            self._recent.append(pair)
            if self._position > start:
                yield pair
        raise UsageError(
            f"The activations ended after {self._position} of {self.config.steps} batches: give more, "
            f"or set steps={self._position}."
        )

    def recent(self, step: int) -> list[Pair]:
        """Return batches, see `Source`."""
        if step == 0 and not self._recent:
            if not self._ahead:
                self._ahead = list(islice(self._read, self._count))
            if not self._ahead:
                raise UsageError("There are no activations to train on: the iterable is empty.")
            return list(self._ahead)
        if self._position < step:  # a run resumed after its last step has read nothing yet
            next(self.batches(step - 1))
        return list(self._recent)

    def _taken(self) -> Iterator[Pair]:
        while self._ahead:
            yield self._ahead.pop(0)

    def _endless(self) -> Iterator[Pair]:
        while True:
            count = 0
            for item in self.given.batches(self.config.batch_size):
                count += 1
                yield self._pair(item)
            if not count or not self.given.again:
                return

    def _pair(self, item: tuple[Any, ...]) -> Pair:
        x, y = (_matrix(self.config, part) for part in _pair(self.config, item))
        if not len(x) or len(x) != len(y):
            raise UsageError(
                f"A batch has {len(x)} inputs and {len(y)} outputs: it needs as many of both, one at least."
            )
        count = len(item)
        self.layers = _layers(item[0]) if count <= 2 else count // 2
        return x, y


def origin(manifest: Any, hooks: tuple[str, ...], variant: str) -> dict[str, Any]:
    """Return the metadata of an SAE trained on a store.

    The SAE is trained on hooks of the store. The metadata has SAELens' names.
    """
    return {
        "model_name": manifest.model["model"],
        "model_weights_sha256": manifest.model["weights_sha256"],
        "model_dtype": manifest.model["dtype"],
        **hook_names(hooks, variant),
        "context_size": manifest.context,
        "prepend_bos": bool(manifest.prepend_bos),
        "excluded_positions": list(manifest.exclude),
        "token_sha256": manifest.token_sha256,
    }


def hook_names(hooks: tuple[str, ...], variant: str) -> dict[str, Any]:
    """Return the entries of an SAE's metadata that name its hooks.

    >>> hook_names(("a", "b"), "transcoder")
    {'hook_name': 'a', 'hook_name_out': 'b'}
    """
    named: dict[str, Any] = {"hook_name": hooks[0]}
    if variant == "transcoder":
        named["hook_name_out"] = hooks[-1]
    elif variant == "crosscoder":
        named["hook_names"] = list(hooks)
    elif variant == "crosslayer":
        half = len(hooks) // 2
        named |= {"hook_names": list(hooks[:half]), "hook_names_out": list(hooks[half:])}
    return named


def _pair(config: Config, parts: tuple[Any, ...]) -> tuple[Any, Any]:
    """Return the input and the output.

    They are the two tensors of a transcoder, else the same tensor twice.
    """
    count = len(parts)
    if config.variant == "crosslayer" and count > 2:
        half = count // 2
        return torch.stack(parts[:half], dim=1), torch.stack(parts[half:], dim=1)
    if config.variant in ("transcoder", "crosslayer") and count != 2:
        raise UsageError("A transcoder is trained on pairs (inputs, outputs); given was one tensor.")
    if config.variant not in ("transcoder", "crosslayer") and count != 1:
        raise UsageError(
            f'{count} tensors in a tuple or list are inputs and outputs of variant="transcoder"; this is '
            f'"{config.variant}".'
        )
    return parts[0], parts[-1]


def _layers(x: Tensor) -> int:
    return x.shape[1] if x.ndim == 3 else 1


def _matrix(config: Config, value: Any) -> Tensor:
    """Return a matrix (n, d), also for a crosscoder's (n, layer, d)."""
    wanted = 3 if config.variant in ("crosscoder", "crosslayer") else 2
    if not isinstance(value, Tensor) or value.ndim != wanted or not value.is_floating_point():
        shape = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
        form = "(n, layer, d)" if wanted == 3 else "(n, d)"
        raise UsageError(f"To train, the {config.variant} takes floating-point tensors {form}; given was {shape}.")
    value = value.detach()
    return value.flatten(1) if wanted == 3 else value
