"""Mixtures of experts and attention sinks: exact, alike to a dense twin where there is one expert, refused by name."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import transformers

import interp
from interp import edit
from interp.errors import CheckFailedError, UnsupportedModelError, UsageError
from interp.model import trace
from tests import models

IDS = models.tokens(1, 9)


@pytest.mark.parametrize("name", models.EXPERTS)
def test_weights_alone_reproduce_the_logits(name):
    # Rounding as of the dense families of this size: at most 3e-6 over seeds in float32, 3e-15 in float64.
    assert interp.check(models.load(name)).worst < 5e-6
    assert interp.check(models.load(name, torch.float64)).worst < 1e-13


@pytest.mark.parametrize("name", models.EXPERTS)
def test_folded_and_plain_agree_and_a_text_may_begin_in_the_middle(name):
    model, start = models.load(name, torch.float64), 5
    whole = list(trace.blocks(model.weights, IDS, folded=False))
    for folded, plain in zip(trace.blocks(model.weights, IDS), whole, strict=True):
        torch.testing.assert_close(folded.resid_post, plain.resid_post, rtol=1e-12, atol=1e-12)
    x = whole[0].resid_pre[:, start:]
    for block in whole:
        past = block.attention.key[:, :, :start], block.attention.value[:, :, :start]
        x = trace.run_block(model.weights, block.layer, x, folded=False, past=past).resid_post
        torch.testing.assert_close(x, block.resid_post[:, start:], rtol=1e-12, atol=1e-12)


def _all_shares(spec):
    return replace(spec, expert_shares="all" if spec.expert_shares == "chosen" else "chosen")


def _one_expert_less(spec):
    return replace(spec, n_expert_used=spec.n_expert_used - 1)


def _no_limit(spec):
    return replace(spec, activation_limit=None)


@pytest.mark.parametrize(
    ("name", "fault"),
    [(name, fault) for name in models.EXPERTS for fault in (_all_shares, _one_expert_less)] + [("gpt_oss", _no_limit)],
)
def test_a_wrong_fact_is_caught(name, fault, monkeypatch):
    model = models.load(name)
    monkeypatch.setattr(model.weights, "spec", fault(model.spec))
    with pytest.raises(CheckFailedError, match="do not reproduce its logits"):
        interp.check(model)


def test_a_lost_sink_is_caught(monkeypatch):
    model = models.load("gpt_oss")
    raw = model.weights.raw
    monkeypatch.setattr(model.weights, "raw", lambda layer: replace(raw(layer), sinks=None))
    with pytest.raises(CheckFailedError, match="do not reproduce its logits"):
        interp.check(model)


def test_one_expert_is_the_dense_model():
    """Mixtral with one expert is Mistral with that expert as its MLP: the same logits, the same writes."""
    sparse = models.build("mixtral", changed={"num_local_experts": 1, "num_experts_per_tok": 1})
    ours, twin = (interp.load(hf, dtype=torch.float64) for hf in (sparse, models.dense_twin(sparse)))
    torch.testing.assert_close(ours(IDS), twin(IDS), rtol=1e-12, atol=1e-12)
    for one, other in zip(trace.blocks(ours.weights, IDS), trace.blocks(twin.weights, IDS), strict=True):
        torch.testing.assert_close(one.mlp.write, other.mlp.write, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(one.mlp.multiplier[:, :, 0], other.mlp.multiplier, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", models.EXPERTS)
def test_experts_sum_to_the_models_own_write(name):
    model = models.load(name, torch.float64)
    hooks = [f"blocks.{layer}.hook_mlp_out" for layer in range(model.spec.n_layer)]
    _, cache = model.run_with_cache(IDS, hooks)
    for block, hook in zip(trace.blocks(model.weights, IDS), hooks, strict=True):
        routing = block.mlp.routing
        assert routing is not None
        apart = torch.stack([routing.of_expert(expert) for expert in range(model.spec.n_expert)])
        torch.testing.assert_close(apart.sum(0), cache[hook], rtol=1e-12, atol=1e-12)
        running = (apart != 0).any(-1).sum(0)
        assert (running == model.spec.n_expert_used).all()  # the others write nothing
        assert len(routing.chosen.unique()) > model.spec.n_expert_used  # not the same ones everywhere


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_patterns_with_a_sink_are_read_and_edited(dtype):
    """The sink takes its share of every row, is never shown, and an edit of the scores leaves it where it is."""
    model = models.load("gpt_oss", dtype)
    hooks = [f"blocks.1.attn.hook_{kind}" for kind in ("pattern", "attn_scores")]
    logits = model(IDS)
    _, cache = model.run_with_cache(IDS, hooks)
    block = list(trace.blocks(model.weights, IDS))[1]
    mask = block.attention.pattern > 0
    close = dict(rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(cache[hooks[0]], block.attention.pattern, **close)
    torch.testing.assert_close(cache[hooks[1]][mask], block.attention.scores[mask], **close)
    assert (cache[hooks[0]].sum(-1) < 0.99).any()
    same = model.edited(edit.function(hooks[1], lambda scores: scores.clone()))
    torch.testing.assert_close(same(IDS), logits, **close)
    flat = model.edited(edit.function(hooks[1], lambda scores: scores + 1))  # a shift that only a sink can notice
    assert (flat(IDS) - logits).abs().max() > 1e-3


def test_an_expert_is_named_or_refused():
    model = models.load("mixtral")
    assert model.weights.mlp(1, expert=4).W_in.shape == (24, 40)
    with pytest.raises(UsageError, match=r"Layer 1 of mixtral is a mixture of 5 experts.* weights\.mlp\(1, expert=0\)"):
        model.weights.mlp(1)
    with pytest.raises(UsageError, match="Expert 5 does not exist: each layer has experts 0 to 4"):
        model.weights.mlp(1, expert=5)
    with pytest.raises(UsageError, match="Expert 0 does not exist: llama has one MLP in each layer"):
        models.load("llama").weights.mlp(1, expert=0)
    with pytest.raises(UsageError, match="llama has no router"):
        models.load("llama").weights.router(0)


def test_dense_layers_between_mixtures_are_refused():
    hf = models.build("qwen3_moe")
    hf.model.layers[1].mlp = transformers.models.qwen3_moe.modeling_qwen3_moe.Qwen3MoeMLP(hf.config)
    with pytest.raises(UnsupportedModelError, match=r"qwen3_moe: layers without experts \(1\)"):
        interp.load(hf)


def test_clipped_projections_are_refused():
    with pytest.raises(UnsupportedModelError, match="olmoe: clipped queries, keys and values"):
        interp.load(models.build("olmoe", changed={"clip_qkv": 8.0}))


def test_a_gated_activation_of_another_slope_is_refused():
    hf = models.build("gpt_oss")
    for block in hf.model.layers:
        block.mlp.experts.alpha = 1.0
    with pytest.raises(UnsupportedModelError, match=r"swiglu_alpha=1\.0"):
        interp.load(hf)


@pytest.mark.parametrize("name", models.EXPERTS)
def test_the_bridge_computes_the_same_and_says_which_hooks_never_fire(name):
    model, hook = models.load(name), "blocks.1.hook_resid_post"
    plain, stream = model(IDS), model.run_with_cache(IDS, hook)[1][hook]
    torch.testing.assert_close(model.bridge(IDS), plain)
    _, cache = model.run_with_cache(IDS, [hook, "blocks.1.mlp.hook_out"])  # the second is read from the bridge
    torch.testing.assert_close(cache[hook], stream)
    assert cache["blocks.1.mlp.hook_out"].shape == stream.shape
    model.bridge.add_hook(hook, lambda value, hook: value * 1.5)
    assert (model(IDS) - plain).abs().max() > 1e-3  # an intervention added there takes part
    model.bridge.reset_hooks()
    if name != "gpt_oss":  # transformer_lens declares router scores for the others too, but does not compute them
        with pytest.raises(UsageError, match=r"hook_router_scores.* is never computed by this run"):
            model.run_with_cache(IDS, "blocks.1.mlp.hook_router_scores")
