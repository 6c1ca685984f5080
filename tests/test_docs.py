"""The pages of the documentation: their code is real, and the checks of the site see what they must see."""

from __future__ import annotations

from pathlib import Path

import pytest

from website import snippets

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
