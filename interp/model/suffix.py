"""The blocks above a layer, run from given residual streams: the blocks below are computed once.

    suffix = Suffix.of(model, tokens, layer=12)
    stream = suffix.final(suffix.stream + vector)        # (batch, n_token, d_model), leaving the last block

The blocks themselves run unchanged, with the model's edits above the layer, so that every family is exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.errors import UsageError
from interp.model import capture, edits, observed
from interp.model.hooks import hooked

if TYPE_CHECKING:
    from interp.model.model import Model


@dataclass(frozen=True)
class Suffix:
    """Blocks above `layer`, and the stream that leaves it for `tokens`.

    The stream is (batch, n_token, d_model).

    `attention_mask` is that of padded rows, None where none is.
    """

    model: Model
    layer: int
    tokens: Int[Tensor, "batch n_token"]
    attention_mask: Int[Tensor, "batch n_token"] | None
    stream: Float[Tensor, "batch n_token d_model"]

    @classmethod
    def of(cls, model: Model, tokens: Tensor, layer: int, attention_mask: Tensor | None = None) -> Suffix:
        """Run the model up to a layer and return the suffix.

        The model's edits are made.

        Raises `UsageError` for a layer that does not exist, or hooks on the bridge, which the run would not see.
        """
        if not isinstance(layer, int) or not 0 <= layer < model.spec.n_layer:
            raise UsageError(f"Layer {layer!r} does not exist: give one from 0 to {model.spec.n_layer - 1}.")
        if capture.bridge_is_hooked(model):
            raise UsageError("The model's bridge has hooks of its own: remove them first (model.bridge.reset_hooks()).")
        name, tokens = f"blocks.{layer}.hook_resid_post", model.check_tokens(tokens)
        _, cache = model.run_with_cache(tokens, name, attention_mask=attention_mask)
        return cls(model, layer, tokens, attention_mask, cache[name])

    @torch.no_grad()
    def final(self, stream: Float[Tensor, "rows n_token d_model"]) -> Float[Tensor, "rows n_token d_model"]:
        """Return the stream that leaves the last block.

        It is computed from the stream that leaves `layer`.

        `stream` has the rows of `tokens`, or several times as many, one copy of the batch after the other.
        """
        model, last = self.model, f"blocks.{self.model.spec.n_layer - 1}.hook_resid_post"
        copies, rest = divmod(len(stream), len(self.tokens))
        if rest or not copies:
            raise UsageError(f"The stream has {len(stream)} rows: give a multiple of the {len(self.tokens)} prompts.")
        tokens = self.tokens.repeat(copies, 1)
        mask = None if self.attention_mask is None else self.attention_mask.repeat(copies, 1)
        above = [bound for bound in model.edits if bound.place.layer > self.layer]
        result: list[Tensor] = []
        given = (model.places[f"blocks.{self.layer}.hook_resid_post"], lambda _: stream)
        changing = edits.functions(above, edits.Step.of(tokens, mask))
        functions = [given, *changing, (model.places[last], result.append)]
        with model.lock, hooked(model, functions, self.layer + 1):
            if model.structure is None:
                model.hf(input_ids=tokens, attention_mask=mask, use_cache=False, logits_to_keep=1)
            else:
                observed.logits(model.hf, tokens, mask, None)
        return result[-1]
