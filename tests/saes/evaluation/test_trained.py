"""An autoencoder trained on planted features finds them; on data without features nothing is claimed."""

from __future__ import annotations

import pytest
import torch

import saes
from interp.coding import packed_dictionary
from saes import Truth

QUICK = saes.evaluation.Config(baselines=False)
D, FEATURES, ROWS, HELD_OUT = 24, 32, 16_384, 4096


@pytest.fixture(scope="module")
def planted():
    """32 features in 24 dimensions, each active in 2 to 15 % of rows; the last rows are not trained on."""
    draw = torch.Generator().manual_seed(12345)  # far from the seeds of training and judging
    directions = packed_dictionary(FEATURES, D, generator=draw)
    active = torch.rand(ROWS + HELD_OUT, FEATURES, generator=draw) < torch.linspace(0.02, 0.15, FEATURES)
    coefficients = active * (0.5 + torch.rand(active.shape, generator=draw))
    return directions, coefficients


def trained(x, steps=800):
    # At least as many latents a row as features are ever active together in most rows; width equal to the truth's.
    config = saes.Config(architecture="topk", width=FEATURES, k=4, steps=steps, batch_size=512, lr=3e-3, seed=0)
    return saes.train(config, x)


def test_planted_features_are_recovered(planted):
    directions, coefficients = planted
    x = coefficients @ directions
    sae = trained(x[:ROWS])
    truth = Truth(directions, coefficients[ROWS:])
    result = saes.evaluate(sae, x[ROWS:], truth=truth, config=QUICK)
    often = result.known.frequency > 0.05
    assert often.sum() > 15
    assert result.known.matched[often].min() > 0.95
    score = result.score("matched cosine, one to one")
    assert score.value > float(score.why.rsplit(" ", 1)[1]) + 0.2  # far above chance
    start = saes.evaluate(trained(x[:ROWS], steps=1), x[ROWS:], truth=truth, config=QUICK)
    assert start.score("matched cosine, one to one").value < score.value - 0.15  # it did not begin at the answer


def test_data_without_features_match_no_better_than_chance(planted):
    directions, coefficients = planted
    noise = torch.randn(ROWS + HELD_OUT, D, generator=torch.Generator().manual_seed(77))
    truth = Truth(directions, coefficients[ROWS:])
    result = saes.evaluate(trained(noise[:ROWS], steps=300), noise[ROWS:], truth=truth, config=QUICK)
    score = result.score("matched cosine, feature to latent")
    # the mean of 32 maxima, each with a deviation of about 0.08: four standard errors
    assert score.value == pytest.approx(float(score.why.rsplit(" ", 1)[1]), abs=4 * 0.08 / FEATURES**0.5)
    assert result.score("recovered above 0.9").value == 0
    firing = result.score("firing F1")
    assert firing.value == pytest.approx(float(firing.why.rsplit(" ", 1)[1]), abs=0.03)
