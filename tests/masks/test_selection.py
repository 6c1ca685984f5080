"""Masks have the requested weights: how many, which, among which; SynFlow loses no layer, others do."""

import pytest
import torch
from hypothesis import given, settings, strategies as st

from interp import masks
from interp.errors import UsageError
from interp.toy.networks import flow, perceptron
from tests.masks import networks


@settings(max_examples=30, deadline=None)
@given(st.floats(0, 1), st.integers(0, 1000))
def test_keep_takes_the_given_share_of_the_highest_scores(density, seed):
    scores = masks.random(networks.network(), seed=seed)
    result = masks.keep(scores, density)
    flat, flags = (torch.cat([t[name].flatten(1) for name in scores], dim=1) for t in (scores, result))
    count = flags.sum(1)
    assert (count - density * flat.shape[1] < 1).all()
    assert (count - density * flat.shape[1] > -1e-5).all()
    for row, flag in zip(flat, flags.bool(), strict=True):
        if flag.any() and not flag.all():
            assert row[flag].min() >= row[~flag].max()


def test_every_network_may_have_its_own_density():
    result = masks.keep(masks.random(networks.network()), torch.tensor([0.1, 0.5]))
    assert torch.allclose(masks.density_of(result), torch.tensor([0.1, 0.5], dtype=torch.float64), atol=0.01)


def test_what_is_out_stays_out():
    weights = networks.network()
    among = masks.keep(masks.random(weights, seed=1), 0.3)
    result = masks.keep(masks.magnitude(weights), 0.2, among=among)
    assert all((result[name] <= among[name]).all() for name in result)
    assert torch.allclose(masks.density_of(result), torch.full((2,), 0.2, dtype=torch.float64), atol=0.01)
    # More is asked for than remains: all of it remains, and nothing comes back.
    assert torch.equal(masks.keep(masks.magnitude(weights), 0.9, among=among)["1.weight"], among["1.weight"])


def test_within_tensors_every_tensor_has_the_density():
    result = masks.keep(masks.magnitude(networks.network()), 0.25, scope="tensor")
    assert all(abs(float(mask[0].mean()) - 0.25) < 0.03 for mask in result.values())


def test_bad_settings_are_one_sentence():
    scores = masks.magnitude(networks.network())
    with pytest.raises(UsageError, match=r"density is 1\.5"):
        masks.keep(scores, 1.5)
    with pytest.raises(UsageError, match='nearest is "tensor"'):
        masks.keep(scores, 0.5, scope="tensors")
    with pytest.raises(UsageError, match="score is NaN"):
        masks.keep({**scores, "0.weight": scores["0.weight"] * float("nan")}, 0.5)
    with pytest.raises(UsageError, match="rounds is 0"):
        masks.prune(networks.network(), masks.magnitude, density=0.5, rounds=0)
    with pytest.raises(UsageError, match=r"names \"9\.weight\""):
        masks.train(networks.network(), networks.loss, steps=1, lr=0.1, mask={"9.weight": torch.ones(1)})


def test_synflow_retains_every_layer_where_magnitude_snip_and_one_round_lose_one():
    sizes = (64, 128, 128, 128, 128, 10)
    weights = perceptron(sizes, (0, 1, 2), bias=False, gain=2.0)
    x, label = torch.randn(1, 64, 64, generator=torch.Generator().manual_seed(0)), torch.arange(64) % 10

    def loss(w):
        logits = networks.run_perceptron(w, x, activation="relu")
        return (
            torch.nn.functional.cross_entropy(logits.flatten(0, 1), label.repeat(len(logits)), reduction="none")
            .view(len(logits), -1)
            .mean(1)
        )

    def collapsed(score, rounds):
        return masks.empty_tensors(masks.prune(weights, score, density=0.001, rounds=rounds)).any(1)

    assert not collapsed(lambda w: masks.synflow(w, flow), 30).any()
    assert collapsed(masks.magnitude, 1).all()
    assert collapsed(lambda w: masks.snip(w, loss), 1).all()
    assert collapsed(lambda w: masks.synflow(w, flow), 1).all()


UNITS = {"hidden": (("0.weight", 1), ("0.bias", 1), ("1.weight", 2))}


def test_units_score_the_sum_of_their_weights_and_go_whole():
    weights = networks.network(bias=True)
    scores = masks.unit_scores(masks.magnitude(weights), UNITS)
    by_hand = weights["0.weight"].abs().sum(2) + weights["0.bias"].abs() + weights["1.weight"].abs().sum(1)
    assert torch.allclose(scores["hidden"], by_hand)
    chosen = masks.keep(scores, 0.25)
    spread = masks.spread(chosen, UNITS, weights)
    gone = chosen["hidden"] == 0
    assert (gone.sum(1) == 12).all()
    assert (spread["0.weight"][gone] == 0).all()
    assert (spread["1.weight"].transpose(1, 2)[gone] == 0).all()
    assert (spread["0.weight"][~gone] == 1).all()
    assert (spread["2.weight"] == 1).all()


def test_training_leaves_masked_weights_at_zero_and_lowers_the_loss_of_the_rest():
    weights = networks.network()
    mask = masks.keep(masks.random(weights), 0.5)
    trained = masks.train(weights, networks.loss, steps=60, lr=0.01, mask=mask)
    assert all((trained[name][mask[name] == 0] == 0).all() for name in mask)
    assert (networks.loss(trained, 999) < networks.loss(masks.apply(weights, mask), 999)).all()
    alone = masks.train(
        {n: w[1:] for n, w in weights.items()},
        networks.loss,
        steps=60,
        lr=0.01,
        mask={n: m[1:] for n, m in mask.items()},
    )
    assert all(torch.allclose(alone[name][0], trained[name][1], atol=1e-5) for name in alone)


def test_the_smallest_mask_reaches_the_loss_and_one_weight_less_does_not():
    scores = {"w": torch.rand(3, 5, 7, generator=torch.Generator().manual_seed(0))}

    def loss(mask):
        return 1 - mask["w"].flatten(1).mean(1)

    result = masks.smallest(scores, loss, torch.tensor([0.0, 0.5, 1.0]))
    # Of 35 weights: all, half rounded up, and the one that the smallest density above 0 keeps.
    assert result["w"].flatten(1).sum(1).tolist() == [35, 18, 1]
