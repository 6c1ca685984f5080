"""How a model is asked whether a statement is true, and how its answer is read. No torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from interp.errors import UsageError
from probes.statements import Statements

STATEMENT = "{statement}"
READS = ("total", "first")


@dataclass(frozen=True)
class Question:
    """A prompt and its two answers.

    Attributes:
        prompt: the text, with "{statement}" where the statement goes.
        answers: what follows it when the statement is true, and when it is false; a leading blank belongs to them.
        shots: statements with their answers, shown before each question (few-shot).
        read: "total": the probability of a whole answer, whatever number of tokens it has. "first": that of the first
            token in which the answers differ, given what they share. Never the last token of an answer: " TRUE" and
            " FALSE" are several tokens for many tokenizers, and their last ones say nothing.
    """

    prompt: str = "{statement} True or false? The statement is"
    answers: tuple[str, str] = (" true", " false")
    shots: Statements | None = None
    read: str = "total"

    def __post_init__(self) -> None:
        if self.prompt.count(STATEMENT) != 1:
            raise UsageError(f'The prompt "{self.prompt}" must hold {STATEMENT} once.')
        if self.read not in READS:
            raise UsageError(f'read="{self.read}" is unknown: choose "total" or "first".')

    def ask(self, statement: str) -> tuple[str, int]:
        """(the prompt for a statement, the place of its first character)."""
        before, after = self.prompt.split(STATEMENT)
        shown = "" if self.shots is None else "".join(self._solved(i) for i in range(len(self.shots)))
        return f"{shown}{before}{statement}{after}", len(shown) + len(before)

    def check(self, data: Statements) -> None:
        """`UsageError` if a statement that is asked about is among those shown with their answers."""
        shown = set() if self.shots is None else set(self.shots.statements)
        if found := next((s for s in data.statements if s in shown), None):
            raise UsageError(f'"{found}" is shown with its answer and asked about: take it out of one of the two.')

    def _solved(self, i: int) -> str:
        assert self.shots is not None
        true, false = self.answers
        answer = true if self.shots.labels[i] else false
        return self.prompt.replace(STATEMENT, self.shots.statements[i]) + answer + "\n\n"


@dataclass(frozen=True)
class Reading:
    """The answers as tokens: what is appended to a prompt, and which tokens are then read where.

    `tails` are token ids appended to the prompt, each a run of its own. Answer a is the sum of the log-probabilities
    of `tokens[a]` that follow the prompt and the first `skipped` tokens of the tail `tails[run[a]]`.
    """

    tails: tuple[tuple[int, ...], ...]
    run: tuple[int, int]
    tokens: tuple[tuple[int, ...], tuple[int, ...]]
    skipped: int


def reading(question: Question, encode: Callable[[str], list[int]]) -> Reading:
    """How to read the answers, given the ids of a text.

    Raises `UsageError` for answers that are the same, or of which one begins with the other: they could not be told
    apart.
    """
    true, false = (tuple(encode(answer)) for answer in question.answers)
    shared = 0
    while shared < min(len(true), len(false)) and true[shared] == false[shared]:
        shared += 1
    if shared == min(len(true), len(false)):
        raise UsageError(
            f"The answers {question.answers[0]!r} and {question.answers[1]!r} are one text, or one's start."
        )
    if question.read == "first":
        return Reading((true[:shared],), (0, 0), ((true[shared],), (false[shared],)), shared)
    tails = [true[:-1], false[:-1]]
    if true[:-1] == false[: len(true) - 1]:  # one run serves both
        return Reading((false[:-1],), (0, 0), (true, false), 0)
    if false[:-1] == true[: len(false) - 1]:
        return Reading((true[:-1],), (0, 0), (true, false), 0)
    return Reading((tails[0], tails[1]), (0, 1), (true, false), 0)
