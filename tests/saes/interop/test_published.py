"""Published layouts: the same latents and reconstructions as SAELens' own loaders, and circuit-tracer's arithmetic."""

from __future__ import annotations

import json

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

import saes
from interp import edit
from interp.errors import DamagedFileError, MissingInputError, UsageError
from saes.interop import registry
from tests.saes.interop import planted, published
from tests.saes.interop.planted import D_IN, WIDTH

X = planted.inputs()


@pytest.fixture
def theirs(tmp_path, monkeypatch):
    """SAELens' dictionary of a repository, its loaders reading the folder instead of the hub."""
    from huggingface_hub.errors import EntryNotFoundError
    from sae_lens import SAE
    from sae_lens.loading import pretrained_sae_loaders as loaders

    def hub(repo_id, filename, subfolder=None, **_):
        place = tmp_path / repo_id / (subfolder or "") / filename
        if not place.is_file():
            raise EntryNotFoundError(str(place))
        return str(place)

    def shapes(repo_id, filename):
        return {name: list(value.shape) for name, value in load_file(tmp_path / repo_id / filename).items()}

    monkeypatch.setattr(loaders, "hf_hub_download", hub)
    monkeypatch.setattr(loaders, "get_safetensors_tensor_shapes", shapes)

    def opened(kind, repo, path, scale=None, **overrides):
        config, tensors, _ = loaders.NAMED_PRETRAINED_SAE_LOADERS[kind](
            repo, path, device="cpu", cfg_overrides={"dtype": "float32", "device": "cpu"} | overrides
        )
        config = loaders.handle_config_defaulting(config)
        made = SAE.from_dict({**config, "device": "cpu"})
        made.process_state_dict_for_loading(tensors)
        made.load_state_dict({name: value.float() for name, value in tensors.items()})
        if scale is not None:
            made.fold_activation_norm_scaling_factor(scale)
        return made

    return opened


def check_same(ours: saes.SAE, sae_lens) -> None:
    """Latents, reconstructions and hooks."""
    with torch.no_grad():
        torch.testing.assert_close(ours.encode(X), sae_lens.encode(X), rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(ours(X), sae_lens(X), rtol=1e-5, atol=1e-4)
    assert 0 < (ours.encode(X) > 0).float().mean() < 1  # a code on which two rules could differ
    assert ours.reads == sae_lens.cfg.metadata.hook_name


SIZES = {"d_in": D_IN, "d_sae": WIDTH}


@pytest.mark.parametrize("part", ["res", "mlp", "att", "transcoders", "embedding"])
def test_gemma_scope(part, tmp_path, theirs):
    folder = "embedding/width_4k/average_l0_6" if part == "embedding" else published.GEMMA_2
    repo, folder = published.gemma_2(tmp_path, part.replace("embedding", "res"), folder)
    ours = saes.load(tmp_path / repo / folder)
    kind, sizes = ("gemma_2_transcoder", {"d_out": D_IN}) if part == "transcoders" else ("gemma_2", {})
    # SAELens flattens heads by itself, which needs inputs (n, head, d): the arithmetic is the same without
    more = {"reshape_activations": "none", "normalize_activations": "none"} if part != "transcoders" else {}
    check_same(ours, theirs(kind, repo, folder, **SIZES, **sizes, **more))
    assert ours.metadata["model_name"] == "gemma-2-2b"
    if part == "transcoders":
        assert ours.writes == ("blocks.5.hook_mlp_out",)


@pytest.mark.parametrize("part", ["resid_post", "attn_out", "mlp_out"])
def test_gemma_scope_2(part, tmp_path, theirs):
    repo, folder = published.gemma_3(tmp_path, part)
    check_same(saes.load(tmp_path / repo / folder), theirs("gemma_3", repo, folder))


@pytest.mark.parametrize("affine", [False, True])
def test_gemma_scope_2_transcoders(affine, tmp_path, theirs):
    config = {"architecture": "jump_relu", "model_name": "gemma-v3-270m-pt", "affine_connection": affine}
    config["hf_hook_point_in"] = "model.layers.9.pre_feedforward_layernorm.output"
    repo, folder = published.gemma_3(tmp_path, "transcoder", affine=affine, config=config)
    ours, sae_lens = saes.load(tmp_path / repo / folder), theirs("gemma_3", repo, folder)
    with torch.no_grad():
        torch.testing.assert_close(ours(X), sae_lens(X), rtol=1e-5, atol=1e-4)
        torch.testing.assert_close(ours.encode(X), sae_lens.encode(X), rtol=1e-5, atol=1e-5)
    # theirs is called hook_mlp_in, which in transformer_lens is before the norm; the release says after it
    assert (ours.reads, ours.writes) == ("blocks.9.mlp.hook_in", ("blocks.9.hook_mlp_out",))
    assert ours.metadata["model_name"] == "google/gemma-3-270m"
    assert ours.metadata["hf_hook_name"] == config["hf_hook_point_in"]
    assert ("W_skip" in dict(ours.named_parameters())) == affine


def test_gemma_scope_2_cross_layer(tmp_path, theirs):
    repo, folder = published.gemma_3_clt(tmp_path)
    made = saes.DictionarySet.load(tmp_path / repo / folder)
    assert made.layers == (0, 1, 2)
    assert made.writers("blocks.2.hook_mlp_out") == made.hooks
    for layer, sae in enumerate(made.values()):
        assert sae.writes == tuple(f"blocks.{at}.hook_mlp_out" for at in range(layer, 3))
        assert sae(X).shape == (len(X), 3 - layer, D_IN)
        # SAELens adds the decoders of all layers up
        summed = theirs("gemma_3", repo, f"{folder}/params_layer_{layer}", affine_connection=True)
        with torch.no_grad():
            torch.testing.assert_close(sae(X).sum(1), summed(X), rtol=1e-5, atol=1e-4)
        one = saes.load(tmp_path / repo / folder / f"params_layer_{layer}.safetensors")
        assert torch.equal(one(X), sae(X))
    again = saes.DictionarySet.load(made.save(tmp_path / "ours"))
    assert again.entries == made.entries
    assert torch.equal(again[made.hooks[1]](X), made[made.hooks[1]](X))


def test_llama_scope(tmp_path, theirs):
    repo, folder = published.llama_scope(tmp_path)
    ours = saes.load(tmp_path / repo / folder)
    check_same(ours, theirs("llama_scope", repo, folder, scale=D_IN**0.5 / 2.5))


def test_qwen_scope(tmp_path, theirs):
    repo, file = published.qwen_scope(tmp_path)
    ours = saes.load(tmp_path / repo / file)
    check_same(ours, theirs("qwen_scope", repo, file, k=5, **SIZES))
    assert ours.metadata["model_name"] == "Qwen/Qwen3-1.7B-Base"
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / repo / file).rename(tmp_path / "elsewhere" / file)
    with pytest.raises(UsageError, match="neither its model nor its k"):
        saes.load(tmp_path / "elsewhere" / file)


@pytest.mark.parametrize("kind", published.CLASSES)
def test_dictionary_learning(kind, tmp_path, theirs):
    repo, folder = published.dictionary_learning(tmp_path, kind)
    more = {"architecture": "topk", "k": 5} if kind == "AutoEncoderTopK" else {}
    check_same(saes.load(tmp_path / repo / folder), theirs("dictionary_learning_1", repo, folder, **more))


@pytest.mark.parametrize(
    ("kind", "repo", "file", "names"),
    [
        ("goodfire", "Goodfire/Llama-3.1-8B-Instruct-SAE-l19", "Llama-3.1-8B-Instruct-SAE-l19.pth", "_linear"),
        (
            "deepseek_r1",
            "qresearch/DeepSeek-R1-Distill-Llama-8B-SAE-l19",
            "DeepSeek-R1-Distill-Llama-8B-SAE-l19.pt",
            "",
        ),
    ],
)
def test_single_files(kind, repo, file, names, tmp_path, theirs):
    place = published.made(tmp_path / repo) / file
    torch.save(published.Draw().linear(f"encoder{names}", f"decoder{names}"), place)
    check_same(saes.load(place), theirs(kind, repo, file, **SIZES))


@pytest.mark.parametrize("threshold", [False, True])
@pytest.mark.parametrize("skip", [False, True])
def test_a_set_of_circuit_tracer(threshold, skip, tmp_path):
    """relu(x W_encᵀ + b_enc), above its threshold if there is one, times W_dec, plus x W_skipᵀ; a layer missing."""
    folder = published.circuit_tracer(tmp_path / "set", (0, 2), threshold=threshold, skip=skip)
    made = saes.DictionarySet.load(folder)
    assert made.hooks == ("blocks.0.hook_resid_mid", "blocks.2.hook_resid_mid")
    for layer, sae in zip((0, 2), made.values(), strict=True):
        t = load_file(folder / f"layer_{layer}.safetensors")
        pre = X @ t["W_enc"].T + t["b_enc"]
        code = pre * (pre > t["activation_function.threshold"]) if threshold else torch.relu(pre)
        out = code @ t["W_dec"] + t["b_dec"] + (X @ t["W_skip"].T if skip else 0)
        torch.testing.assert_close(sae.encode(X), code, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(sae(X), out, rtol=1e-5, atol=1e-4)
        assert sae.writes == (f"blocks.{layer}.hook_mlp_out",)
        assert torch.equal(saes.load(folder / f"layer_{layer}.safetensors")(X), sae(X))
    assert made[made.hooks[0]].metadata["model_name"] == "google/gemma-2-2b"
    assert saes.DictionarySet.load(folder, dtype="float64")[made.hooks[0]].W_enc.dtype == torch.float64


@pytest.mark.parametrize("threshold", [False, True])
def test_a_cross_layer_transcoder_of_circuit_tracer(threshold, tmp_path):
    """Σ over layers up to l of their code times W_dec_{layer}[:, l - layer], plus b_dec_l once."""
    folder, n = published.circuit_tracer_clt(tmp_path / "clt", 3, threshold=threshold), 3
    made = saes.DictionarySet.load(folder)
    inputs = [planted.inputs() * (1 + layer) for layer in range(n)]
    wanted, result = torch.zeros(n, len(X), D_IN), torch.zeros(n, len(X), D_IN)
    for layer in range(n):
        t = load_file(folder / f"W_enc_{layer}.safetensors")
        pre = inputs[layer] @ t[f"W_enc_{layer}"].T + t[f"b_enc_{layer}"]
        code = pre * (pre > t[f"threshold_{layer}"]) if threshold else torch.relu(pre)
        decoder = load_file(folder / f"W_dec_{layer}.safetensors")[f"W_dec_{layer}"]
        wanted[layer:] += torch.einsum("nf,fld->lnd", code, decoder)
        wanted[layer] += t[f"b_dec_{layer}"]
        sae = made[f"blocks.{layer}.hook_resid_mid"]
        assert sae.writes == tuple(f"blocks.{at}.hook_mlp_out" for at in range(layer, n))
        result[layer:] += sae(inputs[layer]).transpose(0, 1)
    torch.testing.assert_close(result, wanted, rtol=1e-5, atol=1e-4)
    with pytest.raises(UsageError, match="its latents are not a part of what it reads"):
        edit.latent(made["blocks.0.hook_resid_mid"], 0, scale=0.0)
    with pytest.raises(UsageError, match="reconstructs no hook alone"):
        saes.evaluate(made["blocks.0.hook_resid_mid"], X)


def test_any_folder_of_dictionaries_is_a_set(tmp_path):
    for layer, architecture in ((0, "topk"), (3, "jumprelu")):
        sae = planted.sae(architecture)
        sae.metadata = {"hook_name": f"blocks.{layer}.hook_resid_post"}
        folder = sae.save(tmp_path / "a" / f"layer {layer}")
        (folder / "interp.json").unlink()  # as SAELens leaves it
    made = saes.DictionarySet.load(tmp_path)
    assert made.layers == (0, 3)
    assert torch.equal(made["blocks.3.hook_resid_post"](X), planted.sae("jumprelu")(X))
    sae = planted.sae("topk")
    sae.metadata = {"hook_name": "blocks.0.hook_resid_post"}
    sae.save(tmp_path / "b" / "other")
    with pytest.raises(UsageError, match=r"Two dictionaries read blocks\.0\.hook_resid_post.*with only="):
        saes.DictionarySet.load(tmp_path)
    assert saes.DictionarySet.load(tmp_path, only="b/*").layers == (0,)
    with pytest.raises(MissingInputError, match="No set of dictionaries"):
        saes.DictionarySet.load(tmp_path, only="c/*")


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"model_kind": "transcoder_sets"}, UsageError, 'nearest is "transcoder_set"'),
        ({"model_kind": 3}, DamagedFileError, "model_kind is 3, but text is expected"),
        ({"feature_input_hook": ["a"]}, DamagedFileError, "feature_input_hook is a list of 1"),
    ],
)
def test_settings_of_a_set_are_checked(change, error, message, tmp_path):
    folder = published.circuit_tracer(tmp_path, (0,))
    config = yaml.safe_load((folder / "config.yaml").read_text())
    (folder / "config.yaml").write_text(yaml.safe_dump(config | change))
    with pytest.raises(error, match=message):
        saes.DictionarySet.load(folder)


def test_damaged_files_are_named(tmp_path):
    folder = published.circuit_tracer(tmp_path / "set", (0,))
    tensors = load_file(folder / "layer_0.safetensors")
    save_file(tensors | {"W_odd": torch.ones(2)}, folder / "layer_0.safetensors")
    with pytest.raises(DamagedFileError, match='holds "W_odd", which is not known'):
        saes.DictionarySet.load(folder)["blocks.0.hook_resid_mid"]
    (folder / "config.yaml").write_text("a: [")
    with pytest.raises(DamagedFileError, match="is not YAML"):
        saes.DictionarySet.load(folder)
    clt = published.circuit_tracer_clt(tmp_path / "clt", 3)
    (clt / "W_enc_1.safetensors").unlink()
    assert saes.DictionarySet.load(clt).layers == (0, 2)
    (clt / "W_dec_2.safetensors").unlink()
    with pytest.raises(MissingInputError, match=r"has no W_dec_2\.safetensors"):
        saes.DictionarySet.load(clt)
    repo, inside = published.llama_scope(tmp_path)
    path = tmp_path / repo / inside / "hyperparams.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps(config | {"d_sae": "40"}))
    with pytest.raises(DamagedFileError, match=r"d_sae is the text .40., but a whole number"):
        saes.load(tmp_path / repo / inside)
    repo, inside = published.dictionary_learning(tmp_path, "AutoEncoder")
    path = tmp_path / repo / inside / "config.json"
    config = json.loads(path.read_text())
    for change, kind, message in (
        ({"dict_class": "CrossCoder"}, UsageError, 'class "CrossCoder"'),
        ({"layer": 1.5}, DamagedFileError, r"trainer.layer is 1\.5, but a whole number"),
    ):
        path.write_text(json.dumps({"trainer": config["trainer"] | change}))
        with pytest.raises(kind, match=message):
            saes.load(tmp_path / repo / inside)
    torch.save({"a": open}, tmp_path / repo / inside / "ae.pt")
    with pytest.raises(DamagedFileError, match="holds more than tensors"):
        saes.load(tmp_path / repo / inside)


def test_names_of_the_registry_and_of_the_hub(monkeypatch, tmp_path):
    result = registry.find("gemma-scope-2-270m-pt-res/layer_12_width_16k_l0_big")
    assert result == registry.Published(
        "google/gemma-scope-2-270m-pt", "resid_post/layer_12_width_16k_l0_big", "gemma_3"
    )
    assert registry.find("google/gemma-scope-2b-pt-res/layer_5/x") == registry.Published(
        "google/gemma-scope-2b-pt-res", "layer_5/x"
    )
    assert registry.find("no-such-folder") is None
    with pytest.raises(MissingInputError, match='nearest is "layer_12_width_16k_l0_big"'):
        saes.load("gemma-scope-2-270m-pt-res/layer_12_width_16k_l0_bigg")
    with pytest.raises(MissingInputError, match="latents depend on earlier positions"):
        saes.load("temporal-sae-gemma-2-2b/blocks.12.hook_resid_post")

    def offline(*_, **__):
        raise OSError("no network")

    import huggingface_hub

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    with pytest.raises(MissingInputError, match=r"cannot be downloaded \(no network\)"):
        saes.load("gemma-scope-2-270m-pt-res/layer_12_width_16k_l0_big")
    with pytest.raises(MissingInputError, match="No autoencoder in no-such-folder"):
        saes.load("no-such-folder")


def test_a_published_name_reads_the_downloaded_copy(monkeypatch, tmp_path):
    import huggingface_hub

    repo, folder = published.gemma_3(tmp_path, "resid_post")
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda repo, **_: str(tmp_path / repo))
    named = saes.load(f"{repo}/{folder}")
    assert torch.equal(named(X), saes.load(tmp_path / repo / folder)(X))
    clt = published.circuit_tracer_clt(tmp_path / "mntss" / "clt-gemma-2-2b-2.5M", 3)
    layer = saes.load("mntss-gemma-2-2b-2.5m-clt-as-per-layer/layer_1")
    assert torch.equal(layer(X), saes.DictionarySet.load(clt)["blocks.1.hook_resid_mid"](X))
