"""Activations of contexts, batch by batch, computed up to the last hook."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.cache.config import EXCLUDED
from interp.cache.contexts import Contexts
from interp.cache.manifest import Hook
from interp.errors import InterpError, UsageError
from interp.model import capture

if TYPE_CHECKING:
    from interp.model import Model

CPU_TOKENS = 1024
"""Number of tokens in a forward pass on the CPU; memory for the values of more is requested anew in every block."""
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def activations(
    model: Model,
    contexts: Contexts,
    hooks: tuple[str, ...],
    *,
    batch_size: int = 16,
    dtype: str = "float32",
    exclude: tuple[str, ...] = EXCLUDED,
    numbered_from: int = 0,
) -> Iterator[dict[str, Float[Tensor, "n_row d"]]]:
    """Yield the stored rows of each `batch_size` contexts, by hook name.

    Rows are in the order of the text, on the CPU. No attention mask is used or needed: padding is on the right, where a
    causal model's earlier positions do not see it. So a row depends on its context alone; how contexts are batched and
    padded changes it by float32 rounding only. Messages count contexts from `numbered_from`.

    Args:
        model: run no deeper than the last hook.
        contexts: token ids.
        hooks: what is read.
        batch_size: contexts a forward pass; on the CPU it is divided, see `CPU_TOKENS`.
        dtype: "float32", "bfloat16" or "float16".
        exclude: "first" leaves out position 0, "padding" what fills a context.
        numbered_from: number of the first context, in messages.

    Returns:
        {hook: rows (n_row, d)} of each batch.

    Raises:
        InterpError: an activation that is not finite, or that `dtype` cannot hold.
        UsageError: a hook that is not there, or an intervention on the bridge, whose activations are not the model's.

    >>> hooks = ("blocks.1.hook_resid_post",)
    >>> batches = list(activations(model, store.contexts(0, 4), hooks, batch_size=2))
    >>> len(batches), batches[0][hooks[0]].shape
    (2, torch.Size([18, 24]))
    """
    _check_untouched(model)
    for start in range(0, len(contexts), batch_size):
        stop = min(start + batch_size, len(contexts))
        width = contexts.tokens.shape[1] if "padding" not in exclude else int(contexts.lengths[start:stop].max())
        cache = _values(model, contexts.tokens[start:stop, :width], hooks)
        mask = contexts.stored(exclude, start, stop)[:, :width]
        rows = {}
        for name in hooks:
            rows[name] = cache[name].flatten(2)[mask.to(model.device)].to("cpu", DTYPES[dtype])
            _check_finite(name, rows[name], mask, numbered_from + start)
        yield rows


def _values(model: Model, tokens: Int[Tensor, "batch n_token"], hooks: tuple[str, ...]) -> dict[str, Tensor]:
    """Return the values of hooks for one batch, which is divided on the CPU."""
    size = max(1, CPU_TOKENS // tokens.shape[1]) if model.device.type == "cpu" else len(tokens)
    parts = [model.run_with_cache(some, hooks)[1] for some in tokens.split(size)]
    return {name: torch.cat([part[name] for part in parts]) for name in hooks}


def shapes(model: Model, hooks: tuple[str, ...]) -> tuple[Hook, ...]:
    """Return the hooks with the shape of their values.

    Shapes are taken from a run over a few tokens.

    Raises `UsageError` for a hook that is not there or does not hold one vector a position, as patterns do not.
    """
    _check_untouched(model)
    # As many tokens as there are neither heads nor key-value heads: an axis of heads is then not taken for positions.
    n_token = next(n for n in (2, 3, 4) if n not in {model.spec.n_head, model.spec.n_kv_head})
    _, cache = model.run_with_cache(torch.zeros(1, n_token, dtype=torch.long), hooks)
    for name in hooks:
        if cache[name].ndim < 3 or cache[name].shape[:2] != (1, n_token):
            raise UsageError(
                f'"{name}" holds no vector a position (it is {tuple(cache[name].shape)} for {n_token} tokens): '
                f"a store takes hooks such as blocks.0.hook_resid_post."
            )
    return tuple(Hook(name, tuple(cache[name].shape[2:])) for name in hooks)


def _check_untouched(model: Model) -> None:
    if capture.bridge_is_hooked(model):
        raise UsageError(
            "The model's bridge has hooks, so its activations are those of an intervention: remove them first "
            "(model.bridge.reset_hooks())."
        )


def _check_finite(name: str, rows: Float[Tensor, "n_row d"], mask: Tensor, first_context: int) -> None:
    # A finite sum in float64 proves every number finite, at the price of one pass.
    if not rows.numel() or torch.isfinite(rows.sum(dtype=torch.float64)):
        return
    bad = (~torch.isfinite(rows)).any(1)
    context, position = mask.nonzero()[int(bad.nonzero()[0, 0])].tolist()
    value = rows[bad][~torch.isfinite(rows[bad])][0].item()
    hint = ""
    if rows.dtype == torch.float16:
        hint = " float16 ends at 65,504: store bfloat16 or float32, should the model's own value be larger."
    raise InterpError(f"{name} is {value} at context {first_context + context}, position {position}.{hint}")
