"""Attention as the model itself computes it: what goes into its softmax and what comes out, layer by layer.

Nothing is recomputed: the model runs as it is, its attention in the form that holds the scores ("eager"), and every
softmax is seen as it is called. Only this module knows how.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.overrides import TorchFunctionMode

from interp.errors import CheckFailedError
from interp.model import Model

Keep = Callable[[int, Tensor, Tensor], None]
"""Called with (layer, masked scores, pattern), each (batch, n_head, query, key)."""

HOLD_SCORES = ("eager", "interp_float64")
"""Forms of attention that form their scores and call softmax on them; fused ones do neither."""
SOFTMAX = (torch.softmax, torch.Tensor.softmax, torch.nn.functional.softmax)


class _Watch(TorchFunctionMode):
    def __init__(self, keep: Keep):
        super().__init__()
        self.keep = keep
        self.seen = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        if func in SOFTMAX:
            self.keep(self.seen, args[0], found)
            self.seen += 1
        return found


@contextmanager
def observed(model: Model, keep: Keep) -> Iterator[None]:
    """Within it, one run of the model hands its scores and patterns to `keep`, layer after layer.

    Raises `CheckFailedError` if the run did not have one softmax a layer; nothing it gave may then be used.
    """
    with _eager(model), _Watch(keep) as watch, torch.no_grad():
        yield
    if watch.seen != model.spec.n_layer:
        raise CheckFailedError(
            f"{model.name} called {watch.seen} softmaxes in {model.spec.n_layer} layers: its attention cannot be read. "
            "Remove the hooks on model.bridge, if there are any."
        )


@contextmanager
def _eager(model: Model) -> Iterator[None]:
    """The model's attention in the form that computes scores, restored afterwards."""
    before = model.hf.config._attn_implementation
    if before in HOLD_SCORES:
        yield
        return
    model.hf.set_attn_implementation("eager")
    try:
        yield
    finally:
        model.hf.set_attn_implementation(before)


def stacked_patterns(model: Model, tokens: Tensor) -> Float[Tensor, "n_layer batch n_head query key"]:
    """Every attention pattern of one run."""
    found: list[Tensor] = []
    with observed(model, lambda _, __, pattern: found.append(pattern)):
        model(tokens)
    return torch.stack(found)
