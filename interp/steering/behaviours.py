"""Behaviours to steer: contrasting prompts, other prompts to measure on, and the answers that count. No torch."""

from __future__ import annotations

from dataclasses import dataclass

from interp.errors import UsageError, nearest
from interp.results import Result


@dataclass(frozen=True, eq=False)
class Behaviour(Result):
    """What steering needs to know of a behaviour.

    `positive` and `negative` are pairs of prompts that show it and its opposite; the vector is read at their last
    token. `prompts` are others, on which it is measured as the log odds of `right` against `wrong` tokens; the answers
    occur in no pair, so that a vector cannot merely repeat its own words.

    >>> own = steering.Behaviour("city", ("in Paris",) * 2, ("in London",) * 2, ("the tower is in",), (" a",), (" b",))
    >>> len(own.positive), own.right
    (2, (' a',))
    """

    name: str
    positive: tuple[str, ...]
    negative: tuple[str, ...]
    prompts: tuple[str, ...]
    right: tuple[str, ...]
    wrong: tuple[str, ...]


def behaviour(name: str) -> Behaviour:
    """Return a behaviour of the catalogue.

    >>> len(behaviour("sentiment").prompts)
    24

    Raises `UsageError` for an unknown name.
    """
    if name not in _CATALOGUE:
        raise UsageError(f'Unknown behaviour "{name}"{nearest(str(name), _CATALOGUE)}; known: {", ".join(_CATALOGUE)}.')
    return _CATALOGUE[name]


def names() -> tuple[str, ...]:
    """Return the names of the catalogue.

    >>> names()
    ('sentiment', 'gender', 'truth')
    """
    return tuple(_CATALOGUE)


def _pairs(template: str, words: tuple[str, ...], sides: tuple[tuple[str, str], ...]) -> tuple[tuple[str, ...], ...]:
    """Return the template filled with every word and alternating pairs.

    As (first sides, second sides).
    """
    return tuple(
        tuple(template.format(word, sides[i % len(sides)][side]) for i, word in enumerate(words)) for side in (0, 1)
    )


_SUBJECTS = (
    *("meal", "hotel", "concert", "novel", "garden", "lecture", "journey", "museum", "car", "phone", "painting"),
    *(
        "speech",
        "apartment",
        "game",
        "beach",
        "song",
        "café",
        "camera",
        "party",
        "coat",
        "school",
        "show",
        "bed",
        "soup",
    ),
)
_PLACES = (
    *("film", "restaurant", "service", "book", "weather", "trip", "play", "food", "room", "album", "class", "product"),
    *("staff", "city", "exhibition", "story", "holiday", "team", "dessert", "view", "app", "course", "wine", "match"),
)
_FEELINGS = (
    ("delightful", "dreadful"),
    ("superb", "appalling"),
    ("charming", "miserable"),
    ("splendid", "ghastly"),
)
_JOBS = (
    *(
        "doctor",
        "teacher",
        "lawyer",
        "pilot",
        "baker",
        "singer",
        "nurse",
        "farmer",
        "driver",
        "painter",
        "judge",
        "clerk",
    ),
    *(
        "engineer",
        "dancer",
        "writer",
        "soldier",
        "cook",
        "student",
        "guard",
        "editor",
        "tailor",
        "guide",
        "chemist",
        "poet",
    ),
)
_PEOPLE = (("king", "queen"), ("father", "mother"), ("brother", "sister"), ("uncle", "aunt"), ("son", "daughter"))
_FACTS = (
    ("Paris", "France", "Spain"),
    ("Rome", "Italy", "Norway"),
    ("Madrid", "Spain", "Poland"),
    ("Berlin", "Germany", "Greece"),
    ("Athens", "Greece", "Sweden"),
    ("Lisbon", "Portugal", "Japan"),
    ("Vienna", "Austria", "Egypt"),
    ("Oslo", "Norway", "Italy"),
    ("Warsaw", "Poland", "China"),
    ("Tokyo", "Japan", "Cuba"),
    ("Cairo", "Egypt", "Russia"),
    ("Moscow", "Russia", "Kenya"),
)
_ANIMALS = ("dog", "horse", "eagle", "shark", "snake", "frog", "cow", "owl", "whale", "spider", "sheep", "lion")


def _facts(side: int) -> tuple[str, ...]:
    kinds = tuple(f"The city of {city} is in {pair[side]}." for city, *pair in _FACTS)
    return kinds + tuple(f"A {one} is {('an animal', 'a vegetable')[side]}." for one in _ANIMALS)


_CATALOGUE = {
    one.name: one
    for one in (
        Behaviour(
            "sentiment",
            *_pairs("The {} was {}.", _SUBJECTS, _FEELINGS),
            prompts=tuple(f"In my opinion the {place} is" for place in _PLACES),
            right=(" great", " good", " excellent", " wonderful", " beautiful", " amazing"),
            wrong=(" bad", " terrible", " awful", " poor", " horrible", " ugly"),
        ),
        Behaviour(
            "gender",
            *_pairs("Yesterday in the market the {1} spoke with a {0}.", _JOBS, tuple((b, a) for a, b in _PEOPLE)),
            prompts=tuple(f"The {job} went home early because" for job in _JOBS),
            right=(" she", " her"),
            wrong=(" he", " his"),
        ),
        Behaviour(
            "truth",
            _facts(0),
            _facts(1),
            prompts=tuple(f"Statement: {text} This statement is" for text in (*_facts(1)[::2], *_facts(0)[1::2])),
            right=(" true", " correct", " right"),
            wrong=(" false", " incorrect", " wrong"),
        ),
    )
}
