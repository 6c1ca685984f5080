"""sparsify and Gemma Scope folders against their arithmetic written out; cards and uploads."""

from __future__ import annotations

import json
import sys
import types

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import save_file

import saes
from interp.errors import DamagedFileError, InterpError, MissingInputError, UsageError
from saes.interop.card import card
from saes.interop.push import push
from tests.saes.interop import planted
from tests.saes.interop.planted import D_IN, WIDTH, K

X = planted.inputs()
DRAW = torch.Generator().manual_seed(5)
SPARSIFY = {"encoder.weight": (WIDTH, D_IN), "encoder.bias": (WIDTH,), "W_dec": (WIDTH, D_IN), "b_dec": (D_IN,)}


def sparsify_folder(folder, **config):
    config = {"activation": "topk", "expansion_factor": 32, "num_latents": WIDTH, "k": K, "d_in": D_IN} | config
    shapes = SPARSIFY | ({"W_skip": (D_IN, D_IN)} if config.get("skip_connection") else {})
    tensors = {name: torch.randn(shape, generator=DRAW) for name, shape in shapes.items()}
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "sae.safetensors")
    (folder / "cfg.json").write_text(json.dumps(config))
    return tensors


@pytest.mark.parametrize("transcode", [False, True])
@pytest.mark.parametrize("skip", [False, True])
def test_sparsify(tmp_path, transcode, skip):
    """Top k of relu(W (x - b_dec) + b), without the subtraction in a transcoder, plus the skip path."""
    t = sparsify_folder(tmp_path / "layers.7", transcode=transcode, skip_connection=skip)
    pre = torch.relu((X if transcode else X - t["b_dec"]) @ t["encoder.weight"].T + t["encoder.bias"])
    values, chosen = pre.topk(K, dim=1)
    latents = torch.zeros_like(pre).scatter_(1, chosen, values)
    out = latents @ t["W_dec"] + t["b_dec"] + (X @ t["W_skip"].T if skip else 0)
    here = saes.load(tmp_path / "layers.7")
    torch.testing.assert_close(here.encode(X), latents, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(here(X), out, rtol=1e-5, atol=2e-5)
    assert here.metadata["hook_name"] == "blocks.7.hook_resid_post"
    again = saes.load(here.save(tmp_path / "ours"))
    assert torch.equal(again(X), here(X))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"activation": "groupmax"}, 'activation "groupmax"'),
        ({"signed": True}, "signed: latents with signs"),
        ({"kk": 1}, 'key "kk".*nearest is "k"'),
        ({"k": 0}, "k = 0"),
        ({"num_latents": 41}, "encoder.weight is"),
        ({"d_in": None}, "d_in = None"),
    ],
)
def test_sparsify_refusals(tmp_path, config, message):
    sparsify_folder(tmp_path, **config)
    with pytest.raises((UsageError, DamagedFileError), match=message):
        saes.load(tmp_path)


def gemma_file(folder, **changes):
    shapes = {
        "W_enc": (D_IN, WIDTH),
        "W_dec": (WIDTH, D_IN),
        "b_enc": (WIDTH,),
        "b_dec": (D_IN,),
        "threshold": (WIDTH,),
    }
    arrays = {name: torch.randn(shape, generator=DRAW).numpy() for name, shape in shapes.items()}
    arrays["threshold"] = np.abs(arrays["threshold"]) + 1
    arrays = {name: value for name, value in (arrays | changes).items() if value is not None}
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / "params.npz", **arrays)
    return arrays


def test_gemma_scope(tmp_path):
    folder = tmp_path / "layer_20" / "width_16k" / "average_l0_71"
    a = gemma_file(folder)
    pre = X.numpy() @ a["W_enc"] + a["b_enc"]
    latents = np.where(pre > a["threshold"], pre, 0)
    here = saes.load(folder)
    assert 0 < (latents != 0).mean() < np.maximum(pre, 0).astype(bool).mean()  # the threshold matters
    np.testing.assert_allclose(here.encode(X), latents, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(here(X), latents @ a["W_dec"] + a["b_dec"], rtol=1e-5, atol=1e-4)
    assert here.metadata["layer"] == 20
    assert here.metadata["average_l0"] == 71
    assert torch.equal(saes.load(folder / "params.npz")(X), here(X))
    assert saes.load(here.save(tmp_path / "ours")).settings["apply_b_dec_to_input"] is False


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"threshold": None}, "has no threshold"),
        ({"W_enc": None}, "has no W_enc"),
        ({"W_skip": np.ones((2, 2))}, 'holds "W_skip"'),
        ({"b_dec": np.full(D_IN, np.nan)}, "b_dec holds NaN"),
        ({"b_enc": np.array([None, "code"], dtype=object)}, "no archive of plain arrays"),
    ],
)
def test_gemma_scope_refusals(tmp_path, changes, message):
    gemma_file(tmp_path, **changes)
    with pytest.raises(DamagedFileError, match=message):
        saes.load(tmp_path)


def test_a_folder_of_folders_names_them(tmp_path):
    gemma_file(tmp_path / "layer_3")
    with pytest.raises(MissingInputError, match="It holds folders that have one: layer_3"):
        saes.load(tmp_path)


def test_metadata_that_json_cannot_hold_are_named_and_nothing_is_written(tmp_path):
    sae = planted.sae("topk")
    sae.metadata["when"] = object()
    with pytest.raises(UsageError, match=r"metadata.when is a object"):
        sae.save(tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_saving_over_another_leaves_nothing_of_it(tmp_path):
    first, second = planted.sae("topk"), planted.sae("gated")
    first.history = {"step": np.arange(3)}
    first.save(tmp_path)
    again = saes.load(second.save(tmp_path))
    assert again.architecture == "gated"
    assert again.history == {}


# Cards and uploads


def test_the_card_says_what_is_known_and_what_is_not(tmp_path):
    sae = planted.sae("batchtopk")
    result = saes.evaluate(sae, X, config=saes.evaluation.Config(baselines=False))
    text = card(sae, result, "me/there")
    header = yaml.safe_load(text.split("---")[1])
    assert header["library_name"] == "saelens"
    assert header["base_model"] == "smollm2"
    assert "blocks.10.hook_resid_post" in text
    assert f"| FVU | {result.score('FVU').value:.4g} |" in text
    assert "- KL divergence: it takes the model" in text
    assert '"lr": 0.0003' in text
    assert "Not evaluated yet" in card(sae)
    assert "saes.load` only" in card(planted.sae("topk", "crosscoder"))
    with pytest.raises(UsageError, match="another autoencoder"):
        card(planted.sae("topk", "crosscoder"), result)


def test_push_uploads_nothing_by_default(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)  # importing it would raise
    folder = planted.sae("topk").save(tmp_path)
    (folder / "secret.txt").write_text("x")
    reported = push(folder, "me/there")
    assert not reported.uploaded
    assert str(reported).startswith("Nothing was sent; an upload would send these to me/there: README.md, cfg.json")
    assert "secret.txt" not in str(reported)
    assert (folder / "README.md").read_text().startswith("---\nlibrary_name: saelens")


class Hub:
    """Stands for `huggingface_hub.HfApi`."""

    calls: list
    fails = False

    def create_repo(self, repo, **options):
        self.calls.append((repo, options))

    def upload_folder(self, **options):
        if self.fails:
            raise ConnectionError("no route to host")
        self.calls.append(options)


def test_push_sends_the_named_files_only(tmp_path, monkeypatch):
    hub = type("Api", (Hub,), {"calls": []})
    monkeypatch.setitem(sys.modules, "huggingface_hub", types.SimpleNamespace(HfApi=hub))
    folder = planted.sae("topk").save(tmp_path)
    assert push(folder, "me/there", upload=True).uploaded
    assert hub.calls[0] == ("me/there", {"private": True, "exist_ok": True})
    assert hub.calls[1]["allow_patterns"] == ["README.md", "cfg.json", "sae_weights.safetensors", "interp.json"]
    hub.fails = True
    with pytest.raises(InterpError, match=r"Could not upload to me/there: no route to host. The folder .* is complete"):
        push(folder, "me/there", upload=True)


def test_push_refuses_what_is_not_a_repository(tmp_path):
    with pytest.raises(UsageError, match='"there" is not a repository name: give "owner/name"'):
        push(planted.sae("topk").save(tmp_path), "there")
