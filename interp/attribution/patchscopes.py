"""Patchscopes: an activation of one prompt put into another, whose continuation says what the model makes of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from interp import edit
from interp.attribution.lens_results import Patchscope
from interp.errors import UsageError, require, whole
from interp.model import Model, capture

IDENTITY = "cat -> cat\n1135 -> 1135\nhello -> hello\n?"
"""A prompt that repeats what stands in the place of its last token (arXiv 2401.06102, section 4.1)."""


@torch.no_grad()
def patchscope(
    model: Model,
    tokens: str | Int[Tensor, "1 n_token"],
    position: int = -1,
    *,
    layers: Sequence[int] | None = None,
    prompt: str | Int[Tensor, "1 n_token"] = IDENTITY,
    place: int = -1,
    max_tokens: int = 5,
) -> Patchscope:
    """Decode the streams of one token by patching each into another prompt.

    For each layer l the stream after block l at `place` of `prompt` is replaced by that at `position` of `tokens`, and
    the model continues (Ghandeharioun et al. 2024, arXiv 2401.06102, with source and target in the same layer). A
    reading, like a lens: what is written depends on the prompt, of which the unpatched continuation is the control.

    Args:
        model: the model, with a tokenizer.
        tokens: one prompt, as text or token ids.
        position: the token that is read, negative from the end.
        layers: blocks after which its stream is taken; all by default.
        prompt: where it is put, as text or token ids.
        place: the position of `prompt` it is put at, negative from the end.
        max_tokens: tokens the model adds.

    Returns:
        The texts and predictions of every layer, with the unpatched control.

    Raises:
        UsageError: a position outside a prompt, or a layer that does not exist.

    >>> scope = patchscope(model, "the tower is in Paris", prompt="a a b b the", max_tokens=2)
    >>> scope.top_tokens, scope.probabilities.round(3)
    (('', '', ''), array([0.327, 0.415, 0.326]))
    """
    require(model, Model, "model")
    source, target = model.check_tokens(tokens), model.check_tokens(prompt)
    if len(source) != 1 or len(target) != 1:
        raise UsageError("A patchscope reads one prompt into one prompt.")
    position, place = _within(source, position, "position"), _within(target, place, "place")
    chosen = tuple(range(model.spec.n_layer)) if layers is None else tuple(whole(layer, "layer") for layer in layers)
    if not chosen or not all(0 <= layer < model.spec.n_layer for layer in chosen):
        raise UsageError(f"layers={layers!r}: give some from 0 to {model.spec.n_layer - 1}.")
    hooks = [f"blocks.{layer}.hook_resid_post" for layer in chosen]
    _, cache = model.run_with_cache(source, hooks)
    own = int(_logits(model, source, position).argmax())
    texts, tops, probabilities, of_own = [], [], [], []
    for hook in hooks:
        patched = model.edited(edit.replace(hook, cache[hook][0, position], position=place))
        after = _logits(patched, target, target.shape[1] - 1).softmax(-1)
        texts.append(_continued(patched, target, max_tokens))
        tops.append(int(after.argmax()))
        probabilities.append(float(after.max()))
        of_own.append(float(after[own]))
    words = model.labels(source[0])
    return Patchscope(
        source=f"{words[position]!r} at position {position} of {''.join(words)!r}",
        prompt="".join(model.labels(target[0])),
        layers=chosen,
        texts=tuple(texts),
        top_tokens=model.labels(torch.tensor(tops)),
        probabilities=np.array(probabilities),
        own=model.labels(torch.tensor([own]))[0],
        own_probabilities=np.array(of_own),
        unpatched=_continued(model, target, max_tokens),
        unpatched_probability=float(_logits(model, target, target.shape[1] - 1).softmax(-1)[own]),
    )


def _logits(model: Model, tokens: Tensor, position: int) -> Tensor:
    """Return the logits of one position of a prompt."""
    return capture.logits(model, tokens, at=torch.tensor([position]))[0]


def _continued(model: Model, target: Tensor, max_tokens: int) -> str:
    return "".join(model.labels(model.generate_tokens(target, max_tokens)))


def _within(tokens: Tensor, position: int, name: str) -> int:
    n_token = tokens.shape[1]
    if not -n_token <= whole(position, name) < n_token:
        raise UsageError(f"{name}={position} is outside the prompt, which has {n_token} tokens.")
    return position % n_token
