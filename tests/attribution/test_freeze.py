"""One input as a linear map: its error, its parts and what it refuses."""

from __future__ import annotations

import pytest
import torch

import interp
from interp.attribution import freeze
from interp.attribution.frozen import bytes_needed
from interp.errors import CheckFailedError, UsageError
from interp.model import trace
from tests import models

IDS = models.tokens(1, 9)


@pytest.mark.parametrize("name", models.NAMES)
def test_the_frozen_logits_are_the_models(name):
    # Bounds of the issue; the errors are near 1e-6 and 1e-15, a few roundings of three layers.
    assert freeze(models.load(name), IDS).error < 1e-5
    assert freeze(models.load(name, torch.float64), IDS).error < 1e-12


@pytest.mark.parametrize("name", models.NAMES)
def test_writes_sum_to_the_stream_and_its_prefixes_to_what_each_block_reads(name):
    model = models.load(name, torch.float64)
    frozen = freeze(model, IDS)
    torch.testing.assert_close(frozen.writes.sum(0), frozen.residual, rtol=1e-12, atol=1e-12)
    for layer in range(model.spec.n_layer):
        hook = f"blocks.{layer}.hook_resid_pre"
        _, cache = model.run_with_cache(IDS, hook)
        read = frozen.writes[: frozen.layout.start(layer)].sum(0)
        torch.testing.assert_close(read, cache[hook][0], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", models.NAMES)
def test_each_component_writes_what_the_models_own_modules_compute(name):
    """Heads, biases and post-norms apart must add up to what each module adds, layer by layer."""
    model = models.load(name, torch.float64)
    frozen, spec = freeze(model, IDS), model.spec
    hooks = [f"blocks.{layer}.hook_{part}_out" for layer in range(spec.n_layer) for part in ("attn", "mlp")]
    _, cache = model.run_with_cache(IDS, hooks)
    for layer in range(spec.n_layer):
        start, mlp, end = (
            f(layer) for f in (frozen.layout.start, frozen.layout.mlp, lambda i: frozen.layout.start(i + 1))
        )
        for part, result in (("attn", frozen.writes[start:mlp]), ("mlp", frozen.writes[mlp:end])):
            torch.testing.assert_close(
                result.sum(0), cache[f"blocks.{layer}.hook_{part}_out"][0], rtol=1e-12, atol=1e-12
            )


@pytest.mark.parametrize("name", models.NAMES)
def test_with_everything_fixed_the_model_is_linear_in_its_embeddings(name):
    """The claim itself: run the frozen map, by its definition, on any other embeddings e; map(a·e) is affine in a."""
    model = models.load(name, torch.float64)
    frozen = freeze(model, IDS)
    generator = torch.Generator().manual_seed(5)
    start = trace.embed(model.weights, IDS)[0]
    other = torch.randn(start.shape, dtype=torch.float64, generator=generator)
    at = {a: _frozen_run(frozen, start + a * other) for a in (0.0, 1.0, 2.0)}
    torch.testing.assert_close(at[0.0], frozen.residual, rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(at[2.0] - at[1.0], at[1.0] - at[0.0], rtol=1e-10, atol=1e-10)
    assert (at[1.0] - at[0.0]).abs().max() > 1
    # The control: the model itself, with nothing fixed, is far from linear.
    free = [_free_run(model, start + a * other) for a in (0.0, 1.0, 2.0)]
    assert (free[2] - 2 * free[1] + free[0]).abs().max() > 0.01


def _frozen_run(frozen, x):
    """The residual stream that leaves the last block, with patterns, scales and multipliers of `frozen`."""
    weights, spec = frozen.model.weights, frozen.model.spec
    for layer, block in enumerate(frozen.blocks):
        attention, mlp = weights.attention(layer), weights.mlp(layer)
        values = torch.einsum("tm,hmd->htd", x / block.attn_scale[:, None], attention.W_V) + attention.b_V[:, None]
        z = block.pattern @ values.repeat_interleave(spec.kv_group, dim=0)
        written = torch.einsum("htd,hdm->tm", z, attention.W_O) + attention.b_O
        if attention.post_gain is not None:
            written = written * attention.post_gain / block.attn_write_scale[:, None]
        middle = x if spec.parallel else x + written
        hidden = (middle / block.mlp_scale[:, None] @ mlp.W_in + mlp.b_in) * block.multiplier
        computed = hidden @ mlp.W_out + mlp.b_out
        if mlp.post_gain is not None:
            computed = computed * mlp.post_gain / block.mlp_write_scale[:, None]
        x = x + written + computed
    return x


def _free_run(model, x):
    x = x[None]
    for layer in range(model.spec.n_layer):
        x = trace.run_block(model.weights, layer, x).resid_post
    return x[0]


@pytest.mark.parametrize("name", models.NAMES)
def test_a_later_token_changes_nothing_before_it(name):
    model = models.load(name, torch.float64)
    changed = IDS.clone()
    changed[0, -1] = (changed[0, -1] + 1) % models.D_VOCAB
    one, other = freeze(model, IDS), freeze(model, changed)
    torch.testing.assert_close(one.writes[:, :-1], other.writes[:, :-1], rtol=1e-12, atol=1e-12)
    assert (one.writes[:, -1] - other.writes[:, -1]).abs().max() > 0.01


def test_patterns_are_causal_and_sum_to_one():
    for block in freeze(models.load("mistral", torch.float64), IDS).blocks:
        torch.testing.assert_close(block.pattern.sum(-1), torch.ones(4, 9, dtype=torch.float64))
        assert not block.pattern.triu(1).any()
        assert not block.pattern.tril(-3).any()  # the sliding window of three tokens


def test_labels_are_tokens_or_their_ids():
    model = models.load("llama", text=True)
    assert freeze(model, model.to_tokens("the tower is")).labels == ("the", " tower", " is")
    assert freeze(models.load("llama"), torch.tensor([[4, 9]])).labels == ("4", "9")


def test_components_are_named_in_writing_order():
    names = freeze(models.load("gpt2"), IDS).layout.names
    block = [f"L0H{head}" for head in range(4)] + ["L0.b_O", "MLP0", "MLP0.b_out"]
    assert names[:9] == ("embed", "pos_embed", *block)
    assert len(names) == 2 + 3 * 7
    assert "L0.b_O" not in freeze(models.load("qwen2"), IDS).layout.names


REFUSED = {
    "two prompts": (lambda m: freeze(m, models.tokens(2)), "Freeze one prompt at a time: the tokens have 2 rows"),
    "too much memory": (
        lambda m: freeze(m, IDS, max_gigabytes=1e-6),
        r"Freezing 9 tokens needs 0\.0 GB, more than max_gigabytes=1e-06: shorten the prompt or pass a larger",
    ),
    "beyond the context": (
        lambda m: freeze(m, models.tokens(1, 41)),
        "has 41 tokens, but llama object reads at most 40",
    ),
    "a position outside": (
        lambda m: freeze(m, IDS).position(9),
        "Position 9 is outside the prompt, which has 9 tokens",
    ),
    "before the start": (lambda m: freeze(m, IDS).position(-10), "Position -10 is outside the prompt"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals(case):
    call, text = REFUSED[case]
    with pytest.raises(UsageError, match=text):
        call(models.load("llama"))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_refused(dtype):
    with pytest.raises(UsageError, match=f"A decomposition in {dtype} would mean nothing: load the model in float32"):
        freeze(models.load("llama", dtype), IDS)


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_not_a_number_in_the_weights(name):
    hf = models.build(name)
    next(iter(hf.parameters())).data[:, 0] = torch.nan
    with pytest.raises(CheckFailedError, match=r"relative error nan.* Is there a NaN in the weights"):
        freeze(interp.load(hf), IDS)


def test_memory_is_counted_before_it_is_needed():
    model = models.load("llama")
    frozen = freeze(model, IDS)
    stored = [frozen.writes, frozen.logits, *(t for block in frozen.blocks for t in (block.pattern, block.multiplier))]
    size = sum(tensor.numel() * tensor.element_size() for tensor in stored)
    assert size <= bytes_needed(model, 9) < 2 * size


@pytest.mark.real
def test_smollm2(smollm2, smollm2_double):
    prompt = "The Eiffel Tower is located in the city of"
    assert freeze(smollm2, smollm2.to_tokens(prompt)).error < 1e-5
    assert freeze(smollm2_double, smollm2.to_tokens(prompt)).error < 1e-12


@pytest.mark.parametrize("name", ["gemma2", "mixtral"])
def test_each_block_is_read_once_and_read_again_by_the_next_call(name, monkeypatch):
    """Reading a block makes dozens of views; an edit of its parameters between two calls must still be seen."""
    model = models.load(name, torch.float64)
    family, reads = model.weights._family, []
    layer = family.layer
    monkeypatch.setattr(family, "layer", lambda hf, index: reads.append(index) or layer(hf, index))
    before = freeze(model, IDS)
    assert sorted(reads) == list(range(model.spec.n_layer))
    norms = [value for key, value in model.hf.named_parameters() if "layers.1" in key and "norm" in key]
    with torch.no_grad():
        for norm in norms:
            norm.add_(0.5)
    try:
        after = freeze(model, IDS)
    finally:
        with torch.no_grad():
            for norm in norms:
                norm.sub_(0.5)
    assert norms
    assert len(reads) == 2 * model.spec.n_layer
    assert after.error < 1e-12
    assert (after.residual - before.residual).abs().max() > 0.01
