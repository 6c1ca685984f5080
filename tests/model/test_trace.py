"""The forward pass written out: the end of a text on the keys and values of its beginning."""

from __future__ import annotations

import pytest
import torch

from interp.model import trace
from tests import models


@pytest.mark.parametrize("name", models.NAMES)
def test_a_run_on_the_end_of_a_text_is_that_of_the_whole(name):
    """With the past of one row shared by a batch; windows, rotation and query/key norms included."""
    model, start = models.load(name, torch.float64), 5
    whole = list(trace.blocks(model.weights, models.tokens(1, 9), folded=False))
    x = whole[0].resid_pre[:, start:].repeat(2, 1, 1)
    for block in whole:
        past = block.attention.key[:, :, :start], block.attention.value[:, :, :start]
        end = trace.run_block(model.weights, block.layer, x, folded=False, past=past)
        # The same sums in float64, in products of another shape.
        torch.testing.assert_close(end.resid_post, block.resid_post[:, start:].repeat(2, 1, 1), rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(end.attention.key[:1], block.attention.key, rtol=1e-12, atol=1e-12)
        x = end.resid_post
    wrong = trace.run_block(model.weights, 1, whole[1].resid_pre[:, start:], folded=False)
    assert (wrong.resid_post - whole[1].resid_post[:, start:]).abs().max() > 1e-3  # without its past it is another


@pytest.mark.parametrize("name", models.NAMES)
def test_attention_write_is_what_the_block_adds(name):
    model = models.load(name, torch.float64)
    block = next(iter(trace.blocks(model.weights, models.tokens())))
    write, _ = trace.attention_write(model.weights, 0, block.attention.z)
    assert torch.equal(write, block.attention.write)
    _, cache = model.run_with_cache(models.tokens(), "blocks.0.hook_attn_out")
    torch.testing.assert_close(write, cache["blocks.0.hook_attn_out"], rtol=1e-10, atol=1e-10)
