"""`Task`: pairs of token rows, their answers, and the measure that compares these."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from interp.errors import UsageError, require
from interp.model import capture
from interp.tasks.score import TaskScore

if TYPE_CHECKING:
    from interp.model import Model

NO_TOKEN = -1
"""Fills the rows of `right` and `wrong` in tasks whose answers are sets of different sizes."""
BATCH = 32


@dataclass(frozen=True, eq=False)
class Task:
    """Pairs of clean and counterfactual prompts of equal length, with answers.

    Attributes:
        name: what the task is called.
        clean: (n, T) token ids.
        counterfactual: (n, T) token ids; the same positions ask for another answer, or for none.
        right: (n,) ids of right answers; (n, k) where sets of tokens are right, filled up with -1.
        wrong: (n,) or (n, k) ids of wrong answers.
        positions: name -> (n,) position; "end" is where the answer is read. Pairs that are shorter than T are filled
            up on the right, behind their end, where a causal model never looks from.
        templates: (n,) what the pair was made from: pairs of one template stay together in `split`.
        labels: (n,) the pair in words.
        places: (T,) name of each position: its token where all pairs share it, else the named position, else "*".

    >>> task = tasks.induction(model, n=8, length=6)
    >>> task.clean.shape, task.right.shape, list(task.positions)
    (torch.Size([8, 10]), torch.Size([8]), ['end', 'key', 'other key', 'value'])
    """

    name: str
    clean: Int[Tensor, "n n_token"]
    counterfactual: Int[Tensor, "n n_token"]
    right: Int[Tensor, "n ..."]
    wrong: Int[Tensor, "n ..."]
    positions: Mapping[str, Int[Tensor, " n"]]
    templates: tuple[str, ...]
    labels: tuple[str, ...]
    places: tuple[str, ...] = field(default=())

    def __len__(self) -> int:
        return self.clean.shape[0]

    @property
    def end(self) -> Int[Tensor, " n"]:
        """The position of each pair at which the answer is read."""
        return self.positions["end"]

    @property
    def differs(self) -> Bool[Tensor, "n n_token"]:
        """Where the two prompts of each pair differ."""
        return self.clean != self.counterfactual

    def __getitem__(self, rows: int | slice | list[int] | np.ndarray | Tensor) -> Task:
        """Return some pairs, without the columns that none of them needs.

        Raises `IndexError` for a pair that does not exist.
        """
        if isinstance(rows, int):
            if not -len(self) <= rows < len(self):
                raise IndexError(f"Pair {rows} does not exist: the task has {len(self)}.")
            rows = [rows]
        index = torch.arange(len(self))[rows]
        if not len(index):
            raise UsageError(f"No pair of the task {self.name} is left: it has {len(self)}.")
        width = int(self.end[index].max()) + 1
        chosen = [int(i) for i in index]
        return Task(
            name=self.name,
            clean=self.clean[index, :width],
            counterfactual=self.counterfactual[index, :width],
            right=self.right[index],
            wrong=self.wrong[index],
            positions={name: at[index] for name, at in self.positions.items()},
            templates=tuple(self.templates[i] for i in chosen),
            labels=tuple(self.labels[i] for i in chosen),
            places=self.places[:width],
        )

    def __iter__(self) -> Iterator[Task]:
        return (self[i] for i in range(len(self)))

    def batches(self, size: int) -> Iterator[Task]:
        """Yield the pairs in order, `size` at a time.

        >>> [len(part) for part in task.batches(3)]
        [3, 3, 2]
        """
        return (self[at : at + size] for at in range(0, len(self), size))

    def split(
        self, share: float = 0.5, *, seed: int = 0, by: Literal["template", "pair"] = "template"
    ) -> tuple[Task, Task]:
        """Split into two tasks without a common template or pair.

        Templates are shuffled and given to the first task until it has `share` of the pairs. A task of one template is
        split by pairs.

        Args:
            share: of the pairs in the first task, between 0 and 1.
            seed: of the shuffle.
            by: "template" (no template in common) or "pair" (only no pair in common).

        Returns:
            (the first task, the second).

        Raises:
            UsageError: a share outside (0, 1), another `by`, or a side that would be empty.

        >>> train, test = task.split(0.75)
        >>> len(train), len(test)
        (3, 5)
        """
        if by not in ("template", "pair") or not 0 < share < 1:
            raise UsageError(f'split(share={share}, by="{by}"): share is in (0, 1), by is "template" or "pair".')
        groups = list(dict.fromkeys(self.templates)) if by == "template" else []
        keys = self.templates if len(groups) > 1 else tuple(map(str, range(len(self))))
        groups = list(dict.fromkeys(keys))
        wanted = max(1, round(share * len(self)))
        order = np.random.default_rng(seed).permutation(len(groups))
        first: list[int] = []
        for group in (groups[i] for i in order[:-1]):
            if len(first) >= wanted:
                break
            first += [i for i, key in enumerate(keys) if key == group]
        rest = sorted(set(range(len(self))) - set(first))
        if not first or not rest:
            raise UsageError(f"The task {self.name} has {len(self)} pair: it cannot be split.")
        return self[sorted(first)], self[rest]

    def flipped(self) -> Task:
        """Return the pairs with clean and counterfactual prompts exchanged.

        The answers stay those of the clean prompt.

        >>> task.flipped().clean[0], task.clean[0]
        (tensor([18, 39,  5, 21, 32, 50, 39, 32, 21,  5]), tensor([18, 39, 32, 21,  5, 50, 39, 32, 21,  5]))
        """
        return replace(self, clean=self.counterfactual, counterfactual=self.clean)

    def measure(self, logits: Float[Tensor, "n *n_token d_vocab"]) -> Float[Tensor, " n"]:
        """Return each pair's log odds of right against wrong answers, in nats.

        Takes logits of every position, or of the ends alone. See `log_odds`.

        >>> task.measure(model(task.clean)).shape
        torch.Size([8])
        """
        if logits.ndim == 3:
            logits = logits[torch.arange(len(self), device=logits.device), self.end.to(logits.device)]
        return log_odds(logits, self.right, self.wrong)

    @torch.no_grad()
    def score(self, model: Model, *, batch_size: int = BATCH, seed: int = 0) -> TaskScore:
        """Run the model on both prompts of every pair and score it.

        Measures how often the model is right.

        Args:
            model: the model.
            batch_size: pairs of a forward pass.
            seed: of the bootstrap.

        Returns:
            Accuracy and mean log odds (a logit difference for single answers), each with an interval; `.able` and
                `.summary()` say whether the model can do the task at all.

        Raises:
            UsageError: log odds that are not numbers.

        >>> score = task.score(model)
        >>> score.accuracy, score.mean
        (0.375, -0.231)
        """
        measures: dict[str, list[Tensor]] = {"clean": [], "counterfactual": [], "top": []}
        for part in self.batches(batch_size):
            logits = _at_end(part, model, part.clean)
            measures["clean"].append(part.measure(logits))
            measures["top"].append((logits.argmax(-1, keepdim=True) == _sets(part.right).to(logits.device)).any(-1))
            measures["counterfactual"].append(part.measure(_at_end(part, model, part.counterfactual)))
        arrays = {name: torch.cat(parts).cpu() for name, parts in measures.items()}
        if not (arrays["clean"].isfinite().all() and arrays["counterfactual"].isfinite().all()):
            raise UsageError(f"The task {self.name} gives log odds that are not numbers on {model.name}.")
        return TaskScore(
            task=self.name,
            model=model.name,
            clean=arrays["clean"].double().numpy(),
            counterfactual=arrays["counterfactual"].double().numpy(),
            top=arrays["top"].numpy(),
            seed=seed,
        )

    def __repr__(self) -> str:
        kinds = len(set(self.templates))
        shown = f"{len(self)} pairs of {self.clean.shape[1]} tokens, {kinds} template{'s' if kinds > 1 else ''}"
        return f"Task({self.name}: {shown}; first: {self.labels[0]})"


def log_odds(
    logits: Float[Tensor, "n d_vocab"], right: Int[Tensor, "n ..."], wrong: Int[Tensor, "n ..."]
) -> Float[Tensor, " n"]:
    """Return log Σ p(right) − log Σ p(wrong), in nats.

    For single tokens it is the difference of their logits.

    Args:
        logits: (n, d_vocab) logits where the answers are read.
        right: (n,) or (n, k) token ids, -1 for none.
        wrong: the same of the wrong answers.

    Returns:
        (n,) log odds.

    >>> logits = torch.tensor([[2.0, 1.0, 0.0]])
    >>> log_odds(logits, torch.tensor([0]), torch.tensor([1]))
    tensor([1.])
    """
    for name, tensor in (("logits", logits), ("right", right), ("wrong", wrong)):
        require(tensor, Tensor, name)
    return _mass(logits, right) - _mass(logits, wrong)


def _mass(logits: Tensor, answers: Tensor) -> Tensor:
    sets = _sets(answers).to(logits.device)
    if sets.shape[1] == 1:
        return logits.gather(1, sets)[:, 0]
    picked = logits.gather(1, sets.clamp_min(0))
    return picked.masked_fill(sets == NO_TOKEN, -torch.inf).logsumexp(-1)


def _sets(answers: Tensor) -> Int[Tensor, "n k"]:
    return answers[:, None] if answers.ndim == 1 else answers


def _at_end(task: Task, model: Model, tokens: Tensor) -> Tensor:
    """Return the logits where each prompt ends."""
    return capture.logits(model, model.check_tokens(tokens), at=task.end)
