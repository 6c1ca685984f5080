"""Groups of statements about the same entities.

A split must not separate the statements of a group.

If rows about one city are on both sides of a split, a probe can score by remembering the city. Groups come from the
`group` column of the file or from the caller. Otherwise the first of these rules that fits every statement is used,
and `Statements.grouped_by` names it:

1. a column whose value occurs in every statement (numbers also spelled out), with every later such column that has the
   same values: `city`; `n1` and `n2`;
2. the first quoted text: the Spanish word 'hola' …;
3. the subject: the words before the first lower-case word that is not a preposition or an article, provided that few
   different words follow the subjects: Meta Platforms has …;
4. the column `pair`, which links a statement to its negation;
5. otherwise each fact, stated or denied (`probes.facts`), is its own group, named by the first statement of the fact.
   Sets that are split jointly share these names (`probes.statements.sharing_facts`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from interp.errors import UsageError
from probes.facts import DENIAL, first_stated
from probes.rows import listed

Groups = tuple[tuple[str, ...], ...]


class Grouping(NamedTuple):
    """Entities of each statement, and the rule that determined them.

    The rule has a kind and a name.

    >>> Grouping((("Aarhus",), ("Oslo",)), "column", "the column city").rule
    'the column city'
    """

    groups: Groups
    kind: Kind
    rule: str


KNOWN = ("statement", "label", "group", "polarity", "pair", "topic", "template")
Kind = Literal["column", "expression", "quoted", "subject", "pair", "fact"]
"""How groups were determined. "quoted" uses the first quoted text only; "fact" knows no entities."""
QUOTED = re.compile(r"(?<!\w)['\"‘“«](.+?)['\"’”»](?!\w)")
TWICE = re.compile(r"^(.+?) \1\b.*$")
JOINING = frozenset(["of", "the", "and", "de", "du", "la", "le", "for", "in", "on", "an", "a"])
VERBS_SHARE = 0.05
"""Largest number of different words after the subjects, per statement: templates repeat their verbs."""
SHARED = 0.5
"""Two columns have the same values if they share this fraction of all their values."""
SMALL = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen"
)
ONES = (*SMALL.split(), "eighteen", "nineteen")
TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")


def groups_of(
    statements: Sequence[str], rows: Sequence[Mapping[str, Any]], group: str | Sequence[str] | None
) -> Grouping:
    """Return the entities of each statement and the rule that determined them.

    Args:
        statements: the texts.
        rows: the columns of each row.
        group: one column, several, or a regular expression whose groups (or whole match) are the entities; None
            applies the rules of this module.

    Raises:
        UsageError: `group` is neither a column nor an expression that matches every statement.

    Example:
        >>> groups_of(["The word 'hola' means hello."], [{}], None).groups
        (('hola',),)
    """
    columns = tuple(rows[0])
    if group is not None:
        return _given(statements, rows, columns, group)
    if "group" in columns:
        return _columns(rows, ("group",))
    if names := _in_statements(statements, rows, columns):
        return _columns(rows, names)
    return _by_words(statements) or _by_facts(statements, rows)


def quoted_in(statement: str) -> tuple[str, ...]:
    """Return every quoted text of a statement in lower case.

    >>> quoted_in("The word 'Hola' means 'hello'.")
    ('hola', 'hello')
    """
    return tuple(match[1].lower() for match in QUOTED.finditer(statement))


def written(value: str) -> tuple[str, ...]:
    """Return the spellings of a value.

    They are the unchanged value and, for a whole number below 1,000, the number in words.

    >>> written("51")
    ('51', 'fifty-one')
    """
    if not re.fullmatch(r"\d{1,3}", value):
        return (value,)
    return value, spelled(int(value))


def place(statement: str, value: str) -> tuple[int, int] | None:
    """Return the span of the first mention of `value`, or None.

    Only whole words count; case is ignored.

    >>> place("The city of Paris", "paris")
    (12, 17)
    """
    for text in written(value):
        match = re.search(rf"(?<!\w){re.escape(text)}(?!\w)(?!-\w)", statement, re.IGNORECASE)
        if match:
            return match.span()
    return None


def _by_words(statements: Sequence[str]) -> Grouping | None:
    """Return the first quoted texts or the subjects.

    This requires that every statement has one.
    """
    quoted = [QUOTED.search(statement) for statement in statements]
    if all(quoted):
        return Grouping(tuple((match[1],) for match in quoted if match), "quoted", "the first quoted text")
    subjects = [_subject(statement) for statement in statements]
    verbs = {verb for _, verb in subjects}
    if "" in verbs or len(verbs) > max(2, VERBS_SHARE * len(statements)):
        return None
    return Grouping(tuple((name,) for name, _ in subjects), "subject", "the subject, up to the first verb")


def _by_facts(statements: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> Grouping:
    """Return the pair of each row, or the fact it states.

    For a row without a pair it is the fact that the statement states or denies.
    """
    pairs = [_text(row, "pair") for row in rows]
    groups = tuple((pair or first,) for pair, first in zip(pairs, first_stated(statements), strict=True))
    if any(pairs):
        return Grouping(groups, "pair", "the column pair")
    return Grouping(groups, "fact", "every fact its own group, stated or denied")


def _columns(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> Grouping:
    return Grouping(_from_columns(rows, names), "column", f"the column{'s' * (len(names) > 1)} {' and '.join(names)}")


def _given(
    statements: Sequence[str], rows: Sequence[Mapping[str, Any]], columns: tuple[str, ...], group: str | Sequence[str]
) -> Grouping:
    names = (group,) if isinstance(group, str) else tuple(group)
    if names and all(name in columns for name in names):
        return _columns(rows, names)
    if not isinstance(group, str):
        raise UsageError(f"group names {', '.join(names) or 'no columns'}, but the columns are {', '.join(columns)}.")
    try:
        matches = [re.search(group, statement) for statement in statements]
    except re.error as error:
        raise UsageError(f'group="{group}" is neither a column nor a valid regular expression ({error}).') from error
    missed = [i for i, match in enumerate(matches, 1) if match is None]
    if missed:
        raise UsageError(
            f'group="{group}" is not a column ({", ".join(columns)}), and as a regular expression it does not match '
            f'{len(missed)} of {len(statements)} statements, such as "{statements[missed[0] - 1]}".'
        )
    groups = tuple(tuple(g for g in match.groups() if g) or (match[0],) for match in matches if match)
    return Grouping(groups, "expression", f"the expression {group}")


def _from_columns(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> Groups:
    empty = [i for i, row in enumerate(rows, 1) if any(_text(row, name) == "" for name in names)]
    if empty:
        raise UsageError(f"The group is empty in {listed(empty)}: fill the column {' and '.join(names)}.")
    return tuple(tuple(dict.fromkeys(_text(row, name) for name in names)) for row in rows)


def _in_statements(
    statements: Sequence[str], rows: Sequence[Mapping[str, Any]], columns: tuple[str, ...]
) -> tuple[str, ...]:
    """Return the first column whose value occurs in every statement.

    Later columns with the same values are also returned.
    """
    names: list[str] = []
    values: list[set[str]] = []
    for name in columns:
        if name in KNOWN:
            continue
        cells = [_text(row, name) for row in rows]
        if not all(cell and place(text, cell) for text, cell in zip(statements, cells, strict=True)):
            continue
        own = set(cells)
        if not names or len(own & values[0]) >= SHARED * len(own | values[0]):
            names.append(name)
            values.append(own)
    return tuple(names)


def _subject(statement: str) -> tuple[str, str]:
    """Return the words before the first verb, and that verb.

    The verb is "" if there is none.
    """
    plain = DENIAL.sub("", statement)
    words = (
        plain[:1].upper() + plain[1:]
    ).split()  # "It is not the case that the city of …" has the subject "The city of …"
    for i, word in enumerate(words):
        named = [w.lower() for w in words[:i]] not in (
            [],
            ["the"],
        )  # "The city of …": an article alone is not a subject
        if named and word[0].islower() and word.strip(",.").lower() not in JOINING:
            return TWICE.sub(r"\1", " ".join(words[:i])), word
    return statement, ""


def _text(row: Mapping[str, Any], name: str) -> str:
    value = row.get(name)
    return "" if value is None else str(value).strip()


def spelled(number: int) -> str:
    """Return a whole number below 1,000 in words.

    >>> spelled(321)
    'three hundred twenty-one'
    """
    if number < len(ONES):
        return ONES[number]
    if number < 100:
        ten, one = divmod(number, 10)
        return TENS[ten - 2] + (f"-{ONES[one]}" if one else "")
    hundred, rest = divmod(number, 100)
    return f"{ONES[hundred]} hundred" + (f" {spelled(rest)}" if rest else "")
