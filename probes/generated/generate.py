"""Generate sets of true and false statements from tables of facts.

A false statement takes the value of another fact of the same set. Values are drawn so that every value, and every
subject, occurs in as many false statements as true ones: neither alone, nor a bag of words, predicts the label.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from dataclasses import dataclass
from importlib.resources import files

import numpy as np

from interp.arguments import checked
from interp.errors import UsageError, nearest
from probes.generated import wordings
from probes.generated.wordings import BOTH, Wording
from probes.groups import spelled
from probes.inputs import check_whole
from probes.statements import Statements

NUMBERS = range(21, 100)
FURTHEST = 8
"""Largest difference of two compared numbers. Size alone is then uninformative except at the ends of the range."""
DISTANCES = 4
"""Number of distances at which each number is compared."""
TRIES = 100


@dataclass(frozen=True)
class Fact:
    """Fact to be put into words.

    It has its parts, its truth, and the entities that a split must assign to one side.

    >>> Fact("Aarhus", "Denmark", True, "cities", ("Aarhus",)).value
    'Denmark'
    """

    subject: str
    value: str
    true: bool
    topic: str
    entities: tuple[str, ...]


@dataclass(frozen=True)
class _Table:
    file: str
    subject: str
    value: str
    topic: str
    by_initial: bool = False
    """Whether wrong values begin with the same letter if possible: letters would otherwise reveal a symbol."""


_TABLES = {
    "cities": (_Table("cities", "city", "country", "cities"),),
    "capitals": (_Table("capitals", "capital", "country", "capitals"),),
    "elements": (_Table("elements", "element", "symbol", "elements", by_initial=True),),
    "translations": (
        _Table("translations", "spanish", "english", "Spanish"),
        _Table("translations", "french", "english", "French"),
    ),
}
_WORDINGS = {
    "cities": wordings.CITIES,
    "capitals": wordings.CAPITALS,
    "elements": wordings.ELEMENTS,
    "numbers": wordings.NUMBERS,
    "translations": wordings.TRANSLATIONS,
}
GENERATED = tuple(_WORDINGS)
"""Names of the sets."""


@checked
def generate(
    name: str, *, negated: bool = False, conjunctions: bool = False, templates: int = 1, seed: int = 0
) -> Statements:
    """Generate statements from tables of facts, half of them true.

    The tables come with the toolkit (`probes/generated`).

    Args:
        name: one of `GENERATED`: "cities" (their countries), "capitals", "elements" (their symbols), "numbers" (which
            is larger), or "translations" (Spanish and French words, with the language as topic).
        negated: negate every statement. Rows have the order of the set that is not negated and opposite labels:
            `probes.paired(generate(x), generate(x, negated=True))` is a set of contrast pairs.
        conjunctions: join two statements in each row. In half of the rows both parts are true; in the others one part
            is false, the first as often as the second. A row has the entities of both parts.
        templates: number of wordings (1 to 4), each applied to every fact.
        seed: seed for drawing false values and joining facts. Facts and wordings do not depend on it.

    Returns:
        `Statements`.

    Raises:
        UsageError: an unknown name or number of wordings.

    Example:
        >>> generate("cities", seed=0).statements[:2]
        ('The city of Aarhus is in Denmark.', 'The city of Aarhus is in Saudi Arabia.')
    """
    if not isinstance(name, str) or name not in GENERATED:
        raise UsageError(
            f'There is no generated set "{name}"{nearest(str(name), GENERATED)}. The sets are {", ".join(GENERATED)}.'
        )
    known = _WORDINGS[name]
    check_whole(templates, "templates")
    check_whole(seed, "seed")
    if not 1 <= templates <= len(known):
        raise UsageError(f"templates={templates} is not possible: {name} has 1 to {len(known)} wordings.")
    rng = np.random.default_rng(seed)
    rows = [(i, fact) for i in range(templates) for fact in _facts(name, rng)]
    parts = [_joined([fact for at, fact in rows if at == i], rng) for i in range(templates)] if conjunctions else None
    if parts is None:
        worded = [(i, (fact,), _worded(known[i], fact, denied=negated)) for i, fact in rows]
    else:
        worded = [(i, pair, _both(known[i], pair, negated)) for i, pairs in enumerate(parts) for pair in pairs]
    full = f"{'neg_' * negated}{name}{'_conj' * conjunctions}"
    return _statements(full, worded, negated)


def _statements(name: str, worded: list[tuple[int, tuple[Fact, ...], str]], negated: bool) -> Statements:
    true = np.array([all(fact.true for fact in facts) for _, facts, _ in worded])
    return Statements(
        name=name,
        statements=tuple(f"{text[0].upper()}{text[1:]}." for *_, text in worded),
        labels=(true ^ negated).astype(np.int8),
        groups=tuple(tuple(dict.fromkeys(e for fact in facts for e in fact.entities)) for _, facts, _ in worded),
        grouped_by="the subjects of the facts",
        polarity=np.full(len(worded), -1 if negated else 1, np.int8),
        pair=tuple(f"{i}: {' + '.join(f'{f.subject} {f.value}' for f in facts)}" for i, facts, _ in worded),
        topic=tuple(facts[0].topic for _, facts, _ in worded),
        template=tuple(f"wording {i + 1}" for i, *_ in worded),
        polarity_by="the generator",
    )


def _facts(name: str, rng: np.random.Generator) -> list[Fact]:
    return _comparisons(rng) if name == "numbers" else [f for table in _TABLES[name] for f in _of_table(table, rng)]


def _of_table(table: _Table, rng: np.random.Generator) -> list[Fact]:
    """Return a true and a false fact for each row.

    The false fact follows the true one and has another row's value.
    """
    rows = _read(table.file)
    values = [row[table.value] for row in rows]
    facts = []
    wrongs = _by_initial(values, rng) if table.by_initial else _deranged(values, rng)
    for row, wrong in zip(rows, wrongs, strict=True):
        subject = row[table.subject]
        facts.append(Fact(subject, row[table.value], True, table.topic, (subject,)))
        facts.append(Fact(subject, wrong, False, table.topic, (subject,)))
    return facts


def _comparisons(rng: np.random.Generator) -> list[Fact]:
    """Return comparisons of every number with larger and smaller ones.

    They are at equal distances.
    """
    facts = []
    for number in NUMBERS:
        for away in sorted(rng.choice(range(1, FURTHEST + 1), DISTANCES, replace=False).tolist()):
            for other in (number - away, number + away):
                pair = (str(number), str(other))
                facts.append(Fact(spelled(number), spelled(other), number > other, "numbers", pair))
    return facts


def _deranged(values: list[str], rng: np.random.Generator) -> list[str]:
    """Return a random permutation that moves every value."""
    n = len(values)
    for _ in range(TRIES):
        order = rng.permutation(n)
        for i in range(n):
            if values[order[i]] == values[i]:
                free = [j for j in range(n) if values[order[j]] != values[i] and values[order[i]] != values[j]]
                if not free:
                    break
                j = int(rng.choice(free))
                order[i], order[j] = order[j], order[i]
        permuted = [values[k] for k in order]
        if all(a != b for a, b in zip(permuted, values, strict=True)):
            return permuted
    raise UsageError("One value belongs to more than half of the facts, so that wrong values cannot be drawn.")


def _by_initial(values: list[str], rng: np.random.Generator) -> list[str]:
    """Return a derangement among values of the same initial.

    Values with a unique initial form one group.
    """
    shared = Counter(value[0] for value in values)
    kinds = [value[0] if shared[value[0]] > 1 else "" for value in values]
    permuted = list(values)
    for kind in dict.fromkeys(kinds):
        places = [i for i, other in enumerate(kinds) if other == kind]
        for i, wrong in zip(places, _deranged([values[i] for i in places], rng), strict=True):
            permuted[i] = wrong
    return permuted


def _joined(facts: list[Fact], rng: np.random.Generator) -> list[tuple[Fact, Fact]]:
    """Return pairs of facts without common entities.

    Half are all true; a quarter each have one false part.
    """
    true = [f for f in facts if f.true]
    false = [f for f in facts if not f.true]
    n = len(true) // 2
    kinds = [(true, true)] * n + [(true, false)] * (n // 2) + [(false, true)] * (n - n // 2)
    pairs = []
    for first, second in kinds:
        a = first[rng.integers(len(first))]
        others = [f for f in second if not set(f.entities) & set(a.entities)]
        pairs.append((a, others[rng.integers(len(others))]))
    return [pairs[i] for i in rng.permutation(len(pairs))]


def _worded(words: Wording, fact: Fact, *, denied: bool) -> str:
    form = words.denied if denied else words.affirmed
    return form.format(subject=fact.subject, value=fact.value, topic=fact.topic)


def _both(words: Wording, pair: tuple[Fact, ...], denied: bool) -> str:
    first, second = (_lowered(_worded(words, fact, denied=False), fact) for fact in pair)
    return (BOTH.denied if denied else BOTH.affirmed).format(first=first, second=second)


def _lowered(text: str, fact: Fact) -> str:
    """Return the clause for use inside a sentence.

    The capital of a name does not change.
    """
    return text if text.startswith(fact.subject) else text[0].lower() + text[1:]


def _read(table: str) -> list[dict[str, str]]:
    text = files("probes.generated").joinpath(f"{table}.csv").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return list(csv.DictReader(io.StringIO("\n".join(lines))))
