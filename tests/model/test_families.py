"""Every further exact family: reproduced, frozen, contrasted, rebuilt head by head, read and edited at its hooks."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import transformers

import interp
from interp import attribution, circuits, edit
from interp.errors import CheckFailedError, UnsupportedModelError
from interp.model import trace
from tests import models

IDS, OTHER = models.tokens(1, 12), models.tokens(1, 12, seed=5)


@pytest.fixture(params=models.MORE_NAMES, scope="module")
def model(request):
    return models.load(request.param, torch.float64)


@pytest.mark.parametrize("name", models.MORE_NAMES)
def test_weights_alone_reproduce_the_logits(name):
    # As in test_check: some tens of roundings of 6e-8 (float32) or 1e-16 (float64).
    assert interp.check(models.load(name), [IDS]).worst < 2e-6


def test_what_is_frozen_sums_to_the_logit(model):
    assert interp.check(model).worst < 1e-12
    frozen = attribution.freeze(model, IDS)
    assert frozen.error < 1e-12
    target = attribution.logit_difference(model, 3, 4)
    assert attribution.direct(frozen, target).error < 1e-12
    assert attribution.orders(frozen, target).error < 1e-12
    assert attribution.path_tree(frozen, target, max_expansions=40).error < 1e-12
    assert attribution.scores(frozen, 1, 2, 7, 6).error < 1e-12
    through = attribution.score(frozen, 1, 2, 7, 6, side="query")
    assert attribution.direct(frozen, through).error < 1e-12


def test_the_difference_of_two_runs_is_explained(model):
    pair = attribution.contrast(model, IDS, OTHER)
    target = attribution.logit_difference(model, 3, 4)
    assert pair.error < 1e-12
    assert attribution.sources(pair, target).error < 1e-12
    assert attribution.path_tree(pair, target, max_expansions=40).error < 1e-12
    assert attribution.scores(pair, 1, 2, 7, 6).error < 1e-12


def test_heads_are_rebuilt_from_their_circuits(model):
    # Rotation angles and slopes of distance are float32 in every model.
    assert circuits.check(model, models.tokens(2, 12)).worst < 1e-6
    assert circuits.composition(model, "K").array.shape == (12, 12)
    head = circuits.qk(model, 1, 2)
    x = model.run_with_cache(IDS, ["blocks.1.hook_resid_pre"])[1]["blocks.1.hook_resid_pre"][0]
    pairwise = float(head.scores(x[7], x[6], 1))
    assert pairwise == pytest.approx(float(head.attention_scores(x)[7, 6]), abs=1e-6)
    assert float(circuits.score_terms(head, x[7], x[6], 1).sum()) == pytest.approx(pairwise, abs=1e-12)


def test_hooks_add_up_to_the_stream(model):
    """Two rows, so that a module with rows and positions as one axis is read as both."""
    ids = models.tokens(2, 7)
    names = [name for name in model.hooks() if name.startswith("blocks.1.") and "attn_scores" not in name]
    _, cache = model.run_with_cache(ids, ["hook_embed", "blocks.0.hook_resid_pre", *names])
    block = {name.removeprefix("blocks.1."): cache[name] for name in names}
    traced = list(trace.blocks(model.weights, ids))[1]
    total = block["hook_resid_pre"] + block["hook_attn_out"] + block["hook_mlp_out"]
    torch.testing.assert_close(total, block["hook_resid_post"], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(block["hook_attn_out"], traced.attention.write, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(block["attn.hook_z"], traced.attention.z.transpose(1, 2), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(block["attn.hook_v"], traced.attention.value.transpose(1, 2), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(block["mlp.hook_post"], traced.mlp.pre * traced.mlp.multiplier, rtol=1e-12, atol=1e-12)
    for name, axes in model.hooks().items():
        if name in names:
            assert all(
                axis in (size, "query", "key") for size, axis in zip(cache[name].shape[2:], axes[2:], strict=True)
            )
    if model.spec.positional != "learned":
        torch.testing.assert_close(cache["hook_embed"], cache["blocks.0.hook_resid_pre"], rtol=0, atol=1e-12)


@pytest.mark.parametrize("hook", ["attn.hook_q", "attn.hook_z", "hook_attn_out", "mlp.hook_pre", "hook_mlp_out"])
def test_an_edit_takes_effect_where_it_says(model, hook):
    name, ids = f"blocks.1.{hook}", models.tokens(2, 7)
    edited = model.edited(edit.zero(name, position=5))
    _, cache = edited.run_with_cache(ids, [name])
    plain = model.run_with_cache(ids, [name])[1][name]
    assert not cache[name][:, 5].any()
    torch.testing.assert_close(cache[name][:, :5], plain[:, :5], rtol=0, atol=0)
    changed = (edited(ids) - model(ids)).abs().amax(-1).amax(0)
    assert not changed[:5].any()
    assert changed[5] > 1e-6


def test_text_is_generated_the_same_with_and_without_a_cache(model):
    cached, again = (model.generate_tokens(IDS[:, :5], 4, use_cache=use) for use in (True, False))
    assert torch.equal(cached, again)


WRONG = {
    "bloom": {"alibi": None},
    "mpt": {"alibi": None},
    "gptj": {"rotaries": (None,) * 3},
    "smollm3": {"rotaries": (models.load("smollm3").spec.rotary,) * 3},
    "granite": {"embedding_scale": 1.0},
    "olmo2": {"joint_query_key_norm": False},
    "olmo3": {"pre_norms": True},
    "phi3": {"windows": (None,) * 3},
    "stablelm-parallel": {"parallel": False},
    "cohere": {"norm": "rms"},
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_fact_is_caught(name, monkeypatch):
    model = models.load(name)
    monkeypatch.setattr(model.weights, "spec", replace(model.spec, **WRONG[name]))
    with pytest.raises(CheckFailedError, match="do not reproduce its logits"):
        interp.check(model)


REFUSED = {
    "after the norm": lambda: transformers.BloomForCausalLM(
        transformers.BloomConfig(
            vocab_size=64, hidden_size=16, n_layer=1, n_head=2, apply_residual_connection_post_layernorm=True
        )
    ),
    "ALiBi": lambda: models._falcon(alibi=True),
    "a norm after the sum": lambda: transformers.OPTForCausalLM(
        transformers.OPTConfig(
            vocab_size=64, hidden_size=16, ffn_dim=16, num_hidden_layers=1, num_attention_heads=2,
            word_embed_proj_dim=16, do_layer_norm_before=False,
        )
    ),
    "clipping": lambda: transformers.MptForCausalLM(
        transformers.MptConfig(vocab_size=64, d_model=16, n_layers=1, n_heads=2, attn_config={"clip_qkv": 1.0})
    ),
    "LayerNorm of queries and keys": lambda: transformers.StableLmForCausalLM(
        transformers.StableLmConfig(**models._SHAPE | {"hidden_size": 32}, qk_layernorm=True)
    ),
}  # fmt: skip


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_not_written_out_is_refused_by_name(text):
    with pytest.raises(UnsupportedModelError, match=f"{text}.* is not supported"):
        interp.load(REFUSED[text]())


@pytest.mark.parametrize("name", ["cohere", "falcon-grouped"])
def test_a_bridge_that_computes_something_else_is_refused(name):
    with pytest.raises(UnsupportedModelError, match=r"transformer_lens (cannot take|does not compute what) this"):
        _ = models.load(name).bridge


def test_a_bridge_that_agrees_is_given():
    model = models.load("bloom")
    torch.testing.assert_close(model.bridge(IDS), model(IDS), rtol=1e-4, atol=1e-4)
