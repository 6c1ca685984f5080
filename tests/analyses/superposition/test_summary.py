"""The committed table: made from saved results, and up to date with the studies."""

from pathlib import Path

import pytest

from analyses.superposition import STUDIES
from analyses.superposition.summary import summary
from interp.errors import MissingInputError
from tests.analyses.superposition import tiny

TABLE = Path(__file__).parents[3] / "docs" / "toys.md"


def test_the_table_says_what_the_results_say(tmp_path, monkeypatch):
    monkeypatch.setattr("analyses.superposition.summary.STUDIES", {"dynamics": ""})
    result = tiny.run("dynamics")
    result.save(tmp_path / "dynamics")
    text = summary(tmp_path)
    assert result.finding() in text
    assert text.count("| pass |") + text.count("**FAIL**") == len(result.checks)


def test_a_folder_without_results_is_named(tmp_path):
    with pytest.raises(MissingInputError, match="geometry"):
        summary(tmp_path)


def test_the_committed_table_has_every_study_and_no_failure():
    text = TABLE.read_text(encoding="utf-8")
    assert all(f"## {name}\n" in text for name in STUDIES)
    assert "FAIL" not in text
