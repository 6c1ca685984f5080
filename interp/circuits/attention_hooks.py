"""The model's own attention: what enters its softmax and what comes out.

Nothing is recomputed: the model runs unmodified, and every call of softmax is observed (`interp.model.hooks`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Float
from torch import Tensor

from interp.model import Model
from interp.model.hooks import Hooked, hooked

Keep = Callable[[int, Tensor, Tensor], None]
"""Called with (layer, masked scores, pattern), each (batch, n_head, query, key)."""


@contextmanager
def observed(model: Model, keep: Keep) -> Iterator[None]:
    """Pass the scores and patterns of a run to a callback.

    A context manager, for one run of the model. `keep` is called layer after layer.

    Raises `CheckFailedError` if the run did not have one softmax a layer; nothing it gave may then be used.
    """
    scores: dict[int, Tensor] = {}

    def functions(layer: int) -> list[Hooked]:
        prefix = f"blocks.{layer}.attn.hook_"
        return [
            (model.places[f"{prefix}attn_scores"], lambda value: scores.update({layer: value})),
            (model.places[f"{prefix}pattern"], lambda value: keep(layer, scores.pop(layer), value)),
        ]

    both = [function for layer in range(model.spec.n_layer) for function in functions(layer)]
    with model.lock, torch.no_grad(), hooked(model, both):
        yield


def stacked_patterns(model: Model, tokens: Tensor) -> Float[Tensor, "n_layer batch n_head query key"]:
    """Return every attention pattern of one run."""
    patterns: list[Tensor] = []
    with observed(model, lambda _, __, pattern: patterns.append(pattern)):
        model.run_with_cache(tokens, f"blocks.{model.spec.n_layer - 1}.attn.hook_z")  # no further than the last pattern
    return torch.stack(patterns)
