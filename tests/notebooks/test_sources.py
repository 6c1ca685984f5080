"""What a notebook's source must be; `make test` executes each of them besides."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "notebooks"
SOURCES = sorted(FOLDER.glob("*.py"))


def cells(source: str) -> list[tuple[str, str]]:
    """The (kind, text) of every cell of a percent-format source; what stands before the first is left out."""
    result: list[tuple[str, str]] = []
    for part in source.split("\n# %%")[1:]:
        head, _, text = part.partition("\n")
        result.append(("markdown" if "[markdown]" in head else "code", text))
    return result


def faults(source: str) -> list[str]:
    """What keeps `source` from being a notebook of this project."""
    result = cells(source)
    code = [text for kind, text in result if kind == "code"]
    wrong = []
    if "kernelspec:" not in source.split("\n# %%", maxsplit=1)[0]:
        wrong.append("its header names no kernel")
    if not result or result[0][0] != "markdown" or not result[0][1].startswith("# # "):
        wrong.append("its first cell is not a title")
    if not code or not any(isinstance(node, ast.Assert) for node in ast.walk(ast.parse(code[-1]))):
        wrong.append("its last code cell asserts nothing")
    return wrong


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_a_notebook_has_a_title_a_kernel_and_ends_in_asserts(source: Path) -> None:
    assert faults(source.read_text(encoding="utf-8")) == []


def test_no_executed_notebook_is_stored_with_the_sources() -> None:
    assert list(FOLDER.glob("*.ipynb")) == []


def test_each_fault_is_seen() -> None:
    header = "# ---\n# jupyter:\n#   kernelspec:\n#     name: python3\n# ---\n"
    good = header + "\n# %% [markdown]\n# # Title\n\n# %%\nx = 1\nassert x == 1\n"
    assert faults(good) == []
    assert faults(good.replace("kernelspec:", "")) == ["its header names no kernel"]
    assert faults(good.replace("# # Title", "# text")) == ["its first cell is not a title"]
    assert faults(good.replace("assert x == 1", "x")) == ["its last code cell asserts nothing"]
