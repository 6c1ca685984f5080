"""Patching: what must come back comes back, what cannot does not, and hooks on the bridge agree."""

import numpy as np
import pytest
import torch

from interp import attribution, edit, patching
from interp.errors import CheckFailedError, UsageError
from interp.results import load
from tests import models

# Two float32 runs of the same arithmetic in batches of different size differ by a few units in the last place.
TOLERANCE = 1e-4


@pytest.fixture(params=models.NAMES, scope="module")
def model(request):
    return models.load(request.param)


@pytest.fixture
def prompts():
    """Two prompts that differ in their third token only."""
    clean = torch.randint(0, models.D_VOCAB, (1, 7), generator=torch.Generator().manual_seed(0))
    corrupted = clean.clone()
    corrupted[0, 2] = (clean[0, 2] + 1) % models.D_VOCAB
    return clean, corrupted


def test_the_stream_carries_everything_that_differs(model, prompts):
    clean, corrupted = prompts
    target = attribution.logit_difference(model, 3, 5)
    result = patching.patch_residual(model, clean, corrupted, target)
    logits = model(clean)[0, -1]
    assert result.clean == pytest.approx(float(logits[3] - logits[5]), abs=TOLERANCE)
    # The only difference enters at position 2: restoring it there restores the run, and before it nothing is restored.
    assert result.recovered[0, 2] == pytest.approx(1, abs=TOLERANCE)
    assert np.abs(result.recovered[:, :2]).max() < TOLERANCE
    assert np.abs(result.recovered[0, 3:]).max() < TOLERANCE
    # What leaves the last block at the target's position is the prediction; at no other position does it matter.
    assert result.recovered[-1, -1] == pytest.approx(1, abs=TOLERANCE)
    assert np.abs(result.recovered[-1, :-1]).max() < TOLERANCE


def test_patched_heads_agree_with_hooks(model, prompts):
    clean, corrupted = prompts
    # A logit that differs between the runs: under a softcap many sit at the cap in both.
    token = int((model(clean) - model(corrupted))[0, -1].abs().argmax())
    result = patching.patch_heads(model, clean, corrupted, attribution.logit(model, token))
    layer, head = model.spec.n_layer - 1, 1
    _, cache = model.run_with_cache(clean, [f"blocks.{layer}.attn.hook_z"])
    z = cache[f"blocks.{layer}.attn.hook_z"]

    def swap(value, hook):
        shape = value.shape
        value = value.clone().view_as(z)
        value[:, :, head] = z[:, :, head]
        return value.view(shape)

    with model.bridge.hooks(fwd_hooks=[(f"blocks.{layer}.attn.hook_z", swap)]):
        hooked = model(corrupted)
    assert result.array[layer, head] == pytest.approx(float(hooked[0, -1, token]), abs=TOLERANCE)
    assert abs(result.array[layer, head] - result.corrupted) > TOLERANCE


def test_every_patch_is_that_of_an_edited_run(model, prompts):
    """Layers and positions before, at and behind the first difference; every head of two layers."""
    clean, corrupted = prompts
    target = attribution.logit_difference(model, 3, 5)
    streams, heads = (do(model, clean, corrupted, target) for do in (patching.patch_residual, patching.patch_heads))

    def value(change):
        logits = model.edited(change)(corrupted)[0, -1]
        return float(logits[3] - logits[5])

    for layer, position in ((0, 1), (1, 2), (1, 5), (2, 6)):
        hook = f"blocks.{layer}.hook_resid_pre"
        new = model.run_with_cache(clean, hook)[1][hook]
        assert streams.array[layer, position] == pytest.approx(
            value(edit.replace(hook, new, position=position)), abs=TOLERANCE
        )
    for layer in (0, 2):
        hook = f"blocks.{layer}.attn.hook_z"
        new = model.run_with_cache(clean, hook)[1][hook]
        for head in range(model.spec.n_head):
            assert heads.array[layer, head] == pytest.approx(value(edit.replace(hook, new, head=head)), abs=TOLERANCE)


def test_a_position_before_the_last_can_be_the_target(model, prompts):
    clean, corrupted = prompts
    result = patching.patch_residual(model, clean, corrupted, attribution.logit_difference(model, 3, 5, position=4))
    assert result.recovered[0, 2] == pytest.approx(1, abs=TOLERANCE)
    assert np.abs(result.recovered[:, 5:]).max() == 0


@pytest.mark.parametrize("patch", [patching.patch_residual, patching.patch_heads])
def test_a_model_that_does_not_compute_its_own_weights_is_refused(patch, prompts):
    model = models.load("llama")
    target = attribution.logit_difference(model, 3, 5)
    patch(model, *prompts, target)
    handle = model.hf.model.layers[1].mlp.register_forward_hook(lambda *args: args[2] * 1.5)
    with pytest.raises(CheckFailedError, match="does not compute what its weights say"):
        patch(model, *prompts, target)
    handle.remove()
    model.hf.model.layers[1].mlp.up_proj.weight.data[0, 0] = torch.nan
    with pytest.raises(CheckFailedError, match="a NaN in its weights"):
        patch(model, *prompts, target)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_one_sentence(dtype, prompts):
    model = models.load("llama", dtype)
    with pytest.raises(UsageError, match="load the model in float32 or float64"):
        patching.patch_residual(model, *prompts, attribution.logit(model, 3))


def test_repeated_tokens_have_distinct_labels():
    model = models.load("gpt2", text=True)
    clean, corrupted = (model.to_tokens(text) for text in ("the tower is the tower", "the Paris is the tower"))
    result = patching.patch_residual(model, clean, corrupted, attribution.logit(model, " in"))
    assert result.columns == ("the", " tower (1)", " is", " the", " tower (2)")


def test_saved_and_drawn(model, prompts, tmp_path):
    target = attribution.logit(model, 3)
    result = patching.patch_residual(model, *prompts, target)
    result.save(tmp_path)
    assert load(tmp_path) == result
    assert "recovered" in result.table().to_html()
    assert result.figure().caption


def test_refusals(model, prompts):
    clean, corrupted = prompts
    target = attribution.logit(model, 3)
    with pytest.raises(UsageError, match="same length"):
        patching.patch_residual(model, clean, corrupted[:, :-1], target)
    with pytest.raises(UsageError, match="nothing to recover"):
        patching.patch_heads(model, clean, clean, target)
    with pytest.raises(UsageError, match="Patching measures attribution"):
        patching.patch_heads(model, clean, corrupted, " Paris")
    with pytest.raises(UsageError, match="outside the prompts"):
        patching.patch_heads(model, clean, corrupted, attribution.logit(model, 3, position=9))
