"""Questions about statements as tokens, with the positions of the statement's tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Int
from torch import Tensor

from interp.cache.contexts import padded
from interp.errors import UsageError
from probes.intervention.question import Question, Reading, reading
from probes.statements import Statements

if TYPE_CHECKING:
    from interp.model import Model


@dataclass(frozen=True, eq=False)
class Prompts:
    """Token rows of the prompts.

    There is one row per statement and tail of the reading. The rows of statement i are i · n_tail to (i + 1) · n_tail -
    1.

    Attributes:
        tokens: token ids, padded on the right.
        places: the positions to change, for each row.
        ends: number of tokens of each prompt without its tail.
        reading: how answers are read.

    Example:
        >>> prompts_of(model, places.take([0, 1]), Question("{statement} is", (" a", " b")), (-1,), None).places
        ((5,), (5,))
    """

    tokens: Int[Tensor, "row n_token"]
    places: tuple[tuple[int, ...], ...]
    ends: Int[Tensor, " row"]
    reading: Reading

    def batches(self, size: int) -> list[slice]:
        """Return slices of about `size` rows.

        The rows of one statement are always in the same slice.
        """
        n_tail = len(self.reading.tails)
        step = max(size // n_tail, 1) * n_tail
        return [slice(start, min(start + step, len(self.tokens))) for start in range(0, len(self.tokens), step)]


def prompts_of(
    model: Model,
    data: Statements,
    question: Question,
    positions: Sequence[int] | str,
    prepend_bos: bool | None,
) -> Prompts:
    """Tokenize the question about every statement.

    Args:
        model: its tokenizer is used.
        data: the statements.
        question: prompt and answers.
        positions: token indices from the end of the statement (negative), or "all" of its tokens.
        prepend_bos: whether a BOS token is prepended; None follows the tokenizer.

    Raises:
        UsageError: a tokenizer without token offsets, or a statement too short for a position.

    Example:
        >>> question = Question("{statement} is", (" a", " b"))  # places = probes.read_statements("places.csv")
        >>> prompts_of(model, places.take([0, 1]), question, (-1,), None).tokens.shape
        torch.Size([2, 7])
    """
    question.check(data)
    tokenizer = model.tokenizer
    if not tokenizer.is_fast:
        raise UsageError(
            "This tokenizer does not give the offsets of its tokens, so that statements cannot be located in prompts."
        )
    how = reading(question, lambda text: tokenizer(text, add_special_tokens=False).input_ids)
    head = _head(model, prepend_bos)
    rows, places, ends = [], [], []
    for statement in data.statements:
        text, first = question.ask(statement)
        read = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        inside = _inside(read.offset_mapping, first, first + len(statement), len(head))
        for tail in how.tails:
            rows.append(torch.tensor([*head, *read.input_ids, *tail], dtype=torch.int32).numpy())
            places.append(_chosen(inside, positions, statement))
            ends.append(len(head) + len(read.input_ids))
    tokens, _ = padded(rows, max(map(len, rows)))
    return Prompts(model.check_tokens(tokens), tuple(places), torch.tensor(ends), how)


def _head(model: Model, prepend_bos: bool | None) -> list[int]:
    bos = model.spec.prepends_bos if prepend_bos is None else prepend_bos
    if bos and model.tokenizer.bos_token_id is None:
        raise UsageError("prepend_bos=True, but this tokenizer has no BOS token.")
    return [model.tokenizer.bos_token_id] if bos else []


def _inside(offsets: Sequence[tuple[int, int]], first: int, last: int, shift: int) -> list[int]:
    """Return the positions of the tokens of the statement.

    These tokens contain a character of the statement.
    """
    return [i + shift for i, (a, b) in enumerate(offsets) if a < last and b > first]


def _chosen(inside: list[int], positions: Sequence[int] | str, statement: str) -> tuple[int, ...]:
    if positions == "all":
        return tuple(inside)
    numbers = list(positions) if isinstance(positions, Sequence) and not isinstance(positions, str) else []
    if not numbers or not all(isinstance(p, int) and p < 0 for p in numbers):
        raise UsageError(
            f'positions={positions!r} is not valid: give negative integers, counted from the end, or "all".'
        )
    if -min(numbers) > len(inside):
        raise UsageError(f'"{statement}" has {len(inside)} tokens, so position {min(numbers)} does not exist.')
    return tuple(sorted({inside[p] for p in numbers}))
