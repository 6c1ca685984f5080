"""`interp sae evaluate` and `interp sae features` over a small random model: what they write, print and refuse."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from analyses.dictionary import inputs
from interp import cache
from interp.cache import Store
from saes import build
from tests import models
from tests.cli.conftest import Run

HOOK = "blocks.1.hook_resid_post"
CONFIG = cache.Config(hooks=(HOOK,), context=10)
FILES = ["arrays.safetensors", "features.jsonl", "index.html", "report.html", "result.json"]


@pytest.fixture(scope="module")
def model() -> Any:
    return models.load("llama", text=True)


@pytest.fixture(autouse=True)
def loads_it(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inputs, "_load", lambda name, dtype, device: model)


@pytest.fixture(scope="module")
def rows() -> torch.Tensor:
    return models.tokens(60, 10)


@pytest.fixture(scope="module")
def run_folder(model: Any, rows: torch.Tensor, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved autoencoder with the store it was trained on, as `interp sae train` writes them."""
    folder = tmp_path_factory.mktemp("run")
    store = cache.harvest(model, rows[:40], CONFIG, folder / inputs.OWN)
    save(model, folder, token_sha256=store.manifest.token_sha256, context_size=10)
    return folder


def save(model: Any, folder: Path, **metadata: Any) -> Path:
    d, width = model.spec.d_model, 32
    W_dec = torch.nn.functional.normalize(torch.randn(width, d, generator=torch.Generator().manual_seed(0)), dim=1)
    tensors = {"W_enc": W_dec.T.clone(), "W_dec": W_dec, "b_enc": torch.zeros(width), "b_dec": torch.zeros(d)}
    about = {"hook_name": HOOK, **metadata}
    return build("topk", "autoencoder", tensors, {"k": 4}, about).save(folder)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_evaluate_on_a_store_writes_everything_and_prints_the_measures(
    run: Run, run_folder: Path, tmp_path: Path
) -> None:
    words = ("sae", "evaluate", str(run_folder), "--store", str(run_folder / inputs.OWN), "--out", str(tmp_path / "a"))
    ended = run(*words)
    assert (ended.code, ended.err) == (0, "")
    assert names(tmp_path / "a") == FILES
    assert "FVU" in ended.out
    assert "which are those it was trained on" in ended.out
    assert ended.out.splitlines()[-1] == str(tmp_path / "a" / "report.html")
    output = run(*words, "--json", "--no-features").json
    assert 0 < output["scores"]["FVU"]["value"] < 2
    assert output["scores"]["L0"]["value"] == 4
    lines = (tmp_path / "a" / "features.jsonl").read_text().splitlines()
    assert sorted(json.loads(line)["latent"] for line in lines) == list(range(32))


def test_several_autoencoders_are_compared_with_the_first(run: Run, run_folder: Path, tmp_path: Path) -> None:
    ended = run("sae", "evaluate", str(run_folder), str(run_folder), "--no-features", "--out", str(tmp_path), "--json",
                "--store", str(run_folder / inputs.OWN))  # fmt: skip
    assert ended.code == 0
    assert ended.json["others"][str(run_folder)]["FVU"] == pytest.approx(ended.json["scores"]["FVU"]["value"])


def test_fresh_text_leaves_out_what_was_trained_on(
    run: Run, run_folder: Path, rows: torch.Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inputs, "rows_of", lambda *_, **__: ((row.int().numpy() for row in rows), None, None))
    words = ("sae", "evaluate", str(run_folder), "--text", "README.md", "--tokens", "150", "--no-features")
    assert run(*words, "--out", str(tmp_path)).code == 0
    assert torch.equal(Store.open(tmp_path / "heldout").contexts().tokens.long(), rows[40:55])
    monkeypatch.setattr(inputs, "rows_of", lambda *_, **__: ((row.int().numpy() for row in rows[:40]), None, None))
    ended = run(*words, "--out", str(tmp_path / "none"))
    assert ended.code == 2
    assert "has no context that it was not trained on" in ended.err
    assert not (tmp_path / "none").exists()


def test_requested_features_are_printed_and_drawn(run: Run, run_folder: Path, tmp_path: Path) -> None:
    ended = run("sae", "features", str(run_folder), "--latent", "7", "--latent", "3", "--out", str(tmp_path), "--json")
    assert (ended.code, ended.err) == (0, "")
    assert [card["latent"] for card in ended.json["cards"]] == [7, 3]
    card = ended.json["cards"][0]
    assert card["fired"] > 0
    assert len(card["raises"]) == 8
    word = card["examples"][0]["tokens"][card["examples"][0]["focus"]]
    result = run("sae", "features", str(run_folder), "--search", word.upper(), "--out", str(tmp_path))
    assert "latent 7:" in result.out
    assert names(tmp_path) == FILES


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("features", "{run}", "--latent", "32"), 2, "There is no latent 32: this dictionary has latents 0 to 31"),
        (("features", "{run}", "--search", "no such word"), 3, "No latent fires on or raises a token"),
        (("features", "{bare}"), 3, "does not contain activations: give a store with --store"),
        (("features", "{other}", "--store", "{run}/activations"), 2, "but the store holds"),
        (("evaluate", "{bare}"), 2, "It is not recorded what text the autoencoder was trained on"),
        (("evaluate", "{bare}", "--model", "none"), 2, "Fresh text takes the model"),
        (("evaluate", "{run}/missing"), 3, "missing"),
    ],
)
def test_what_cannot_be_done_is_one_error_and_leaves_nothing(
    run: Run, model: Any, run_folder: Path, tmp_path: Path, words: tuple[str, ...], code: int, message: str
) -> None:
    places = {"run": run_folder, "bare": tmp_path / "bare", "other": tmp_path / "other"}
    save(model, places["bare"], model_name="llama object")
    save(model, places["other"], hook_name="blocks.0.hook_resid_post")
    ended = run("sae", *(word.format(**places) for word in words), "--out", str(tmp_path / "out"))
    assert ended.code == code
    assert message in ended.err
    assert ended.err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_an_outside_folder_is_judged_at_the_hook_that_is_named(
    run: Run, model: Any, rows: torch.Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its settings name no hook: the option does, or a store with a single one; without either nothing is computed."""
    outside = str(save(model, tmp_path / "outside", hook_name=""))
    two = cache.Config(hooks=(HOOK, "blocks.0.hook_mlp_out"), context=10)
    cache.harvest(model, rows[40:], two, tmp_path / "acts")
    common = ("--store", str(tmp_path / "acts"), "--no-features")
    with monkeypatch.context() as patched:
        patched.setattr("saes.evaluate", lambda *_, **__: pytest.fail("must be refused before it is judged"))
        output = run("sae", "evaluate", outside, *common, "--out", str(tmp_path / "no"))
        assert output.code == 2 and "does not say which hook it reads" in output.err and "--hook" in output.err
        output = run("sae", "evaluate", str(save(model, tmp_path / "ours")), *common, "--hook", "blocks.0.hook_mlp_out")
        assert output.code == 2 and f"reads {HOOK}, not blocks.0.hook_mlp_out" in output.err
    output = run("sae", "evaluate", outside, *common, "--hook", HOOK, "--out", str(tmp_path / "out"), "--json")
    assert output.code == 0, output.err
    assert json.loads(output.out)["scores"]["FVU"]["value"] > 0
    assert json.loads(output.out)["scores"]["loss, reconstruction"]["value"] is not None


def test_the_same_weights_under_another_name_are_accepted_and_others_are_not(
    run: Run, model: Any, rows: torch.Tensor, tmp_path: Path
) -> None:
    cache.harvest(model, rows[40:], CONFIG, tmp_path / "acts")
    common = ("--store", str(tmp_path / "acts"), "--no-features", "--out", str(tmp_path / "out"), "-q")
    same = save(model, tmp_path / "same", model_name="elsewhere", model_weights_sha256=model.weights_sha256)
    assert run("sae", "evaluate", str(same), *common).code == 0
    other = save(model, tmp_path / "other", model_name=model.name, model_weights_sha256="0" * 64)
    output = run("sae", "evaluate", str(other), *common)
    assert output.code == 2 and "but the store was harvested from" in output.err
