"""Folders exchanged with SAELens, both ways: the same latents, reconstructions and metadata.

One module, because importing SAELens takes seconds.
"""

from __future__ import annotations

import json
import warnings

import pytest
import torch
from safetensors.torch import load_file, save_file

import saes
from interp.errors import DamagedFileError, MissingInputError, UsageError
from saes.interop import saelens
from tests.saes.interop import planted
from tests.saes.interop.planted import D_IN, D_OUT, WIDTH, K

# Two float32 evaluations of the same sums of 40 products of size 1 to 10, in another order.
CLOSE = {"rtol": 1e-5, "atol": 1e-5}
X = planted.inputs()


@pytest.fixture(scope="module")
def lens():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import sae_lens

    return sae_lens


@pytest.fixture(autouse=True)
def quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


FORMS = [
    *((name, "autoencoder", {}) for name in planted.ARCHITECTURES),
    ("standard", "autoencoder", {"apply_b_dec_to_input": False}),
    ("jumprelu", "autoencoder", {"apply_b_dec_to_input": False}),
    ("topk", "autoencoder", {"rescale_acts_by_decoder_norm": True}),
    ("standard", "transcoder", {}),
    ("standard", "transcoder", {"skip": True}),
    ("jumprelu", "transcoder", {}),
    ("batchtopk", "transcoder", {"skip": True}),
]
NAMES = [f"{a}-{v}-{'-'.join(s)}" for a, v, s in FORMS]


@pytest.mark.parametrize(("architecture", "variant", "options"), FORMS, ids=NAMES)
def test_ours_means_the_same_there(lens, tmp_path, architecture, variant, options):
    ours = planted.sae(architecture, variant, **options)
    theirs = lens.SAE.load_from_disk(ours.save(tmp_path))
    latents = ours.encode(X)
    assert (latents != 0).any()
    assert (latents == 0).any()
    torch.testing.assert_close(theirs.encode(X), latents, **CLOSE)
    torch.testing.assert_close(theirs.decode(latents), ours.decode(latents), **CLOSE)
    torch.testing.assert_close(theirs(X), ours(X), **CLOSE)
    reported = theirs.cfg.metadata.to_dict()
    for name, value in json.loads(json.dumps(ours.metadata)).items():
        assert reported[name] == value
    assert reported["training_architecture"] == {"matryoshka": "matryoshka_batchtopk"}.get(architecture, architecture)
    assert reported["sae_lens_version"] == saelens.VERSION


@pytest.mark.parametrize("name", ["W_enc", "W_dec", "b_enc", "b_dec", "threshold"])
def test_an_altered_tensor_is_noticed_by_the_comparison(lens, tmp_path, name):
    """The control of the test above: each tensor matters to it."""
    ours = planted.sae("jumprelu")
    folder = ours.save(tmp_path)
    tensors = load_file(folder / saelens.WEIGHTS)
    tensors[name][..., :3] += 0.5
    save_file(tensors, folder / saelens.WEIGHTS)
    theirs = lens.SAE.load_from_disk(folder)
    difference = (theirs.encode(X) - ours.encode(X)).abs().max() + (theirs(X) - ours(X)).abs().max()
    assert difference > 0.1


@pytest.mark.parametrize(("architecture", "variant", "options"), FORMS, ids=NAMES)
def test_what_was_saved_is_loaded_whole(tmp_path, architecture, variant, options):
    ours = planted.sae(architecture, variant, **options)
    ours.history = {"step": torch.arange(3).numpy(), "fvu": torch.rand(3).numpy()}
    again = saes.load(ours.save(tmp_path))
    assert (again.architecture, again.variant) == (architecture, variant)
    assert again.settings == ours.settings
    assert again.metadata == ours.metadata  # tuples are tuples again
    tensors, wanted = again.state_dict(), ours.state_dict()
    assert tensors.keys() == wanted.keys()
    assert all(torch.equal(tensors[name], wanted[name]) for name in wanted)
    assert {k: v.tolist() for k, v in again.history.items()} == {k: v.tolist() for k, v in ours.history.items()}
    assert torch.equal(again(X), ours(X))


def test_another_dtype_can_be_asked_for(tmp_path):
    again = saes.load(planted.sae("topk").save(tmp_path), dtype="float64")
    assert again.W_enc.dtype == torch.float64


@pytest.mark.parametrize("architecture", ["topk", "gated"])
def test_what_saelens_does_not_know_says_so(lens, tmp_path, architecture):
    ours = planted.sae(architecture, "transcoder")
    folder = ours.save(tmp_path)
    assert "SAELens has no such architecture" in json.loads((folder / "cfg.json").read_text())["metadata"]["note"]
    with pytest.raises(KeyError, match=f"{architecture}_transcoder"):
        lens.SAE.load_from_disk(folder)
    assert torch.equal(saes.load(folder)(X), ours(X))


def test_a_crosscoder_comes_back(tmp_path):
    ours = planted.sae("batchtopk", "crosscoder")
    x = torch.randn(9, planted.LAYERS, D_IN, generator=torch.Generator().manual_seed(3))
    again = saes.load(ours.save(tmp_path))
    assert again.settings == ours.settings
    assert torch.equal(again(x), ours(x))


@pytest.mark.parametrize("architecture", planted.ARCHITECTURES)
def test_what_we_train_means_the_same_there(lens, tmp_path, architecture):
    """Trained on scaled activations with an offset: what training did with both is in the weights."""
    config = saes.Config(architecture=architecture, width=WIDTH, k=K, steps=30, batch_size=64, lr=1e-2, seed=3)
    x = planted.inputs(512) * 7 + 3
    ours = saes.train(config, x, metadata={"model_name": "smollm2", "hook_name": "blocks.2.hook_mlp_out"})
    folder = ours.save(tmp_path)
    theirs, again = lens.SAE.load_from_disk(folder), saes.load(folder)
    assert (ours.encode(x) != 0).any()
    torch.testing.assert_close(theirs.encode(x), ours.encode(x), rtol=1e-5, atol=1e-4)  # values of size 10 to 100
    torch.testing.assert_close(theirs(x), ours(x), rtol=1e-5, atol=1e-4)
    assert torch.equal(again(x), ours(x))
    assert again.metadata == ours.metadata
    assert again.history.keys() == ours.history.keys() != set()
    assert {k: v.tolist() for k, v in again.history.items()} == {k: v.tolist() for k, v in ours.history.items()}
    assert theirs.cfg.metadata.hook_name == "blocks.2.hook_mlp_out"
    assert theirs.cfg.metadata.training["lr"] == 1e-2


# SAELens's own folders


def randomised(module):
    """Weights that exercise every term, whatever the initialisation was."""
    draw = torch.Generator().manual_seed(11)
    with torch.no_grad():
        for name, value in module.named_parameters():
            noise = torch.randn(value.shape, generator=draw)
            value.copy_(noise.abs() + 0.5 if name == "threshold" else noise if value.ndim == 2 else 0.3 * noise)
    return module


def theirs(lens, architecture, **options):
    options = {"d_in": D_IN, "d_sae": WIDTH, "dtype": "float32", "device": "cpu"} | options
    if "transcoder" in architecture:
        options |= {"d_out": D_OUT, "apply_b_dec_to_input": False}
    classes = {
        "standard": (lens.StandardSAE, lens.StandardSAEConfig),
        "gated": (lens.GatedSAE, lens.GatedSAEConfig),
        "topk": (lens.TopKSAE, lens.TopKSAEConfig),
        "jumprelu": (lens.JumpReLUSAE, lens.JumpReLUSAEConfig),
        "transcoder": (lens.Transcoder, lens.TranscoderConfig),
        "skip_transcoder": (lens.SkipTranscoder, lens.SkipTranscoderConfig),
        "jumprelu_transcoder": (lens.JumpReLUTranscoder, lens.JumpReLUTranscoderConfig),
        "jumprelu_skip_transcoder": (lens.JumpReLUSkipTranscoder, lens.JumpReLUSkipTranscoderConfig),
    }
    module, config = classes[architecture]
    cfg = config(**options)
    cfg.metadata.hook_name, cfg.metadata.model_name = "blocks.3.hook_resid_pre", "gpt2"
    cfg.metadata.seqpos_slice = [None]
    return randomised(module(cfg))


THEIRS = [
    ("standard", {}),
    ("standard", {"apply_b_dec_to_input": False}),
    ("gated", {}),
    ("topk", {"k": K}),
    ("topk", {"k": K, "rescale_acts_by_decoder_norm": True}),
    ("jumprelu", {}),
    ("transcoder", {}),
    ("skip_transcoder", {}),
    ("jumprelu_transcoder", {}),
    ("jumprelu_skip_transcoder", {}),
]


@pytest.mark.parametrize(("architecture", "options"), THEIRS, ids=[f"{a}-{'-'.join(o)}" for a, o in THEIRS])
def test_theirs_means_the_same_here(lens, tmp_path, architecture, options):
    there = theirs(lens, architecture, **options)
    there.save_model(tmp_path / "a")
    here = saes.load(tmp_path / "a")
    latents = there.encode(X)
    torch.testing.assert_close(here.encode(X), latents, **CLOSE)
    torch.testing.assert_close(here.decode(latents), there.decode(latents), **CLOSE)
    torch.testing.assert_close(here(X), there(X), **CLOSE)
    assert here.metadata == there.cfg.metadata.to_dict()
    again = lens.SAE.load_from_disk(here.save(tmp_path / "b"))  # and back
    torch.testing.assert_close(again(X), there(X), **CLOSE)


def trainer(lens, architecture, **options):
    classes = {
        "standard": (lens.StandardTrainingSAE, lens.StandardTrainingSAEConfig),
        "gated": (lens.GatedTrainingSAE, lens.GatedTrainingSAEConfig),
        "topk": (lens.TopKTrainingSAE, lens.TopKTrainingSAEConfig),
        "jumprelu": (lens.JumpReLUTrainingSAE, lens.JumpReLUTrainingSAEConfig),
        "batchtopk": (lens.BatchTopKTrainingSAE, lens.BatchTopKTrainingSAEConfig),
        "matryoshka": (lens.MatryoshkaBatchTopKTrainingSAE, lens.MatryoshkaBatchTopKTrainingSAEConfig),
    }
    module, config = classes[architecture]
    if architecture in ("topk", "batchtopk", "matryoshka"):
        options = {"k": K} | options
    if architecture == "matryoshka":
        options = {"matryoshka_widths": [10, WIDTH]} | options
    result = randomised(module(config(d_in=D_IN, d_sae=WIDTH, dtype="float32", device="cpu", **options)))
    if hasattr(result, "topk_threshold"):
        result.topk_threshold.fill_(9.0 if result.cfg.rescale_acts_by_decoder_norm else 3.0)
    return result


CHECKPOINTS = [
    *((name, {}) for name in planted.ARCHITECTURES),
    *((name, {"rescale_acts_by_decoder_norm": False}) for name in ("topk", "batchtopk")),
]


@pytest.mark.parametrize("architecture", ["topk", "batchtopk", "jumprelu"])
def test_what_they_train_means_the_same_here(lens, tmp_path, architecture):
    """Their own trainer with their own scaling, from the first step to the folder they call final."""
    from sae_lens.config import SAETrainerConfig
    from sae_lens.training.sae_trainer import SAETrainer

    there = trainer(lens, architecture)
    there.cfg.normalize_activations = "expected_average_only_in"
    x = planted.inputs(640) * 7
    config = SAETrainerConfig(640 * 4, 64, lr=1e-3, lr_end=1e-4, n_batches_for_norm_estimate=5)
    batches = (batch for _ in range(100) for batch in x.split(64))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        there = SAETrainer(config, there, batches).fit()
    assert there.cfg.normalize_activations == "none"
    there.save_inference_model(tmp_path)
    end, here = lens.SAE.load_from_disk(tmp_path), saes.load(tmp_path)
    assert 0 < (end.encode(x) != 0).float().mean() < 1
    torch.testing.assert_close(here.encode(x), end.encode(x), rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(here(x), end(x), rtol=1e-5, atol=1e-4)
    assert here.metadata == end.cfg.metadata.to_dict()
    assert here.metadata["training_architecture"] == architecture


@pytest.mark.parametrize("scale", [None, 0.37])
@pytest.mark.parametrize(("architecture", "options"), CHECKPOINTS, ids=[f"{a}-{len(o)}" for a, o in CHECKPOINTS])
def test_their_training_checkpoints_are_what_they_would_save_at_the_end(lens, tmp_path, architecture, options, scale):
    """Also with the input scale not yet folded into the weights, as in a checkpoint in the middle of training."""
    there = trainer(lens, architecture, **options)
    if scale is not None:
        there.cfg.normalize_activations = "expected_average_only_in"
        (tmp_path / saelens.SCALER).write_text(json.dumps({"scaling_factor": scale, "has_whitening": False}))
    there.save_model(tmp_path)
    here = saes.load(tmp_path)
    assert here.architecture == architecture
    x = X / (scale or 1.0)
    if scale is not None:
        there.fold_activation_norm_scaling_factor(scale)
    there.save_inference_model(tmp_path / "end")
    end = lens.SAE.load_from_disk(tmp_path / "end")
    assert 0 < (end.encode(x) != 0).float().mean() < 1
    # TopK checkpoints keep their decoder norms, so their latents are those of the checkpoint itself.
    latents = there.encode(x) if architecture == "topk" else end.encode(x)
    torch.testing.assert_close(here.encode(x), latents, **CLOSE)
    torch.testing.assert_close(here(x), end(x), rtol=1e-5, atol=1e-5 / (scale or 1.0))
    assert here.metadata["training_architecture"] == end.cfg.metadata.training_architecture


def test_a_scale_that_is_nowhere_is_not_taken_for_one(lens, tmp_path):
    there = trainer(lens, "standard")
    there.cfg.normalize_activations = "expected_average_only_in"
    there.save_model(tmp_path)
    with pytest.raises(UsageError, match=r"no activation_scaler.json next to it says by how much"):
        saes.load(tmp_path)


@pytest.mark.parametrize("kind", ["layer_norm", "constant_norm_rescale", "covariance_whitening"])
def test_a_normalisation_no_weights_can_hold_is_refused(lens, tmp_path, kind):
    theirs(lens, "standard", normalize_activations=kind).save_model(tmp_path)
    with pytest.raises(UsageError, match=f'normalize_activations "{kind}"'):
        saes.load(tmp_path)


def test_signed_and_looping_autoencoders_are_refused_by_name(lens, tmp_path):
    there = randomised(lens.AbsTopKSAE(lens.AbsTopKSAEConfig(d_in=D_IN, d_sae=WIDTH, k=K)))
    there.save_model(tmp_path)
    with pytest.raises(UsageError, match=r'"abstopk" autoencoder.*its latents have signs'):
        saes.load(tmp_path)
    looping = lens.MatchingPursuitSAE(lens.MatchingPursuitSAEConfig(d_in=D_IN, d_sae=WIDTH))
    looping.save_model(tmp_path / "loop")  # its own keys are not what is wrong with it
    with pytest.raises(UsageError, match=r'"matching_pursuit" autoencoder.*it codes by a loop'):
        saes.load(tmp_path / "loop")


def test_hook_z_is_preserved(lens, tmp_path):
    there = theirs(lens, "standard")
    there.cfg.reshape_activations, there.cfg.metadata.hook_name = "hook_z", "blocks.1.attn.hook_z"
    there.save_model(tmp_path / "a")
    here = saes.load(tmp_path / "a")
    again = lens.SAE.load_from_disk(here.save(tmp_path / "b"))
    heads = X.unflatten(-1, (3, -1))
    torch.testing.assert_close(again(heads).flatten(-2), here(X), **CLOSE)


def test_settings_from_before_version_6(lens, tmp_path):
    """A TopK autoencoder of that time: read without its activation function it would be a dense ReLU one."""
    there = theirs(lens, "topk", k=K)
    there.save_model(tmp_path)
    old = {
        **{"d_in": D_IN, "d_sae": WIDTH, "dtype": "torch.float32", "device": "cpu", "architecture": "standard"},
        **{"activation_fn_str": "topk", "activation_fn_kwargs": {"k": K}, "hook_point": "blocks.5.hook_mlp_out"},
        **{"model_name": "gpt2-small", "normalize_activations": False, "dataset_path": "some/text", "l1": 3.0},
    }
    (tmp_path / "cfg.json").write_text(json.dumps(old))
    here = saes.load(tmp_path)
    assert here.architecture == "topk"
    assert here.metadata["hook_name"] == "blocks.5.hook_mlp_out"
    assert here.metadata["l1"] == 3.0
    torch.testing.assert_close(here.encode(X), lens.SAE.load_from_disk(tmp_path).encode(X), **CLOSE)


# What is wrong with a folder is one sentence


@pytest.fixture
def folder(lens, tmp_path):
    theirs(lens, "jumprelu").save_model(tmp_path)
    return tmp_path


def reconfigured(folder, **changes):
    path = folder / "cfg.json"
    config = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({name: value for name, value in config.items() if value is not None}))


def retensored(folder, change):
    tensors = load_file(folder / saelens.WEIGHTS)
    change(tensors)
    save_file(tensors, folder / saelens.WEIGHTS)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dtype": None}, 'has no "dtype"'),
        ({"d_sae": None}, 'has no "d_sae"'),
        ({"d_sae": "forty"}, "d_sae = 'forty'"),
        ({"d_sae": 41}, r"W_enc is \(12, 40\), but its settings say \(12, 41\)"),
        ({"architecture": "jumprelux"}, 'unknown architecture "jumprelux"; the nearest is "jumprelu"'),
        ({"apply_b_dec_to_inputs": True}, 'key "apply_b_dec_to_inputs".*nearest is "apply_b_dec_to_input"'),
        ({"architecture": "standard"}, 'holds "threshold", which is not known'),
        ({"architecture": "gated"}, "has no b_gate, b_mag, r_mag"),
        ({"dtype": "float31"}, 'dtype "float31"; the nearest is "float32"'),
    ],
)
def test_wrong_settings(folder, changes, message):
    reconfigured(folder, **changes)
    with pytest.raises((UsageError, DamagedFileError), match=message):
        saes.load(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("threshold"), "has no threshold"),
        (lambda t: t.update(W_extra=torch.ones(2)), 'holds "W_extra", which is not known'),
        (lambda t: t["b_enc"].fill_(float("nan")), "b_enc holds NaN"),
        (lambda t: t["W_dec"][0].fill_(float("inf")), "W_dec holds NaN or infinite"),
    ],
)
def test_wrong_tensors(folder, change, message):
    retensored(folder, change)
    with pytest.raises(DamagedFileError, match=message):
        saes.load(folder)


def test_damage(folder, tmp_path):
    weights = folder / saelens.WEIGHTS
    content = weights.read_bytes()
    weights.write_bytes(content[:-100])
    with pytest.raises(DamagedFileError, match="damaged or truncated"):
        saes.load(folder)
    weights.write_bytes(content)
    (folder / "cfg.json").write_text("{")
    with pytest.raises(DamagedFileError, match="it is not JSON"):
        saes.load(folder)
    (folder / "cfg.json").unlink()
    with pytest.raises(MissingInputError, match=r"has no cfg.json"):
        saes.load(folder)
    with pytest.raises(MissingInputError, match=r"No autoencoder in .*expected cfg.json"):
        saes.load(tmp_path / "nowhere")


def test_weights_changed_after_saving_are_not_passed_off_as_ours(tmp_path):
    folder = planted.sae("topk").save(tmp_path)
    retensored(folder, lambda t: t["W_enc"].mul_(1.001))
    with pytest.raises(DamagedFileError, match=r"is not the file that interp.json was written with"):
        saes.load(folder)
    (folder / "interp.json").unlink()
    assert saes.load(folder).architecture == "topk"  # as SAELens reads it
