"""Run a model with the value at one hook replaced."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.errors import UsageError, nearest
from interp.model.capture import bridge_is_hooked, places

if TYPE_CHECKING:
    from interp.model import Model

Replace = Callable[[Float[Tensor, "batch n_token d"]], Float[Tensor, "batch n_token d"]]


@torch.no_grad()
def spliced_logits(
    model: Model, tokens: Int[Tensor, "batch n_token"], hook: str, replace: Replace
) -> Float[Tensor, "batch n_token d_vocab"]:
    """Logits of a run whose value at `hook` is `replace(value)`; heads are flattened into the last axis.

    Everything after the hook reacts as it would. Raises `UsageError` for a hook that cannot be replaced, or when the
    bridge has hooks of its own.
    """
    with spliced(model, hook, replace):
        return model(tokens)


@contextmanager
def spliced(model: Model, hook: str, replace: Replace) -> Iterator[None]:
    """While open, every run of `model` has `replace(value)` in place of the value at `hook`."""
    known = {name: place for name, place in places(model).items() if not name.endswith("hook_resid_mid")}
    # The input of the second norm is only one of two readers of resid_mid: the other is the sum after the MLP.
    if hook not in known:
        raise UsageError(f'The value at "{hook}" cannot be replaced{nearest(hook, known)}.')
    if bridge_is_hooked(model):
        raise UsageError("The model's bridge has hooks of its own: remove them first (model.bridge.reset_hooks()).")
    place = known[hook]

    def before(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if args:
            return (replace(args[0]), *args[1:]), kwargs
        return args, kwargs | {"hidden_states": replace(kwargs["hidden_states"])}

    def after(_: Any, __: Any, output: Any) -> Any:
        return (replace(output[0]), *output[1:]) if isinstance(output, tuple) else replace(output)

    if place.side == "input":
        handle = place.module.register_forward_pre_hook(before, with_kwargs=True)
    else:
        handle = place.module.register_forward_hook(after)
    try:
        yield
    finally:
        handle.remove()
