"""Direct contributions: they sum to the target, each is what an independent computation gives, and none is invented."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import interp
from interp import results
from interp.attribution import by_source, direct, direction, freeze, logit, logit_difference
from interp.attribution.results import conserved
from interp.errors import CheckFailedError, UsageError
from tests import models

IDS = models.tokens(1, 9)
PROMPT = "The Eiffel Tower is located in the city of"


@pytest.fixture(scope="module")
def frozen():
    """Every family in float64, frozen on one prompt."""
    return {name: freeze(models.load(name, torch.float64), IDS) for name in models.NAMES}


@pytest.mark.parametrize("position", [-1, 0, 4])
@pytest.mark.parametrize("name", models.NAMES)
def test_contributions_sum_to_the_models_own_value(name, position, frozen):
    run = frozen[name]
    logits = run.model(IDS)[0, position]
    for target, value in (
        (logit(run.model, 7, position), logits[7]),
        (logit_difference(run.model, 7, 40, position), logits[7] - logits[40]),
    ):
        result = direct(run, target)
        assert result.value == pytest.approx(float(value), rel=1e-14)
        # About 25 terms of size one in float64.
        assert float(result.values.sum()) == pytest.approx(float(value), rel=1e-11, abs=1e-11)
        assert result.total == pytest.approx(float(value), rel=1e-11, abs=1e-11)
        assert result.error < 1e-11
        assert len(result.labels) == len(result.array) == len(result.kinds) == len(result.layers) == len(result.heads)


@pytest.mark.parametrize("name", models.NAMES)
def test_float32_sums_too(name):
    model = models.load(name)
    result = direct(freeze(model, IDS), logit_difference(model, 7, 40))
    assert result.error < 1e-5
    assert result.array.dtype == np.float32


@pytest.mark.parametrize("name", ["llama", "mistral", "qwen2", "qwen3", "gpt2", "neox", "neox-sequential"])
def test_a_constant_on_every_unembedding_row_moves_every_logit_and_no_difference(name):
    """Log odds do not change, so no contribution to them may; a single logit's do (the control).

    Not for tied embeddings, which would move too, nor under a softcap.
    """
    model = models.load(name, torch.float64)
    run = freeze(model, IDS)
    before = direct(run, logit_difference(model, 7, 40)), direct(run, logit(model, 7))
    generator = torch.Generator().manual_seed(3)
    model.hf.get_output_embeddings().weight.data += torch.randn(1, 24, dtype=torch.float64, generator=generator)
    run = freeze(model, IDS)
    after = direct(run, logit_difference(model, 7, 40)), direct(run, logit(model, 7))
    np.testing.assert_allclose(after[0].array, before[0].array, rtol=1e-10, atol=1e-10)
    assert np.abs(after[1].array - before[1].array).max() > 0.01


@pytest.mark.parametrize("name", models.NAMES)
def test_swapping_the_tokens_turns_every_sign(name, frozen):
    model = frozen[name].model
    one = direct(frozen[name], logit_difference(model, 7, 40))
    other = direct(frozen[name], logit_difference(model, 40, 7))
    np.testing.assert_allclose(one.array, -other.array, rtol=1e-12, atol=1e-13)


def test_permuting_heads_permutes_their_contributions():
    """Relabelling the heads of a layer, in every matrix, is the same model: only the labels may move."""
    hf, moved = models.build("llama").double(), models.build("llama").double()
    order = [1, 0, 3, 2]  # within each key-value group
    attention = moved.model.layers[1].self_attn
    for name in ("weight", "bias"):
        query = getattr(attention.q_proj, name).data
        query.copy_(query.unflatten(0, (4, 8))[order].flatten(0, 1))
    attention.o_proj.weight.data.copy_(attention.o_proj.weight.data.unflatten(1, (4, 8))[:, order].flatten(1))
    result = []
    for one in (hf, moved):
        run = freeze(interp.load(one), IDS)
        result.append(direct(run, logit(run.model, 7)).by_head())
    np.testing.assert_allclose(result[1][1], result[0][1][order], rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(result[1][[0, 2]], result[0][[0, 2]], rtol=1e-10, atol=1e-12)
    assert np.abs(result[1][1] - result[0][1]).max() > 1e-3


def test_a_component_that_writes_nothing_contributes_nothing():
    hf = models.build("gpt2").double()
    hf.transformer.h[1].mlp.c_proj.weight.data.zero_()
    hf.transformer.h[2].attn.c_proj.weight.data.unflatten(0, (4, 6))[3] = 0
    model = interp.load(hf)
    result = dict(direct(freeze(model, IDS), logit(model, 3)).top(99))
    assert result["MLP1"] == result["L2H3"] == 0
    assert all(value != 0 for name, value in result.items() if name not in ("MLP1", "L2H3"))


def test_by_head_and_by_layer_are_the_same_numbers(frozen):
    result = direct(frozen["gpt2"], logit(frozen["gpt2"].model, 7))
    by_label = dict(zip(result.labels, result.array, strict=True))
    heads = result.by_head()
    assert heads.shape == (3, 4)
    assert all(heads[layer, head] == by_label[f"L{layer}H{head}"] for layer in range(3) for head in range(4))
    names, layers = result.by_layer()
    assert names[:4] == ("embed", "pos_embed", "attention 0", "MLP 0")
    assert names[-1] == "b_U"
    assert layers.sum() == pytest.approx(result.total, rel=1e-12)
    assert layers[names.index("MLP 1")] == pytest.approx(by_label["MLP1"] + by_label["MLP1.b_out"])


@pytest.mark.parametrize("name", models.NAMES)
def test_a_head_split_over_its_sources_sums_to_the_head(name, frozen):
    run = frozen[name]
    for position in (-1, 3):
        target = logit_difference(run.model, 7, 40, position)
        heads = direct(run, target).by_head()
        for layer, head in ((0, 0), (1, 3), (2, 1)):
            split = by_source(run, target, layer, head)
            assert split.total == pytest.approx(heads[layer, head], rel=1e-10, abs=1e-12)
            assert len(split.array) == 9
            assert not split.array[run.position(position) + 1 :].any()  # nothing from the future


@pytest.mark.parametrize("stage", ["resid_pre", "resid_mid", "resid_post"])
@pytest.mark.parametrize("name", models.NAMES)
def test_a_direction_at_any_place_is_read_from_the_models_own_stream(name, stage, frozen):
    run = frozen[name]
    model, vector = run.model, torch.randn(24, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    if stage == "resid_mid" and model.spec.parallel:
        with pytest.raises(UsageError, match="A parallel block has no resid_mid"):
            direction(model, vector, 1, stage=stage)
        return
    for layer in range(3):
        hook = f"blocks.{layer}.hook_{stage}"
        _, cache = model.run_with_cache(IDS, hook)
        result = direct(run, direction(model, vector, layer, 5, stage=stage))
        assert result.total == pytest.approx(float(cache[hook][0, 5] @ vector), rel=1e-11, abs=1e-11)
        assert result.value == pytest.approx(result.total, rel=1e-11, abs=1e-11)
        assert max(result.layers) == (layer - 1 if stage == "resid_pre" else layer)


def test_a_head_that_writes_after_the_target(frozen):
    run = frozen["llama"]
    early = direction(run.model, np.ones(24), 1, stage="resid_pre")
    assert by_source(run, early, 0, 0).total == pytest.approx(direct(run, early).by_head()[0, 0], rel=1e-10)
    with pytest.raises(UsageError, match="L1H0 writes after the direction is read: it contributes nothing"):
        by_source(run, early, 1, 0)


REFUSED = {
    "token id": (lambda m: logit(m, 64), "Token id 64 does not exist: ids run from 0 to 63"),
    "the same token twice": (
        lambda m: logit_difference(m, 7, 7),
        "two tokens of a logit difference are the same: token 7",
    ),
    "text without tokenizer": (lambda m: logit(m, " Paris"), "loaded without a tokenizer"),
    "length": (lambda m: direction(m, torch.ones(23), 0), r"shape \(23,\), but the residual stream \(24,\)"),
    "nan": (lambda m: direction(m, torch.full((24,), torch.nan), 0), "The direction holds a NaN or an infinity"),
    "layer": (lambda m: direction(m, torch.ones(24), 3), "Layer 3 does not exist: the model has layers 0 to 2"),
    "stage": (
        lambda m: direction(m, torch.ones(24), 0, stage="resid"),
        'Unknown stage "resid"; known: resid_pre, resid_mid',
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_targets_that_cannot_be(case):
    call, text = REFUSED[case]
    with pytest.raises(UsageError, match=text):
        call(models.load("llama"))


def test_a_position_or_head_outside(frozen):
    run = frozen["llama"]
    with pytest.raises(UsageError, match="Position 9 is outside the prompt, which has 9 tokens"):
        direct(run, logit(run.model, 7, position=9))
    for layer, head, text in ((3, 0, "Layer 3"), (-1, 0, "Layer -1"), (0, 4, "Head 4"), (0, -1, "Head -1")):
        with pytest.raises(UsageError, match=f"{text} does not exist"):
            by_source(run, logit(run.model, 7), layer, head)


def test_text_targets_name_their_tokens():
    model = models.load("llama", text=True)
    result = direct(freeze(model, model.to_tokens("the tower is in")), logit_difference(model, " Paris", " London"))
    assert result.target == "logit of ' Paris' − ' London'"
    assert result.unit == "logits"


def test_a_sum_that_misses_raises():
    assert conserved(1.0 + 1e-12, 1.0, 0.5, 1e-9, "logit") == pytest.approx(1e-12, rel=1e-3)
    assert conserved(1e-8, 0.0, 100.0, 1e-9, "logit") == 1e-10  # a target that cancels: relative to its terms
    for total, shown in ((1.1, "1.00e-01"), (float("nan"), "nan")):
        with pytest.raises(CheckFailedError, match=f"sum to .*, but the model computes 1: relative error {shown}"):
            conserved(total, 1.0, 0.5, 1e-9, "logit")


def test_saved_is_loaded_and_draws_the_same(frozen, tmp_path):
    run = frozen["gemma2"]
    for name, result in {
        "direct": direct(run, logit_difference(run.model, 7, 40)),
        "source": by_source(run, logit(run.model, 7), 1, 2),
    }.items():
        loaded = results.load(result.save(tmp_path / name))
        assert loaded == result
        assert loaded.table() == result.table()
        assert loaded._repr_html_() == result._repr_html_()


# The real model.


@pytest.mark.real
def test_paris_in_float64(smollm2_double):
    model = smollm2_double
    result = direct(freeze(model, model.to_tokens(PROMPT)), logit_difference(model, " Paris", " London"))
    assert result.total == pytest.approx(8.7623537144, abs=1e-8)
    assert result.error < 1e-12
    assert len(result.labels) == 1 + 30 * (9 + 1)


@pytest.mark.real
def test_paris_in_float32(smollm2):
    frozen = freeze(smollm2, smollm2.to_tokens(PROMPT))
    result = direct(frozen, logit_difference(smollm2, " Paris", " London"))
    theirs = smollm2(frozen.tokens)[0, -1]
    ids = [smollm2.to_single_token(word) for word in (" Paris", " London")]
    assert result.total == pytest.approx(float(theirs[ids[0]] - theirs[ids[1]]), rel=1e-5)


@pytest.mark.real
def test_every_component_of_paris_against_transformers_activations(smollm2_double):
    """Each head, MLP and the embedding from the inputs of `o_proj`, the outputs of `mlp` and the raw weights."""
    model, hf = smollm2_double, smollm2_double.hf
    ids = model.to_tokens(PROMPT)
    result = direct(freeze(model, ids), logit_difference(model, " Paris", " London"))
    seen: dict[str, torch.Tensor] = {}
    handles = [hf.model.norm.register_forward_pre_hook(lambda _, args: seen.__setitem__("last", args[0][0, -1]))]
    for i, block in enumerate(hf.model.layers):
        o_proj = block.self_attn.o_proj
        handles.append(o_proj.register_forward_pre_hook(lambda _, args, i=i: seen.__setitem__(f"z{i}", args[0][0, -1])))
        handles.append(block.mlp.register_forward_hook(lambda _, __, out, i=i: seen.__setitem__(f"mlp{i}", out[0, -1])))
    with torch.no_grad():
        hf(ids, use_cache=False)
        scale = (seen["last"].square().mean() + hf.config.rms_norm_eps).sqrt()
        paris, london = (hf.lm_head.weight[model.to_single_token(word)] for word in (" Paris", " London"))
        reader = (paris - london) * hf.model.norm.weight / scale
        theirs = [float(hf.model.embed_tokens.weight[ids[0, -1]] @ reader)]
        for i, block in enumerate(hf.model.layers):
            z, W_O = seen[f"z{i}"].unflatten(0, (9, 64)), block.self_attn.o_proj.weight.unflatten(1, (9, 64))
            theirs += [float(W_O[:, head] @ z[head] @ reader) for head in range(9)]
            theirs.append(float(seen[f"mlp{i}"] @ reader))
    for handle in handles:
        handle.remove()
    # Terms reach 3 logits; float64 through 30 layers leaves 1e-12 of that.
    np.testing.assert_allclose(result.array, theirs, rtol=1e-9, atol=1e-11)
