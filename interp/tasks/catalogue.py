"""The tasks by name.

Each takes a model, the number of pairs and a seed, and returns a `Task`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from interp.errors import UsageError, nearest, require
from interp.model import Model
from interp.tasks import templates
from interp.tasks.pairs import assemble
from interp.tasks.repeats import induction
from interp.tasks.task import Task


def ioi(model: Model, n: int = 64, seed: int = 0, *, counterfactual: str = "flip") -> Task:
    """Make indirect object identification: "John gave a drink to" → " Mary".

    "When Mary and John went to the store, John gave a drink to" → " Mary" (arXiv 2211.00593).

    The wrong answer is the subject, " John". Positions: IO, S1, S2, place, object, end.

    Args:
        model: gives the tokenizer; names count as right by their first token.
        n: pairs.
        seed: of the words.
        counterfactual: "flip" replaces the second John by Mary, which flips the answer; "swap" exchanges the names
            everywhere; "third" replaces the second John by a third name; "new" all names by three new ones.

    Returns:
        The task.

    Raises:
        UsageError: an unknown counterfactual, or a tokenizer with too few pairs of equal length.

    >>> print(tasks.ioi(lm, n=2).labels[0])
    As Karen and Tim sat in the market, Tim showed a map to → Karen / Tim
    """
    return assemble("ioi", model, templates.ioi(counterfactual), n, seed)


def greater_than(model: Model, n: int = 64, seed: int = 0) -> Task:
    """Make a task of years: a war ends after it begins.

    "The war lasted from the year 1732 to the year 17" → 33 … 99 (arXiv 2305.00586).

    Right and wrong are sets of tokens: two digits where the tokenizer has them, else the next digit. The counterfactual
    begins in year 01. Positions: event, century, year, end.

    Args:
        model: gives the tokenizer.
        n: pairs.
        seed: of the words and years.

    Returns:
        The task.

    >>> print(tasks.greater_than(lm, n=2).labels[1])  # one right token, of many
    The war lasted from the year 1315 to the year 13 →16 /00
    """
    return assemble("greater_than", model, templates.greater_than, n, seed)


def gendered_pronoun(model: Model, n: int = 64, seed: int = 0) -> Task:
    """Make a task of pronouns: "Mary ..., isn't" → " she".

    "So Mary is such a good friend, isn't" → " she".

    The counterfactual has a man's name, or a woman's.

    Args:
        model: gives the tokenizer.
        n: pairs.
        seed: of the words.

    Returns:
        The task.

    >>> tasks.gendered_pronoun(lm, n=2).labels
    ("So Daniel is such a good doctor, isn't → he / she", "I think Claire is a nice student, isn't → she / he")
    """
    return assemble("gendered_pronoun", model, templates.gendered_pronoun, n, seed)


def subject_verb(model: Model, n: int = 64, seed: int = 0) -> Task:
    """Make a task of agreement: "The key ..." → " is".

    "The key near the cars" → " is", " was", " has". Between subject and verb stands a noun of the other number. The
    counterfactual's subject has the other number. Positions: noun, distractor, end.

    Args:
        model: gives the tokenizer.
        n: pairs.
        seed: of the words.

    Returns:
        The task.

    >>> tasks.subject_verb(lm, n=2).labels
    ('The officer behind the pilots → is / are', 'The keys from the boy → are / is')
    """
    return assemble("subject_verb", model, templates.subject_verb, n, seed)


def country_capital(model: Model, n: int = 64, seed: int = 0) -> Task:
    """Make a task of facts: the capital of a country.

    "The capital of France is the city of" → " Paris".

    The counterfactual asks of another country.

    Args:
        model: gives the tokenizer.
        n: pairs.
        seed: of the words.

    Returns:
        The task.

    >>> print(tasks.country_capital(lm, n=2).labels[0])
    In Turkey, the capital city is called → Ankara / Havana
    """
    return assemble("country_capital", model, templates.country_capital, n, seed)


def successor(model: Model, n: int = 64, seed: int = 0) -> Task:
    """Make series: "Monday, Tuesday, Wednesday," → " Thursday".

    Series are of days, months, number words or numbers. The counterfactual is the series from another start, and the
    wrong answer what follows there.

    Args:
        model: gives the tokenizer.
        n: pairs.
        seed: of the series.

    Returns:
        The task.

    >>> tasks.successor(lm, n=2).labels
    ('December, January, February, → March / April', 'Friday, Saturday, Sunday, → Monday / Wednesday')
    """
    return assemble("successor", model, templates.successor, n, seed)


def docstring(model: Model, n: int = 64, seed: int = 0) -> Task:
    """Make arguments: a signature, a docstring and ":param" → the third argument.

    The docstring describes the two before (arXiv 2304.14997).

    The counterfactual's signature has another third argument. Positions: arg1, arg2, arg3, doc1, doc2, end.

    Args:
        model: gives the tokenizer.
        n: pairs.
        seed: of the words.

    Returns:
        The task.

    >>> list(tasks.docstring(lm, n=2).positions)
    ['about', 'arg1', 'arg2', 'arg3', 'doc1', 'doc2', 'function', 'end']
    """
    return assemble("docstring", model, templates.docstring, n, seed)


def key_value(model: Model, n: int = 64, seed: int = 0) -> Task:
    """Make a task of retrieval: the value of a key named before.

    "The cat is red. The dog is blue. … The dog is" → " blue".

    The counterfactual asks for another key.

    Args:
        model: gives the tokenizer.
        n: pairs.
        seed: of the words.

    Returns:
        The task.

    >>> tasks.key_value(lm, n=1).labels
    ('A wolf is gold. A bear is purple. A cow is red. A bear is → purple / red',)
    """
    return assemble("key_value", model, templates.key_value, n, seed)


_TASKS: dict[str, Callable[..., Task]] = {
    task.__name__: task
    for task in (
        *(ioi, greater_than, gendered_pronoun, subject_verb, country_capital),
        *(successor, induction, docstring, key_value),
    )
}


def names() -> tuple[str, ...]:
    """Return the names of the tasks that `make` knows.

    >>> tasks.names()[:4]
    ('ioi', 'greater_than', 'gendered_pronoun', 'subject_verb')
    """
    return tuple(_TASKS)


def make(name: str, model: Model, n: int = 64, seed: int = 0, **options: Any) -> Task:
    """Make a task by name, such as "ioi".

    Args:
        name: one of `names()`.
        model: gives the tokenizer.
        n: pairs.
        seed: of the words.
        **options: those of the task's own function, such as `counterfactual`.

    Returns:
        The task.

    Raises:
        UsageError: an unknown name or option.

    >>> task = tasks.make("ioi", lm, n=8, seed=1, counterfactual="third")
    >>> len(task), task.labels[0]
    (8, 'While Robert and Tim walked to the office, Robert gave a ticket to → Tim / Robert')
    """
    require(name, str, "name")
    if name not in _TASKS:
        raise UsageError(f'Unknown task "{name}"{nearest(name, _TASKS)}; known: {", ".join(_TASKS)}.')
    try:
        return _TASKS[name](model, n, seed, **options)
    except TypeError as error:
        raise UsageError(f"The task {name} does not take {', '.join(options)}: {error}.") from error
