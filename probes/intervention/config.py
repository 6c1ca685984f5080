"""Settings of an intervention: changed tokens, question, random directions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from interp.errors import UsageError
from probes.inputs import check_kind, check_number, check_whole
from probes.intervention.question import Question


@dataclass(frozen=True)
class InterventionConfig:
    """Settings of `probes.intervene` besides the direction, layers and strengths.

    Attributes:
        positions: token indices from the end of the statement (-1 is its last token), or "all" of its tokens.
        step: length of strength 1 in units of the residual stream. None uses, at each layer, the distance along ŵ
            between the means of the true and the false statements, |(μ₊ − μ₋) · ŵ|, at these positions.
        question: how the model is asked; see `Question`.
        n_controls: number of random directions, the control.
        prepend_bos: whether a BOS token is prepended; None follows the tokenizer.
        batch_size: prompts per forward pass.

    Raises `UsageError` for a value of another type and for n_controls below 1.

    >>> InterventionConfig(n_controls=50).positions
    (-2, -1)
    """

    positions: Sequence[int] | str = (-2, -1)
    step: float | None = None
    question: Question = field(default_factory=Question)
    n_controls: int = 20
    prepend_bos: bool | None = None
    batch_size: int = 32

    def __post_init__(self) -> None:
        check_kind(self.question, Question, "question", "probes.Question")
        check_whole(self.batch_size, "batch_size", 1)
        check_whole(self.n_controls, "n_controls")
        if self.n_controls < 1:
            raise UsageError(
                f"n_controls={self.n_controls} is too small: an effect needs at least one random direction."
            )
        if self.step is not None:
            check_number(self.step, "step")
