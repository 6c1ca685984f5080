"""From pairs of texts to rows of tokens of equal length, for any tokenizer.

The prompt ends where the answers begin to differ: " 6" and " 7" are both two tokens in a tokenizer that sets digits
apart, a blank and a digit, so the blank becomes the prompt's last token and the digits are the answers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from interp.errors import UsageError, require, whole
from interp.model import Model
from interp.tasks.task import NO_TOKEN, Task

Draw = Callable[[np.random.Generator], "Pair"]
ENOUGH, TRIES = 4, 24
"""Pairs drawn for each one wanted: at first, so that every template takes part, and at most."""


@dataclass(frozen=True)
class Pair:
    """One pair of prompts in words, with its answers.

    `ends` names positions of the clean prompt by the number of characters up to their end.

    >>> tasks.Pair("the tower is in", "a tower is in", right=(" Paris",), wrong=(" London",)).label
    'the tower is in → Paris / London'
    """

    clean: str
    counterfactual: str
    right: tuple[str, ...]
    wrong: tuple[str, ...]
    template: str = ""
    ends: dict[str, int] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """The prompt with its first answers."""
        return f"{self.clean} →{self.right[0]} /{self.wrong[0]}"


@dataclass(frozen=True)
class Encoded:
    """One pair as token ids.

    Answers that are right and wrong at once are left out.
    """

    clean: tuple[int, ...]
    counterfactual: tuple[int, ...]
    right: tuple[int, ...]
    wrong: tuple[int, ...]
    positions: dict[str, int]
    template: str
    label: str


@dataclass(frozen=True)
class Pairs:
    """Pairs of prompts in words, which a tokenizer turns into a `Task`.

    >>> pair = tasks.Pair("the tower is in", "a tower is in", right=(" Paris",), wrong=(" London",))
    >>> pairs = tasks.Pairs("towers", (pair,))
    >>> len(pairs)
    1
    """

    name: str
    pairs: tuple[Pair, ...]

    def __len__(self) -> int:
        return len(self.pairs)

    def encode(self, model: Model) -> Task:
        """Return the pairs as token ids.

        Raises `UsageError` naming the first pair whose prompts differ in length.

        >>> pairs.encode(model).clean
        tensor([[ 3, 16, 17, 18]])
        """
        rows = []
        for number, pair in enumerate(self.pairs, 1):
            try:
                rows.append(encode(model, pair))
            except UsageError as error:
                raise UsageError(f"Pair {number} of {self.name}: {error}") from error
        return stack(self.name, rows, model)


def encode(model: Model, pair: Pair) -> Encoded:
    """Tokenize a pair.

    Raises `UsageError` when the prompts differ in length or not at all, when an answer is a prefix of another, or when
    the tokenizer gives right and wrong answers the same first tokens.
    """
    answers = (*pair.right, *pair.wrong)
    clean, firsts = _cut(model, pair.clean, answers)
    other, other_firsts = _cut(model, pair.counterfactual, answers)
    if len(clean) != len(other):
        raise UsageError(
            f"the clean prompt has {len(clean)} tokens, the counterfactual {len(other)}: both need as many "
            f"({pair.clean!r}, {pair.counterfactual!r})."
        )
    if clean == other:
        raise UsageError(f"both prompts are the same tokens: {pair.clean!r}.")
    if firsts != other_firsts:
        raise UsageError(f"the answers begin with other tokens after the counterfactual ({pair.counterfactual!r}).")
    right, wrong = set(firsts[: len(pair.right)]), set(firsts[len(pair.right) :])
    if not right - wrong or not wrong - right:
        raise UsageError(f"right and wrong answers begin with the same token ({pair.right[0]!r}, {pair.wrong[0]!r}).")
    positions = {name: _position(model, pair.clean[:end], clean) for name, end in pair.ends.items()}
    return Encoded(
        clean, other, tuple(sorted(right - wrong)), tuple(sorted(wrong - right)), positions, pair.template, pair.label
    )


def assemble(name: str, model: Model, draw: Draw, n: int, seed: int) -> Task:
    """Draw `n` distinct pairs of one length.

    They are spread over as many templates as that length has.

    Raises `UsageError` when the tokenizer does not give as many, or the model has none.
    """
    require(model, Model, "model")
    n, seed = whole(n, "n"), whole(seed, "seed", 0)
    if n < 1:
        raise UsageError(f"n={n}: a task needs at least one pair.")
    _ = model.tokenizer
    generator = np.random.default_rng(seed)
    by_length: dict[int, dict[str, list[Encoded]]] = {}
    seen: set[tuple[tuple[int, ...], ...]] = set()
    why = ""
    for tried in range(TRIES * n + 200):
        if tried % n == 0 and tried >= ENOUGH * n and len(_best(by_length, n)) == n:
            break
        try:
            row = encode(model, draw(generator))
        except UsageError as error:
            why = str(error)
            continue
        if (row.clean, row.counterfactual) not in seen:
            seen.add((row.clean, row.counterfactual))
            by_length.setdefault(len(row.clean), {}).setdefault(row.template, []).append(row)
    chosen = _best(by_length, n)
    if len(chosen) < n:
        reason = f" The last pair refused: {why}" if why else ""
        raise UsageError(
            f"The task {name} has only {len(chosen)} distinct pairs of one length in this tokenizer, not {n}.{reason}"
        )
    return stack(name, chosen, model)


def stack(name: str, rows: Sequence[Encoded], model: Model) -> Task:
    """Put encoded pairs into one task.

    Shorter ones are filled up behind their end with their own last token.
    """
    width = max(len(row.clean) for row in rows)
    shared = set.intersection(*(set(row.positions) for row in rows))
    positions = {key: torch.tensor([row.positions[key] for row in rows]) for key in sorted(shared)}
    positions["end"] = torch.tensor([len(row.clean) - 1 for row in rows])
    clean = torch.tensor([_filled(row.clean, width) for row in rows])
    return Task(
        name=name,
        clean=clean.to(model.device),
        counterfactual=torch.tensor([_filled(row.counterfactual, width) for row in rows]).to(model.device),
        right=_answers([row.right for row in rows]).to(model.device),
        wrong=_answers([row.wrong for row in rows]).to(model.device),
        positions=positions,
        templates=tuple(row.template for row in rows),
        labels=tuple(row.label for row in rows),
        places=_places(clean, positions, model),
    )


def _best(by_length: dict[int, dict[str, list[Encoded]]], n: int) -> list[Encoded]:
    """Return the pairs of the length that serves best."""
    return max((_even(rows, n) for rows in by_length.values()), key=_quality, default=[])


def _even(rows: dict[str, list[Encoded]], n: int) -> list[Encoded]:
    """Return up to n pairs, taken from the templates in turn."""
    turns = max(map(len, rows.values()))
    ordered = [group[turn] for turn in range(turns) for group in rows.values() if turn < len(group)]
    return ordered[:n]


def _quality(rows: list[Encoded]) -> tuple[int, int, int]:
    """Rank a length: enough pairs first, then many templates, then short prompts."""
    return len(rows), len({row.template for row in rows}), -len(rows[0].clean)


def _cut(model: Model, prompt: str, answers: tuple[str, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the prompt's shared beginning and each answer's next token.

    The prompt as far as all answers share it.
    """
    whole = model.tokenizer([prompt + answer for answer in answers]).input_ids
    shared = min(map(len, whole))
    for at in range(shared):
        if len({ids[at] for ids in whole}) > 1:
            shared = at
            break
    if shared == 0 or any(len(ids) <= shared for ids in whole):
        raise UsageError(f"one of the answers {', '.join(map(repr, answers[:4]))} begins with another: {prompt!r}.")
    return tuple(whole[0][:shared]), tuple(ids[shared] for ids in whole)


def _position(model: Model, text: str, ids: tuple[int, ...]) -> int:
    """Return the last token that belongs to the first part of a prompt."""
    part = model.tokenizer(text).input_ids
    same = 0
    for one, other in zip(part, ids, strict=False):
        if one != other:
            break
        same += 1
    return max(0, same - 1)


def _filled(ids: tuple[int, ...], width: int) -> list[int]:
    return [*ids, *[ids[-1]] * (width - len(ids))]


def _answers(sets: Sequence[tuple[int, ...]]) -> torch.Tensor:
    widest = max(map(len, sets))
    if widest == 1:
        return torch.tensor([one for (one,) in sets])
    return torch.tensor([[*ids, *[NO_TOKEN] * (widest - len(ids))] for ids in sets])


def _places(clean: torch.Tensor, positions: dict[str, torch.Tensor], model: Model) -> tuple[str, ...]:
    """Return a name for each column."""
    named: dict[int, str] = {}
    for name, at in positions.items():
        if name != "end" and len(set(at.tolist())) == 1:
            named[int(at[0])] = name
    shared = (clean == clean[0]).all(0).tolist()
    texts: Iterable[str] = model.to_str_tokens(clean[0]) if model.has_tokenizer else map(str, clean[0].tolist())
    return tuple(
        text if same else named.get(column, "*") for column, (text, same) in enumerate(zip(texts, shared, strict=True))
    )
