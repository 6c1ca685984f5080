"""Answers of several tokens: a target for each token, and their sum."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import reduce

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from interp.attribution.results import Attribution, Edges, LogitTarget
from interp.attribution.targets import logit
from interp.errors import UsageError, require
from interp.model import Model


def continuation(
    model: Model, prompt: str | Int[Tensor, "1 n_token"], answer: str | Sequence[str | int]
) -> tuple[Int[Tensor, "1 n_token"], tuple[LogitTarget, ...]]:
    """Return the prompt with an answer behind it, and the answer's targets.

    The prompt has all of the answer but its last token; each target is the logit of one token of the answer.

    Each token is read where the model predicts it, after the prompt and the tokens before it, so that the targets are
    of one frozen input and `summed` adds what is attributed to them. What is attributed are logits: the log of the
    answer's probability is not a linear function of the residual stream.

    Args:
        model: the model.
        prompt: one prompt, as text or token ids.
        answer: a text, with its leading blank, or its tokens.

    Returns:
        Token ids (1, n_token) of the frozen input, and one target for each token of the answer.

    Raises:
        UsageError: several prompts, an empty answer, or tokens that do not exist.

    >>> ids, targets = continuation(model, "the tower is in", [" London", " Paris"])
    >>> frozen = attribution.freeze(model, ids)
    >>> summed([attribution.direct(frozen, target) for target in targets]).target
    "logit of ' London' + logit of ' Paris'"
    """
    require(model, Model, "model")
    given = model.check_tokens(prompt)
    if len(given) != 1:
        raise UsageError(f"An answer follows one prompt, but {len(given)} are given.")
    if isinstance(answer, str):
        ids = model.to_tokens(answer, prepend_bos=False)[0].tolist()
    else:
        ids = [model.token_id(token) for token in answer]
    if not ids:
        raise UsageError("The answer is empty: give at least one token.")
    tokens = torch.cat([given, given.new_tensor([ids[:-1]])], 1) if len(ids) > 1 else given
    first = given.shape[1] - 1
    return tokens, tuple(logit(model, token, first + i) for i, token in enumerate(ids))


def summed(attributions: Sequence[Attribution]) -> Attribution:
    """Return the sum of attributions of the same labels.

    For example those of the tokens of one answer. It sums to the sum of their values; its error is the largest of
    theirs. Raises `UsageError` for none, other labels or other units.

    >>> frozen = attribution.freeze(model, model.to_tokens("the tower is"))
    >>> parts = [attribution.direct(frozen, attribution.logit(model, token)) for token in (" Paris", " London")]
    >>> [round(part.total, 3) for part in parts], round(summed(parts).total, 3)
    ([1.466, 0.024], 1.49)
    """
    if not attributions:
        raise UsageError("Give at least one attribution to sum.")
    return reduce(_added, attributions)


def _added(first: Attribution, second: Attribution) -> Attribution:
    name = f"{first.target} + {second.target}"
    if isinstance(first, Edges) and isinstance(second, Edges):
        first, second = _into(first, name), _into(second, name)
    if type(first) is not type(second) or first.labels != second.labels or first.unit != second.unit:
        raise UsageError("Attributions are summed where they are of one kind, with the same labels and unit.")
    more = {"own": first.own + second.own} if isinstance(first, Edges) and isinstance(second, Edges) else {}
    return replace(
        first,
        **more,
        target=name,
        array=np.asarray(first.array + second.array),
        total=first.total + second.total,
        value=first.value + second.value,
        error=max(first.error, second.error),
    )


def _into(edges: Edges, name: str) -> Edges:
    """Name the last reader of edges, the target, `name`."""
    readers = (*edges.readers[:-1], name)
    labels = tuple(f"{writer} → {reader}" for reader in readers for writer in edges.writers)
    return replace(edges, readers=readers, labels=labels)
