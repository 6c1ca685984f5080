"""What is measured of a prompt under steering: log odds of answers, or a judgement of the text that follows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.errors import UsageError
from interp.model import Model
from interp.model.arithmetic import norm_scale, softcap
from interp.report import visible
from interp.tasks import log_odds

N_TOKEN = 20
"""Tokens that are added to a prompt to be judged."""


@dataclass(frozen=True)
class Measure:
    """Log odds of right against wrong answers.

    One set for every prompt (1, k), or one for each (n, k).
    """

    right: Int[Tensor, "n_or_1 k"]
    wrong: Int[Tensor, "n_or_1 m"]
    text: str

    def __call__(self, model: Model, final: Float[Tensor, "rows n d_model"], start: int) -> Float[Tensor, "rows n"]:
        """Return the log odds of streams that leave the last block.

        Of the prompts from `start` on.

        Only the answers' own logits are computed: log odds do not depend on the others.
        """
        ids = torch.cat([self.right.flatten(), self.wrong.flatten()]).unique()
        known = ids[ids >= 0].to(final.device)
        columns, bias = model.weights.unembed(known)
        spec = model.spec
        logits = softcap(final / norm_scale(final, spec.norm, spec.norm_eps) @ columns + bias, spec.logit_softcap)
        copies, n = final.shape[:2]
        sets = [self._rows(answers, start, n, known).repeat(copies, 1) for answers in (self.right, self.wrong)]
        return log_odds(logits.flatten(0, 1), *sets).unflatten(0, (copies, n))

    @staticmethod
    def _rows(answers: Tensor, start: int, n: int, known: Tensor) -> Tensor:
        """Return the answers of n prompts, as columns of the logits that were computed."""
        rows = answers.expand(n, -1) if len(answers) == 1 else answers[start : start + n]
        rows = rows.to(known.device)
        return torch.where(rows < 0, rows, torch.searchsorted(known, rows.clamp_min(0)))


@dataclass(frozen=True)
class Judged:
    """Measure that is a function of the text the model adds.

    Such as the share of its words that are of a kind.
    """

    function: Callable[[str], Any]
    text: str
    n_token: int = N_TOKEN

    def __call__(self, text: str) -> float:
        """Return the judgement; raises `UsageError` where it is not a number."""
        value = self.function(text)
        if not isinstance(value, Real):
            raise UsageError(f"The function {self.text} must return a number, not {type(value).__name__}.")
        return float(value)


def measure_of(model: Model, prompts: Any, measure: Any) -> Measure | Judged:
    """Return the measure that a user names.

    For what may be given see `steering.dose_response`.
    """
    if callable(measure):
        return Judged(measure, getattr(measure, "__name__", "judgement"))
    if measure is None:
        if not hasattr(prompts, "right"):
            raise UsageError("Give a measure: a pair of answers (right, wrong), or a function of the added text.")
        right, wrong = (one if one.ndim == 2 else one[:, None] for one in (prompts.right, prompts.wrong))
        return Measure(right, wrong, f"log odds of the answers of {prompts.name} (nats)")
    if isinstance(measure, str) or not isinstance(measure, Sequence) or len(measure) != 2:
        raise UsageError("A measure is a pair of answers (right, wrong), or a function of the added text.")
    right, wrong = (_answers(model, one) for one in measure)
    shared = set(right.flatten().tolist()) & set(wrong.flatten().tolist())
    if shared:
        raise UsageError(f"An answer is both right and wrong: {', '.join(model.labels(torch.tensor(sorted(shared))))}.")
    return Measure(
        right, wrong, f"log odds of {_answer_names(model, right)} against {_answer_names(model, wrong)} (nats)"
    )


def _answers(model: Model, given: Any) -> Int[Tensor, "1 k"]:
    several = [given] if isinstance(given, str | int) else list(given)
    if not several:
        raise UsageError("An answer is a token, or a list of at least one.")
    return torch.tensor([[model.token_id(one) for one in several]])


def _answer_names(model: Model, answers: Tensor) -> str:
    words = [f"“{visible(word)}”" for word in model.labels(answers[0])]
    more = f" and {len(words) - 3} more" if len(words) > 4 else ""
    return ", ".join(words[: 3 if more else 4]) + more
