"""The progress bar: there for a person at a terminal, and only then."""

from __future__ import annotations

import io
import sys

import pytest

from interp.cli import console


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_person_at_a_terminal_sees_what_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal())
    with console.progress(quiet=False) as progress:
        assert progress is not None
        progress(1, 3, "layers")
        progress(3, 3, "heads")
    shown = sys.stderr.getvalue()
    assert "layers" in shown
    assert "3/3" in shown


def test_other_output_has_no_progress_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal())
    with console.progress(quiet=True) as progress:
        assert progress is None
    assert sys.stderr.getvalue() == ""


def test_without_a_terminal_there_is_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "EVERY", 30.0)
    now = [100.0]
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    monkeypatch.setattr(console.time, "monotonic", lambda: now[0])
    with console.progress(quiet=False) as progress:
        assert progress is not None
        for step, seconds in enumerate((1, 29, 31, 40, 62)):
            now[0] = 100.0 + seconds
            progress(step, 5000, "fvu 0.31")
    lines = sys.stderr.getvalue().splitlines()
    assert [line.partition("  ")[2] for line in lines] == ["2 of 5,000  fvu 0.31", "4 of 5,000  fvu 0.31"]


def test_json_refuses_what_json_cannot_hold() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        console.write_json({"value": float("nan")})
