"""`over`: an attribution averaged over prompts, one prompt in memory at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from interp.attribution.averaged import Averaged
from interp.attribution.contrast import contrast
from interp.attribution.contributions import direct
from interp.attribution.frozen import freeze
from interp.attribution.results import Attribution, LogitTarget
from interp.attribution.sweeps import edges, orders, sources
from interp.attribution.targets import logit, logit_difference
from interp.errors import UsageError, nearest, require
from interp.model import Model
from interp.progress import Progress, advance
from interp.provenance import Stopwatch

if TYPE_CHECKING:
    from interp.tasks import Task

ATTRIBUTIONS: dict[str, Callable[..., Attribution]] = {
    "direct": direct,
    "sources": sources,
    "orders": orders,
    "edges": edges,
}
LARGEST = 10_000_000
"""Numbers of single prompts that a result holds at most."""


def over(
    model: Model,
    prompts: Any,
    what: str = "direct",
    target: Any = None,
    *,
    counterfactual: Any = None,
    progress: Progress | None = None,
) -> Averaged:
    """Attribute a target on every prompt, and average.

    The result has the mean, an interval over prompts, and their spread.

    Prompts are frozen one after the other, and only the numbers of each are stored (see `Averaged.arrays`), so that
    the memory is that of one prompt. Every prompt's numbers sum to the model's own value on it, and so do the means.
    With counterfactual prompts each pair is contrasted, and values are differences between its two runs.

    Args:
        model: the model, edited or not.
        prompts: texts, token ids (n, n_token), or a task (its clean prompts).
        what: "direct", "sources", "orders" or "edges".
        target: a token or list of tokens, a pair (right, wrong) of these, whose logits are read at each prompt's end,
            or a target of `attribution`. By default a task's own answers, else each prompt's own likeliest token.
        counterfactual: a prompt to contrast each one with, of the same length; True for those of a task.
        progress: called with (prompts done, prompts in all, what is being done).

    Returns:
        The mean, its interval and the spread over prompts of every label.

    Raises:
        UsageError: no prompt, an unknown attribution, a target that is not tokens, "sources" of prompts of several
            lengths, whose positions do not correspond, or counterfactuals that do not pair with the prompts.

    >>> average = over(model, ["the tower is", "London is in"], target=(" Paris", " London"))
    >>> round(average.total, 3), round(float(average.observed.mean()), 3)
    (1.798, 1.798)
    """
    watch = Stopwatch()
    require(model, Model, "model")
    if what not in ATTRIBUTIONS:
        raise UsageError(f'Unknown attribution "{what}"{nearest(str(what), ATTRIBUTIONS)}.')
    rows = list(_rows(model, prompts))
    if not rows:
        raise UsageError("Give at least one prompt.")
    if what == "sources" and len({len(row) for row in rows}) > 1:
        raise UsageError('"sources" are averaged over prompts of one length: their positions must correspond.')
    others = None if counterfactual is None else _paired(model, prompts, counterfactual, rows)
    moments = _Moments()
    for done, row in enumerate(rows, 1):
        one = freeze(model, row) if others is None else contrast(model, row[None], others[done - 1][None])
        logits = one.logits_at(-1) if others is None else one.logits_at(-1)[0]
        moments.add(ATTRIBUTIONS[what](one, _target(model, prompts, target, done - 1, logits)))
        advance(progress, done, len(rows), f"{what} of prompts")
    return moments.result(what, _name(model, prompts, target), watch.provenance(seed=None, **model.identity()))


class _Moments:
    """Running means and squared deviations of attributions (Welford), and arrays."""

    def __init__(self) -> None:
        self.labels: tuple[str, ...] = ()
        self.unit = ""
        self.mean = self.squares = np.zeros(0)
        self.values: list[float] = []
        self.arrays: list[np.ndarray] = []
        self.error = 0.0

    def add(self, one: Attribution) -> None:
        """Take in one prompt's."""
        array = one.array.reshape(-1, one.array.shape[-1]).sum(0).astype(float)
        if not self.values:
            self.labels, self.unit = one.labels, one.unit
            self.mean, self.squares = np.zeros_like(array), np.zeros_like(array)
        array = self._matched(one.labels, array)
        self.values.append(one.value)
        step = array - self.mean
        self.mean = self.mean + step / len(self.values)
        self.squares = self.squares + step * (array - self.mean)
        self.error = max(self.error, one.error)
        if (len(self.arrays) + 1) * len(array) <= LARGEST and len(self.arrays) == len(self.values) - 1:
            self.arrays.append(array.astype(np.float32))
        else:
            self.arrays = []

    def _matched(self, labels: tuple[str, ...], array: np.ndarray) -> np.ndarray:
        """Return the array in the order of the first prompt's labels.

        Readers are named by target, which may differ.
        """
        if len(labels) != len(self.labels):
            raise UsageError(
                f"A prompt has {len(labels)} contributions and the first {len(self.labels)}: they cannot be averaged."
            )
        return array

    def result(self, what: str, target: str, provenance: Any) -> Averaged:
        n = len(self.values)
        deviation = np.sqrt(self.squares / (n - 1)) if n > 1 else np.full_like(self.mean, math.nan)
        return Averaged(
            what=what,
            target=target,
            unit=self.unit,
            labels=self.labels,
            mean=self.mean,
            deviation=deviation,
            observed=np.array(self.values),
            error=self.error,
            arrays=np.stack(self.arrays) if self.arrays else np.zeros((0, len(self.labels)), np.float32),
            provenance=provenance,
        )


def _rows(model: Model, prompts: Any) -> Iterator[Tensor]:
    if _is_task(prompts):
        yield from (row[: end + 1] for row, end in zip(prompts.clean, prompts.end.tolist(), strict=True))
    elif isinstance(prompts, Tensor):
        yield from model.check_tokens(prompts)
    elif isinstance(prompts, Sequence) and not isinstance(prompts, str):
        yield from (model.to_tokens(text)[0] for text in prompts)
    else:
        raise UsageError(
            f"Prompts are a list of texts, token ids (n, n_token) or a task, not {type(prompts).__name__}."
        )


def _paired(model: Model, prompts: Any, counterfactual: Any, rows: list[Tensor]) -> list[Tensor]:
    """Return the counterfactual of every prompt.

    Raises `UsageError` where the lengths differ.
    """
    if counterfactual is True:
        if not _is_task(prompts):
            raise UsageError("counterfactual=True takes a task's own: give prompts to compare with instead.")
        ends = prompts.end.tolist()
        others = [row[: end + 1] for row, end in zip(prompts.counterfactual, ends, strict=True)]
    else:
        others = list(_rows(model, counterfactual))
    lengths = [len(row) for row in rows], [len(row) for row in others]
    if lengths[0] != lengths[1]:
        raise UsageError(
            f"Each prompt needs a counterfactual of its length: prompts have {lengths[0][:8]} tokens, counterfactuals "
            f"{lengths[1][:8]}."
        )
    return others


def _target(model: Model, prompts: Any, target: Any, row: int, logits: Tensor) -> Any:
    """Return the target on one prompt, at its end."""
    if target is None and _is_task(prompts):
        return _of_task(model, prompts, row)
    if target is None:
        return logit(model, int(logits.argmax()))
    if isinstance(target, tuple) and len(target) == 2:
        return logit_difference(model, *target)
    return logit(model, target) if isinstance(target, str | int | list) else target


def _of_task(model: Model, task: Task, row: int) -> LogitTarget:
    right, wrong = (
        [token for token in answers[row].reshape(-1).tolist() if token >= 0] for answers in (task.right, task.wrong)
    )
    return logit_difference(model, right, wrong)


def _name(model: Model, prompts: Any, target: Any) -> str:
    if target is None:
        return f"answers of {prompts.name}" if _is_task(prompts) else "likeliest token of each prompt"
    return _target(model, prompts, target, 0, torch.zeros(1)).name


def _is_task(prompts: Any) -> bool:
    return hasattr(prompts, "clean") and hasattr(prompts, "right")
