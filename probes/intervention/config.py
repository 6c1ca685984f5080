"""How an intervention is measured: the tokens that are changed, what the model is asked, the random directions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from interp.errors import UsageError
from probes.inputs import check_kind, check_number, check_whole
from probes.intervention.question import Question


@dataclass(frozen=True)
class InterventionConfig:
    """Settings of `probes.intervene`, beside what is changed and by how much.

    Attributes:
        positions: tokens counted from the end of the statement (-1 is its last), or "all" of its tokens.
        step: length of strength 1 in units of the residual stream. None: at each layer, the distance along ŵ between
            the means of the true and the false statements, |(μ₊ − μ₋) · ŵ|, at these positions.
        question: how the model is asked; see `Question`.
        n_random: random directions.
        prepend_bos: None keeps the tokenizer's habit.
        batch: prompts a forward pass.

    Raises `UsageError` for a value of another kind, and without random directions.

    >>> InterventionConfig(n_random=50).positions
    (-2, -1)
    """

    positions: Sequence[int] | str = (-2, -1)
    step: float | None = None
    question: Question = field(default_factory=Question)
    n_random: int = 20
    prepend_bos: bool | None = None
    batch: int = 32

    def __post_init__(self) -> None:
        check_kind(self.question, Question, "question", "probes.Question")
        check_whole(self.batch, "batch", 1)
        check_whole(self.n_random, "n_random")
        if self.n_random < 1:
            raise UsageError(f"n_random={self.n_random}: an effect means nothing without random directions beside it.")
        if self.step is not None:
            check_number(self.step, "step")
