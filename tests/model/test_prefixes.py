"""Prefixes that rows share are computed once, with the values that whole rows have."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from interp import edit
from interp.model import prefixes as shared
from interp.model.prefixes import Prefixes, run_prefixes
from tests import models

ROUNDING = 1e-5
"""Relative, float32: matrix products of other shapes sum in another order."""


def rows() -> tuple[torch.Tensor, torch.Tensor]:
    """Seven rows of 3 to 9 tokens; six share their first three tokens, three of them six, and one stands alone."""
    tokens = models.tokens(7, 9)
    tokens[1:6, :3] = tokens[0, :3]
    tokens[2:4, :6] = tokens[0, :6]
    return tokens, torch.tensor([9, 9, 7, 8, 3, 5, 9])


@pytest.mark.parametrize("name", models.NAMES + models.MORE_NAMES)
def test_equal_whole_rows(name):
    model = models.load(name)
    tokens, lengths = rows()
    prefixes = Prefixes.of(tokens, lengths)
    assert len(prefixes) < int(lengths.sum()) - 10
    hooks = ("blocks.0.hook_resid_pre", "blocks.1.hook_attn_out", f"blocks.{model.spec.n_layer - 1}.hook_resid_post")
    result, log_probs = run_prefixes(model, prefixes, hooks, log_probs=True)
    assert log_probs is not None
    alone, nothing = run_prefixes(model, prefixes, hooks[:2])  # stops before the last block
    assert nothing is None and torch.equal(alone[hooks[1]], result[hooks[1]])
    for row, n, nodes in zip(tokens, lengths.tolist(), prefixes.nodes, strict=True):
        _, expected = model.run_with_cache(row[None, :n], hooks)
        for hook in hooks:
            error = (result[hook][nodes[:n]] - expected[hook][0]).abs().max()
            assert error <= ROUNDING * expected[hook].abs().max(), (name, hook)
        each = model(row[None, :n])[0].log_softmax(-1)[:-1].gather(1, row[1:n, None])[:, 0]
        torch.testing.assert_close(log_probs[nodes[1:n]], each, rtol=1e-4, atol=1e-4)
    assert not log_probs[prefixes.nodes[:, 0]].any()


def test_prefixes_are_distinct_and_ordered():
    tokens, lengths = rows()
    prefixes = Prefixes.of(tokens, lengths)
    every = {tuple(row[:t].tolist()) for row, n in zip(tokens, lengths.tolist(), strict=True) for t in range(1, n + 1)}
    assert len(prefixes) == len(every)
    offsets = torch.tensor([0, *map(len, prefixes.ids)]).cumsum(0)
    for row, n, nodes in zip(tokens, lengths.tolist(), prefixes.nodes, strict=True):
        for t in range(n):
            at = int(nodes[t] - offsets[t])
            assert prefixes.ids[t][at] == row[t]
            assert t == 0 or prefixes.parents[t][at] == nodes[t - 1] - offsets[t - 1]


def test_what_depends_on_more_than_a_prefix_is_not_shared():
    model = models.load("llama")
    assert shared.can_share(model, 9)
    assert not shared.can_share(model.edited(edit.zero("blocks.0.hook_mlp_out")), 9)
    model.bridge.blocks[0].hook_resid_post.add_hook(lambda value, hook: value)
    assert not shared.can_share(model, 9)
    model = models.load("llama")
    model.spec = replace(model.spec, rotaries=tuple(replace(r, fixed_to=8) for r in model.spec.rotaries if r))
    assert shared.can_share(model, 8) and not shared.can_share(model, 9)
