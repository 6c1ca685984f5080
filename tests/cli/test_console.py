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


def test_nobody_else_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal())
    with console.progress(quiet=True) as progress:
        assert progress is None
    assert sys.stderr.getvalue() == ""
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with console.progress(quiet=False) as progress:
        assert progress is None


def test_json_refuses_what_json_cannot_hold() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        console.say_json({"value": float("nan")})
