"""Double precision throughout: `transformers` rounds norms and softmax through float32 even in a float64 model.

In float64 a decomposition can be checked to 1e-12, but only against a model that is itself computed in float64.
So `interp.load(..., dtype=torch.float64)` gives its private copy of the modules the two pieces below. The rotary
tables stay as `transformers` makes them, from float32 angles: they are constants of the model, not rounding.
"""

from __future__ import annotations

from types import MethodType
from typing import Any

from torch import Tensor, nn

from interp.model.arithmetic import norm_scale, softcap

ATTENTION = "interp_float64"


def make_double(hf: Any, rms_norms: tuple[nn.Module, ...]) -> None:
    """Let `hf` (already float64) normalise and attend in float64. Changes `hf`, which must be a private copy."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import eager_mask

    for norm in rms_norms:
        norm.forward = MethodType(_gemma_norm if type(norm).__name__.startswith("Gemma") else _rms_norm, norm)
    AttentionInterface.register(ATTENTION, attention)
    AttentionMaskInterface.register(ATTENTION, eager_mask)
    hf.set_attn_implementation(ATTENTION)


def _rms_norm(module: Any, x: Tensor) -> Tensor:
    return x / norm_scale(x, "rms", module.variance_epsilon) * module.weight


def _gemma_norm(module: Any, x: Tensor) -> Tensor:
    return x / norm_scale(x, "rms", module.eps) * (1 + module.weight)


def attention(
    _: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **options: Any
) -> tuple[Tensor, Tensor]:
    """Compute softmax(softcap(scaling · q kᵀ) + mask) v in the dtype of the inputs, called as `transformers` calls it.

    The mask is additive, 0 where a query may look; it arrives already causal and windowed.
    """
    groups = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(groups, dim=1), value.repeat_interleave(groups, dim=1)
    scores = softcap(query @ key.transpose(-1, -2) * options["scaling"], options.get("softcap"))
    if attention_mask is not None:
        scores = scores + attention_mask
    pattern = scores.softmax(dim=-1)
    return (pattern @ value).transpose(1, 2).contiguous(), pattern
