"""Per-head weights against the numbers the model itself computes, read by hooks on the `transformers` modules."""

from __future__ import annotations

import pytest
import torch

from interp.errors import UsageError
from interp.model.arithmetic import norm_scale
from tests import models


def _blocks(model):
    return model.parts.blocks


def _projected(model, ids, layer):
    """(q, k, v) as the model's own projections give them, before rotation and query/key norms: (heads, T, d_head)."""
    spec, block, seen = model.spec, _blocks(model)[layer], {}

    def keep(name):
        return lambda _, __, output: seen.__setitem__(name, output[0])

    fused = getattr(getattr(block, "attn", None), "c_attn", None) or getattr(
        getattr(block, "attention", None), "query_key_value", None
    )
    split = {name: getattr(block.self_attn, f"{name}_proj") for name in "qkv"} if fused is None else {}
    parts = split or {"fused": fused}
    handles = [module.register_forward_hook(keep(name)) for name, module in parts.items()]
    model(ids)
    for handle in handles:
        handle.remove()
    if fused is None:
        counts = {"q": spec.n_head, "k": spec.n_kv_head, "v": spec.n_kv_head}
        return tuple(seen[name].unflatten(-1, (counts[name], -1)).transpose(0, 1) for name in "qkv")
    if spec.family == "gpt2":
        return tuple(part.unflatten(-1, (spec.n_head, -1)).transpose(0, 1) for part in seen["fused"].chunk(3, -1))
    return seen["fused"].unflatten(-1, (spec.n_head, 3, -1)).permute(2, 1, 0, 3).unbind(0)


@pytest.mark.parametrize("name", models.NAMES)
def test_heads_reproduce_the_models_own_queries_keys_and_values(name):
    model, ids, layer = models.load(name, torch.float64), models.tokens(), 1
    weights, spec = model.weights, model.spec
    _, cache = model.run_with_cache(ids, f"blocks.{layer}.hook_resid_pre")
    x = cache[f"blocks.{layer}.hook_resid_pre"][0]
    x = x / norm_scale(x, spec.norm, spec.norm_eps)
    query, key, value = _projected(model, ids, layer)
    for head in range(spec.n_head):
        group = head * spec.n_kv_head // spec.n_head
        ours = [x @ W(layer, head) + b(layer, head) for W, b in (
            (weights.W_Q, weights.b_Q), (weights.W_K, weights.b_K), (weights.W_V, weights.b_V)
        )]  # fmt: skip
        # Sums of 24 terms in float64, and the norm's gain multiplied in another order.
        for mine, theirs in zip(ours, (query[head], key[group], value[group]), strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", models.NAMES)
def test_values_through_W_O_are_what_attention_writes_before_its_post_norm(name):
    model, ids, layer = models.load(name, torch.float64), models.tokens(), 2
    seen = []
    handle = model.parts.attn_output[layer].register_forward_hook(lambda _, __, output: seen.append(output[0]))
    _, cache = model.run_with_cache(ids, [f"blocks.{layer}.attn.hook_z", f"blocks.{layer}.hook_mlp_out"])
    handle.remove()
    z = cache[f"blocks.{layer}.attn.hook_z"][0]
    heads = [z[:, head] @ model.weights.W_O(layer, head) for head in range(model.spec.n_head)]
    written = torch.stack(heads).sum(0) + model.weights.b_O(layer)
    torch.testing.assert_close(written, seen[0], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", models.NAMES)
def test_one_head_at_a_time_is_the_layer_at_once(name):
    model = models.load(name, torch.float64)
    weights, spec, whole = model.weights, model.spec, model.weights.attention(1)
    for head in range(spec.n_head):
        group = head // spec.kv_group
        for one, all_heads, index in (
            (weights.W_Q, whole.W_Q, head), (weights.W_K, whole.W_K, group), (weights.W_V, whole.W_V, group),
            (weights.W_O, whole.W_O, head),
            (weights.b_Q, whole.b_Q, head), (weights.b_K, whole.b_K, group), (weights.b_V, whole.b_V, group),
        ):  # fmt: skip
            torch.testing.assert_close(one(1, head), all_heads[index], rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("name", models.NAMES)
def test_W_O_and_everything_unfolded_are_views(name):
    model = models.load(name)
    storages = {parameter.untyped_storage().data_ptr() for parameter in model.hf.parameters()}
    attention, mlp = model.weights.attention(0, folded=False), model.weights.mlp(0, folded=False)
    views = [model.weights.W_O(0, 1), attention.W_Q, attention.W_K, attention.W_V, attention.W_O, mlp.W_in, mlp.W_out]
    views += [model.weights.unfolded_unembedding[0]] + ([] if mlp.W_gate is None else [mlp.W_gate])
    assert all(view.untyped_storage().data_ptr() in storages for view in views)
    assert model.weights.W_Q(0, 1).untyped_storage().data_ptr() not in storages  # folded: the control
    assert not any(view.requires_grad for view in views)


@pytest.mark.parametrize("name", models.NAMES)
def test_the_constant_direction_is_unread_exactly_by_layer_norm_models(name):
    """LayerNorm's centring is folded in: adding a constant to the residual stream changes no query, key or value."""
    model = models.load(name, torch.float64)
    weights = model.weights
    ones = torch.ones(model.spec.d_model, dtype=torch.float64)
    matrices = [weights.W_Q(1, 1), weights.W_K(1, 1), weights.W_V(1, 1), weights.W_U, weights.mlp(1).W_in]
    read = max(float((ones @ matrix).abs().max()) for matrix in matrices)
    assert read < 1e-13 if model.spec.norm == "layer" else read > 0.1


@pytest.mark.parametrize("name", ["mistral", "qwen3", "gemma", "gemma2", "llama3"])
def test_biases_a_model_lacks_are_zeros_of_the_right_shape(name):
    model = models.load(name, torch.float64)
    weights, spec = model.weights, model.spec
    zeros = {"b_O": (weights.b_O(0), spec.d_model), "b_U": (weights.b_U, spec.d_vocab)}
    if not spec.attention_bias:
        zeros |= {kind: (getattr(weights, kind)(0, 0), spec.d_head) for kind in ("b_Q", "b_K", "b_V")}
    if name == "qwen3":
        zeros.pop("b_O")
    for kind, (bias, width) in zeros.items():
        assert torch.equal(bias, torch.zeros(width, dtype=torch.float64)), kind


@pytest.mark.parametrize("name", models.NAMES)
def test_unembed_columns_are_those_of_the_whole(name):
    weights = models.load(name, torch.float64).weights
    picked = torch.tensor([5, 0, 63, 5])
    columns, bias = weights.unembed(picked)
    torch.testing.assert_close(columns, weights.W_U[:, picked], rtol=1e-14, atol=1e-14)
    torch.testing.assert_close(bias, weights.b_U[picked], rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("name", models.NAMES)
def test_the_first_stream_is_the_embeddings(name):
    model, ids = models.load(name, torch.float64), models.tokens()
    _, cache = model.run_with_cache(ids, "blocks.0.hook_resid_pre")
    ours = model.weights.W_E[ids]
    if model.weights.W_pos is not None:
        ours = ours + model.weights.W_pos[: ids.shape[1]]
    assert (model.weights.W_pos is not None) == (model.spec.positional == "learned")
    assert torch.equal(ours, cache["blocks.0.hook_resid_pre"])


@pytest.mark.parametrize(("layer", "head", "text"), [
    (3, 0, "Layer 3 does not exist: the model has layers 0 to 2"),
    (-1, 0, "Layer -1 does not exist"),
    (0, 4, "Head 4 does not exist: each layer has heads 0 to 3"),
    (0, -1, "Head -1 does not exist"),
])  # fmt: skip
def test_a_layer_or_head_that_is_not_there(layer, head, text):
    weights = models.load("llama").weights
    for read in (weights.W_Q, weights.W_K, weights.W_V, weights.W_O, weights.b_Q, weights.b_K, weights.b_V):
        with pytest.raises(UsageError, match=text):
            read(layer, head)
