"""Rotations that depend on the length of a run, computed from that run alone.

`transformers` lets dynamic rotary scaling remember the longest text it has seen, so that the same prompt gives other
logits after a longer one. Here every run begins afresh.
"""

from __future__ import annotations

from types import MethodType
from typing import Any

from torch import Tensor


def forget_lengths(hf: Any) -> None:
    """Make dynamic rotary scaling depend on the length of each run alone.

    Changes `hf`, which must be a private copy.
    """
    for module in hf.modules():
        if getattr(module, "rope_type", None) == "dynamic":
            module.forward = MethodType(_afresh, module)


def _afresh(module: Any, x: Tensor, position_ids: Tensor) -> tuple[Tensor, Tensor]:
    module.max_seq_len_cached = module.original_max_seq_len
    module.register_buffer("inv_freq", module.original_inv_freq.to(x.device), persistent=False)
    return type(module).forward(module, x, position_ids)
