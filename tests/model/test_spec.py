"""The facts of each family, as its configuration states them, and the digest that names the weights."""

from __future__ import annotations

import pytest
import torch

import interp
from tests import models

FACTS = {
    "llama": dict(norm="rms", gated=True, attention_bias=True, output_bias=True, mlp_bias=True, tied=False, kv_group=2),
    "llama3": dict(attention_bias=False, output_bias=False, mlp_bias=False, tied=True),
    "mistral": dict(windows=(3, 3, 3), tied=False),
    "qwen2": dict(attention_bias=True, output_bias=False, mlp_bias=False, windows=(None,) * 3),
    "qwen3": dict(query_key_norm=True, output_bias=True),
    "gemma": dict(activation="gelu_tanh", tied=True, kv_group=4, embedding_scale=pytest.approx(24**0.5)),
    "gemma2": dict(
        post_norms=True,
        attention_softcap=2.0,
        logit_softcap=3.0,
        windows=(3, None, 3),
        attention_scale=(pytest.approx(12**-0.5),) * 3,
    ),
    "gemma3": dict(post_norms=True, query_key_norm=True, windows=(3, None, 3), attention_bias=True),
    "gpt2": dict(
        norm="layer",
        positional="learned",
        rotaries=(None,) * 3,
        gated=False,
        parallel=False,
        attention_scale=tuple(pytest.approx(6**-0.5 / layer) for layer in (1, 2, 3)),
    ),
    "neox": dict(norm="layer", positional="rotary", parallel=True, gated=False, activation="gelu"),
    "neox-sequential": dict(parallel=False),
}


@pytest.mark.parametrize("name", models.NAMES)
def test_facts(name):
    spec = models.load(name).spec
    shape = dict(n_layer=3, n_head=4, d_model=24, d_mlp=40, d_vocab=64, n_ctx=40)
    facts = shape | FACTS[name]
    assert {fact: getattr(spec, fact) for fact in facts} == facts


def test_a_part_of_each_head_turns():
    rotary = models.load("neox").spec.rotary
    assert rotary is not None
    assert (rotary.dim, rotary.fraction, rotary.base) == (4, pytest.approx(4 / 6), 1e4)


def test_the_digest_names_the_weights_and_nothing_else():
    one = models.load("llama")
    assert one.weights_sha256 == models.load("llama").weights_sha256
    others = [models.load("llama", seed=1), models.load("llama", torch.float64), models.load("qwen2")]
    moved = models.build("llama")
    moved.model.layers[2].mlp.up_proj.weight.data[0, 0] += 1e-6
    digests = {model.weights_sha256 for model in [one, *others, interp.load(moved)]}
    assert len(digests) == 5


def test_identity_and_repr_name_the_model():
    model = models.load("llama", text=True)
    assert model.identity() == {
        "model": "llama object",
        "weights_sha256": model.weights_sha256,
        "tokenizer": "TokenizersBackend",
        "dtype": "float32",
        "device": "cpu",
    }
    assert repr(model).startswith(
        "Model(llama object: llama, 3 layers, 4 heads (2 key-value), d_model 24, torch.float32"
    )
