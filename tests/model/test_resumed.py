"""A run that begins at a later block gives what the whole run does, with the edits of later blocks alone."""

from __future__ import annotations

import pytest
import torch

from interp import edit
from interp.model import capture
from tests import models


@pytest.mark.parametrize("name", models.NAMES)
def test_a_resumed_run_is_the_whole_run(name):
    model, tokens = models.load(name), models.tokens(3, 6, seed=0)
    ones, before = torch.ones(model.spec.d_model), "blocks.2.hook_resid_pre"
    model = model.edited(edit.add("blocks.1.hook_resid_post", ones), edit.add(before, ones))
    _, cache = model.run_with_cache(tokens, before)
    resumed, twice = model.resumed(2, cache[before]), tokens.repeat(2, 1)
    wanted = model(tokens).repeat(2, 1, 1)
    assert torch.equal(resumed(twice), wanted)  # the same products in the same order
    assert torch.equal(resumed(torch.zeros_like(twice)), wanted)  # whatever the earlier blocks would have read
    hook = "blocks.2.attn.hook_pattern"
    assert torch.allclose(resumed.run_with_cache(tokens, hook)[1][hook], model.run_with_cache(tokens, hook)[1][hook])
    ends = torch.tensor([5, 3, 4])
    # logits of fewer rows are another product, of the same numbers
    assert torch.allclose(capture.logits(model, tokens, at=ends), model(tokens)[torch.arange(3), ends], atol=1e-6)
    assert all("forward" not in vars(block) for block in model.parts.blocks)
    assert not torch.equal(model(twice), model(torch.zeros_like(twice)))


@pytest.mark.parametrize("name", models.NAMES + models.MORE_NAMES)
def test_the_stream_that_leaves_the_last_block_gives_the_logits(name):
    model, tokens = models.load(name, dtype=torch.float64), models.tokens(2, 5, seed=0)
    last = f"blocks.{model.spec.n_layer - 1}.hook_resid_post"
    ones = torch.ones(model.spec.d_model)
    edited = model.edited(edit.add("blocks.0.hook_resid_post", ones), edit.add(last, ones))
    for one in (model, edited):  # the edits are in the stream, and are not made again
        stream = one.run_with_cache(tokens, last)[1][last].flatten(0, 1)
        logits = capture.unembedded(one, stream)
        torch.testing.assert_close(logits, one(tokens).flatten(0, 1), rtol=1e-12, atol=1e-12)  # products of other rows
    assert (capture.unembedded(model, stream + torch.arange(model.spec.d_model)) - logits).abs().max() > 1e-3
    assert all("forward" not in vars(block) for block in model.parts.blocks)
