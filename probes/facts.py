"""Facts that free text states or denies, and near-duplicate statements.

They are used where no entities are named.

"Whales can fly.", "Whales cannot fly." and "It is not true that whales can fly." state or deny one fact. If a split
separates them, a probe is tested on a fact it was trained on, with the opposite label.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import Int

DENIAL = re.compile(
    r"^(?:it(?: is|['’]s) (?:not (?:true|the case|correct)|false|untrue|wrong|incorrect)"
    r"|it is(?:n['’]t| not) (?:true|the case|correct)|the statement is false) that ",
    re.IGNORECASE,
)
WORD = re.compile(r"\w+(?:['’]\w+)*")
CONTRACTED = (("can't", "can not"), ("cannot", "can not"), ("won't", "will not"), ("n't", " not"))
NEGATING = frozenset(["not", "no", "never", "do", "does", "did"])
"""Words that appear or disappear when a statement is denied."""
BE = ("was", "were", "are", "be")
FORMS: dict[str, str] = {
    "goes": "go",
    "has": "have",
    "had": "have",
    "an": "a",
    "any": "a",
    **{form: "is" for form in BE},
}
FIRST_WORDS = 4
ALIKE = 2 / 3
"""Two statements are near-duplicates if they share this fraction of their words, |A ∩ B| / |A ∪ B|."""
PORTION = 500


def fact_of(statement: str) -> str:
    """Return the fact that a statement states or denies, as normalised words.

    Denial, capitals, punctuation and inflection are removed.

    >>> fact_of("Whales cannot fly.") == fact_of("It is not true that whales can fly") == "whal can fly"
    True
    """
    return " ".join(fact_words(statement)) or statement


def first_stated(texts: Iterable[str], known: dict[str, str] | None = None) -> tuple[str, ...]:
    """Return, for each text, the first text about the same fact.

    That text states or denies the fact.

    Args:
        texts: the texts.
        known: the first text of each fact seen so far; updated in place.

    >>> first_stated(["Stones sink.", "Stones do not sink.", "Lamps glow."])
    ('Stones sink.', 'Stones sink.', 'Lamps glow.')
    """
    known = {} if known is None else known
    return tuple(known.setdefault(fact_of(text), text) for text in texts)


def fact_words(statement: str) -> list[str]:
    """Return the normalised words of `fact_of`, in order.

    >>> fact_words("It is not true that whales can fly")
    ['whal', 'can', 'fly']
    """
    text = unicodedata.normalize("NFKC", DENIAL.sub("", statement.strip())).lower().replace("’", "'")
    for short, long in CONTRACTED:
        text = text.replace(short, long)
    words: list[str] = WORD.findall(text)
    return [_stem(FORMS.get(word, word)) for word in words if word not in NEGATING]


def near(statements: Sequence[str], others: Sequence[str]) -> Int[np.ndarray, " m"]:
    """Return the indices of statements that are near-duplicates of `others`.

    Two statements are near-duplicates if their first four words are the same or if they share two thirds of their
    words, ignoring denial and inflection.

    >>> near(["Whales can fly.", "Lamps glow."], ["Whales cannot fly."]).tolist()
    [0]
    """
    if not statements or not others:
        return np.zeros(0, np.int64)
    ours, theirs = ([fact_words(text) for text in texts] for texts in (statements, others))
    starts = {tuple(words[:FIRST_WORDS]) for words in theirs if len(words) >= FIRST_WORDS}
    begins = np.array([tuple(words[:FIRST_WORDS]) in starts for words in ours])
    return np.flatnonzero(begins | (_largest_overlap(ours, theirs) >= ALIKE))


def _largest_overlap(ours: Sequence[list[str]], theirs: Sequence[list[str]]) -> np.ndarray:
    """Return the largest overlap of each list of words with another.

    The overlap is |A ∩ B| / |A ∪ B|, the largest of those with one of the other lists.
    """
    from sklearn.feature_extraction.text import CountVectorizer

    counter = CountVectorizer(analyzer=list, binary=True)  # pyright: ignore[reportArgumentType]
    counter.fit([*ours, *theirs])
    left, right = counter.transform(ours), counter.transform(theirs)
    sizes, best = np.asarray(right.sum(1)).ravel(), []
    for start in range(0, len(ours), PORTION):  # the table of all pairs may not fit into memory
        part = left[start : start + PORTION]
        common = (part @ right.T).toarray()
        best.append((common / np.maximum(sizes + np.asarray(part.sum(1)) - common, 1)).max(1))
    return np.concatenate(best)


def _stem(word: str) -> str:
    """Return a word without its ending.

    Endings are those of a plural, a third person and a regular past tense.
    """
    if len(word) > 3 and word.endswith("ies"):
        return word[:-3] + "y"
    if len(word) > 4 and word.endswith("ied"):
        return word[:-3] + "y"
    if len(word) > 3 and word.endswith("s") and not word.endswith("ss"):
        word = word[:-1]
    if len(word) > 4 and word.endswith("ed"):
        word = word[:-2]
        word = word[:-1] if word[-1] == word[-2] and word[-1] not in "lsz" else word
    return word.rstrip("e") if len(word) > 3 else word
