"""Questions about statements as tokens, with the place of every statement token in them."""

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
    """One row for each statement and tail of the reading: statement i's rows are i·n_tail and those behind it.

    Attributes:
        tokens: padded on the right.
        places: the positions intervened on, of each row.
        ends: tokens of the prompt, the tail not counted.
        reading: how answers are read.
    """

    tokens: Int[Tensor, "row n_token"]
    places: tuple[tuple[int, ...], ...]
    ends: Int[Tensor, " row"]
    reading: Reading

    def batches(self, size: int) -> list[slice]:
        """Rows in lots of about `size`, the rows of one statement together."""
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
    """Every question as tokens.

    Args:
        model: whose tokenizer is used.
        data: the statements asked about.
        question: how.
        positions: negative numbers count tokens from the end of the statement, or "all" of its tokens.
        prepend_bos: None keeps the tokenizer's habit.

    Raises `UsageError` for a tokenizer that cannot say where tokens stand, or a statement too short for a position.
    """
    question.check(data)
    tokenizer = model.tokenizer
    if not tokenizer.is_fast:
        raise UsageError("This tokenizer does not say where its tokens stand in a text: no statement can be located.")
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
    """Positions of the tokens that hold some character of the statement."""
    return [i + shift for i, (a, b) in enumerate(offsets) if a < last and b > first]


def _chosen(inside: list[int], positions: Sequence[int] | str, statement: str) -> tuple[int, ...]:
    if positions == "all":
        return tuple(inside)
    numbers = list(positions) if isinstance(positions, Sequence) and not isinstance(positions, str) else []
    if not numbers or not all(isinstance(p, int) and p < 0 for p in numbers):
        raise UsageError(
            f'positions={positions!r}: give negative numbers, counted from the end of the statement, or "all".'
        )
    if -min(numbers) > len(inside):
        raise UsageError(f'"{statement}" has {len(inside)} tokens, so that position {min(numbers)} does not exist.')
    return tuple(sorted({inside[p] for p in numbers}))
