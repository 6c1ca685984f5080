"""Lazy packages: names appear without an import, are imported on first use, and a submodule never replaces one."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

DECLARATION = """
from typing import TYPE_CHECKING, Any
from interp.lazy import attach

if TYPE_CHECKING:
    from collections.abc import Sized
    from shelf import drawer as drawer
    from shelf.book import book as book, page as page

attach(__name__)
"""


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package with a public function that is called as the module which defines it."""
    folder = tmp_path / "shelf"
    folder.mkdir()
    (folder / "__init__.py").write_text(DECLARATION)
    (folder / "book.py").write_text("def book():\n    return 'book'\n\npage = 7\n")
    (folder / "drawer.py").write_text("content = 3\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield folder
    for name in [name for name in sys.modules if name.split(".")[0] == "shelf"]:
        del sys.modules[name]


@pytest.mark.usefixtures("shelf")
def test_names_are_listed_before_anything_is_imported() -> None:
    package = importlib.import_module("shelf")
    assert package.__all__ == ["drawer", "book", "page"]  # neither Any nor Sized: they are not re-exported
    assert dir(package) == ["book", "drawer", "page"]
    assert "shelf.book" not in sys.modules
    assert package.page == 7
    assert "shelf.drawer" not in sys.modules
    assert package.drawer.content == 3


@pytest.mark.usefixtures("shelf")
@pytest.mark.parametrize("first", ["shelf", "shelf.book"])
def test_a_name_that_is_also_that_of_its_module_stays_the_name(first: str) -> None:
    importlib.import_module(first)
    package = importlib.import_module("shelf")
    assert package.book() == "book"
    assert package.book() == "book"  # once more: its module is imported by now


@pytest.mark.usefixtures("shelf")
def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'shelf' has no attribute 'lamp'"):
        _ = importlib.import_module("shelf").lamp


def test_a_package_without_source_says_so(shelf: Path) -> None:
    import py_compile

    py_compile.compile(str(shelf / "__init__.py"), cfile=str(shelf / "__init__.pyc"))
    (shelf / "__init__.py").unlink()
    with pytest.raises(ImportError, match="shelf cannot be imported without its source file"):
        importlib.import_module("shelf")


def test_every_study_is_reached_from_its_package() -> None:
    import analyses

    folders = {path.parent.name for path in Path(analyses.__path__[0]).glob("*/__init__.py")}
    assert folders == {name for name in dir(analyses) if hasattr(getattr(analyses, name), "__path__")}
