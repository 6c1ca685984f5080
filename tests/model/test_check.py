"""`interp.check`: exact for every family, and loud about a wrong weight, a wrong head or a wrong step."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

import interp
from interp.errors import CheckFailedError, UsageError
from interp.model import trace
from interp.model.check import Check
from tests import models


@pytest.mark.parametrize("name", models.NAMES)
def test_weights_alone_reproduce_the_logits(name):
    # 3 layers, sums of at most 40 terms: some ten roundings of 6e-8 (float32) or 1e-16 (float64) each.
    assert interp.check(models.load(name)).worst < 1e-5
    assert interp.check(models.load(name, torch.float64)).worst < 1e-11


@pytest.mark.parametrize("name", models.NAMES)
def test_the_step_by_step_form_is_the_folded_one(name):
    model = models.load(name, torch.float64)
    ids = models.tokens()
    for folded, plain in zip(
        trace.blocks(model.weights, ids), trace.blocks(model.weights, ids, folded=False), strict=True
    ):
        torch.testing.assert_close(folded.resid_post, plain.resid_post, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(folded.attention.pattern, plain.attention.pattern, rtol=1e-12, atol=1e-12)


def _one_weight(model):
    """A single number out of thousands, moved by a thousandth, in the weights alone."""
    raw = model.weights.raw

    def perturbed(layer):
        result = raw(layer)
        W_O = result.W_O.clone()
        W_O[1, 2, 3] += 1e-3
        return replace(result, W_O=W_O) if layer == 1 else result

    return "raw", perturbed


def _swapped_heads(model):
    raw = model.weights.raw

    def swapped(layer):
        result = raw(layer)
        return replace(result, W_O=result.W_O[[1, 0, 2, 3]]) if layer == 2 else result

    return "raw", swapped


def _no_rotation(model):
    return "spec", replace(model.spec, rotaries=(None,) * model.spec.n_layer)


def _wrong_epsilon(model):
    return "spec", replace(model.spec, norm_eps=1e-2)


def _wrong_scale(model):
    return "spec", replace(model.spec, attention_scale=(0.5,) * model.spec.n_layer)


def _no_window(model):
    return "spec", replace(model.spec, windows=(None,) * model.spec.n_layer)


def _no_softcap(model):
    return "spec", replace(model.spec, attention_softcap=None)


WRONG = [
    ("llama", _one_weight),
    ("gpt2", _one_weight),
    ("neox", _swapped_heads),
    ("qwen3", _swapped_heads),
    ("llama3", _no_rotation),
    ("neox-sequential", _no_rotation),
    ("qwen2", _wrong_epsilon),
    ("gpt2", _wrong_scale),
    ("mistral", _no_window),
    ("gemma2", _no_window),
    ("gemma2", _no_softcap),
]


@pytest.mark.parametrize(("name", "fault"), WRONG, ids=[f"{name}{fault.__name__}" for name, fault in WRONG])
def test_a_fault_is_caught(name, fault, monkeypatch):
    model = models.load(name)
    interp.check(model)
    attribute, value = fault(model)
    monkeypatch.setattr(model.weights, attribute, value)
    with pytest.raises(
        CheckFailedError, match=r"do not reproduce its logits: relative error \S+e[-+]\d+, tolerance 1e-05"
    ):
        interp.check(model)


def test_not_a_number_is_caught_and_shown():
    hf = models.build("llama")
    hf.model.layers[1].mlp.down_proj.weight.data[0, 0] = torch.nan
    with pytest.raises(CheckFailedError, match="relative error nan"):
        interp.check(interp.load(hf))
    assert Check("m", (1e-9, float("nan")), 1e-5).worst != Check("m", (1e-9, float("nan")), 1e-5).worst
    assert Check("m", (1e-9, 2e-9), 1e-5).error == 2e-9


def test_prompts_of_ones_own():
    model = models.load("llama")
    result = interp.check(model, [models.tokens(2, 5), models.tokens(1, 3)[0]])
    assert len(result.errors) == 2
    with pytest.raises(UsageError, match=r"Token ids must lie in 0\.\.63"):
        interp.check(model, [torch.tensor([[64]])])


@pytest.mark.real
def test_real_models(smollm2, smollm2_double, gemma3):
    ids = smollm2.to_tokens("The Eiffel Tower is located in the city of")
    assert interp.check(smollm2, [ids]).worst < 1e-5
    assert interp.check(gemma3, [gemma3.to_tokens("The Eiffel Tower is located in the city of")]).worst < 1e-5
    # Double precision leaves 30 layers of at most 1536-term sums: a few thousand roundings of 1e-16.
    assert interp.check(smollm2_double, [ids]).worst < 1e-11
