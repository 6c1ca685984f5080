"""Counterfactual prompts made from a prompt, with a word or names exchanged.

A contrast compares positions, so that a counterfactual must have as many tokens as the prompt; each helper says which
of them differ, and an error shows both tokenisations.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor

from interp.attribution.contrast import Contrast, contrast
from interp.attribution.linearised import checked_position
from interp.attribution.pairs import unequal
from interp.errors import UsageError, require, whole
from interp.model import Model
from interp.report import Table
from interp.tasks.task import Task


@dataclass(frozen=True)
class Counterfactual:
    """Prompt and its counterfactual, as (1, n_token) ids, with their tokens.

    `embeddings` (1, n_token, d_model) are those of the counterfactual where it has some of no token, at the positions
    `averaged`.

    >>> prompts = attribution.swapped(model, "the tower is in Paris", " Paris", " London")
    >>> prompts.differs, prompts.texts[4]
    ((4,), (' Paris', ' London'))
    """

    clean: Int[Tensor, "1 n_token"]
    counterfactual: Int[Tensor, "1 n_token"]
    texts: tuple[tuple[str, str], ...]
    embeddings: Float[Tensor, "1 n_token d_model"] | None = None
    averaged: tuple[int, ...] = ()

    @property
    def differs(self) -> tuple[int, ...]:
        """The positions at which the two differ."""
        return self.averaged or tuple((self.clean != self.counterfactual)[0].nonzero()[:, 0].tolist())

    def contrast(self, model: Model) -> Contrast:
        """Return the model between the two prompts; see `attribution.contrast`.

        >>> prompts.contrast(model).error < 1e-5
        True
        """
        return contrast(model, self.clean, self.counterfactual, embeddings=self.embeddings)

    def table(self) -> Table:
        """Return the tokens that differ.

        >>> print(prompts.table())
        1 of 5 tokens differ.
        position  clean   counterfactual
               4  ·Paris  ·London
        """
        rows = tuple((i, *self.texts[i]) for i in self.differs)
        caption = f"{len(rows)} of {len(self.texts)} tokens differ."
        return Table(("position", "clean", "counterfactual"), rows, caption, tokens=("clean", "counterfactual"))

    def __repr__(self) -> str:
        changed = ", ".join(f"{first!r} → {second!r} at {i}" for i, first, second in self.table().rows)
        return f"Counterfactual({len(self.differs)} of {len(self.texts)} tokens differ: {changed or 'none'})"


def swapped(model: Model, prompt: str, old: str, new: str, *, occurrence: int | None = None) -> Counterfactual:
    """Exchange a piece of the prompt for another of as many tokens.

    Args:
        model: whose tokenizer decides what a token is.
        prompt: the clean prompt.
        old: the text to exchange, such as " John"; mind its leading blank.
        new: the text that replaces it.
        occurrence: which occurrence of `old`, counted from 0 or, negative, from the end; None for all.

    Returns:
        The prompt and its counterfactual.

    Raises:
        UsageError: `old` does not occur, or the prompts have different numbers of tokens (both are shown).

    >>> swapped(model, "the tower is in Paris", " Paris", " London")
    Counterfactual(1 of 5 tokens differ: ' Paris' → ' London' at 4)
    """
    require(model, Model, "model")
    for name, text in (("prompt", prompt), ("old", old), ("new", new)):
        require(text, str, name)
    pieces = prompt.split(old) if old else [prompt]
    n = len(pieces) - 1
    if n == 0:
        raise UsageError(f"{old!r} does not occur in the prompt {prompt!r}.")
    if occurrence is not None and not -n <= occurrence < n:
        raise UsageError(f"{old!r} occurs {n} times in the prompt: there is no occurrence {occurrence}.")
    chosen = range(n) if occurrence is None else [occurrence % n]
    joints = [new if i in chosen else old for i in range(n)]
    return paired(model, prompt, "".join(map("".join, zip(pieces, [*joints, ""], strict=True))))


def shuffled_names(model: Model, prompt: str, names: Sequence[str], seed: int = 0) -> Counterfactual:
    """Exchange every name of a list for another of the list.

    One name is replaced by the same other name everywhere.

    Args:
        model: whose tokenizer decides what a token is.
        prompt: the clean prompt.
        names: the names, each with its leading blank.
        seed: of the exchange.

    Returns:
        The prompt and its counterfactual.

    Raises:
        UsageError: fewer than two names in the prompt, or names of different numbers of tokens.

    >>> shuffled_names(model, "the tower is in Paris a London", [" Paris", " London"])
    Counterfactual(2 of 7 tokens differ: ' Paris' → ' London' at 4, ' London' → ' Paris' at 6)
    """
    require(model, Model, "model")
    require(prompt, str, "prompt")
    require(names, (list, tuple), "names")
    seed = whole(seed, "seed", 0)
    present = [name for name in dict.fromkeys(names) if name and name in prompt]
    if len(present) < 2:
        raise UsageError(
            f"Of the names {list(names)!r} fewer than two occur in the prompt: there is nothing to exchange."
        )
    order = random.Random(seed).sample(present, len(present))
    turned = dict(zip(order, [*order[1:], order[0]], strict=True))
    rest, text = prompt, ""
    while rest:
        name = next((name for name in sorted(present, key=len, reverse=True) if rest.startswith(name)), None)
        text, rest = text + (rest[0] if name is None else turned[name]), rest[1 if name is None else len(name) :]
    return paired(model, prompt, text)


def mean_embedding(model: Model, prompt: str, positions: int | Sequence[int]) -> Counterfactual:
    """Give some positions the mean embedding of the vocabulary.

    It measures what is lost when a token says nothing, for words that have no counterpart. The counterfactual is not a
    prompt, so that `verify` and the parts of scores, which run one, refuse it.

    Args:
        model: whose embeddings are averaged.
        prompt: the clean prompt.
        positions: one or several tokens, negative ones counted from the end.

    Returns:
        The prompt and its counterfactual.

    Raises:
        UsageError: a position that the prompt does not have.

    >>> mean_embedding(model, "the tower is in Paris", -1)
    Counterfactual(1 of 5 tokens differ: ' Paris' → 'mean embedding' at 4)
    """
    require(model, Model, "model")
    require(prompt, str, "prompt")
    tokens = model.check_tokens(model.to_tokens(prompt))
    several = [positions] if isinstance(positions, int) else list(positions)
    places = tuple(sorted({checked_position(position, tokens.shape[1]) for position in several}))
    if not places:
        raise UsageError("Name at least one position whose embedding becomes the mean.")
    embeddings = model.weights.embed(tokens).clone()
    embeddings[:, list(places)] = model.weights.W_E.mean(0)
    texts = tuple((text, "mean embedding" if i in places else text) for i, text in enumerate(model.labels(tokens[0])))
    return Counterfactual(tokens, tokens, texts, embeddings, places)


def from_task(model: Model, task: Task, index: int) -> Counterfactual:
    """Take one pair of a task, up to its answer's position.

    Args:
        model: the model the task was made for.
        task: the task.
        index: which pair.

    Returns:
        The clean prompt and its counterfactual.

    >>> from_task(model, task, 0)
    Counterfactual(1 of 4 tokens differ: 'the' → 'a' at 0)
    """
    require(model, Model, "model")
    require(task, Task, "task")
    one = task[whole(index, "index")]
    return _of_tokens(model, one.clean, one.counterfactual)


def paired(model: Model, clean: str, counterfactual: str) -> Counterfactual:
    """Pair two texts of equal numbers of tokens.

    Args:
        model: whose tokenizer decides what a token is.
        clean: the clean prompt.
        counterfactual: the prompt to compare with.

    Returns:
        The two as token ids.

    Raises:
        UsageError: different numbers of tokens (both tokenisations are shown).

    >>> paired(model, "the tower is in Paris", "the tower is in London")
    Counterfactual(1 of 5 tokens differ: ' Paris' → ' London' at 4)
    """
    require(model, Model, "model")
    first, second = (model.check_tokens(model.to_tokens(text)) for text in (clean, counterfactual))
    if first.shape != second.shape:
        raise UsageError(unequal(model, first[0], second[0]))
    return _of_tokens(model, first, second)


def _of_tokens(model: Model, clean: Tensor, counterfactual: Tensor) -> Counterfactual:
    texts = zip(model.to_str_tokens(clean[0]), model.to_str_tokens(counterfactual[0]), strict=True)
    return Counterfactual(clean, counterfactual, tuple(texts))
