"""Rotations that depend on the number of tokens: evaluated at the length at hand, on both sides of the threshold."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import transformers

import interp
from interp import attribution, circuits, patching
from interp.errors import CheckFailedError, UnsupportedModelError
from interp.model.spec import require_fixed_rotations
from tests import models

THRESHOLD = 12
LENGTHS = (4, THRESHOLD, THRESHOLD + 1, 20)


def _longrope() -> Any:
    """Phi-3 beyond the length it was trained on: other frequencies and, always, larger cosines and sines."""
    rope = dict(
        rope_type="longrope",
        rope_theta=1e4,
        partial_rotary_factor=1.0,
        short_factor=[1.0, 1.1, 1.2, 1.3],
        long_factor=[2.0, 3.0, 5.0, 8.0],
        original_max_position_embeddings=THRESHOLD,
    )
    config = transformers.Phi3Config(
        **models._SHAPE | {"hidden_size": 32},
        original_max_position_embeddings=THRESHOLD,
        rope_parameters=rope,
        pad_token_id=0,
    )
    return transformers.Phi3ForCausalLM(config)


def _dynamic() -> Any:
    rope = dict(rope_type="dynamic", rope_theta=1e4, factor=4.0)
    config = transformers.LlamaConfig(**models._SHAPE | {"max_position_embeddings": THRESHOLD}, rope_parameters=rope)
    return transformers.LlamaForCausalLM(config)


@pytest.fixture(scope="module", params=[_longrope, _dynamic])
def hf(request):
    return models.randomised(request.param().eval(), seed=0)


@pytest.fixture(scope="module")
def model(hf):
    return interp.load(hf, dtype=torch.float64)


def test_logits_are_the_models_own_at_every_length(hf):
    # Rounding as of the dense families of this size: see test_check.
    for dtype, tolerance in ((torch.float32, 5e-6), (torch.float64, 1e-12)):
        model = interp.load(hf, dtype=dtype)
        for length in LENGTHS:
            assert interp.check(model, [models.tokens(1, length)]).worst < tolerance


def test_the_length_matters_and_taking_no_notice_of_it_is_caught(model, monkeypatch):
    short, long = model.spec.fixed_to, 20
    monkeypatch.setattr("interp.model.arithmetic.frequencies", _of_a_short_text)
    assert interp.check(model, [models.tokens(1, short)]).worst < 1e-12
    with pytest.raises(CheckFailedError, match="do not reproduce its logits"):
        interp.check(model, [models.tokens(1, long)])


def _of_a_short_text(rotary, n_token, device):
    return torch.tensor(rotary.frequencies, dtype=torch.float32, device=device)


def test_a_longer_text_before_changes_nothing(model):
    before = model(models.tokens(1, 16))
    model(models.tokens(1, 24))
    assert torch.equal(model(models.tokens(1, 16)), before)
    # The control: transformers itself remembers the longest text that dynamic scaling has seen.
    if isinstance(model.hf, transformers.LlamaForCausalLM):
        plain = models.randomised(_dynamic().eval(), seed=0).double()
        with torch.no_grad():
            first = plain(models.tokens(1, 16)).logits
            plain(models.tokens(1, 24))
            assert (plain(models.tokens(1, 16)).logits - first).abs().max() > 1e-6


@pytest.mark.parametrize("length", [THRESHOLD - 1, THRESHOLD + 8])
def test_attributions_and_circuits_use_the_length_at_hand(model, length):
    clean, other = models.tokens(1, length), models.tokens(1, length)
    other[0, 4] = (other[0, 4] + 5) % models.D_VOCAB
    target = attribution.logit_difference(model, 3, 5)
    for linearised in (attribution.freeze(model, clean), attribution.contrast(model, clean, other)):
        assert linearised.error < 1e-12
        assert attribution.sources(linearised, target).error < 1e-10
        assert attribution.edges(linearised, target).error < 1e-9
        assert attribution.path_tree(linearised, target, 100).error < 1e-10
        assert attribution.scores(linearised, 2, 1, length - 1, length - 2).error < 1e-9
    assert circuits.check(model, clean).worst < 1e-5  # angles are float32: see circuits.check


def test_a_heads_map_takes_the_length(model):
    short, long = (circuits.qk(model, 1, 0, n_token=n).matrix(3) for n in (THRESHOLD, THRESHOLD + 8))
    assert torch.equal(circuits.qk(model, 1, 0).matrix(3), short)
    assert not torch.allclose(short, long)


def test_functions_that_run_parts_of_a_text_refuse_long_ones(model):
    clean, other = models.tokens(1, 15), models.tokens(1, 15)
    other[0, 4] = (other[0, 4] + 5) % models.D_VOCAB
    target = attribution.logit_difference(model, 3, 5)
    with pytest.raises(UnsupportedModelError, match=f"beyond {THRESHOLD} tokens rotations depend on the length"):
        patching.patch_residual(model, clean, other, target)
    assert np.isfinite(patching.patch_residual(model, clean[:, :9], other[:, :9], target).recovered).all()
    require_fixed_rotations(models.load("llama").spec, 10**6, "anything")  # never depends on it
