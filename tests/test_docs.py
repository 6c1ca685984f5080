"""The pages of the documentation: their code is real, and the checks of the site see what they must see."""

from __future__ import annotations

from pathlib import Path

import pytest

from website import check, notebooks, snippets

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_code_of_a_page_is_real(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert snippets.faults(page.read_text(encoding="utf-8")) == []


WRONG = {
    "```python\nimport interp\ninterp.lod('x')\n```": "interp.lod: ",
    "```python\nfrom interp import attributon\n```": "from interp import attributon: ",
    "```python\nx = (1\n```": "not Python: ",
    "```python\nattribution.freeze(model, tokens, held=2)\n```": "unexpected keyword argument 'held'",
    "```python\nattribution.freeze(model)\n```": "missing a required argument: 'tokens'",
    "```sh\ninterp explian x\n```": 'unknown command "explian"',
    "```sh\ninterp explain x --targt y\n```": 'unknown option "--targt"',
    "```\ninterp sae train --widht 3\n```": 'unknown option "--widht"',
    "```sh\nmake tset\n```": "there is no target tset",
    "```sh\npython -m benchmarks.nothing\n```": "there is no benchmarks.nothing",
    "```sh\nexplain x\n```": "explain is not a program",
    "Say `interp exlain PROMPT`.": "there is no such command",
    "Say `interp explain --sed N`.": "it has no option --sed",
}


@pytest.mark.parametrize("page", WRONG)
def test_each_fault_of_a_snippet_is_seen(page: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    (fault,) = snippets.faults(page)
    assert WRONG[page] in fault


def test_what_is_right_has_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    page = (
        "```python\nimport interp\nfrom interp import attribution\nmodel = interp.load('smollm2')\n"
        "x = model.anything\n```\n"
        "```python\nattribution.freeze(model, x)\n```\n"
        "```sh\nmake test\ninterp sae train --text a \\\n    --width 3\n```\n"
        "`interp sae train`, `interp --help`, `interp sae`\n"
        "```text\ninterp nothing\n```\n"
    )
    assert snippets.faults(page) == []


def test_broken_links_and_outside_resources_are_seen(tmp_path: Path) -> None:
    (tmp_path / "style.css").write_text("")
    (tmp_path / "there.html").write_text('<h1 id="top">There</h1>')
    sound = (
        '<link rel="stylesheet" href="style.css"><link rel="canonical" href="https://example.org/">'
        '<a href="there.html#top">x</a><a href="/there.html">x</a><a href="https://example.org">x</a>'
        '<p id="a"></p><a href="#a">x</a>'
    )
    (tmp_path / "index.html").write_text(sound)
    assert check.faults(tmp_path) == []
    wrong = {
        '<a href="gone.html">x</a>': "gone.html does not exist",
        '<a href="there.html#nowhere">x</a>': "there.html#nowhere names no place of that page",
        '<script src="https://example.org/x.js"></script>': "it loads https://example.org/x.js from a network",
        '<img src="//example.org/x.png">': "it loads //example.org/x.png from a network",
        '<link rel="stylesheet" href="https://fonts.example.org/x.css">': "from a network",
    }
    for html, fault in wrong.items():
        (tmp_path / "index.html").write_text(sound + html)
        (result,) = check.faults(tmp_path)
        assert result.startswith("index.html: ") and fault in result


def cell(outputs: list[dict], count: int | None = 1) -> dict:
    return {"cell_type": "code", "source": ["1 + 1"], "outputs": outputs, "execution_count": count}


def test_a_notebook_is_shown_with_its_outputs_and_run_again_where_it_failed() -> None:
    figure = {"output_type": "display_data", "data": {notebooks.PLOTLY: {"data": [{"y": ["</script>"]}], "layout": {}}}}
    printed = {"output_type": "stream", "name": "stdout", "text": ["<b>\x1b[31m2\x1b[39m\n"]}
    table = {"output_type": "execute_result", "data": {"text/html": ["<table></table>"], "text/plain": ["no"]}}
    whole = {"cells": [{"cell_type": "markdown", "source": ["# Title"]}, cell([printed, figure, table])]}
    page = notebooks.rendered("x", whole)
    assert page.text.startswith("# Title") and "```python\n1 + 1\n```" in page.text
    html = "".join(page.pieces.values())
    assert "&lt;b&gt;2</pre>" in html and "<table></table>" in html and ">no<" not in html
    assert html.count("</script>") == 1 and "<\\/script>" in html  # the figure cannot end its own element
    assert all(mark in page.text for mark in page.pieces)
    assert notebooks.is_executed(whole)
    failed = {"cells": [cell([{"output_type": "error", "traceback": ["no"]}])]}
    assert not notebooks.is_executed(failed) and not notebooks.is_executed({"cells": [cell([], None)]})
