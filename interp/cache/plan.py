"""The cost of a harvest, before it starts."""

from __future__ import annotations

import importlib.metadata
import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from interp.cache.config import ITEM_BYTES, Config
from interp.cache.contexts import Contexts, contexts_of
from interp.cache.forward import activations, shapes
from interp.cache.manifest import Hook, Manifest
from interp.errors import UsageError

if TYPE_CHECKING:
    from interp.model import Model

GIGA, MEGA = 1e9, 1e6
SHARD_COPIES = 3
"""A shard in memory: its rows, their serialised copy, and that copy's parts while it is made."""
VERSIONED = ("interp", "torch", "transformers")


@dataclass(frozen=True, eq=False)
class Plan:
    """Harvest that has not started.

    Bytes of disk are exact but for a header of some 100 bytes a shard.

    Attributes:
        config: as asked.
        contexts: what the model will read, in memory.
        manifest: without shards.
        disk_bytes: of all shards.
        memory_bytes: estimate of the peak: weights, token ids, one batch of every layer's work, three copies of a
            shard.
        flops: of the blocks that are run, see `flops`.

    >>> planned = cache.plan(model, texts, cache.Config(("blocks.1.hook_resid_post",), context=32))
    >>> planned.disk_bytes, planned.manifest.rows
    (99456, 992)
    """

    config: Config
    contexts: Contexts
    manifest: Manifest
    disk_bytes: int
    memory_bytes: int
    flops: float

    def table(self) -> dict[str, Any]:
        """Return the plan as plain values, for people and programs.

        >>> list(planned.table())[:4]
        ['contexts', 'tokens', 'rows', 'shards']
        """
        return {
            "contexts": self.manifest.contexts,
            "tokens": self.manifest.tokens,
            "rows": self.manifest.rows,
            "shards": self.manifest.n_shard,
            "disk_bytes": self.disk_bytes,
            "memory_bytes": self.memory_bytes,
            "flops": self.flops,
        }


def plan(model: Model, source: Any, config: Config) -> Plan:
    """Compute the plan of a harvest: what `harvest` will do.

    It counts tokens, rows, shards, disk, memory and arithmetic. Reads the source, computes no more than a few tokens,
    and writes nothing.

    Args:
        model: as in `harvest`.
        source: as in `harvest`.
        config: as in `harvest`.

    Returns:
        The plan.

    Raises:
        UsageError: an unknown hook, too little text, or a store beyond `config.max_gigabytes`.

    >>> planned = cache.plan(model, texts, cache.Config(("blocks.1.hook_resid_post",), context=32))
    >>> planned.manifest.tokens, planned.manifest.rows
    (1024, 992)
    """
    hooks = shapes(model, config.hooks)
    if config.context > model.spec.n_ctx:
        raise UsageError(
            f"context={config.context} is longer than the {model.spec.n_ctx} tokens that {model.name} reads at most: "
            "make it shorter."
        )
    allowed = _allowed_tokens(hooks, config)
    limit = allowed + config.context if config.max_tokens is None else config.max_tokens
    contexts = contexts_of(
        model,
        source,
        length=config.context,
        pack=config.pack,
        prepend_bos=config.prepend_bos,
        max_tokens=min(limit, allowed + config.context),
    )
    manifest = _manifest(model, contexts, hooks, config)
    disk = manifest.payload(manifest.rows, manifest.contexts)
    if manifest.rows == 0:
        raise UsageError("No position is left to store: contexts of one token have only the excluded first one.")
    if disk > config.max_gigabytes * GIGA:
        raise UsageError(
            f"The store would take more than max_gigabytes={config.max_gigabytes:g} ({allowed:,} tokens of "
            f"{_row_bytes(hooks, config):,} bytes): raise it, set max_tokens, store fewer hooks or bfloat16."
        )
    memory = _memory(model, manifest)
    return Plan(config, contexts, manifest, disk, memory, flops(model, config.hooks, manifest.tokens, config.context))


def flops(model: Model, hooks: tuple[str, ...], n_token: int, context: int) -> float:
    """Return the floating-point operations of the blocks down to the last hook.

    They are (2 · their parameters + 4 · context · d) a token.

    d is n_head · d_head of every block run: scores and mixing over the whole context, as kernels compute them.
    Embedding, norms and the model's own softmax are left out.
    """
    blocks = model.parts.blocks[: depth(hooks, model.spec.n_layer)]
    parameters = sum(value.numel() for block in blocks for value in block.parameters())
    attention = 4 * context * model.spec.n_head * model.spec.d_head * len(blocks)
    return float(n_token) * (2 * parameters + attention)


def depth(hooks: tuple[str, ...], n_layer: int) -> int:
    """Return how many blocks are run for these hooks."""
    return max(_depth(name, n_layer) for name in hooks)


def _depth(name: str, n_layer: int) -> int:
    result = re.match(r"blocks\.(\d+)\.", name)
    if result is None:
        return 0 if "embed" in name and not name.startswith("unembed") else n_layer
    return int(result[1]) + (not name.endswith("hook_resid_pre"))


def seconds(model: Model, planned: Plan) -> float:
    """Return the estimated duration in seconds.

    It is the second of two forward passes over the first batch, times the number of batches.
    """
    config = planned.config
    few = Contexts(planned.contexts.tokens[: config.batch_size], planned.contexts.lengths[: config.batch_size])
    times = []
    for _ in range(2):
        began = time.perf_counter()
        for _ in activations(
            model, few, config.hooks, batch_size=config.batch_size, dtype=config.dtype, exclude=config.exclude
        ):
            pass
        times.append(time.perf_counter() - began)
    return times[-1] * planned.contexts.n_token / few.n_token


def _manifest(model: Model, contexts: Contexts, hooks: tuple[Hook, ...], config: Config) -> Manifest:
    most = config.context * _row_bytes(hooks, config)
    batches = max(int(config.shard_megabytes * MEGA / most) // config.batch_size, 1)
    identity = model.identity()
    return Manifest(
        model={key: identity[key] for key in ("model", "weights_sha256", "tokenizer", "dtype")},
        hooks=hooks,
        dtype=config.dtype,
        context=config.context,
        packed=bool((contexts.lengths == config.context).all()),
        prepend_bos=contexts.prepend_bos,
        separator=contexts.separator,
        exclude=config.exclude,
        batch=config.batch_size,
        contexts=len(contexts),
        tokens=contexts.n_token,
        rows=_rows(contexts, config.exclude),
        token_sha256=contexts.sha256(),
        shard_contexts=batches * config.batch_size,  # a batch never spans two shards, so that resuming repeats none
        versions={name: importlib.metadata.version(name) for name in VERSIONED},
    )


def _rows(contexts: Contexts, exclude: tuple[str, ...]) -> int:
    filled = contexts.n_token if "padding" in exclude else contexts.tokens.numel()
    return filled - len(contexts) * ("first" in exclude)


def _row_bytes(hooks: tuple[Hook, ...], config: Config) -> int:
    return sum(hook.width for hook in hooks) * ITEM_BYTES[config.dtype]


def _allowed_tokens(hooks: tuple[Hook, ...], config: Config) -> int:
    """Return how many tokens fit into max_gigabytes.

    At most one more context is read, which bounds the memory.
    """
    return int(config.max_gigabytes * GIGA) // _row_bytes(hooks, config)


def _memory(model: Model, manifest: Manifest) -> int:
    weights = sum(value.nbytes for value in model.hf.parameters())
    spec, at_once = model.spec, manifest.batch * manifest.context
    work = at_once * (6 * spec.d_model + 3 * spec.d_mlp) * model.dtype.itemsize + manifest.batch * 8 * manifest.context
    rows = manifest.shard_contexts * manifest.context
    shard = manifest.payload(min(rows, manifest.rows), min(manifest.shard_contexts, manifest.contexts))
    return weights + 4 * manifest.tokens + work + SHARD_COPIES * shard
