"""Run a model, keep the activations asked for, and go no further than the last of them.

The common hooks are read from plain `transformers` modules, so that a run costs what the model costs. Any other
transformer_lens hook is read from the bridge, which is slower; so is every run while the bridge has hooks of its own,
because an intervention added there must take part.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from interp.errors import UsageError, nearest
from interp.model.pending import pending

if TYPE_CHECKING:
    from interp.model.model import Model


class Cache(dict[str, Tensor]):
    """Activations by hook name; a name that was not asked for is an error that names the nearest one that was."""

    def __missing__(self, name: str) -> Tensor:
        raise UsageError(
            f'"{name}" is not in this cache{nearest(name, self)}. It holds: {", ".join(self) or "nothing"}.'
        )


@dataclass(frozen=True)
class Place:
    """Where a hook reads: the input or the output of a module; `heads` splits the last axis into that many."""

    module: nn.Module
    side: Literal["input", "output"]
    heads: int | None = None


class _Stop(Exception):
    """Everything asked for has been seen. Not an error: it unwinds the forward pass."""


def places(model: Model) -> dict[str, Place]:
    """Every hook that is read from the plain modules."""
    parts = model.parts
    found = {"hook_embed": Place(parts.embed, "output")}
    for layer, block in enumerate(parts.blocks):
        prefix = f"blocks.{layer}."
        found[f"{prefix}hook_resid_pre"] = Place(block, "input")
        found[f"{prefix}attn.hook_z"] = Place(parts.attn_output[layer], "input", model.spec.n_head)
        found[f"{prefix}hook_attn_out"] = Place(parts.attn_write[layer], "output")
        if not model.spec.parallel:
            found[f"{prefix}hook_resid_mid"] = Place(parts.mlp_norm[layer], "input")
        found[f"{prefix}hook_mlp_out"] = Place(parts.mlp_write[layer], "output")
        found[f"{prefix}hook_resid_post"] = Place(block, "output")
    return found


@torch.no_grad()
def logits(model: Model, tokens: Tensor, attention_mask: Tensor | None = None) -> Tensor:
    """Logits of every position."""
    if bridge_is_hooked(model):
        return model.bridge(tokens, attention_mask=attention_mask)
    return _forward(model, tokens, attention_mask)


@torch.no_grad()
def run_with_cache(
    model: Model,
    tokens: Tensor,
    names: tuple[str, ...],
    stop_at_layer: int | None = None,
    attention_mask: Tensor | None = None,
) -> tuple[Tensor, Cache]:
    """(logits, activations by name), computing no further than the last name needs.

    Args:
        model: the model.
        tokens: (batch, n_token) ids.
        names: transformer_lens hook names, such as "blocks.10.hook_resid_post".
        stop_at_layer: None returns logits. They are not computed by this run but when first used, by a second one
            with the weights as they then are; ask for the hook "unembed.hook_out" to have both in one. While the
            bridge has hooks of its own, the run goes on to the logits. A number k returns the residual stream that
            enters block k instead (n_layer: leaves the last) and computes no further.
        attention_mask: (batch, n_token), 0 on padding, which must be on the right.

    Raises:
        UsageError: an unknown name (with the nearest right one), or one that lies beyond `stop_at_layer`.
    """
    known = places(model)
    stop = _stop_layer(model, stop_at_layer)
    _check_layers(model, names, stop)
    residual = None if stop is None else f"blocks.{stop - 1}.hook_resid_post" if stop else "blocks.0.hook_resid_pre"
    asked = names if residual is None else (*names, residual)
    if bridge_is_hooked(model) or any(name not in known for name in names):
        logits, cache = _through_bridge(model, tokens, asked, stop, attention_mask)
    else:
        cache = _capture(model, tokens, {name: known[name] for name in asked}, attention_mask)
        logits = pending_logits(model, tokens, attention_mask)
    return (logits if residual is None else cache[residual]), Cache({name: cache[name] for name in names})


def pending_logits(model: Model, tokens: Tensor, attention_mask: Tensor | None) -> Tensor:
    """Logits that a second run, of the model without hooks on its bridge, computes if they are used."""

    @torch.no_grad()
    def compute() -> Tensor:
        return _forward(model, tokens, attention_mask)

    shape = (*tokens.shape, model.spec.d_vocab)
    return pending(compute, shape=shape, dtype=model.dtype, device=model.device)


def bridge_is_hooked(model: Model) -> bool:
    """Whether the bridge was made and someone has added hooks to it."""
    if "bridge" not in vars(model):
        return False
    return any(point.fwd_hooks for point in model.bridge.hook_dict.values())


def _capture(model: Model, tokens: Tensor, wanted: dict[str, Place], attention_mask: Tensor | None) -> Cache:
    cache = Cache()
    with suppress(_Stop), _listening(wanted, cache):
        _forward(model, tokens, attention_mask)
    return Cache({name: cache[name] for name in wanted})


@contextmanager
def _listening(wanted: dict[str, Place], cache: Cache) -> Iterator[None]:
    """Hooks that fill `cache` and stop the run when it holds everything wanted."""

    def keep(name: str, place: Place, value: Any) -> None:
        tensor = value[0] if isinstance(value, tuple) else value
        cache[name] = tensor.unflatten(-1, (place.heads, -1)) if place.heads else tensor
        if len(cache) == len(wanted):
            raise _Stop

    def before(name: str, place: Place) -> Callable[..., None]:
        return lambda _, args, kwargs: keep(name, place, args[0] if args else kwargs["hidden_states"])

    def after(name: str, place: Place) -> Callable[..., None]:
        return lambda _, __, output: keep(name, place, output)

    handles = []
    try:
        for name, place in wanted.items():
            if place.side == "input":
                handles.append(place.module.register_forward_pre_hook(before(name, place), with_kwargs=True))
            else:
                handles.append(place.module.register_forward_hook(after(name, place)))
        yield
    finally:
        for handle in handles:
            handle.remove()


def _forward(model: Model, tokens: Tensor, attention_mask: Tensor | None) -> Tensor:
    return model.hf(input_ids=tokens, attention_mask=attention_mask, use_cache=False).logits


def _through_bridge(
    model: Model, tokens: Tensor, names: tuple[str, ...], stop: int | None, attention_mask: Tensor | None
) -> tuple[Tensor, Cache]:
    """The bridge's own run_with_cache, stopped behind the last block that holds a wanted hook.

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
    found = Cache({name: cache[point] for name, point in points.items()})
    return (output if last is None else pending_logits(model, tokens, attention_mask)), found


def _hook_point(model: Model, name: str) -> str:
    """The bridge's own name of a hook, aliases resolved; `UsageError` with the nearest name if there is none."""
    bridge = model.bridge
    if name not in bridge.hook_dict:
        point: Any = bridge
        for part in name.split("."):
            point = getattr(point, part, None)
        if getattr(point, "name", None) not in bridge.hook_dict:
            raise UsageError(f'The model has no hook "{name}"{_nearest_hook(name, model)}.')
        name = point.name
    try:
        bridge.check_hooks_to_add(name)
    except ValueError as error:
        raise UsageError(f'The hook "{name}" is switched off: {error} (on model.bridge)') from error
    return name


def _nearest_hook(name: str, model: Model) -> str:
    """The hook of the same layer whose own name is most alike, since the prefix is shared by hundreds."""
    head, _, tail = name.rpartition(".")
    known = [*places(model), *model.bridge.hook_dict]
    layer = ".".join(head.split(".")[:2])
    siblings = {hook.rpartition(".")[2]: hook for hook in reversed(known) if hook.startswith(layer)}
    alike = get_close_matches(tail, list(siblings), n=1)
    return f'; the nearest is "{siblings[alike[0]]}"' if alike else nearest(name, known)


def _last_layer(points: Iterable[str], n_layer: int) -> int:
    """The block before which a run may stop; n_layer, that is nowhere, for a hook behind the blocks."""
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
    if not -n_layer <= stop_at_layer <= n_layer:
        raise UsageError(f"stop_at_layer={stop_at_layer} does not exist: the model has {n_layer} layers.")
    return stop_at_layer + n_layer if stop_at_layer < 0 else stop_at_layer


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
