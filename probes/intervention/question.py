"""Questions that ask a model whether a statement is true.

Also reads the answers. No torch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from interp.errors import UsageError
from probes.statements import Statements

STATEMENT = "{statement}"
READS = ("total", "first")


@dataclass(frozen=True)
class Question:
    """Prompt with its two possible answers.

    Attributes:
        prompt: the text, with "{statement}" where the statement is inserted.
        answers: the continuation for a true and for a false statement, each with its leading blank.
        shots: statements shown with their answers before each question (few-shot examples), or None.
        read: "total" reads the probability of the whole answer, over any number of tokens. "first" reads that of the
            first token in which the answers differ, given the tokens they share. The last token of an answer is never
            read: for many tokenizers " TRUE" and " FALSE" are several tokens, whose last ones are uninformative.

    Example:
        >>> Question("{statement} True?", (" yes", " no")).ask("Stones sink.")
        ('Stones sink. True?', 0)
    """

    prompt: str = "{statement} True or false? The statement is"
    answers: tuple[str, str] = (" true", " false")
    shots: Statements | None = None
    read: str = "total"

    def __post_init__(self) -> None:
        if self.prompt.count(STATEMENT) != 1:
            raise UsageError(f'The prompt "{self.prompt}" must contain {STATEMENT} exactly once.')
        if self.read not in READS:
            raise UsageError(f'read="{self.read}" is unknown: choose "total" or "first".')

    def ask(self, statement: str) -> tuple[str, int]:
        """Return the prompt for a statement and where the statement starts.

        The start is the index of the statement's first character in the prompt.

        >>> probes.Question("Q: {statement} True? A:").ask("Stones sink.")
        ('Q: Stones sink. True? A:', 3)
        """
        before, after = self.prompt.split(STATEMENT)
        shown = "" if self.shots is None else "".join(self._solved(i) for i in range(len(self.shots)))
        return f"{shown}{before}{statement}{after}", len(shown) + len(before)

    def check(self, data: Statements) -> None:
        """Check that no statement is also one of the few-shot examples.

        Raises `UsageError` otherwise.

        >>> probes.Question(shots=data.take([0, 1])).check(data.take([2, 3]))  # data = probes.read_statements(...)
        """
        shown = set() if self.shots is None else set(self.shots.statements)
        if repeated := next((s for s in data.statements if s in shown), None):
            raise UsageError(
                f'"{repeated}" is a few-shot example and is also asked about: remove it from one of the two.'
            )

    def _solved(self, i: int) -> str:
        assert self.shots is not None
        true, false = self.answers
        answer = true if self.shots.labels[i] else false
        return self.prompt.replace(STATEMENT, self.shots.statements[i]) + answer + "\n\n"


@dataclass(frozen=True)
class Reading:
    """Tokens that are appended to a prompt, and tokens to read.

    Attributes:
        tails: token ids appended to the prompt, each in a separate run.
        run: for each answer, the index of the tail it is read from.
        tokens: for each answer, the tokens whose log-probabilities are summed.
        skipped: number of tokens of the tail before the first token that is read.

    Example:
        >>> Reading(tails=((),), run=(0, 0), tokens=((5,), (6,)), skipped=0).tokens
        ((5,), (6,))
    """

    tails: tuple[tuple[int, ...], ...]
    run: tuple[int, int]
    tokens: tuple[tuple[int, ...], tuple[int, ...]]
    skipped: int


def reading(question: Question, encode: Callable[[str], list[int]]) -> Reading:
    """Return how the answers of a question are read as tokens.

    `encode` is a function from text to token ids. Raises `UsageError` if the answers are equal or one is the beginning
    of the other, as they could then not be distinguished.

    >>> reading(Question(answers=("ab", "cd")), lambda text: [ord(c) for c in text]).tokens
    ((97, 98), (99, 100))
    """
    true, false = (tuple(encode(answer)) for answer in question.answers)
    shared = 0
    while shared < min(len(true), len(false)) and true[shared] == false[shared]:
        shared += 1
    if shared == min(len(true), len(false)):
        raise UsageError(
            f"The answers {question.answers[0]!r} and {question.answers[1]!r} are equal or one begins with the other: "
            "give answers that differ."
        )
    if question.read == "first":
        return Reading((true[:shared],), (0, 0), ((true[shared],), (false[shared],)), shared)
    tails = [true[:-1], false[:-1]]
    if true[:-1] == false[: len(true) - 1]:  # one run serves both
        return Reading((false[:-1],), (0, 0), (true, false), 0)
    if false[:-1] == true[: len(false) - 1]:
        return Reading((true[:-1],), (0, 0), (true, false), 0)
    return Reading((tails[0], tails[1]), (0, 1), (true, false), 0)
