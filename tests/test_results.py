"""Results: what is saved loads equal, what is damaged is refused, and a save that fails loses nothing."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st
from jaxtyping import Float
from safetensors.numpy import save_file

from interp import results
from interp.errors import DamagedFileError, MissingInputError, UsageError
from interp.provenance import Stopwatch
from interp.results import ARRAYS_NAME, JSON_NAME, Result


@dataclass(frozen=True, eq=False)
class Container(Result):
    """Result with one field for any value."""

    value: Any


@dataclass(frozen=True, eq=False)
class Other(Result):
    value: Any


@dataclass(frozen=True, eq=False)
class Typed(Result):
    """A result whose fields say what they are."""

    name: str
    count: int
    share: float
    sizes: tuple[int, ...]
    pair: tuple[str, float]
    grid: Float[np.ndarray, "row column"]
    note: str | None
    table: dict[str, float]
    inner: Other


VALUES = {
    "none": None,
    "bools are not ints": (True, False, 0, 1),
    "big int": 2**80,
    "floats": (0.1, -0.0, 5e-324, 1.7976931348623157e308),
    "not finite": (float("nan"), float("inf"), -float("inf")),
    "numpy float": np.float64(1 / 3),
    "text": ("", "naïve 🗼\n\t\0 </script>", "\ud800 alone", "line\u2028separator"),
    "nested": {"a": ({"b": ((), {})},), "": 1, "a.b": (None,)},
    "arrays": tuple(
        np.arange(6).reshape(2, 3).astype(kind) for kind in ("?", "i1", "u1", "i8", "f2", "f4", "f8", "c8")
    ),
    "array of nothing": np.zeros((0, 3)),
    "array of one": np.array(2.5),
    "array not finite": np.array([np.nan, np.inf, -0.0]),
    "array not contiguous": np.arange(12.0).reshape(3, 4).T[::2],
    "array names that look alike": {"a.b": np.zeros(2), "a": {"b": np.ones(2)}},
    "results": (Container(np.ones(1)), Other(Container(2))),
    "provenance": Stopwatch().provenance(command="interp explain", seed=3),
}


@pytest.mark.parametrize("name", VALUES)
def test_what_is_saved_loads_equal(name, tmp_path):
    saved = Container(VALUES[name])
    assert saved.save(tmp_path / "new" / "folder") == tmp_path / "new" / "folder"
    result = results.load(tmp_path / "new" / "folder")
    assert result == saved
    assert results.load(tmp_path / "new" / "folder" / JSON_NAME) == saved
    assert result.files() == saved.files()  # so that a page drawn from either is the same


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text().filter(lambda key: not key.startswith("$")), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(plain)
def test_any_plain_value_survives_its_files(value):
    files = Container(value).files()
    text = json.loads(files[JSON_NAME])
    assert results._same(results._decode(text["result"], {}, Path("x"), "").value, value)


def test_equality_sees_dtype_shape_value_class_and_type():
    base = Container(np.array([1.0, np.nan]))
    assert base == Container(np.array([1.0, np.nan]))
    different = [
        Container(np.array([1.0, np.nan], np.float32)),
        Container(np.array([[1.0, np.nan]])),
        Container(np.array([1.0, 2.0])),
        Container((1.0, float("nan"))),
        Other(base.value),
    ]
    assert all(base != one for one in different)
    assert Container(1) != Container(True)
    assert Container(1) != Container(1.0)
    assert Container("1") != Container(1)


@pytest.mark.parametrize(
    "value",
    [
        [1],
        {1},
        {1: 2},
        {"$type": 1},
        b"x",
        1j,
        np.array(["text"]),
        np.array([None]),
        np.ones(1, ">f8"),
        np.ones(1, "c16"),
        object(),
    ],
)
def test_what_a_result_cannot_contain_is_refused_before_anything_is_written(value, tmp_path):
    with pytest.raises(TypeError, match="may not hold"):
        Container((1, value)).save(tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_the_class_asked_for_is_checked(tmp_path):
    Container(1).save(tmp_path)
    assert Container.load(tmp_path) == Container(1)
    with pytest.raises(UsageError, match=r"holds a Container, not a Other: use interp\.results\.load"):
        Other.load(tmp_path)


def test_loading_needs_no_torch(tmp_path):
    Container(np.ones(2)).save(tmp_path)
    code = (
        "import sys, tests.test_results; from interp import results; "
        f"print(results.load({str(tmp_path)!r}).value.sum()); assert 'torch' not in sys.modules"
    )
    root = Path(__file__).parents[1]
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root, check=False)
    assert (run.returncode, run.stdout) == (0, "2.0\n"), run.stderr


# Damage: each kind is one clear error, and the undamaged folder is the control.


def _rewritten(folder: Path, change) -> None:
    file = folder / JSON_NAME
    document = json.loads(file.read_text())
    change(document)
    file.write_text(json.dumps(document))


def _reseal(folder: Path, change) -> None:
    """Alter both copies with checksums that fit, as another program might."""
    text = _resealed(folder, change)
    save_file({"value": np.arange(9.0)}, folder / ARRAYS_NAME, metadata={"interp.result": text})


def _resealed(folder: Path, change) -> str:
    """Alter the readable copy, with a checksum that fits, and return its text."""
    document = json.loads((folder / JSON_NAME).read_text())
    document.pop("checksum")
    change(document)
    text = json.dumps({"checksum": results._checksum(document), **document})
    (folder / JSON_NAME).write_text(text)
    return text


def _flip(file: Path, index: int) -> None:
    content = bytearray(file.read_bytes())
    content[index] ^= 1
    file.write_bytes(bytes(content))


DAMAGE = {
    "arrays truncated": (lambda f: os.truncate(f / ARRAYS_NAME, 40), "damaged or truncated"),
    "arrays emptied": (lambda f: (f / ARRAYS_NAME).write_bytes(b""), "damaged or truncated"),
    "one bit of an array": (lambda f: _flip(f / ARRAYS_NAME, -1), "do not match their checksum"),
    "arrays missing": (lambda f: (f / ARRAYS_NAME).unlink(), "but no arrays.safetensors"),
    "arrays of another program": (
        lambda f: save_file({"x": np.ones(1)}, f / ARRAYS_NAME),
        "arrays.safetensors is damaged: it is not JSON",
    ),
    "JSON truncated": (lambda f: os.truncate(f / JSON_NAME, 60), "result.json is damaged: it is not JSON"),
    "JSON not text": (lambda f: (f / JSON_NAME).write_bytes(b"\xff\xfe\x00"), "is not UTF-8 text"),
    "JSON of another program": (lambda f: (f / JSON_NAME).write_text("[1]"), "is not a result file of this toolkit"),
    "a number altered": (
        lambda f: _rewritten(f, lambda d: d["result"].update(value=7)),
        "was altered: it does not match its checksum",
    ),
    "checksum removed": (lambda f: _rewritten(f, lambda d: d.pop("checksum")), "was altered"),
    "a later format": (
        lambda f: _rewritten(f, lambda d: d.update(format=2)),
        "has format 2; this version reads format 1",
    ),
    "a class of another package": (
        lambda f: _reseal(f, lambda d: d["result"].update({"$type": "os:system"})),
        '"os:system", which is not a class of results',
    ),
    "a class that is not a result": (
        lambda f: _reseal(f, lambda d: d["result"].update({"$type": "interp.results:Path"})),
        '"interp.results:Path", which is not a class of results',
    ),
    "a class that is gone": (
        lambda f: _reseal(f, lambda d: d["result"].update({"$type": "interp.results:Gone"})),
        '"interp.results:Gone", which is not a class of results',
    ),
    "a module that is gone": (
        lambda f: _reseal(f, lambda d: d["result"].update({"$type": "interp.gone:Gone"})),
        '"interp.gone:Gone", which is not a class of results',
    ),
    "a field too many": (
        lambda f: _reseal(f, lambda d: d["result"].update(extra=1)),
        "extra is not a field of Container",
    ),
    "nested too deeply": (lambda f: (f / JSON_NAME).write_text("[" * 100_000), "is nested too deeply"),
    "a number of 5,000 digits": (lambda f: (f / JSON_NAME).write_text("9" * 5000), "result.json is damaged"),
    "not a number": (lambda f: (f / JSON_NAME).write_text('{"result": NaN}'), "NaN is not a number in JSON"),
    "an array that is not there": (
        lambda f: _reseal(f, lambda d: d["result"]["value"].update({"$array": "gone"})),
        "value does not name an array of this result",
    ),
    "no class at all": (lambda f: _reseal(f, lambda d: d.update(result={"a": 1})), "holds no result"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_one_clear_error(name, tmp_path):
    damage, text = DAMAGE[name]
    saved = Container(np.arange(9.0))
    saved.save(tmp_path)
    assert results.load(tmp_path) == saved
    damage(tmp_path)
    with pytest.raises(DamagedFileError, match=text) as caught:
        results.load(tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


SWAPS = {
    "name": (7, "name is 7, but text is expected"),
    "count": ("7", 'count is the text "7", but a whole number'),
    "share": (True, "share is True, but a number is expected"),
    "sizes": ([1, "2"], r'sizes\.1 is the text "2", but a whole number'),
    "pair": (["a"], "pair is a list of 1, but a list of 2"),
    "grid": (3.0, "grid is 3.0, but"),
    "note": (4, "note is 4, but text or nothing"),
    "table": ({"a": None}, r"table\.a is nothing, but a number"),
    "inner": ("x", 'inner is the text "x", but the fields of Other'),
}


@pytest.mark.parametrize("name", SWAPS)
def test_a_field_of_another_kind_is_named(name, tmp_path):
    saved = Typed("a", 1, 0.5, (1, 2), ("a", 1), np.zeros((3, 3)), None, {"a": 1.0}, Other(1))
    saved.save(tmp_path)
    assert results.load(tmp_path) == saved
    value, text = SWAPS[name]
    arrays = {"grid": np.zeros((3, 3))}
    document = json.loads((tmp_path / JSON_NAME).read_text())
    document.pop("checksum")
    document["result"][name] = value
    sealed = json.dumps({"checksum": results._checksum(document), **document})
    (tmp_path / JSON_NAME).write_text(sealed)
    save_file(arrays, tmp_path / ARRAYS_NAME, metadata={"interp.result": sealed})
    with pytest.raises(DamagedFileError, match=text) as caught:
        results.load(tmp_path)
    assert str(tmp_path / JSON_NAME) in str(caught.value)


def test_loading_imports_no_module_that_a_file_names(tmp_path, monkeypatch):
    """`interp.__main__` would run the command line, and an unknown module any code."""
    (tmp_path / "planted.py").write_text("raise SystemExit('ran')")
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("interp.__main__:main", "planted:Container", "probes.planted:Container"):
        folder = tmp_path / name.partition(":")[0]
        Container(np.arange(9.0)).save(folder)
        _reseal(folder, lambda d, name=name: d["result"].update({"$type": name}))
        with pytest.raises(DamagedFileError, match="which is not a class of results"):
            results.load(folder)


def test_every_altered_byte_is_noticed(tmp_path):
    """No byte of either file may change and a different result load."""
    saved = Container((np.arange(3.0), "text", 1.5))
    saved.save(tmp_path)
    generator = np.random.default_rng(0)
    for name in (ARRAYS_NAME, JSON_NAME):
        whole = (tmp_path / name).read_bytes()
        for index in generator.integers(0, len(whole), 150):
            _flip(tmp_path / name, int(index))
            with suppress(DamagedFileError):
                assert results.load(tmp_path) == saved
            (tmp_path / name).write_bytes(whole)
    assert results.load(tmp_path) == saved


def test_no_result_there(tmp_path):
    for nowhere in (tmp_path, tmp_path / "missing"):
        with pytest.raises(MissingInputError, match=r"No result in .* Give the folder"):
            results.load(nowhere)


# Failing to save: what was there stays, what is new is whole or not there, and nothing lies about.


def _broken_replace(fail_at: int):
    calls = []

    def broken(source, target):
        calls.append(target)
        if len(calls) == fail_at:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.rename(source, target)

    return broken


def test_a_disk_that_is_full_leaves_the_old_result(tmp_path, monkeypatch):
    old = Container(np.zeros(3))
    old.save(tmp_path)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    monkeypatch.setattr(os, "replace", _broken_replace(fail_at=1))
    with pytest.raises(UsageError, match=r"Cannot write .*arrays.safetensors: No space left on device"):
        Container(np.ones(3)).save(tmp_path)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_a_disk_full_at_the_last_byte_leaves_the_old_result(tmp_path, monkeypatch):
    """Every file is written before the first is renamed, so the second one's failure costs nothing either."""
    old = Container(np.zeros(3))
    old.save(tmp_path)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    syncs = []

    def broken(handle):
        syncs.append(handle)
        if len(syncs) == 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(UsageError, match=r"Cannot write .*result.json: No space left on device"):
        Container(np.ones(3)).save(tmp_path)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


@pytest.mark.parametrize("first", [True, False], ids=["first save", "over an old result"])
def test_a_stop_between_the_two_renames_leaves_one_whole_result(first, tmp_path, monkeypatch):
    if not first:
        Container(np.zeros(3)).save(tmp_path)
    monkeypatch.setattr(os, "replace", _broken_replace(fail_at=2))
    new = Container(np.ones(3))
    with pytest.raises(UsageError, match="Cannot write"):
        new.save(tmp_path)
    assert results.load(tmp_path) == new
    assert not list(tmp_path.glob(".*"))


def test_an_interrupt_leaves_no_temporary_file(tmp_path, monkeypatch):
    def interrupt(handle):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        Container(1).save(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_file_in_place_of_the_folder(tmp_path):
    (tmp_path / "taken").write_text("mine")
    with pytest.raises(UsageError, match=r"Cannot write into the folder .*taken: .* Choose another folder"):
        Container(1).save(tmp_path / "taken")
    assert (tmp_path / "taken").read_text() == "mine"


def test_saving_again_replaces_the_whole(tmp_path):
    first = Container((np.ones(2), np.ones(3)))
    first.save(tmp_path)
    second = replace(first, value=1)
    second.save(tmp_path)
    assert results.load(tmp_path) == second
    assert sorted(file.name for file in tmp_path.iterdir()) == [ARRAYS_NAME, JSON_NAME]
