"""`interp attention` and `interp examples`: what is read off a model or a store, as pages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from interp import cache, steering
from tests import models
from tests.cli.conftest import Run

HOOK = "blocks.1.hook_resid_post"


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Any:
    from interp import model

    made = models.load("llama", text=True)
    monkeypatch.setattr(model, "load", lambda name, *, dtype, device: made)
    return made


def test_attention_of_chosen_heads(run: Run, model: Any, tmp_path: Path) -> None:
    out = tmp_path / "heads"
    ended = run("attention", "the tower is in", "a b in Paris", "--heads", "L1H0, L2H1", "--out", str(out), "--json")
    assert (ended.code, ended.err) == (0, "")
    assert set(ended.json["strongest"]) == {"L1H0", "L2H1"}
    assert "L2H1" in (out / "report.html").read_text()
    wrong = run("attention", "the tower", "--heads", "L9H0", "--out", str(tmp_path / "none"))
    assert wrong.code == 2 and "L9H0" in wrong.err
    assert run("attention", "the tower", "--heads", ",", "--out", str(tmp_path / "none")).code == 2


def test_examples_of_every_kind_of_direction(run: Run, model: Any, tmp_path: Path) -> None:
    """A file, a steering vector and a latent; the latent's examples are where its pre-activation is largest."""
    import saes

    store = cache.harvest(model, models.tokens(24, 8) % 12, cache.Config((HOOK,), context=8), tmp_path / "store")
    np.save(tmp_path / "one.npy", np.ones(model.spec.d_model))
    vector = steering.from_direction(model, np.arange(model.spec.d_model) - 7.5, 1)
    vector.save(tmp_path / "vector")
    sae = saes.train(saes.Config(width=16, k=2, steps=2, batch_size=16), store)
    sae.save(tmp_path / "sae")
    names = [str(tmp_path / name) for name in ("one.npy", "vector", "sae:3")]
    out = tmp_path / "examples"
    ended = run("examples", str(tmp_path / "store"), *names, "--k", "4", "--out", str(out), "--json")
    assert (ended.code, ended.err) == (0, "")
    assert [len(texts) for texts in ended.json["examples"].values()] == [4, 4, 4]
    from interp import results

    result = results.load(out).examples[2]
    largest = (store.tensor(HOOK, 0, len(store)) @ sae.W_enc[:, 3] / sae.W_enc[:, 3].norm()).max()
    assert result.values[0] == pytest.approx(float(largest.detach()), rel=1e-5)
    refused = {
        "sae:99": "has no latent 99",
        "two.npy": "not a saved array",
        "examples": "holds an Examples",
    }
    for name, text in refused.items():
        wrong = run("examples", str(tmp_path / "store"), str(tmp_path / name), "--out", str(tmp_path / "none"))
        assert wrong.code == 2 and text in wrong.err


def test_a_set_of_dictionaries_layer_by_layer(run: Run, model: Any, tmp_path: Path) -> None:
    import saes
    from interp import results

    hooks = tuple(f"blocks.{layer}.{end}" for layer in range(2) for end in ("mlp.hook_in", "hook_mlp_out"))
    store = cache.harvest(model, models.tokens(24, 8) % 12, cache.Config(hooks, context=8), tmp_path / "store")
    config = saes.Config(width=16, k=2, steps=2, batch_size=16, variant="transcoder")
    saes.train_set(config, store, "blocks.*.mlp", folder=tmp_path / "set")
    words = ("sae", "evaluate", "--dictionaries", str(tmp_path / "set"), "--store", str(tmp_path / "store"))
    ended = run(*words, "--out", str(tmp_path / "out"), "--json")
    assert (ended.code, ended.err) == (0, "")
    result = results.load(tmp_path / "out")
    assert ended.json["fvu"] == dict(zip(result.hooks, result.fvu[:, 0].tolist(), strict=True))
    both = run("sae", "evaluate", "one", "--dictionaries", str(tmp_path / "set"), "--out", str(tmp_path / "none"))
    assert both.code == 2 and "--dictionaries" in both.err
    assert run("sae", "evaluate", "--out", str(tmp_path / "none")).code == 2
