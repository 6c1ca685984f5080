"""Induction on random tokens: a task for any model, with a tokenizer or without."""

from __future__ import annotations

import numpy as np
import torch

from interp.errors import UsageError, require, whole
from interp.model import Model
from interp.tasks.pairs import Encoded, stack
from interp.tasks.task import Task

COUNTERFACTUALS = ("keys", "query")
LENGTH = 10
"""Tokens that are repeated."""


def induction(model: Model, n: int = 64, seed: int = 0, *, counterfactual: str = "keys", length: int = LENGTH) -> Task:
    """Make random tokens that repeat up to a token A.

    The right answer is what followed A.

    With … A B … C D … A, the right answer is B and the wrong one D. The counterfactual "keys" exchanges the first A and
    C, so that D follows A: what differs is where a previous-token head looks. "query" ends in C instead of A.

    Args:
        model: the model; special tokens of its tokenizer are not drawn.
        n: pairs.
        seed: of the tokens.
        counterfactual: "keys" or "query".
        length: tokens in the part that is repeated, 6 or more.

    Returns:
        The task.

    Raises:
        UsageError: an unknown counterfactual, or a vocabulary or context that is too small.

    >>> task = tasks.induction(model, n=2, length=6)
    >>> task.clean
    tensor([[18, 39, 32, 21,  5, 50, 39, 32, 21,  5],
            [35, 36, 45, 40, 58, 37, 35, 36, 45, 40]])
    """
    if counterfactual not in COUNTERFACTUALS:
        raise UsageError(f'Unknown counterfactual "{counterfactual}"; known: {", ".join(COUNTERFACTUALS)}.')
    require(model, Model, "model")
    n, seed, length = whole(n, "n"), whole(seed, "seed", 0), whole(length, "length")
    special = set(model.tokenizer.all_special_ids) if model.has_tokenizer else set()
    usable = np.array([i for i in range(model.spec.d_vocab) if i not in special])
    if n < 1 or length < 6 or len(usable) < length or model.spec.n_ctx < 2 * length:
        raise UsageError(
            f"n={n}, length={length}: induction needs at least one pair, a length of 6, and a vocabulary and context "
            f"of {length} and {2 * length} tokens; {model.name} has {len(usable)} and {model.spec.n_ctx}."
        )
    rng = np.random.default_rng(seed)
    start = [model.tokenizer.bos_token_id] if model.spec.prepends_bos else []
    return stack("induction", [_row(model, rng, usable, length, counterfactual, start) for _ in range(n)], model)


def _row(
    model: Model, rng: np.random.Generator, usable: np.ndarray, length: int, counterfactual: str, start: list[int]
) -> Encoded:
    """Draw one pair: half a row of tokens repeated up to A.

    A stands at position `key` of the first half, and `length 2` tokens are repeated before it.
    """
    tokens = [int(i) for i in rng.choice(usable, length, replace=False)]
    before = length // 2
    key = int(rng.integers(before, length - 1))
    other = int(rng.choice([i for i in range(1, length - 1) if abs(i - key) > 1]))
    repeated = tokens[key - before : key]
    first = list(tokens)
    last = tokens[key]
    if counterfactual == "keys":
        first[key], first[other] = first[other], first[key]
    else:
        last = tokens[other]
    clean = (*start, *tokens, *repeated, tokens[key])
    changed = (*start, *first, *repeated, last)
    shift = len(start)
    names = model.to_str_tokens if model.has_tokenizer else lambda ids: [str(i) for i in ids.tolist()]
    a, b, d = names(torch.tensor([tokens[key], tokens[key + 1], tokens[other + 1]]))
    positions = {"key": shift + key, "value": shift + key + 1, "other key": shift + other, "end": len(clean) - 1}
    return Encoded(
        clean, changed, (tokens[key + 1],), (tokens[other + 1],), positions, f"key {key}", f"…{a}{b}…{a} →{b} /{d}"
    )
