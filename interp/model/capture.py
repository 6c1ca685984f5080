"""Run a model up to the last requested activation, and return the activations.

The common hooks are read from plain `transformers` modules, so that a run costs what the model costs. Any other
transformer_lens hook is read from the bridge, which is slower; so is every run while the bridge has hooks of its own,
because an intervention added there must take part.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.errors import InterpError, NotFiniteError, UnsupportedModelError, UsageError, nearest
from interp.model import edits, observed
from interp.model.hooks import Hooked, Place, hooked, nearest_hook
from interp.model.pending_tensor import pending
from interp.model.token_ids import kind

if TYPE_CHECKING:
    from interp.model.model import Model


HALF = (torch.float16, torch.bfloat16)
LOGITS = 6 * 2**20
"""Number of logits that stay in the processor's cache while they are used."""


class Cache(dict[str, Tensor]):
    """Activations by hook name.

    A name that was not asked for is an error, which names the nearest one in the cache.

    >>> _, activations = model.run_with_cache("the tower is in", ["blocks.0.hook_mlp_out", "blocks.2.hook_mlp_out"])
    >>> {name: tuple(value.shape) for name, value in activations.items()}
    {'blocks.0.hook_mlp_out': (1, 4, 24), 'blocks.2.hook_mlp_out': (1, 4, 24)}
    """

    def __missing__(self, name: str) -> Tensor:
        raise UsageError(
            f'"{name}" is not in this cache{nearest(name, self)}. It holds: {", ".join(self) or "nothing"}.'
        )


class _Stop(Exception):
    """Signal that everything asked for has been seen.

    Not an error: it unwinds the forward pass.
    """


@torch.no_grad()
def logits(
    model: Model, tokens: Tensor, attention_mask: Tensor | None = None, at: Int[Tensor, " batch"] | None = None
) -> Float[Tensor, "batch *n_token d_vocab"]:
    """Return the logits of every position, with the edits of the model.

    With `at`, return those of one position of each row.
    """
    with model.lock:
        if bridge_is_hooked(model):
            result, positions = model.bridge(tokens, attention_mask=attention_mask), torch.arange(tokens.shape[1])
        else:
            positions = None if at is None else at.to(tokens.device).unique()
            result = _forward(model, tokens, attention_mask, positions=positions)
    if at is None or positions is None:
        return result
    return result[torch.arange(len(result)), torch.searchsorted(positions, at.to(positions.device))]


@torch.no_grad()
def logits_of(
    model: Model, tokens: Int[Tensor, "batch n_token"], positions: Int[Tensor, " n"]
) -> Float[Tensor, "batch n d_vocab"]:
    """Return the logits of some positions, without unembedding the others.

    While the bridge has hooks, all positions are computed.
    """
    with model.lock:
        if bridge_is_hooked(model):
            return model.bridge(tokens)[:, positions]
        return _forward(model, tokens, None, positions=positions.to(tokens.device))


@torch.no_grad()
def unembedded(model: Model, stream: Float[Tensor, "n d_model"]) -> Float[Tensor, "n d_vocab"]:
    """Return the logits of residual streams that leave the last block.

    The model's own final norm and unembedding run, without blocks and edits. It is
    fastest for `unembedded_rows` streams at a time, whose logits stay in the processor's cache.

    >>> unembedded(model, torch.randn(5, 24)).shape
    torch.Size([5, 64])
    """
    last, tokens = f"blocks.{model.spec.n_layer - 1}.hook_resid_post", torch.zeros(len(stream), 1, dtype=torch.long)
    given = (model.places[last], lambda _: stream[:, None])
    with model.lock, hooked(model, [given], model.spec.n_layer):
        if model.structure is not None:
            return observed.logits(model.hf, tokens.to(model.device), None, None)[:, 0]
        return model.hf(input_ids=tokens.to(model.device), use_cache=False).logits[:, 0]


def unembedded_rows(model: Model) -> int:
    """Return how many streams `unembedded` should be given at a time."""
    return max(1, LOGITS // model.spec.d_vocab)


@torch.no_grad()
def ending(
    model: Model, tokens: Int[Tensor, "batch n_token"], position: int
) -> tuple[Float[Tensor, "batch d_vocab"], Float[Tensor, "batch n_token d_model"]]:
    """Return one position's logits and the last residual stream.

    Both come from one run.

    The other positions are not unembedded: with 262,144 tokens in the vocabulary, their logits would need a megabyte
    each.
    """
    name = f"blocks.{model.spec.n_layer - 1}.hook_resid_post"
    result: list[Tensor] = []
    with model.lock:
        if bridge_is_hooked(model):
            logits, cache = _through_bridge(model, tokens, (name,), None, None)
            return logits[:, position], cache[name]
        positions = torch.tensor([position % tokens.shape[1]], device=tokens.device)
        logits = _forward(model, tokens, None, [(model.places[name], result.append)], positions)
    return logits[:, 0], result[0]


def checked_names(names: Any) -> tuple[str, ...]:
    """Return one or several hook names as a tuple, checked to be strings."""
    names = (names,) if isinstance(names, str) else names
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        raise UsageError(f"Hooks are named by a string, or a list of several, not by {kind(names)}.")
    return tuple(names)


@torch.no_grad()
def run_with_cache(
    model: Model,
    tokens: Tensor,
    names: tuple[str, ...],
    stop_at_layer: int | None = None,
    attention_mask: Tensor | None = None,
) -> tuple[Tensor, Cache]:
    """Run a model and return (logits, activations by name).

    It computes no further than the last name needs.

    Args:
        model: the model.
        tokens: (batch, n_token) ids.
        names: transformer_lens hook names, such as "blocks.10.hook_resid_post".
        stop_at_layer: None returns logits. They are not computed by this run but when first used, by a second one
            with the weights as they then are; ask for the hook "unembed.hook_out" to have both in one. While the
            bridge has hooks of its own, the run goes on to the logits. A number k from 0 returns the residual stream
            that enters block k instead (n_layer: leaves the last) and computes no further.
        attention_mask: (batch, n_token), 0 on padding, which must be on the right.

    Returns:
        (logits (batch, n_token, d_vocab) or the residual stream, activations by name).

    Raises:
        UsageError: an unknown name (with the nearest right one), or one beyond `stop_at_layer`.

    >>> logits, activations = run_with_cache(model, tokens, ("blocks.1.hook_resid_post",))
    >>> activations["blocks.1.hook_resid_post"].shape
    torch.Size([1, 4, 24])
    """
    known = model.places
    stop = _stop_layer(model, stop_at_layer)
    _check_layers(model, names, stop)
    residual = None if stop is None else f"blocks.{stop - 1}.hook_resid_post" if stop else "blocks.0.hook_resid_pre"
    asked = names if residual is None else (*names, residual)
    beyond = [name for name in names if name not in known]
    if beyond and model.structure is not None:
        raise _not_observed(model, beyond[0])
    if beyond and model.edits:
        raise UsageError(f'"{beyond[0]}" cannot be read while a model is edited{nearest_hook(beyond[0], list(known))}.')
    with model.lock:
        if beyond or bridge_is_hooked(model):
            logits, cache = _through_bridge(model, tokens, asked, stop, attention_mask)
        else:
            cache, _ = _capture(model, tokens, {name: known[name] for name in asked}, attention_mask)
            logits = pending_logits(model, tokens, attention_mask)
    return (logits if residual is None else cache[residual]), Cache({name: cache[name] for name in names})


@torch.no_grad()
def run(
    model: Model, tokens: Tensor, names: tuple[str, ...], *, logits: bool, past: Any = None
) -> tuple[Cache, Tensor | None]:
    """Run the plain modules once, reading activations and optionally logits.

    Args:
        model: one without hooks on its bridge.
        tokens: (batch, n_token) ids, padded on the right or not at all.
        names: hooks of `model.hooks`; the run ends with the last of them unless logits are wanted.
        logits: whether they are.
        past: a cache of `transformers` with the keys and values of earlier tokens, which takes in those of this run.
    """
    with model.lock:
        wanted = {name: model.places[name] for name in names}
        return _capture(model, tokens, wanted, None, past=past, to_end=logits)


def _not_observed(model: Model, name: str) -> InterpError:
    """Return the error for a hook that an observed model lacks.

    Its message gives the reason.
    """
    structure = model.structure
    if structure is not None and structure.reason and name.endswith(("hook_attn_out", "hook_mlp_out")):
        return UnsupportedModelError(f'"{name}" of {model.name} cannot be read: {structure.reason}.')
    return UsageError(f'The observed model {model.name} has no hook "{name}"{nearest_hook(name, list(model.places))}.')


def pending_logits(model: Model, tokens: Tensor, attention_mask: Tensor | None) -> Tensor:
    """Return logits that a second run computes when they are used.

    That run is of the model without hooks on its bridge.
    """

    @torch.no_grad()
    def compute() -> Tensor:
        with model.lock:
            return _forward(model, tokens, attention_mask)

    shape = (*tokens.shape, model.spec.d_vocab)
    return pending(compute, shape=shape, dtype=model.dtype, device=model.device)


def bridge_is_hooked(model: Model) -> bool:
    """Return whether the bridge exists and has hooks that a user added."""
    if "bridge" not in vars(model):
        return False
    return any(point.fwd_hooks for point in model.bridge.hook_dict.values())


def _capture(
    model: Model,
    tokens: Tensor,
    wanted: dict[str, Place],
    attention_mask: Tensor | None,
    *,
    past: Any = None,
    to_end: bool = False,
) -> tuple[Cache, Tensor | None]:
    """Return the values at `wanted` and, with `to_end`, the logits.

    Without `to_end` the run stops when it has the values.
    """
    cache, logits = Cache(), None

    def keep(name: str, value: Tensor) -> None:
        _check_finite(model, name, value)
        cache[name] = value if model.structure is None else value.clone()  # it may be added to in place later
        if len(cache) == len(wanted) and not to_end:
            raise _Stop

    reading = [(place, partial(keep, name)) for name, place in wanted.items()]
    with suppress(_Stop):
        logits = _forward(model, tokens, attention_mask, reading, past=past)
    return Cache({name: cache[name] for name in wanted}), logits


def _check_finite(model: Model, name: str, value: Tensor) -> None:
    """Raise `NotFiniteError` for an activation that half precision cannot hold."""
    if model.dtype not in HALF or torch.isfinite(value.sum(dtype=torch.float64)):  # a finite sum proves each finite
        return
    row, position = (~torch.isfinite(value)).nonzero()[0, :2].tolist()
    hint = " float16 ends at 65,504:" if model.dtype == torch.float16 else ""
    raise NotFiniteError(
        f"{name} is not finite in row {row} at position {position}, in a model of {model.dtype}.{hint} load it in "
        "float32, or in bfloat16, which has the same range."
    )


def _forward(
    model: Model,
    tokens: Tensor,
    attention_mask: Tensor | None,
    reading: Sequence[Hooked] = (),
    positions: Int[Tensor, " n"] | None = None,
    past: Any = None,
) -> Tensor:
    """Run the plain modules with the model's edits, then `reading`.

    The edits and the functions in `reading` act at the hooks.

    Returns the logits of all positions, or of those in `positions`.
    """
    changing = edits.functions(model.edits, edits.Step.of(tokens, attention_mask))
    given = {} if positions is None else {"logits_to_keep": positions}
    with hooked(model, [*changing, *reading], model.start):
        if model.structure is not None:
            return observed.logits(model.hf, tokens, attention_mask, positions)
        return model.hf(
            input_ids=tokens, attention_mask=attention_mask, past_key_values=past, use_cache=past is not None, **given
        ).logits


def _through_bridge(
    model: Model, tokens: Tensor, names: tuple[str, ...], stop: int | None, attention_mask: Tensor | None
) -> tuple[Tensor, Cache]:
    """Run the bridge's `run_with_cache` up to the last block needed.

    That is the last block with a wanted hook.

    Not stopped when the bridge has hooks and logits are wanted: they would be gone by the time the logits are used.
    """
    points = {name: _hook_point(model, name) for name in names}
    last = _last_layer(points.values(), model.spec.n_layer) if stop is None else max(stop, 1)
    if last == model.spec.n_layer or (stop is None and bridge_is_hooked(model)):
        last = None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        output, cache = model.bridge.run_with_cache(
            tokens,
            names_filter=list(points.values()),
            stop_at_layer=last,
            return_cache_object=False,
            attention_mask=attention_mask,
        )
    for name, point in points.items():
        if point not in cache:
            raise UsageError(f'"{name}" is never computed by this run: this model does not use it, or stops before it.')
    result = Cache({name: cache[point] for name, point in points.items()})
    return (output if last is None else pending_logits(model, tokens, attention_mask)), result


def _hook_point(model: Model, name: str) -> str:
    """Return the bridge's own name of a hook, with aliases resolved.

    Raises `UsageError` with the nearest name for one that does not exist.
    """
    bridge = model.bridge
    if name not in bridge.hook_dict:
        point: Any = bridge
        for part in name.split("."):
            point = getattr(point, part, None)
        if getattr(point, "name", None) not in bridge.hook_dict:
            raise UsageError(f'The model has no hook "{name}"{nearest_hook(name, [*model.places, *bridge.hook_dict])}.')
        name = point.name
    try:
        bridge.check_hooks_to_add(name)
    except ValueError as error:
        raise UsageError(f'The hook "{name}" is switched off: {error} (on model.bridge)') from error
    return name


def _last_layer(points: Iterable[str], n_layer: int) -> int:
    """Return the block before which a run may stop.

    It is n_layer for a hook after the blocks.
    """
    last = 0
    for point in points:
        if point.startswith("blocks."):
            last = max(last, int(point.split(".")[1]) + 1)
        elif "embed" not in point or point.startswith("unembed"):
            return n_layer
    return last


def _stop_layer(model: Model, stop_at_layer: int | None) -> int | None:
    if stop_at_layer is None:
        return None
    n_layer = model.spec.n_layer
    if isinstance(stop_at_layer, bool) or not isinstance(stop_at_layer, int) or not 0 <= stop_at_layer <= n_layer:
        raise UsageError(
            f"stop_at_layer={stop_at_layer!r} does not exist: the model has {n_layer} layers. Give the block before "
            f"which to stop, from 0, or {n_layer} to stop behind the last."
        )
    return stop_at_layer


def _check_layers(model: Model, names: tuple[str, ...], stop: int | None) -> None:
    if not names:
        raise UsageError('Name at least one hook, such as "blocks.0.hook_resid_post".')
    for name in names:
        parts = name.split(".")
        if parts[0] != "blocks" or len(parts) < 3 or not parts[1].isdigit():
            continue
        if int(parts[1]) >= model.spec.n_layer:
            raise UsageError(f'"{name}" does not exist: the model has layers 0 to {model.spec.n_layer - 1}.')
        if stop is not None and int(parts[1]) >= stop:
            raise UsageError(f'"{name}" is never computed by a run with stop_at_layer={stop}: stop later.')
