"""Rows of very large norm: counted, shown apart, and without influence on scale, variance or baselines."""

from __future__ import annotations

import pytest
import torch

import saes
from interp.cache import sinks
from interp.errors import UsageError
from saes.training.data import open_source
from saes.training.initial import measure

QUICK = saes.evaluation.Config(baselines=False)
DRAW = torch.Generator().manual_seed(4)
D, N = 12, 2000
USUAL = torch.randn(N, 5, generator=DRAW) @ torch.randn(5, D, generator=DRAW) + torch.randn(D, generator=DRAW)
PLACES = torch.tensor([100, 701, 1500])
WITH = USUAL.clone()
WITH[PLACES] = 400 * torch.randn(D, generator=DRAW)  # three of 2,000, along one direction, as attention sinks are


def config(**more):
    plain = dict(width=24, k=4, steps=60, batch_size=200, lr=3e-3, precision="float32")
    return saes.Config(**(plain | more))


def some():
    return saes.train(config(), USUAL)


def value(result, name):
    return result.score(name).value


def test_sinks_are_identified_by_the_median():
    limit = sinks.limit(WITH)
    assert (~sinks.usual(WITH, limit)).nonzero()[:, 0].tolist() == PLACES.tolist()
    assert sinks.usual(USUAL, sinks.limit(USUAL)).all()
    assert sinks.limit(torch.zeros(4, 2)) == float("inf")


def test_headline_figures_are_those_of_the_usual_rows_and_both_are_shown():
    sae, ordinary = some(), torch.ones(N, dtype=torch.bool)
    ordinary[PLACES] = False
    result, without = saes.evaluate(sae, WITH), saes.evaluate(sae, WITH[ordinary])
    assert value(result, "FVU") == pytest.approx(value(without, "FVU"), rel=1e-9)
    assert [b.fvu for b in result.baselines] == pytest.approx([b.fvu for b in without.baselines], rel=0.2)
    assert result.baselines[1].fvu == pytest.approx(without.baselines[1].fvu, rel=1e-9)  # components need no sample
    out = sae(WITH).double()
    every = (WITH - out).square().sum() / (WITH.double() - WITH.double().mean(0)).square().sum()
    assert value(result, "FVU, sink rows included") == pytest.approx(float(every), rel=1e-5)
    assert value(result, "sink rows") == 3 / N and "3 of 2,000 rows" in result.score("sink rows").why
    assert result.rows == N - 3


def test_without_sinks_the_two_figures_are_one():
    result = saes.evaluate(some(), USUAL, config=QUICK)
    assert value(result, "sink rows") == 0 and result.rows == N
    assert value(result, "FVU, sink rows included") == pytest.approx(value(result, "FVU"), rel=1e-12)


def test_scale_and_variance_of_training_leave_them_out():
    for x in (WITH, USUAL):
        scaling, bias = measure(config(), open_source(config(), x).recent(0), 1, torch.device("cpu"))
        norms = torch.linalg.vector_norm(USUAL * scaling.scale_in, dim=1)
        assert float(norms.mean()) == pytest.approx(D**0.5, rel=0.01)
        assert float(bias.norm()) < 3 * D**0.5
    ruled = WITH.norm(dim=1).mean() / USUAL.norm(dim=1).mean()
    assert ruled > 1.1, "with the sinks the scale would have been another"


def test_the_curve_of_training_is_that_of_the_usual_rows():
    fvu = saes.train(config(), WITH).history["fvu"]
    assert (fvu < 2).all(), "a batch with a sink is not a peak"


def test_max_norm_drops_them_from_training_and_nothing_else():
    dropped = saes.train(config(max_norm=10.0), WITH)
    plain = saes.train(config(), USUAL)
    assert torch.equal(saes.train(config(max_norm=10.0), USUAL).W_dec, plain.W_dec)
    ours, theirs = (saes.evaluate(sae, USUAL, config=QUICK) for sae in (dropped, plain))
    assert value(ours, "FVU") == pytest.approx(value(theirs, "FVU"), rel=0.3)
    ruled = saes.evaluate(saes.train(config(), WITH), USUAL, config=QUICK)
    assert value(ours, "FVU") < value(ruled, "FVU"), "trained on them, the rest is rebuilt worse"
    with pytest.raises(UsageError, match="max_norm=0 must be above zero"):
        config(max_norm=0)


@pytest.mark.parametrize("architecture", ["batchtopk", "jumprelu"])
def test_other_architectures_drop_them_too(architecture):
    sae = saes.train(config(architecture=architecture, max_norm=8.0), WITH)
    assert torch.isfinite(sae.W_dec).all() and value(saes.evaluate(sae, WITH, config=QUICK), "FVU") < 1
