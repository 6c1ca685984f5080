"""Generated sets: true to their tables, balanced to the last word, and the same for the same seed."""

from __future__ import annotations

from collections import Counter
from importlib.resources import files

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline

import probes
from interp.errors import UsageError

NAMES = probes.GENERATED


@pytest.mark.parametrize("name", NAMES)
def test_balanced_and_seeded(name):
    data = probes.generate(name, templates=2)
    assert data.labels.mean() == 0.5 and len(set(data.statements)) == len(data)
    assert data == probes.generate(name, templates=2)
    assert data != probes.generate(name, templates=2, seed=1)
    assert data.template is not None and Counter(data.template) == {w: len(data) // 2 for w in set(data.template)}


@pytest.mark.parametrize("name", [name for name in NAMES if name != "numbers"])
def test_every_word_stands_in_as_many_true_as_false_statements(name):
    """No bag of words can separate the classes, by subjects or by values."""
    data = probes.generate(name, templates=4)
    words = [Counter() for _ in range(2)]
    for statement, label in zip(data.statements, data.labels, strict=True):
        words[label].update(statement.rstrip(".").replace("'", " ").split())
    assert words[0] == words[1]


def test_wrong_symbols_begin_like_the_right_ones():
    """An element's symbol mostly shares its first letter, and so does the wrong one: five initials have no peer."""
    data = probes.generate("elements")
    symbols = [statement.rstrip(".").split()[-1] for statement in data.statements]
    pairs = list(zip(symbols[::2], symbols[1::2], strict=True))
    assert all(right != wrong for right, wrong in pairs)
    assert {right for right, wrong in pairs if right[0] != wrong[0]} == {"V", "Xe", "Dy", "W", "U"}


def test_no_size_gives_a_comparison_away():
    """Each first number stands in as many true as false statements, and only the outermost second ones do not."""
    data = probes.generate("numbers")
    first, second = (Counter(), Counter()), (Counter(), Counter())
    for (a, b), label in zip(data.groups, data.labels, strict=True):
        first[label][a] += 1
        second[label][b] += 1
        assert label == (int(a) > int(b))
    assert first[0] == first[1]
    threshold = max(((np.array([int(b) for _, b in data.groups]) < t) == data.labels).mean() for t in range(10, 110))
    assert threshold < 0.6  # the best cut on the second number; 0.75 where all pairs of a range are compared


@pytest.mark.parametrize("name", NAMES)
def test_words_alone_are_at_chance(name):
    """TF-IDF with logistic regression over unseen entities: not above 0.5 by more than three standard errors."""
    data = probes.generate(name)
    model = make_pipeline(TfidfVectorizer(ngram_range=(1, 2), token_pattern=r"(?u)\b\w+\b"), LogisticRegression())
    groups = [row[0] for row in data.groups]
    guessed = cross_val_predict(model, list(data.statements), data.labels, groups=groups, cv=GroupKFold(4))
    assert (guessed == data.labels).mean() < 0.5 + 1.5 / np.sqrt(len(data))


@pytest.mark.parametrize("name", NAMES)
def test_negation_turns_every_row(name):
    for conjunctions in (False, True):
        plain = probes.generate(name, conjunctions=conjunctions)
        denied = probes.generate(name, negated=True, conjunctions=conjunctions)
        both = probes.paired(plain, denied)  # raises unless row i denies row i
        assert plain.pair == denied.pair and len(both) == 2 * len(plain)
        assert all(" not " in statement for statement in denied.statements)
        assert not any(" not " in statement for statement in plain.statements)


@pytest.mark.parametrize("name", NAMES)
def test_conjunctions(name):
    """Half are true; a false one has one false part, the first as often as the second but for one."""
    data, single = probes.generate(name, conjunctions=True), probes.generate(name)
    truth = {s.rstrip(".").lower(): bool(y) for s, y in zip(single.statements, single.labels, strict=True)}
    parts = [s.removeprefix("It is the case both that ").rstrip(".").split(" and that ") for s in data.statements]
    values = np.array([[truth[part.lower()] for part in row] for row in parts])
    assert (values.all(1) == data.labels).all() and values.any(1).all()
    assert data.labels.mean() == 0.5 and abs((~values).sum(0)[0] - (~values).sum(0)[1]) <= 1
    assert all(len(set(row)) == len(row) >= 2 for row in data.groups)


def test_facts_are_true():
    """A few that everybody knows, and that no false row repeats a true one."""
    for name, fact in (
        ("capitals", "Paris is the capital of France."),
        ("cities", "The city of Osaka is in Japan."),
        ("elements", "The chemical symbol of gold is Au."),
        ("translations", "The Spanish word 'perro' means 'dog'."),
        ("numbers", "Fifty is larger than forty-nine."),
    ):
        for seed in range(3):
            data = probes.generate(name, seed=seed)
            truth = dict(zip(data.statements, data.labels, strict=True))
            assert truth.get(fact, 1) == 1 and (name == "numbers" or fact in truth)


def test_tables_ship_and_name_their_source():
    folder = files("probes.generated")
    tables = [file for file in folder.iterdir() if file.name.endswith(".csv")]
    assert len(tables) == 4
    for file in tables:
        lines = file.read_text(encoding="utf-8").splitlines()
        assert lines[0].startswith("# ") and lines[1].count(",") >= 1
        keys = [line.split(",")[0] for line in lines[2:]]
        assert len(keys) == len(set(keys)) >= 100
    assert "GeoNames" in folder.joinpath("README.md").read_text(encoding="utf-8")


def test_refused():
    with pytest.raises(UsageError, match='no generated set "capital"; the nearest is "capitals"'):
        probes.generate("capital")
    with pytest.raises(UsageError, match="has 1 to 4 wordings"):
        probes.generate("cities", templates=5)
