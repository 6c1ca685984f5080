"""Metrics of a patched run: a number for each pair of a task."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from interp.errors import NotFiniteError, UsageError, nearest
from interp.model import Model, capture
from interp.patching.results import Patching

if TYPE_CHECKING:
    from interp.tasks import Task

Metric = Callable[[Float[Tensor, "n n_token d_vocab"], "Task"], Float[Tensor, " n"]]
"""A metric of one's own: from the logits of every position and the task, a number for each pair."""


@dataclass(frozen=True)
class Measure:
    """Metric on a batch of pairs.

    `of` takes logits where the answers are read, or of `everywhere`.
    """

    model: Model
    part: Task
    of: Callable[[Tensor], Float[Tensor, " n"]]
    everywhere: bool = False

    def __call__(self, model: Model, tokens: Tensor, copies: int = 1) -> Float[Tensor, "copy n"]:
        """Return the metric of each copy of the pairs.

        Their runs are rows of one batch, copy after copy.
        """
        tokens = model.check_tokens(tokens.repeat(copies, 1))
        at = None if self.everywhere else self.part.end.repeat(copies)
        logits = capture.logits(model, tokens, at=at).unflatten(0, (copies, -1))
        return torch.stack([self.of(one) for one in logits])


def measure(metric: str | Metric, model: Model, part: Task) -> Measure:
    """Return a metric by name, or the user's function, on pairs.

    Raises `UsageError` for an unknown name.
    """
    if callable(metric):
        return Measure(model, part, lambda logits: metric(logits, part), everywhere=True)
    known = {"log odds": _log_odds, "probability": _probability, "kl": _divergence}
    if metric not in known:
        hint = nearest(str(metric), known)
        raise UsageError(f'Unknown metric "{metric}"{hint}; known: {", ".join(known)}, or a function.')
    return Measure(model, part, known[metric](model, part))


def patching_of(
    arrays: Sequence[Tensor], rows: tuple[str, ...], columns: tuple[str, ...], metric: str, **facts: Any
) -> Patching:
    """Return the result of patched metrics and those of two runs.

    They are (n, n_row · n_column) and (n,).

    Raises `NotFiniteError` for a metric that is not finite, `UsageError` where the two runs have the same mean.
    """
    values, clean, other = arrays
    if not all(array.isfinite().all() for array in arrays):
        raise NotFiniteError(f"The {metric} of a run is not finite: is there a NaN in the weights, or an overflow?")
    if float(clean.mean()) == float(other.mean()):
        raise UsageError(f"Clean and counterfactual prompts give the same mean {metric}: there is nothing to patch.")
    return Patching(
        values=values.unflatten(1, (len(rows), len(columns))).numpy(),
        clean=clean.numpy(),
        counterfactual=other.numpy(),
        rows=rows,
        columns=columns,
        metric=metric,
        **facts,
    )


def _log_odds(_: Model, part: Task) -> Callable[[Tensor], Tensor]:
    return part.measure


def _probability(_: Model, part: Task) -> Callable[[Tensor], Tensor]:
    right = part.right if part.right.ndim == 2 else part.right[:, None]

    def probability(logits: Tensor) -> Tensor:
        places = right.to(logits.device)
        return logits.softmax(-1).gather(1, places.clamp_min(0)).masked_fill(places < 0, 0.0).sum(1)

    return probability


def _divergence(model: Model, part: Task) -> Callable[[Tensor], Tensor]:
    """Return nats from the clean run's prediction, which is run once."""
    clean = capture.logits(model, model.check_tokens(part.clean), at=part.end).log_softmax(-1)
    return lambda logits: (clean.exp() * (clean - logits.log_softmax(-1))).sum(1)
