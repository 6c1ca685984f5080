"""A set evaluated in one call: each FVU is the one that evaluating its dictionary alone gives."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import saes
from interp import cache, results
from interp.errors import UsageError
from tests import models

CONFIG = saes.Config(width=24, k=4, steps=12, batch_size=32, lr=3e-3, variant="transcoder", dead_after=5, skip=True)
MLP = tuple(f"blocks.{layer}.{end}" for layer in range(3) for end in ("mlp.hook_in", "hook_mlp_out"))


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    config = cache.Config((*MLP, "blocks.1.hook_resid_post"), context=12)
    folder = tmp_path_factory.mktemp("acts") / "store"
    return cache.harvest(models.load("llama"), models.tokens(40, 12), config, folder)


def test_each_fvu_is_that_of_the_dictionary_alone(store, tmp_path):
    """Sums of the same float64 products in batches of another size: 1e-9."""
    transcoders = saes.train_set(CONFIG, store, "blocks.*.mlp")
    stream = saes.train(replace(CONFIG, variant="autoencoder", skip=False), store.select(("blocks.1.hook_resid_post",)))
    result = saes.evaluate_set(saes.DictionarySet([*transcoders.values(), stream]), store)
    assert result.layers.tolist() == [0, 1, 1, 2]
    config = saes.evaluation.Config(baselines=False)
    for sae in (*transcoders.values(), stream):
        alone, row = saes.evaluate(sae, store, config=config), result.hooks.index(sae.writes[0])
        for key, values in (
            ("fvu", result.fvu[row]),
            ("l0", result.l0[row : row + 1]),
            ("dead_latents", result.dead[row : row + 1]),
        ):
            score = alone.score(key)
            expected = [score.value, score.low, score.high][: len(values)]
            np.testing.assert_allclose(values, expected, rtol=1e-9)
    assert results.load(result.save(tmp_path)) == result
    assert len(result.table().rows) == 4
    assert result.figure().table.rows


def test_a_layer_is_reconstructed_by_all_parts_of_a_cross_layer_transcoder(store):
    """Against the sum of the parts' own reconstructions; one part alone leaves more (the control)."""
    made = saes.train_set(replace(CONFIG, variant="crosslayer", skip=False, steps=60), store, "blocks.*.mlp")
    result = saes.evaluate_set(made, store)
    read = {hook: torch.cat(list(store.batches(64, seed=None, hook=hook))).float() for hook in MLP}
    for layer in range(3):
        y = read[f"blocks.{layer}.hook_mlp_out"]
        parts = [
            made[f"blocks.{i}.mlp.hook_in"](read[f"blocks.{i}.mlp.hook_in"])[:, layer - i] for i in range(layer + 1)
        ]
        variance = (y - y.mean(0)).square().sum()
        assert result.fvu[layer, 0] == pytest.approx(float((y - sum(parts)).square().sum() / variance), rel=1e-4)
    assert result.fvu[2, 0] < float((y - parts[-1]).detach().square().sum() / variance)
    some = saes.evaluate_set(made.select(layers=[0, 1]), store)
    assert some.hooks == result.hooks
    assert some.l0[2] == 0


def test_refusals(store):
    with pytest.raises(UsageError, match="no dictionary to evaluate"):
        saes.evaluate_set(saes.DictionarySet([]), store)
    made = saes.train_set(CONFIG, store, "blocks.*.mlp")
    with pytest.raises(UsageError, match="The store lacks blocks"):
        saes.evaluate_set(made, store.select(MLP[:4]))
