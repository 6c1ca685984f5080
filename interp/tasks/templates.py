"""Templates of the tasks in words, filled with words drawn at random.

Each function takes a numpy generator and returns one `Pair`. A word in braces becomes a named position of the prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from string import Formatter

import numpy as np

from interp.errors import UsageError, nearest
from interp.tasks import words
from interp.tasks.pairs import Draw, Pair

IOI = (
    "When {IO} and {S1} went to the {place}, {S2} gave a {object} to",
    "When {S1} and {IO} went to the {place}, {S2} gave a {object} to",
    "After {IO} and {S1} went to the {place}, {S2} gave a {object} to",
    "After {S1} and {IO} went to the {place}, {S2} gave a {object} to",
    "While {IO} and {S1} walked to the {place}, {S2} gave a {object} to",
    "While {S1} and {IO} walked to the {place}, {S2} gave a {object} to",
    "Once {IO} and {S1} got to the {place}, {S2} handed a {object} to",
    "Once {S1} and {IO} got to the {place}, {S2} handed a {object} to",
    "When {IO} and {S1} met at the {place}, {S2} passed a {object} to",
    "When {S1} and {IO} met at the {place}, {S2} passed a {object} to",
    "Since {IO} and {S1} worked at the {place}, {S2} offered a {object} to",
    "Since {S1} and {IO} worked at the {place}, {S2} offered a {object} to",
    "As {IO} and {S1} sat in the {place}, {S2} showed a {object} to",
    "As {S1} and {IO} sat in the {place}, {S2} showed a {object} to",
)
IOI_COUNTERFACTUALS = ("flip", "swap", "third", "new")
PRONOUN = (
    "So {name} is such a good {noun}, isn't",
    "Yes, {name} is a kind {noun}, isn't",
    "Well, {name} was a great {noun}, wasn't",
    "I think {name} is a nice {noun}, isn't",
)
VERB = (
    "The {noun} near the {distractor}",
    "The {noun} behind the {distractor}",
    "The {noun} beside the {distractor}",
    "The {noun} with the {distractor}",
    "The {noun} from the {distractor}",
)
CAPITAL = (
    "The capital of {country} is the city of",
    "In {country}, the capital city is called",
    "The old capital city of {country} is called",
    "Flights to the capital of {country} land in",
    "The government of {country} has its seat in",
)
YEARS = (
    "The {event} lasted from the year {century}{year} to the year {century}",
    "The {event} went on from the year {century}{year} to about {century}",
    "The {event} began in the year {century}{year} and ended in {century}",
    "The {event} started in the year {century}{year} and stopped in {century}",
)
KEY_VALUE = (
    "The {key1} is {value1}. The {key2} is {value2}. The {key3} is {value3}. The {query} is",
    "A {key1} is {value1}. A {key2} is {value2}. A {key3} is {value3}. A {query} is",
    "My {key1} is {value1}, my {key2} is {value2}, my {key3} is {value3}, my {query} is",
)
"""The templates of a task have as many tokens as one another in most tokenizers, so that all take part."""


def ioi(counterfactual: str = "flip") -> Draw:
    """Draw indirect objects.

    The counterfactual "flip" makes the second subject the other name, so that the answer flips.

    "swap" exchanges the two names everywhere, "third" replaces the second subject by a third name, and "new" all
    names by new ones.
    """
    if counterfactual not in IOI_COUNTERFACTUALS:
        hint = nearest(counterfactual, IOI_COUNTERFACTUALS)
        raise UsageError(f'Unknown counterfactual "{counterfactual}"{hint}; known: {", ".join(IOI_COUNTERFACTUALS)}.')

    def draw(rng: np.random.Generator) -> Pair:
        one, other, third, fourth, fifth = _choose(rng, words.MALE + words.FEMALE, 5)
        rest = {"place": _one(rng, words.PLACES), "object": _one(rng, words.OBJECTS)}
        changed = {
            "flip": {"IO": one, "S1": other, "S2": one},
            "swap": {"IO": other, "S1": one, "S2": one},
            "third": {"IO": one, "S1": other, "S2": third},
            "new": {"IO": third, "S1": fourth, "S2": fifth},
        }[counterfactual]
        clean = {"IO": one, "S1": other, "S2": other}
        return _pair(_one(rng, IOI), (clean | rest, changed | rest), (f" {one}",), (f" {other}",))

    return draw


def gendered_pronoun(rng: np.random.Generator) -> Pair:
    """Draw a name whose gender decides the pronoun."""
    kinds = ((words.FEMALE, (" she",)), (words.MALE, (" he",)))
    (names, right), (others, wrong) = kinds if rng.random() < 0.5 else kinds[::-1]
    rest = {"noun": _one(rng, ("friend", "student", "leader", "teacher", "doctor", "player", "person", "writer"))}
    clean, changed = {"name": _one(rng, names)} | rest, {"name": _one(rng, others)} | rest
    return _pair(_one(rng, PRONOUN), (clean, changed), right, wrong)


def subject_verb(rng: np.random.Generator) -> Pair:
    """Draw a subject whose number decides the verb.

    The noun between subject and verb has the number that the clean subject has not.
    """
    noun, distractor = _choose(rng, words.SINGULAR, 2)
    template = _one(rng, VERB)
    one, many = (" is", " was", " has"), (" are", " were", " have")
    if rng.random() < 0.5:
        prompts = tuple({"noun": n, "distractor": f"{distractor}s"} for n in (noun, f"{noun}s"))
        return _pair(template, prompts, one, many)
    prompts = tuple({"noun": n, "distractor": distractor} for n in (f"{noun}s", noun))
    return _pair(template, prompts, many, one)


def country_capital(rng: np.random.Generator) -> Pair:
    """Draw a country, whose capital is asked for, and another one."""
    one, other = _choose(rng, tuple(words.CAPITALS), 2)
    right, wrong = ((f" {words.CAPITALS[country]}",) for country in (one, other))
    return _pair(_one(rng, CAPITAL), ({"country": one}, {"country": other}), right, wrong)


def successor(rng: np.random.Generator) -> Pair:
    """Draw three steps of days, months, number words or numbers.

    The counterfactual's series begins elsewhere.
    """
    kind = _one(rng, ("days", "months", "number words", "numbers"))
    digits = tuple(map(str, range(1, 10)))
    series = {"days": words.DAYS, "months": words.MONTHS, "number words": words.NUMBERS, "numbers": digits}[kind]
    cyclic = kind in ("days", "months")
    starts = rng.choice(len(series) if cyclic else len(series) - 3, 2, replace=False)
    one, other = ([series[(int(start) + step) % len(series)] for step in range(4)] for start in starts)
    names = ("first", "second", "third")
    prompts = tuple({name: word for name, word in zip(names, run, strict=False)} for run in (one, other))
    pair = _pair("{first}, {second}, {third},", prompts, (f" {one[3]}",), (f" {other[3]}",))
    return Pair(**{**pair.__dict__, "template": kind})


def greater_than(rng: np.random.Generator) -> Pair:
    """Draw a first year, after which the last must lie.

    The counterfactual begins in year 01, after which any year is right.

    With a tokenizer that has two-digit tokens the answers are these; with one that sets digits apart they are the next
    digit: right are those above the year's tens, wrong those below, and the equal one is neither.
    """
    century, year = int(rng.integers(11, 20)), int(rng.integers(12, 88))
    fields = {"event": _one(rng, words.EVENTS), "century": str(century)}
    right = tuple(f"{late:02d}" for late in range(year + 1, 100))
    wrong = tuple(f"{early:02d}" for early in range(0, year + 1))
    return _pair(_one(rng, YEARS), (fields | {"year": f"{year:02d}"}, fields | {"year": "01"}), right, wrong)


def docstring(rng: np.random.Generator) -> Pair:
    """Draw a signature whose third argument is the next to be described.

    The counterfactual's signature has another.
    """
    first, second, third, other = _choose(rng, words.ARGUMENTS, 4)
    function, about = _one(rng, words.FUNCTIONS), _one(rng, words.FUNCTIONS)
    body = (
        "def {function}(self, {arg1}, {arg2}, {arg3}):\n"
        '    """{about} it.\n\n    :param {doc1}: the {arg1}\n    :param {doc2}: the {arg2}\n    :param'
    )
    fields = {"function": function, "about": about, "arg1": first, "arg2": second, "doc1": first, "doc2": second}
    pair = _pair(body, (fields | {"arg3": third}, fields | {"arg3": other}), (f" {third}",), (f" {other}",))
    return Pair(**{**pair.__dict__, "template": f"def {function}"})


def key_value(rng: np.random.Generator) -> Pair:
    """Draw three keys with a value each.

    The counterfactual asks for another key.
    """
    keys, values = _choose(rng, words.KEYS, 3), _choose(rng, words.VALUES, 3)
    asked, other = rng.choice(3, 2, replace=False)
    fields = {f"key{i + 1}": key for i, key in enumerate(keys)} | {f"value{i + 1}": v for i, v in enumerate(values)}
    prompts = tuple(fields | {"query": keys[i]} for i in (asked, other))
    return _pair(_one(rng, KEY_VALUE), prompts, (f" {values[asked]}",), (f" {values[other]}",))


def _pair(template: str, prompts: Sequence[dict[str, str]], right: tuple[str, ...], wrong: tuple[str, ...]) -> Pair:
    """Fill the template with the words of both prompts."""
    (clean, ends), (changed, _) = (_fill(template, fields) for fields in prompts)
    return Pair(clean, changed, right, wrong, template, ends)


def _fill(template: str, fields: dict[str, str]) -> tuple[str, dict[str, int]]:
    """Return the filled text and where each field first ends.

    The end of a field's first use, in characters.
    """
    text, ends = "", {}
    for literal, name, _, _ in Formatter().parse(template):
        text += literal
        if name is not None:
            text += fields[name]
            ends.setdefault(name, len(text))
    return text, ends


def _choose(rng: np.random.Generator, options: tuple[str, ...], k: int) -> list[str]:
    return [options[i] for i in rng.choice(len(options), k, replace=False)]


def _one(rng: np.random.Generator, options: tuple[str, ...]) -> str:
    return options[int(rng.integers(len(options)))]
