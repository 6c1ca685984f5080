"""`interp.check`: compare the logits of the folded weights with the model's own."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from interp.errors import CheckFailedError, require
from interp.model import capture, trace
from interp.model.model import Model

TOLERANCE = {torch.float64: 1e-11, torch.float32: 1e-5, torch.float16: 5e-2, torch.bfloat16: 2e-1}
"""Relative error above which weights and model disagree for more than rounding: about 100 units in the last place."""

AT_ONCE = 2**23
"""Logits that are compared at once: 32 positions of a vocabulary of 262,144, 34 MB in float32."""


@dataclass(frozen=True)
class Check:
    """Errors of logits recomputed from `model.weights` alone.

    The errors are relative to the model's own logits. `errors` has one entry per prompt: max |difference| / max |logit|
    over all positions and the vocabulary.

    >>> check = interp.check(model)
    >>> len(check.errors), check.tolerance
    (3, 1e-05)
    """

    model: str
    errors: tuple[float, ...]
    tolerance: float

    @property
    def worst(self) -> float:
        """Return the largest relative error; NaN if any is."""
        return max(self.errors, key=lambda error: (math.isnan(error), error))

    @property
    def error(self) -> float:
        """Return the largest relative error, under the name all results use."""
        return self.worst


def check(model: Model, prompts: list[Tensor] | None = None) -> Check:
    """Compare logits computed from `model.weights` alone with the model's own.

    Args:
        model: the model.
        prompts: token rows (batch, n_token); three seeded random ones, of 1, 7 and 32 tokens, by default.

    Returns:
        The relative error of each prompt and the tolerance.

    Raises:
        CheckFailedError: an error above the dtype's `TOLERANCE`, or one that is not a number.

    >>> check = interp.check(model)
    >>> len(check.errors), check.tolerance, check.worst < check.tolerance
    (3, 1e-05, True)
    """
    require(model, Model, "model")
    require(prompts, (list, tuple, type(None)), "prompts")
    prompts = default_prompts(model) if prompts is None else [model.check_tokens(tokens) for tokens in prompts]
    errors = tuple(_relative_error(model, tokens) for tokens in prompts)
    result = Check(model.name, errors, TOLERANCE[model.dtype])
    if not all(error <= result.tolerance for error in errors):
        raise CheckFailedError(
            f"The weights of {model.name} do not reproduce its logits: relative error {result.worst:.2e}, "
            f"tolerance {result.tolerance:.0e} in {model.dtype}. Nothing computed from them can be trusted."
        )
    return result


def default_prompts(model: Model) -> list[Tensor]:
    """Return the seeded random prompts of `check`.

    They have 1, 7 and 32 tokens.
    """
    generator = torch.Generator().manual_seed(0)
    lengths = sorted({min(length, model.spec.n_ctx) for length in (1, 7, 32)})
    rows = [torch.randint(0, model.spec.d_vocab, (1, length), generator=generator) for length in lengths]
    return [row.to(model.device) for row in rows]


def _relative_error(model: Model, tokens: Tensor) -> float:
    """Return max |ours − theirs| / max |theirs|; NaN stays NaN.

    At most `AT_ONCE` logits are in memory; the model is run once for each lot of positions.
    """
    residual = torch.empty(0)
    for block in trace.blocks(model.weights, tokens):
        residual = block.resid_post
    missed, size = [], []
    for positions in torch.arange(tokens.shape[1]).split(max(1, AT_ONCE // (len(tokens) * model.spec.d_vocab))):
        theirs = capture.logits_of(model, tokens, positions)
        ours, _ = trace.unembed(model.weights, residual[:, positions])
        missed.append((ours - theirs).abs().max())
        size.append(theirs.abs().max())
    return float(torch.stack(missed).max() / torch.stack(size).max())
