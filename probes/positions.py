"""Position rules, such as "last" or "entity", as token spans.

A rule becomes one span of token positions for each statement.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Int
from torch import Tensor

from interp.cache.contexts import Contexts
from interp.errors import UsageError
from probes.activations import ALL_TOKENS
from probes.groups import place
from probes.statements import Statements

if TYPE_CHECKING:
    from interp.model import Model

TOKEN = "token:"
RULES = '"last", a negative number from the end, "mean", "entity", "token:TEXT" or "all"'


@dataclass(frozen=True)
class Spans:
    """Spans of token positions for each rule and statement.

    Attributes:
        names: the rules.
        at: for each rule and statement the first position and the one after the last.

    Example:
        >>> Spans(("last",), torch.tensor([[[4, 5], [6, 7]]])).at.shape
        torch.Size([1, 2, 2])
    """

    names: tuple[str, ...]
    at: Int[Tensor, "position n 2"]


def spans_of(model: Model, data: Statements, contexts: Contexts, position: str | int | Sequence[str | int]) -> Spans:
    """Return the token spans of one position rule or several.

    See `collect` for the rules.

    Raises:
        UsageError: an unknown rule, or a statement that is too short for a rule or lacks the text it names.

    Example:
        >>> from probes.passes import contexts_of
        >>> spans_of(model, places.take([0, 1]), contexts_of(model, places.statements[:2], None), "last").at.tolist()
        [[[5, 6], [5, 6]]]
    """
    rules: tuple[Any, ...] = tuple(position) if isinstance(position, list | tuple) else (position,)
    if wrong := [rule for rule in rules if isinstance(rule, bool) or not isinstance(rule, str | int)]:
        raise UsageError(f"A position must be {RULES}, not {wrong[0]!r}.")
    if not rules:
        raise UsageError(f"No position was given: choose {RULES}.")
    if ALL_TOKENS in rules:
        return _all(contexts.lengths, rules)
    names = tuple(dict.fromkeys("last" if str(rule) == "-1" else str(rule) for rule in rules))
    return Spans(names, torch.stack([_span(model, data, contexts, name) for name in names]))


def _all(lengths: Int[Tensor, " n"], rules: tuple[str | int, ...]) -> Spans:
    if len(rules) > 1:
        raise UsageError('position="all" includes every token already: give it alone.')
    token = torch.arange(int(lengths.max()))[:, None]
    exists = token < lengths
    at = torch.stack([token * exists, (token + 1) * exists], dim=-1)
    return Spans(tuple(map(str, range(len(token)))), at)


def _span(model: Model, data: Statements, contexts: Contexts, name: str) -> Int[Tensor, "n 2"]:
    lengths = contexts.lengths.long()
    if name == "mean":
        _check_long(data, lengths, 2, "its mean excludes the first token")
        return torch.stack([torch.ones_like(lengths), lengths], dim=-1)
    if name == "last" or _is_offset(name):
        back = 1 if name == "last" else -int(name)
        _check_long(data, lengths, back, f"position {-back} does not exist in it")
        return torch.stack([lengths - back, lengths - back + 1], dim=-1)
    if name == "entity":
        if data.group_kind in ("fact", "pair"):
            raise UsageError(f'{data.name} has no entities: give them as a column (group=) for position="entity".')
        ends = [_end_of_entity(row, text) for row, text in zip(data.groups, data.statements, strict=True)]
    elif name.startswith(TOKEN) and len(name) > len(TOKEN):
        ends = [_end_of_text(name.removeprefix(TOKEN), text) for text in data.statements]
    else:
        raise UsageError(f'Unknown position "{name}": choose {RULES}.')
    start = _tokens_at(model, data, ends) + int(bool(contexts.prepend_bos))
    return torch.stack([start, start + 1], dim=-1)


def _is_offset(name: str) -> bool:
    return name.startswith("-") and name[1:].isdigit() and int(name) < 0


def _check_long(data: Statements, lengths: Int[Tensor, " n"], least: int, why: str) -> None:
    short = (lengths < least).nonzero().flatten().tolist()
    if short:
        raise UsageError(f'Row {short[0] + 1}, "{data.statements[short[0]]}", has {lengths[short[0]]} tokens: {why}.')


def _end_of_entity(entities: tuple[str, ...], statement: str) -> int:
    """Return the last character of the entity whose first mention ends last."""
    ends = [span[1] for entity in entities if (span := place(statement, entity))]
    if not ends:
        raise UsageError(f'"{entities[-1]}" does not occur in "{statement}", as position="entity" requires.')
    return max(ends) - 1


def _end_of_text(wanted: str, statement: str) -> int:
    first = statement.rfind(wanted)
    if first < 0:
        raise UsageError(f'"{wanted}" does not occur in "{statement}", as position="token:{wanted}" requires.')
    return first + len(wanted) - 1


def _tokens_at(model: Model, data: Statements, characters: list[int]) -> Int[Tensor, " n"]:
    """Return the token index of a character of each statement.

    It is the index of the token that contains the given character.
    """
    if not model.tokenizer.is_fast:
        raise UsageError("This tokenizer does not give the offsets of its tokens in a text: use another position.")
    read = model.tokenizer(
        list(data.statements), add_special_tokens=False, return_offsets_mapping=True, verbose=False
    ).offset_mapping
    pairs = zip(read, characters, strict=True)
    # A character of several bytes may be several tokens with the same offsets: the last of them has read all of it.
    return torch.tensor([max(i for i, (a, b) in enumerate(row) if a <= c < b) for row, c in pairs])
