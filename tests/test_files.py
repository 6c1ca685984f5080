"""Files: written whole or not at all, and each way of not being readable is one sentence."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest

from interp import files
from interp.errors import DamagedFileError, InterpError, MissingInputError, UsageError
from interp.fields import read_fields


def test_a_name_that_is_taken_by_something_else_writes_nothing(tmp_path: Path) -> None:
    first, folder, pipe = tmp_path / "first", tmp_path / "folder", tmp_path / "pipe"
    folder.mkdir()
    os.mkfifo(pipe)
    for taken, kind in ((folder, "a folder"), (pipe, "a pipe or a device")):
        with pytest.raises(UsageError, match=f"{taken.name}: it is {kind}"):
            files.write_all({first: b"new", taken: b"new"})
    assert not first.exists()
    files.write_all({first: b"new"})
    assert first.read_bytes() == b"new"


def test_all_or_none_are_renamed_and_a_long_name_is_one_sentence(tmp_path: Path) -> None:
    first = tmp_path / "first"
    first.write_bytes(b"old")
    with pytest.raises(UsageError, match="File name too long") as caught:
        files.write_all({first: b"new", tmp_path / ("x" * 300): b"new"})
    assert first.read_bytes() == b"old"
    assert len(str(caught.value)) < 300
    assert [path.name for path in tmp_path.iterdir()] == ["first"]


@pytest.mark.parametrize("name", ["", "x" * 300, "a\0b"])
def test_a_folder_that_cannot_be_made_is_one_sentence(name: str) -> None:
    with pytest.raises(UsageError):
        files.writable_folder(name)


def test_disk_space_is_checked_before_it_is_needed(tmp_path: Path) -> None:
    files.check_space(tmp_path, 1, "The run")
    with pytest.raises(UsageError, match=r"The run needs 1000000\.05 GB, but .* free: free some space"):
        files.check_space(tmp_path, 10**15, "The run")


UNREADABLE = {
    "absent": (None, MissingInputError, "There is no file"),
    "not text": (b"\xff\xfe", DamagedFileError, r"not UTF-8 text \(byte 0\)"),
    "not JSON": (b"{", DamagedFileError, r"it is not JSON \(line 1\)"),
    "too deep": (b"[" * 100_000, DamagedFileError, "nested too deeply"),
    "too long a number": (b"9" * 5000, DamagedFileError, "is damaged"),
    "not a number": (b"[NaN]", DamagedFileError, "NaN is not a number"),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_a_json_file_that_cannot_be_read_is_named(name: str, tmp_path: Path) -> None:
    content, kind, text = UNREADABLE[name]
    file = tmp_path / "file.json"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(kind, match=f"{text}") as caught:
        files.read_json(file)
    assert str(file) in str(caught.value)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DamagedFileError, match="pipe is not a file"):
        files.read_json(tmp_path / "pipe")


@pytest.mark.parametrize("content", ["a = [" * 2000, "a = ", "a = " + "9" * 5000, "a = 1\na = 2"])
def test_a_toml_file_that_cannot_be_read_is_named(content: str, tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text(content)
    with pytest.raises(InterpError, match=re.escape(str(tmp_path / "run.toml"))):
        files.read_toml(tmp_path / "run.toml")
    (tmp_path / "run.toml").write_text("a = 1")
    assert files.read_toml(tmp_path / "run.toml") == {"a": 1}


@dataclass(frozen=True)
class Part:
    size: int
    name: str = ""


@dataclass(frozen=True)
class Whole:
    kind: Literal["a", "b"]
    parts: tuple[Part, ...]
    sizes: dict[str, float]
    best: Part | None = None
    other: list[int] | None = None

    def __post_init__(self) -> None:
        if len(self.parts) == 3:
            raise UsageError("three parts cannot be")


GOOD: dict[str, Any] = {"kind": "a", "parts": [{"size": 1}, {"size": 2, "name": "x"}], "sizes": {"a": 1, "b": 0.5}}


def test_fields_become_what_they_are_declared_to_be() -> None:
    result = read_fields(Whole, {**GOOD, "best": {"size": 3}, "other": [1]}, Path("file"))
    assert result == Whole("a", (Part(1), Part(2, "x")), {"a": 1, "b": 0.5}, Part(3), [1])


WRONG = {
    "kind": ({"kind": "c"}, 'kind is the text "c", but "a" or "b" is expected'),
    "deep": ({"parts": [{"size": 1}, {"size": "2"}]}, 'parts.1.size is the text "2", but a whole number'),
    "bool is not a number": ({"sizes": {"a": True}}, "sizes.a is True, but a number"),
    "beyond 64 bits": ({"parts": [{"size": 2**70}]}, "parts.0.size is 1180591620717411303424, but a whole number"),
    "float is not whole": ({"parts": [{"size": 1.0}]}, "parts.0.size is 1.0, but"),
    "missing": ({"parts": [{}]}, "parts.0.size is missing"),
    "unknown": ({"parts": [{"size": 1, "nam": ""}]}, 'parts.0.nam is not a field of Part; the nearest is "name"'),
    "a list": ({"parts": {"size": 1}}, "parts is a table, but a list"),
    "in a union": ({"best": {"size": "x"}}, 'best.size is the text "x"'),
    "none of a union": ({"best": 3}, "best is 3, but Part or nothing"),
    "is not consistent": ({"parts": [{"size": 1}] * 3}, "three parts cannot be"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_field_is_named_with_its_file(name: str) -> None:
    change, text = WRONG[name]
    with pytest.raises(DamagedFileError, match=re.escape(text)) as caught:
        read_fields(Whole, {**GOOD, **change}, Path("folder/file.json"))
    assert "folder/file.json" in str(caught.value)
    assert read_fields(Whole, GOOD, Path("folder/file.json"))


def test_a_table_is_written_between_its_marks_and_nowhere_else(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- errors: begin -->\nold\n<!-- errors: end -->\nafter\n", encoding="utf-8")
    files.write_between(page, "errors", "new\n")
    assert page.read_text() == "before\n<!-- errors: begin -->\nnew\n<!-- errors: end -->\nafter\n"
    with pytest.raises(UsageError, match="has no place for the table"):
        files.write_between(page, "times", "new")
