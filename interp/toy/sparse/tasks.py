"""Tasks on short sequences with a question last: quotes, brackets, and key lookup."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from interp.errors import UsageError, nearest

Batch = tuple[Int[Tensor, "count length"], Int[Tensor, " count"]]
LETTERS, KEYS, VALUES = 8, 4, 4
"""Letters between quotes; keys and values of the table that is looked up."""


@dataclass(frozen=True)
class Sequences:
    """Task of sequences of tokens with an answer at the last.

    Sequences have `length` tokens out of a vocabulary of `tokens`; the answer is one of `answers`.

    >>> task = sparse.sequences("quotes")
    >>> task.length, task.tokens, task.answers
    (8, 11, 2)
    """

    name: str
    what: str
    tokens: int
    answers: int
    length: int
    draw: Callable[[int, torch.Generator], Batch]
    """`draw(count, generator)`: sequences and their answers."""


def _quotes(count: int, generator: torch.Generator) -> Batch:
    """Return letters with one of two opening quotes.

    The answer is the quote that closes.

    The question is the last token.
    """
    tokens = torch.randint(LETTERS, (count, 8), generator=generator)
    place = torch.randint(7, (count,), generator=generator)
    kind = torch.randint(2, (count,), generator=generator)
    tokens[torch.arange(count), place] = LETTERS + kind
    tokens[:, -1] = LETTERS + 2
    return tokens, kind


def _brackets(count: int, generator: torch.Generator) -> Batch:
    """Return opening (0) and closing (1) brackets.

    The answer is how many are open.

    Never more are closed than opened; the question (2) is the last token.
    """
    tokens = torch.zeros(count, 8, dtype=torch.long)
    depth = torch.zeros(count, dtype=torch.long)
    for position in range(7):
        opens = (torch.rand(count, generator=generator) < 0.5) | (depth == 0)
        opens &= depth < 3
        tokens[:, position] = torch.where(opens, 0, 1)
        depth += torch.where(opens, 1, -1)
    tokens[:, -1] = 2
    # Seven steps leave 1 or 3 open.
    return tokens, depth // 2


def _lookup(count: int, generator: torch.Generator) -> Batch:
    """Return every key once, as a token with its value.

    The answer is the value of the last key.

    Keys are in any order.
    """
    order = torch.rand(count, KEYS, generator=generator).argsort(1)
    value = torch.randint(VALUES, (count, KEYS), generator=generator)
    asked = torch.randint(KEYS, (count,), generator=generator)
    tokens = torch.cat([order * VALUES + value, KEYS * VALUES + asked[:, None]], dim=1)
    return tokens, value[order == asked[:, None]]


_TASKS = {
    "quotes": Sequences("quotes", "which quote closes the one that is open", LETTERS + 3, 2, 8, _quotes),
    "brackets": Sequences("brackets", "whether one bracket is open or three", 3, 2, 8, _brackets),
    "lookup": Sequences("lookup", "the value of a key given before", KEYS * VALUES + KEYS, VALUES, KEYS + 1, _lookup),
}
NAMES = tuple(_TASKS)


def sequences(name: str) -> Sequences:
    """Return the task of that name.

    Raises `UsageError` for an unknown one.

    >>> sparse.NAMES, sparse.sequences("quotes").what
    (('quotes', 'brackets', 'lookup'), 'which quote closes the one that is open')
    """
    if name not in _TASKS:
        raise UsageError(f'There is no task "{name}"{nearest(name, NAMES)} (tasks: {", ".join(NAMES)}).')
    return _TASKS[name]
