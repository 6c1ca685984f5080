"""Double precision throughout: `transformers` rounds norms and softmax through float32 even in a float64 model.

In float64 a decomposition can be checked to 1e-12, but only against a model that is itself computed in float64.
So `interp.load(..., dtype=torch.float64)` gives its private copy of the modules the pieces below. The rotary
tables stay as `transformers` makes them, from float32 angles: they are constants of the model, not rounding.
"""

from __future__ import annotations

from types import MethodType
from typing import Any

from torch import Tensor, nn

from interp.model.arithmetic import norm_scale, softcap, with_sinks

ATTENTION = "interp_float64"
ROUTERS = ("MixtralTopKRouter", "Qwen3MoeTopKRouter", "OlmoeTopKRouter")
"""Routers that take their softmax in float32."""


def make_double(hf: Any, rms_norms: tuple[nn.Module, ...]) -> None:
    """Let `hf` (already float64) normalise, attend and route in float64. Changes `hf`, a private copy."""
    for norm in rms_norms:
        norm.forward = MethodType(_gemma_norm if type(norm).__name__.startswith("Gemma") else _rms_norm, norm)
    for module in hf.modules():
        if type(module).__name__ in ROUTERS:
            module.forward = MethodType(_router, module)
    if getattr(hf.config, "_experts_implementation", None) is not None:
        hf.set_experts_implementation("eager")  # grouped products know no float64
    register_attention()
    hf.set_attn_implementation(ATTENTION)


def register_attention() -> None:
    """Make `attention` known to `transformers` under the name `ATTENTION`."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import eager_mask

    AttentionInterface.register(ATTENTION, attention)
    AttentionMaskInterface.register(ATTENTION, eager_mask)


def _rms_norm(module: Any, x: Tensor) -> Tensor:
    return x / norm_scale(x, "rms", module.variance_epsilon) * module.weight


def _gemma_norm(module: Any, x: Tensor) -> Tensor:
    return x / norm_scale(x, "rms", module.eps) * (1 + module.weight)


def _router(module: Any, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Scores, shares and choices of a router, called as `transformers` calls it."""
    scores = x.reshape(-1, module.hidden_dim) @ module.weight.T
    shares, chosen = scores.softmax(-1).topk(module.top_k, dim=-1)
    if getattr(module, "norm_topk_prob", True):
        shares = shares / shares.sum(-1, keepdim=True)
    return scores, shares, chosen


def attention(
    _: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **options: Any
) -> tuple[Tensor, Tensor]:
    """Compute softmax(softcap(scaling · q kᵀ) + mask) v in the dtype of the inputs, called as `transformers` calls it.

    The mask is additive, 0 where a query may look; it arrives already causal and windowed. `s_aux` are sinks.
    """
    groups = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(groups, dim=1), value.repeat_interleave(groups, dim=1)
    scores = softcap(query @ key.transpose(-1, -2) * options["scaling"], options.get("softcap"))
    if attention_mask is not None:
        scores = scores + attention_mask
    sinks = options.get("s_aux")
    pattern = scores.softmax(-1) if sinks is None else with_sinks(scores, sinks).softmax(-1)[..., :-1]
    return (pattern @ value).transpose(1, 2).contiguous(), pattern
