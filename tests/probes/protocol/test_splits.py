"""An entity is on one side everywhere, and splits that violate this are refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import probes
from interp.errors import UsageError
from probes.protocol.splits import folds, indexed
from tests.probes.protocol.planted import renamed, statements


def entities(data, mask) -> set[str]:
    return {entity for i in np.flatnonzero(mask) for entity in data.groups[i]}


def test_no_entity_is_on_both_sides_and_every_row_is_accounted_for():
    data = statements(200, rows=3)
    sides = probes.split(data)
    assert not entities(data, sides.train) & entities(data, sides.test)
    assert sides.train.sum() + sides.test.sum() + sides.dropped == len(data)
    assert (sides.dropped, sides.groups_train + sides.groups_test) == (0, 200)
    # A binomial with n = 200, p = 0.35 is within 4.5 standard deviations (0.034 each).
    assert abs(sides.groups_test / 200 - 0.35) < 0.15


def test_an_entity_is_on_the_same_side_in_every_set():
    first = statements(90)
    second = renamed(statements(200).take(np.arange(399, -1, -1)), "other")
    one, two = probes.split([first, second])
    shared = entities(first, one.test) | entities(first, one.train)
    assert entities(first, one.test) == entities(second, two.test) & shared


def test_rows_about_entities_of_both_sides_are_dropped_and_counted():
    data = statements(80)
    rng = np.random.default_rng(0)
    pairs = tuple((row[0], f"thing {rng.integers(80)}") for row in data.groups)
    sides = probes.split(replace(data, groups=pairs))
    assert sides.dropped > 0
    assert sides.dropped == len(data) - sides.train.sum() - sides.test.sum()
    mixed = replace(data, groups=pairs)
    assert not entities(mixed, sides.train) & entities(mixed, sides.test)


def test_seeds_give_other_splits_and_the_same_seed_the_same():
    data = statements(100)
    assert (probes.split(data, seed=1).test == probes.split(data, seed=1).test).all()
    assert (probes.split(data, seed=1).test != probes.split(data, seed=0).test).any()
    assert probes.split(data).salt == "v1"


def test_a_group_in_both_halves_by_construction_is_refused():
    data = statements(40)
    even = np.arange(len(data)) % 2 == 0  # the two rows of each entity on different sides
    with pytest.raises(UsageError, match=r'planted: the group "thing 0" and 39 more has rows on both sides'):
        probes.own_split(data, even, ~even)
    halves = np.arange(len(data)) < 40
    assert probes.own_split(data, halves, ~halves).groups_test == 20


@pytest.mark.parametrize("test", [0, 1, 1.5, -0.1])
def test_a_test_size_that_is_not_a_fraction_is_refused(test):
    with pytest.raises(UsageError, match="is not a fraction between 0 and 1"):
        probes.split(statements(40), test=test)


def test_a_side_of_one_class_is_refused():
    data = statements(40)
    one_sided = replace(data, groups=tuple((f"label {label}",) for label in data.labels))
    with pytest.raises(UsageError, match="not of both classes"):
        probes.split(one_sided)
    with pytest.raises(UsageError, match=r"needs two masks of 80 rows, not of \(3,\) and \(80,\)"):
        probes.own_split(data, np.ones(3, bool), np.ones(80, bool))


def test_folds_validate_every_entity_once_and_never_train_on_it():
    data = statements(30, rows=2)
    train, inside = folds(data.groups, 4, 0)
    assert (inside.sum(0) == 1).all()
    for known, validation in zip(train, inside, strict=True):
        assert not entities(data, known) & entities(data, validation)
    sizes = [len(entities(data, validation)) for validation in inside]
    assert max(sizes) - min(sizes) <= 1


def test_folds_of_rows_about_two_entities_are_disjoint_in_both():
    rng = np.random.default_rng(0)
    groups = [(f"n{a}", f"n{b}") for a, b in rng.integers(0, 25, size=(300, 2))]
    for known, validation in zip(*folds(groups, 4, 0), strict=True):
        seen = {e for row, k in zip(groups, known, strict=True) if k for e in row}
        assert not seen & {e for row, h in zip(groups, validation, strict=True) if h for e in row}
    with pytest.raises(UsageError, match="2 train groups are too few for 4 folds"):
        folds([("a",), ("b",)], 4, 0)


def test_indexed_numbers_entities_and_pads():
    names, index = indexed([("a", "b"), ("b",), ("c", "c")])
    assert names == ("a", "b", "c")
    np.testing.assert_array_equal(index, [[0, 1], [1, -1], [2, -1]])


@pytest.mark.parametrize(
    ("name", "train", "test", "groups"),
    [("cities", 970, 526, 263), ("sp_en_trans", 226, 128, 124), ("common_claim_small", 670, 330, 330)],
)
def test_seed_0_gives_the_published_reference_split(test_data, name, train, test, groups):
    sides = probes.split(probes.read_statements(test_data / "truth" / f"{name}.csv"))
    assert (sides.train.sum(), sides.test.sum(), sides.groups_test) == (train, test, groups)
