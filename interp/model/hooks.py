"""Hook points of `transformers` modules: where they are, and how values are read and changed.

A hook point has the name transformer_lens gives it. Reading and editing are the same mechanism: a function is called
with the value and may return another, which the rest of the run then uses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from interp.errors import CheckFailedError, nearest
from interp.model.exact import ATTENTION, register_attention

if TYPE_CHECKING:
    from interp.model.model import Model

View = Callable[[Tensor], Tensor]
"""Part of a module's tensor, as a view of it."""

SCORE_AXES = 4
"""Axes of attention scores: batch, head, query, key."""
SOFTMAX = (torch.softmax, torch.Tensor.softmax, torch.nn.functional.softmax)


@dataclass(frozen=True)
class Place:
    """Location of a hook point in the modules.

    It is a module's input or output, or a softmax's argument or result.

    `view` gives the hook's value as part of the module's tensor, None for the whole, and `put` writes it back where
    that part is a copy. `axes` name the value's shape: strings for what depends on the run, numbers for what does not.
    The value is the module's times `scale`; with `flat` the module has rows and positions as one axis.
    """

    module: nn.Module
    side: Literal["input", "output", "scores", "pattern"]
    axes: tuple[str | int, ...]
    layer: int = -1
    view: View | None = None
    put: Callable[[Tensor, Tensor], object] | None = None
    scale: float = 1.0
    flat: bool = False
    in_place: bool = False
    """The module's input is read elsewhere too, as the same tensor, which must therefore change where it is."""

    @property
    def head_axis(self) -> int | None:
        """The axis of attention heads; None for a value that has none."""
        if self.side in ("scores", "pattern"):
            return 1
        return 2 if len(self.axes) == 4 else None

    @property
    def position_axis(self) -> int:
        """The axis of positions: of queries, for scores and patterns."""
        return 2 if self.side in ("scores", "pattern") else 1


Hooked = tuple[Place, Callable[[Tensor], Tensor | None]]
"""A function called with the value at a place; what it returns, unless None, is used instead."""


def places(model: Model) -> dict[str, Place]:
    """Return every hook point of the plain modules, in run order."""
    if model.structure is not None:
        return model.structure.places()
    parts, spec = model.parts, model.spec
    stream = ("batch", "n_token", spec.d_model)
    hidden = ("batch", "n_token", spec.d_mlp)
    queries, keys = (("batch", "n_token", n, spec.d_head) for n in (spec.n_head, spec.n_kv_head))
    square = ("batch", spec.n_head, "query", "key")
    result = {"hook_embed": Place(parts.embed, "output", stream, scale=parts.embed_scale)}

    def split_heads(tensor: Tensor) -> Tensor:
        return tensor.unflatten(-1, (spec.n_head, -1))

    for layer, block in enumerate(parts.blocks):
        prefix = f"blocks.{layer}."
        result[f"{prefix}hook_resid_pre"] = Place(block, "input", stream, layer)
        for name, part, axes in zip("qkv", parts.projections[layer], (queries, keys, keys), strict=True):
            result[f"{prefix}attn.hook_{name}"] = Place(part.module, "output", axes, layer, part.view, part.put)
        result[f"{prefix}attn.hook_attn_scores"] = Place(block, "scores", square, layer)
        result[f"{prefix}attn.hook_pattern"] = Place(block, "pattern", square, layer)
        result[f"{prefix}attn.hook_z"] = Place(parts.attn_output[layer], "input", queries, layer, split_heads)
        attn_out, mlp_out = parts.attn_write[layer], parts.mlp_write[layer]
        result[f"{prefix}hook_attn_out"] = Place(
            attn_out.module, "output", stream, layer, attn_out.view, attn_out.put, parts.write_scale
        )
        before = Place(parts.mlp_norm[layer], "input", stream, layer, flat=parts.flat_mlp, in_place=True)
        if not spec.parallel:
            result[f"{prefix}hook_resid_mid"] = before
        if spec.n_expert:  # experts are not modules of their own
            result[f"{prefix}mlp.hook_in"] = Place(mlp_out.module, "input", stream, layer)
        else:
            pre, linear = parts.mlp_pre[layer], parts.mlp_linear[layer]
            read = replace(before, module=pre.module) if spec.pre_norms else replace(before, in_place=False)
            result[f"{prefix}mlp.hook_in"] = read
            inner = partial(Place, axes=hidden, layer=layer, flat=parts.flat_mlp)
            result[f"{prefix}mlp.hook_pre"] = inner(pre.module, "output", view=pre.view)
            if spec.gated:
                result[f"{prefix}mlp.hook_pre_linear"] = inner(linear.module, "output", view=linear.view)
            result[f"{prefix}mlp.hook_post"] = inner(parts.mlp_output[layer], "input")
        result[f"{prefix}hook_mlp_out"] = Place(
            mlp_out.module, "output", stream, layer, mlp_out.view, mlp_out.put, parts.write_scale, parts.flat_mlp
        )
        result[f"{prefix}hook_resid_post"] = Place(block, "output", stream, layer)
    return result


def nearest_hook(name: str, known: Sequence[str]) -> str:
    """Return a hint that names the hook most similar to `name`.

    Names of the same layer come first; the hint is empty if no name is similar.
    """
    head, _, tail = name.rpartition(".")
    layer = ".".join(head.split(".")[:2])
    siblings = {hook.rpartition(".")[2]: hook for hook in reversed(known) if hook.startswith(layer)}
    alike = get_close_matches(tail, list(siblings), n=1)
    return f'; the nearest is "{siblings[alike[0]]}"' if alike else nearest(name, known)


@contextmanager
def hooked(model: Model, functions: Sequence[Hooked], first: int = 0) -> Iterator[None]:
    """Let functions read and replace values at their places.

    They do so inside the `with` block.

    Several functions at one place act in order.

    The blocks before `first` return what they are given, uncomputed. Everything is as before afterwards, however the
    run ends. For one run at a time: see `Model.lock`.
    """
    at_softmax = [(place, function) for place, function in functions if place.side in ("scores", "pattern")]
    n_row = _Rows()
    with ExitStack() as stack:
        for block in model.parts.blocks[:first]:
            stack.enter_context(_uncomputed(block, model.parts.block_tuples))
        if any(place.flat for place, _ in functions):
            stack.callback(model.hf.register_forward_pre_hook(n_row.read, with_kwargs=True).remove)
        for place, function in functions:
            if place.side == "input":
                handle = place.module.register_forward_pre_hook(_before(place, function, n_row), with_kwargs=True)
            elif place.side == "output":
                handle = place.module.register_forward_hook(_after(place, function, n_row))
            else:
                continue
            stack.callback(handle.remove)
        if at_softmax:
            stack.enter_context(_eager(model))
            stack.enter_context(_Softmaxes(model, at_softmax, first))
        yield


@contextmanager
def _uncomputed(block: nn.Module, in_tuple: bool) -> Iterator[None]:
    """Let a block return the stream it is given, without computing.

    This lasts for the `with` block.

    A `forward` of the object's own is put back afterwards.
    """

    def passed_on(*args: Any, **kwargs: Any) -> Any:
        stream = args[0] if args else kwargs[_stream_name(kwargs)]
        return (stream, None) if in_tuple else stream

    own = vars(block).get("forward")
    block.forward = passed_on
    try:
        yield
    finally:
        if own is None:
            del block.forward
        else:
            block.forward = own


def _stream_name(kwargs: dict[str, Any]) -> str:
    """Return the keyword of the residual stream among a module's arguments.

    It is that of `transformers`, or of its first tensor.
    """
    if "hidden_states" in kwargs:
        return "hidden_states"
    return next(name for name, value in kwargs.items() if isinstance(value, Tensor))


class _Rows:
    """Number of texts in a run.

    It is needed by modules that have rows and positions on one axis.
    """

    number = 0

    def read(self, _: Any, __: Any, kwargs: dict[str, Any]) -> None:
        self.number = len(kwargs["input_ids"])


def _before(place: Place, function: Callable[[Tensor], Tensor | None], n_row: _Rows) -> Callable[..., Any]:
    def hook(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        name = "" if args else _stream_name(kwargs)
        tensor = args[0] if args else kwargs[name]
        changed = _changed(place, function, tensor, n_row)
        if changed is None:
            return None
        if place.in_place:
            tensor.copy_(changed)
            return None
        return ((changed, *args[1:]), kwargs) if args else (args, kwargs | {name: changed})

    return hook


def _after(place: Place, function: Callable[[Tensor], Tensor | None], n_row: _Rows) -> Callable[..., Any]:
    def hook(_: Any, __: Any, output: Any) -> Any:
        whole = isinstance(output, tuple)
        changed = _changed(place, function, output[0] if whole else output, n_row)
        return (changed, *output[1:]) if whole and changed is not None else changed

    return hook


def _changed(place: Place, function: Callable[[Tensor], Tensor | None], tensor: Tensor, n_row: _Rows) -> Tensor | None:
    """Return a module's tensor with the part at the hook replaced.

    It is None if unchanged.
    """
    whole = tensor.unflatten(0, (n_row.number, -1)) if place.flat else tensor
    value = whole if place.view is None else place.view(whole)
    part = function(value if place.scale == 1.0 else value * place.scale)
    if part is None:
        return None
    part = part if place.scale == 1.0 else part / place.scale
    if place.view is None:
        return part.reshape(tensor.shape) if place.flat else part
    whole = whole.clone()
    if place.put is None:
        place.view(whole).copy_(part)
    else:
        place.put(whole, part)
    return whole.reshape(tensor.shape)


class _Softmaxes(TorchFunctionMode):
    """Mode that calls functions on attention scores and patterns.

    They are called for each layer as its softmax is computed.
    """

    def __init__(self, model: Model, functions: Sequence[Hooked], first: int):
        super().__init__()
        self.model = model
        self.functions = functions
        self.first = self.seen = first

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func not in SOFTMAX or args[0].ndim != SCORE_AXES:  # a router's has positions and experts only
            return func(*args, **(kwargs or {}))
        layer, self.seen = self.seen % self.model.spec.n_layer, self.seen + 1
        scores = self._passed("scores", layer, args[0])
        return self._passed("pattern", layer, func(scores, *args[1:], **(kwargs or {})))

    def _passed(self, side: str, layer: int, value: Tensor) -> Tensor:
        """Return the softmax's argument or result, as changed by the functions.

        The column of a sink is not shown to them.
        """
        n_key = value.shape[-1] - self.model.spec.attention_sinks
        value, sinks = value[..., :n_key], value[..., n_key:]
        for place, function in self.functions:
            if place.side == side and place.layer == layer:
                changed = function(value)
                value = value if changed is None else changed
        return torch.cat([value, sinks], dim=-1) if sinks.shape[-1] else value

    def __exit__(self, kind: Any, value: Any, traceback: Any) -> None:
        super().__exit__(kind, value, traceback)
        n_layer = self.model.spec.n_layer
        if kind is None and (self.seen == self.first or self.seen % n_layer):
            raise CheckFailedError(
                f"{self.model.name} called {self.seen - self.first} softmaxes in {n_layer - self.first} layers: its "
                "attention scores and patterns cannot be read or edited."
            )


@contextmanager
def _eager(model: Model) -> Iterator[None]:
    """Use the model's attention in the form that computes scores.

    This lasts for the `with` block.
    """
    before, sinks = model.hf.config._attn_implementation, model.spec.attention_sinks
    if before == ATTENTION or (before == "eager" and not sinks):
        yield
        return
    if sinks:  # `transformers` shifts the scores of a family with sinks, which leaves the pattern alone but not them
        register_attention()
    model.hf.set_attn_implementation(ATTENTION if sinks else "eager")
    try:
        yield
    finally:
        model.hf.set_attn_implementation(before)
