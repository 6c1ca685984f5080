"""Double precision throughout; `transformers` rounds norms and softmax to float32.

In float64 a decomposition can be checked to 1e-12, but only against a model that is itself computed in float64.
So `interp.load(..., dtype=torch.float64)` lets its private copy of the modules run with every cast of a float64 tensor
to float32 left out. The rotary tables stay as `transformers` makes them, from float32 angles: they are constants of
the model, not rounding, and nothing in float64 goes into them.
"""

from __future__ import annotations

from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from interp.model.arithmetic import softcap, with_sinks

ATTENTION = "interp_scores"
CASTS = (Tensor.float, Tensor.to, Tensor.type_as)
SOFTMAX = (torch.softmax, Tensor.softmax, torch.nn.functional.softmax)


def make_double(hf: Any) -> None:
    """Make `hf`, already in float64, compute in float64 throughout.

    Changes `hf`, which must be a private copy.
    """
    if getattr(hf.config, "_experts_implementation", None) is not None:
        hf.set_experts_implementation("eager")  # grouped products do not support float64
    if hf.config._attn_implementation != "eager":
        hf.set_attn_implementation("eager")  # and fused attention may not preserve it
    for module in hf.modules():
        for name, buffer in module.named_buffers(recurse=False):
            if name.endswith("inv_freq"):  # in float64 only if the caller made them so; the model would round them
                setattr(module, name, buffer.float())
    hf.forward = MethodType(_forward, hf)


def _forward(hf: Any, *args: Any, **kwargs: Any) -> Any:
    with NoSingle():
        return type(hf).forward(hf, *args, **kwargs)


class NoSingle(TorchFunctionMode):
    """Mode in which float64 tensors stay float64 when code asks for float32."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in CASTS and args[0].dtype == torch.float64 and _single(func, args, kwargs):
            return args[0]
        if func in SOFTMAX and args[0].dtype == torch.float64 and kwargs.get("dtype") == torch.float32:
            kwargs = kwargs | {"dtype": torch.float64}
        return func(*args, **kwargs)


def _single(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Return whether a cast asks for float32."""
    if func is Tensor.float:
        return True
    asked = [*args[1:], kwargs.get("dtype"), kwargs.get("other")]
    return any(one is torch.float32 or (isinstance(one, Tensor) and one.dtype == torch.float32) for one in asked)


def register_attention() -> None:
    """Register `attention` with `transformers` under the name `ATTENTION`."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import eager_mask

    AttentionInterface.register(ATTENTION, attention)
    AttentionMaskInterface.register(ATTENTION, eager_mask)


def attention(
    _: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **options: Any
) -> tuple[Tensor, Tensor]:
    """Compute attention in the dtype of the inputs.

    The result is softmax(softcap(scaling · q kᵀ) + mask) v.

    The arguments are those with which `transformers` calls its attention functions.

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
