"""A lens fitted by the command, compared on other documents, and used by `interp explain`."""

from __future__ import annotations

import json
import random

import pytest

from analyses import lens as study
from analyses.lens.study import contexts
from interp import report, results
from interp.cli import options
from interp.cli.main import main
from interp.errors import UsageError
from tests import models
from tests.report.browser import check_study

WORDS = ["the", "tower", "is", "in", "Paris", "a", "b", "London"]


@pytest.fixture
def text(tmp_path):
    """Sixty documents of nine random words."""
    file = tmp_path / "text.jsonl"
    rng = random.Random(0)
    lines = [" ".join(rng.choices(WORDS, k=9)) for _ in range(60)]
    file.write_text("\n".join(json.dumps({"text": line}) for line in lines))
    return file


@pytest.fixture
def small(monkeypatch):
    model = models.load("llama", text=True)
    monkeypatch.setattr(options, "load_model", lambda _: model)
    return model


def test_held_out_contexts_are_of_other_documents(small, text):
    config = study.Config((str(text),), contexts=20, held_out=3, context=8)
    fitted, compared = contexts(small, config)
    assert fitted.shape == (20, 8) and compared.shape == (3, 8)
    assert not {tuple(row) for row in fitted.tolist()} & {tuple(row) for row in compared.tolist()}
    with pytest.raises(UsageError, match="give more documents"):
        contexts(small, study.Config((str(text),), contexts=500, held_out=3, context=8))


def test_a_lens_is_fitted_saved_compared_and_explains(tmp_path, capsys, small, text):
    folder = tmp_path / "lens"
    words = ["lens", "--text", str(text), "--contexts", "40", "--held-out", "4", "--context", "8", "--steps", "5"]
    assert main([*words, "--batch-size", "64", "--out", str(folder), "--json", "-q"]) == 0
    printed = json.loads(capsys.readouterr().out)
    result = results.load(folder)
    assert result.finding() == printed["finding"] and set(printed["rows_better"]) == {"tuned", "linear", "bias"}
    text = report.render(result.page())
    assert "Which lens is the most accurate?" in text and "When is the prediction made?" in text
    out = tmp_path / "explain"
    words = ["explain", "the tower is in", "--target", " Paris", "--lens", str(folder), "--out", str(out), "-q"]
    assert main(words) == 0
    explained = results.load(out)
    assert explained.tuned.lens == "tuned" and explained.tuned.logits.shape == explained.lens.logits.shape
    assert len(explained.patchscope.layers) == 3
    assert "tuned lens" in report.render(explained.page())


@pytest.mark.browser
def test_the_page_in_a_browser(tmp_path, small, text):
    folder = tmp_path / "lens"
    words = ["lens", "--text", str(text), "--contexts", "20", "--held-out", "4", "--context", "8", "--steps", "2"]
    assert main([*words, "--batch-size", "64", "--out", str(folder), "-q"]) == 0
    check_study(results.load(folder), tmp_path, screens=5)
