"""Run a model with the value at one hook replaced."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from jaxtyping import Float, Int
from torch import Tensor

from interp import edit

if TYPE_CHECKING:
    from interp.model import Model

Replace = Callable[[Float[Tensor, "batch n_token d"]], Float[Tensor, "batch n_token d"]]


def spliced(model: Model, hook: str, replace: Replace) -> Model:
    """Return the model whose value at `hook` is `replace(value)`; heads are flattened into the last axis.

    Everything after the hook reacts as it would. Raises `UsageError` for a hook that cannot be replaced, or when the
    bridge has hooks of its own.
    """
    return model.edited(edit.function(hook, lambda value: replace(value.flatten(2)).reshape(value.shape)))


def spliced_logits(
    model: Model, tokens: Int[Tensor, "batch n_token"], hook: str, replace: Replace
) -> Float[Tensor, "batch n_token d_vocab"]:
    """Logits of a run whose value at `hook` is `replace(value)`; see `spliced`."""
    return spliced(model, hook, replace)(tokens)
