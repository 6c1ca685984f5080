from __future__ import annotations

import pytest

from interp import errors

KINDS = {
    errors.InterpError: 1,
    errors.UsageError: 2,
    errors.NotFiniteError: 2,
    errors.UnsupportedModelError: 2,
    errors.MissingInputError: 3,
    errors.DamagedFileError: 3,
    errors.CheckFailedError: 4,
}


def test_every_kind_has_the_exit_code_the_command_line_promises():
    declared = {kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)}
    assert {kind: kind.exit_code for kind in declared} == KINDS


@pytest.mark.parametrize("kind", KINDS)
def test_one_except_clause_catches_every_kind(kind):
    with pytest.raises(errors.InterpError):
        raise kind("one sentence")
    assert issubclass(kind, ValueError)  # a notebook that expects Python's own kind for bad input gets it


def test_the_nearest_name_is_offered():
    assert errors.nearest("smolm2", ["gpt2", "smollm2"]) == '; the nearest is "smollm2"'


def test_nothing_is_offered_when_nothing_is_near():
    assert errors.nearest("zebra", ["gpt2", "smollm2"]) == ""
    assert errors.nearest("anything", []) == ""
