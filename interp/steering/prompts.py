"""Prompts of any length as padded rows, and the residual streams at them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.errors import NotFiniteError, UsageError
from interp.model import Model

if TYPE_CHECKING:
    from interp.tasks import Task

BATCH = 32
"""Prompts a forward pass."""


@dataclass(frozen=True)
class Prompts:
    """Rows of token ids, padded on the right.

    They are of `lengths` (n,) tokens each; `texts` are the prompts in words.
    """

    tokens: Int[Tensor, "n n_token"]
    lengths: Int[Tensor, " n"]
    texts: tuple[str, ...]

    @classmethod
    def of(cls, model: Model, given: Any, name: str = "prompts") -> Prompts:
        """Make prompts from texts, token ids or a task.

        Token ids are (n, n_token) without padding.

        Raises `UsageError` for anything else, or no prompt.
        """
        if hasattr(given, "clean") and hasattr(given, "end"):
            return cls._of_task(model, given)
        if isinstance(given, Tensor):
            tokens = model.check_tokens(given)
            texts = tuple("".join(model.labels(row)) for row in tokens)
            return cls(tokens, torch.full((len(tokens),), tokens.shape[1]), texts)
        if isinstance(given, str) or not isinstance(given, Sequence) or not given:
            raise UsageError(f"{name}: give a list of texts, token ids (n, n_token) or a task, with at least one row.")
        if not all(isinstance(text, str) for text in given):
            raise UsageError(f"{name}: every prompt in a list must be a text.")
        rows = [model.to_tokens(text)[0] for text in given]
        tokens = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
        return cls(model.check_tokens(tokens), torch.tensor([len(row) for row in rows]), tuple(given))

    @classmethod
    def _of_task(cls, model: Model, task: Task) -> Prompts:
        lengths = task.end.cpu() + 1
        texts = tuple("".join(model.labels(row[:n])) for row, n in zip(task.clean, lengths.tolist(), strict=True))
        return cls(model.check_tokens(task.clean), lengths, texts)

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, rows: slice | list[int]) -> Prompts:
        """Return some rows, without columns that are padding in all of them."""
        index = torch.arange(len(self))[rows]
        width = int(self.lengths[index].max())
        texts = tuple(self.texts[i] for i in index.tolist())
        return Prompts(self.tokens[index.to(self.tokens.device), :width], self.lengths[index], texts)

    @property
    def mask(self) -> Int[Tensor, "n n_token"] | None:
        """Attention mask: 1 where a row has a token, 0 on padding.

        None where no row is padded.
        """
        if bool((self.lengths == self.tokens.shape[1]).all()):
            return None
        columns = torch.arange(self.tokens.shape[1])
        return (columns < self.lengths[:, None]).long().to(self.tokens.device)

    def batches(self, size: int = BATCH) -> Iterator[Prompts]:
        """Yield the prompts in order, `size` at a time."""
        return (self[at : at + size] for at in range(0, len(self), size))

    def by_length(self) -> Iterator[tuple[list[int], Prompts]]:
        """Yield the prompts of each length, with their rows."""
        for length in self.lengths.unique().tolist():
            rows = torch.nonzero(self.lengths == length).flatten().tolist()
            yield rows, self[rows]


def streams(
    model: Model, prompts: Prompts, layers: Sequence[int], position: int | None
) -> Float[Tensor, "n layer d_model"]:
    """Return the stream after each block at one position per prompt.

    The result is in float64; with position None, it is the mean of all positions.

    Positions below 0 count from the end of each prompt. Raises `UsageError` for a position that a prompt lacks.
    """
    hooks, parts = [f"blocks.{layer}.hook_resid_post" for layer in layers], []
    for part in prompts.batches():
        _, cache = model.run_with_cache(part.tokens, hooks, attention_mask=part.mask)
        values = torch.stack([cache[name] for name in hooks], 1).double().cpu()
        parts.append(torch.stack([_at(row, n, position) for row, n in zip(values, part.lengths.tolist(), strict=True)]))
    whole = torch.cat(parts)
    if not whole.isfinite().all():
        raise NotFiniteError("The residual stream of a prompt has a NaN or an infinity.")
    return whole


def stream_norms(model: Model, prompts: Prompts, layers: Sequence[int]) -> Float[Tensor, " layer"]:
    """Compute the median norm of the stream after each block.

    The median is over the positions of all prompts but their first.
    """
    hooks, lengths = [f"blocks.{layer}.hook_resid_post" for layer in layers], []
    for part in prompts.batches():
        _, cache = model.run_with_cache(part.tokens, hooks, attention_mask=part.mask)
        norms = torch.stack([cache[name].double().norm(dim=-1) for name in hooks]).cpu()
        columns = torch.arange(norms.shape[2])
        # The first position of a text has a norm of its own, up to a hundred times that of all others.
        first = 1 if norms.shape[2] > 1 else 0
        lengths.append(norms[:, (columns >= first) & (columns < part.lengths[:, None])])
    return torch.cat(lengths, 1).median(1).values


def _at(row: Float[Tensor, "layer n_token d_model"], length: int, position: int | None) -> Tensor:
    if position is None:
        return row[:, :length].mean(1)
    if not -length <= position < length:
        raise UsageError(f"Position {position} is outside a prompt of {length} tokens.")
    return row[:, position % length]
