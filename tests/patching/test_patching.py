"""Patching: what must come back comes back, what cannot does not, and hooks on the bridge agree."""

import numpy as np
import pytest
import torch

from interp import attribution, patching
from interp.errors import UsageError
from interp.results import load
from tests import models

# Two float32 runs of the same arithmetic in batches of different size differ by a few units in the last place.
TOLERANCE = 1e-4


@pytest.fixture(params=models.NAMES, scope="module")
def model(request):
    return models.load(request.param)


@pytest.fixture
def prompts(model):
    """Two prompts that differ in their third token only."""
    generator = torch.Generator().manual_seed(0)
    clean = torch.randint(0, model.spec.d_vocab, (1, 7), generator=generator)
    corrupted = clean.clone()
    corrupted[0, 2] = (clean[0, 2] + 1) % model.spec.d_vocab
    return clean, corrupted


def test_the_stream_carries_everything_that_differs(model, prompts):
    clean, corrupted = prompts
    target = attribution.logit_difference(model, 3, 5)
    found = patching.patch_residual(model, clean, corrupted, target)
    logits = model(clean)[0, -1]
    assert found.clean == pytest.approx(float(logits[3] - logits[5]), abs=TOLERANCE)
    # The only difference enters at position 2: restoring it there restores the run, and before it nothing is restored.
    assert found.recovered[0, 2] == pytest.approx(1, abs=TOLERANCE)
    assert np.abs(found.recovered[:, :2]).max() < TOLERANCE
    assert np.abs(found.recovered[0, 3:]).max() < TOLERANCE
    # What leaves the last block at the target's position is the prediction; at no other position does it matter.
    assert found.recovered[-1, -1] == pytest.approx(1, abs=TOLERANCE)
    assert np.abs(found.recovered[-1, :-1]).max() < TOLERANCE


def test_patched_heads_agree_with_hooks(model, prompts):
    clean, corrupted = prompts
    # A logit that differs between the runs: under a softcap many sit at the cap in both.
    token = int((model(clean) - model(corrupted))[0, -1].abs().argmax())
    found = patching.patch_heads(model, clean, corrupted, attribution.logit(model, token))
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
    assert found.array[layer, head] == pytest.approx(float(hooked[0, -1, token]), abs=TOLERANCE)
    assert abs(found.array[layer, head] - found.corrupted) > TOLERANCE


def test_saved_and_drawn(model, prompts, tmp_path):
    target = attribution.logit(model, 3)
    found = patching.patch_residual(model, *prompts, target)
    found.save(tmp_path)
    assert load(tmp_path) == found
    assert "recovered" in found.table().to_html()
    assert found.figure().caption


def test_refusals(model, prompts):
    clean, corrupted = prompts
    target = attribution.logit(model, 3)
    with pytest.raises(UsageError, match="same length"):
        patching.patch_residual(model, clean, corrupted[:, :-1], target)
    with pytest.raises(UsageError, match="nothing to recover"):
        patching.patch_heads(model, clean, clean, target)
    with pytest.raises(UsageError, match="outside the prompts"):
        patching.patch_heads(model, clean, corrupted, attribution.logit(model, 3, position=9))
