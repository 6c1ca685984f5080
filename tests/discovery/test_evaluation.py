"""Choosing and judging: what a circuit is worth, with its controls, and that everything saves and loads."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from interp import discovery, results, tasks
from interp.discovery.curve import SIZES, trapezoid
from interp.discovery.graph import Graph
from interp.errors import DamagedFileError, UsageError
from tests import models
from tests.discovery import planted


@pytest.fixture(scope="module")
def random_model():
    return models.load("llama", dtype=torch.float64)


@pytest.fixture(scope="module")
def pairs(random_model):
    return tasks.induction(random_model, n=8, seed=0, length=6)


@pytest.fixture(scope="module")
def scores(random_model, pairs):
    return discovery.score(random_model, pairs, "secant")


def test_the_weights_of_the_published_sizes():
    """85 % of both areas sits at sizes from 20 % up; a ranking that carries nothing scores .25 and .75."""
    weights = trapezoid(np.array(SIZES))
    assert weights[-3:].sum() == pytest.approx(0.85, abs=1e-3)
    assert np.allclose(weights[-4:], [0.075, 0.2, 0.4, 0.25])
    nothing = np.zeros((10, 3))
    nothing[-1] = 1.0
    curve = discovery.Curve(
        "none", "none", SIZES, np.zeros((10, 3, 2), int), nothing, nothing, nothing, np.ones(3), np.zeros(3), 1000
    )
    assert curve.cpr == pytest.approx(0.25, abs=1e-3) and curve.cmd == pytest.approx(0.75, abs=2e-3)
    assert curve.log_area["cpr"] < 0.1


def test_all_edges_are_the_model_and_none_the_counterfactual(random_model, pairs, scores):
    every = discovery.circuit(scores, share=1.0)
    assert every.size == scores.graph.n_edge
    score = pairs.score(random_model)
    for outside in ("counterfactual", "mean", "zero"):
        assert np.allclose(every.run(random_model, pairs, outside=outside), score.clean, atol=1e-9)
    assert np.allclose(every.complement.run(random_model, pairs), score.counterfactual, atol=1e-9)
    zero = every.complement.run(random_model, pairs, outside="zero")
    assert np.allclose(zero, zero[0]) or len(set(map(tuple, pairs.right[:, None].tolist()))) > 1
    mean = every.complement.run(random_model, pairs, outside="mean")
    assert not np.allclose(mean, score.counterfactual, atol=1e-3)


def test_edges_at_single_positions(tmp_path, random_model, pairs):
    """All of them are the model; fewer, at the positions that matter, suffice in a planted model; they load back."""
    scores = discovery.score(random_model, pairs, "secant", by_position=True)
    every = discovery.circuit(scores, share=1.0, by_position=True)
    first = int(pairs.differs.any(0).int().argmax())
    assert every.by_position is not None
    assert every.by_position[:, first:].all() and not every.by_position[:, :first].any()
    score = pairs.score(random_model)
    assert np.allclose(every.run(random_model, pairs), score.clean, atol=1e-9)
    assert np.allclose(every.complement.run(random_model, pairs), score.counterfactual, atol=1e-9)
    some = discovery.circuit(scores, share=0.1, by_position=True)
    values = np.abs(some.run(random_model, pairs) - score.clean)
    everywhere = replace(some, by_position=np.repeat(some.included[:, None], every.by_position.shape[1], 1))
    plain = replace(some, by_position=None)
    assert np.allclose(everywhere.run(random_model, pairs), plain.run(random_model, pairs), atol=1e-9)
    assert values.max() > 1e-3 and some.size < some.asked
    assert discovery.judge(random_model, pairs, some, n_controls=3).control.shape == (3,)
    some.save(tmp_path / "circuit")
    for back in (results.load(tmp_path / "circuit"), discovery.Circuit.read(tmp_path / "circuit")):
        assert np.array_equal(back.by_position, some.by_position)
    assert "positions" in some.table().columns
    with pytest.raises(UsageError, match="by_position=True"):
        discovery.circuit(discovery.score(random_model, pairs, "secant"), by_position=True)
    with pytest.raises(UsageError, match="positions of 10 tokens"):
        longer = tasks.induction(random_model, n=2, seed=0, length=8)
        some.run(random_model, longer)


def test_a_position_that_does_not_matter_is_not_in_the_circuit():
    """Negative control: at shifted positions the same edges carry nothing."""
    case = planted.induction()
    model = case.model
    scores = discovery.score(model, case.task, "secant", by_position=True)
    result = discovery.circuit(scores, n=2 * len(case.wiring), by_position=True, by="absolute")
    clean, other = (scores.clean.mean(), scores.corrupted.mean())
    share = (result.run(model, case.task).mean() - other) / (clean - other)
    assert share > 0.9
    assert result.by_position is not None
    shifted = replace(result, by_position=np.roll(result.by_position, 1, axis=1))
    assert (shifted.run(model, case.task).mean() - other) / (clean - other) < 0.3


def test_a_control_is_taken_over(random_model, pairs, scores):
    other = discovery.score(random_model, pairs, "eap")
    first = discovery.faithfulness(random_model, pairs, scores)
    again = discovery.faithfulness(random_model, pairs, other)
    taken = discovery.faithfulness(random_model, pairs, other, control=first)
    assert taken == again
    with pytest.raises(UsageError, match="same pairs, sizes and seed"):
        discovery.faithfulness(random_model, pairs, other, control=first, seed=3)


def test_dangling_edges_are_dropped_without_a_change(random_model, pairs, scores):
    chosen = np.zeros(scores.graph.n_edge, bool)
    chosen[np.random.default_rng(0).choice(scores.graph.n_edge, 60, replace=False)] = True
    connected = scores.graph.connected(chosen)
    assert 0 < connected.sum() < 60
    both = discovery.evaluate(random_model, scores.graph, pairs, [~chosen, ~connected])
    assert np.allclose(both[0], both[1], atol=1e-9)


def test_a_curve_with_its_control_saves_and_draws(tmp_path, random_model, pairs, scores):
    first, second = pairs.split(by="pair")
    curve = discovery.faithfulness(random_model, second, discovery.score(random_model, first, "exact"))
    assert curve.f[-1] == pytest.approx(1.0) and curve.random[-1] == pytest.approx(1.0)
    low, high = curve.f_interval
    assert (low <= curve.f + 1e-9).all() and (curve.f <= high + 1e-9).all()
    assert curve.counts[-1, 0].tolist() == [scores.graph.n_edge, int(scores.graph.weight.sum())]
    assert discovery.Curve.load(curve.save(tmp_path / "curve")) == curve
    assert "random" in curve.table().caption and curve.figure().alt
    with pytest.raises(UsageError, match="ascending"):
        discovery.faithfulness(random_model, second, scores, sizes=(0.5, 0.1))
    with pytest.raises(UsageError, match="another architecture"):
        discovery.faithfulness(models.load("neox"), second, scores)


@pytest.mark.parametrize("grouped", [True, False])
def test_circuit_json_loads_back(tmp_path, random_model, pairs, grouped):
    scores = discovery.score(random_model, pairs, "eap", grouped=grouped)
    result = discovery.circuit(scores, 0.3, by="greedy")
    folder = result.save(tmp_path / "circuit")
    assert results.load(folder) == result
    again = discovery.Circuit.read(folder / "circuit.json")
    assert np.array_equal(again.included, result.included) and set(again.edges) == set(result.edges)
    assert np.allclose(again.scores[again.included], result.scores[result.included])
    assert np.array_equal(again.run(random_model, pairs), result.run(random_model, pairs))
    body = json.loads((folder / "circuit.json").read_text())
    assert len(body["edges"]) == result.counts["ungrouped" if grouped else "edges"]
    body["edges"]["a2.h0->a1.h0<q>"] = {"in_graph": True}
    (folder / "circuit.json").write_text(json.dumps(body))
    with pytest.raises(UsageError, match="against the order"):
        discovery.Circuit.read(folder)
    (folder / "circuit.json").write_text("{}")
    with pytest.raises(DamagedFileError, match="not a circuit"):
        discovery.Circuit.read(folder)


def test_the_smallest_circuit_of_a_planted_model_is_its_wiring_and_passes_every_test(tmp_path):
    case = planted.induction()
    scores = discovery.score(case.model, case.task, "exact")
    result = discovery.smallest(case.model, case.task, scores)
    assert set(result.edges) == case.wiring
    verdict = discovery.judge(case.model, case.task, result, scores=scores, n_controls=30)
    assert verdict.f == pytest.approx(1.0, abs=0.02) and verdict.f_complement == pytest.approx(0.0, abs=0.02)
    assert (verdict.dropped > 0.9).all() and verdict.superfluous == 0
    assert np.median(verdict.control) < 0.2
    assert verdict.stability == 1.0 and "3 pairs are fewer" in verdict.warning
    assert "carry" in verdict.summary() and "do not" not in verdict.summary()
    assert discovery.Verdict.load(verdict.save(tmp_path / "verdict")) == verdict
    worse = discovery.circuit(scores, n=1)
    assert worse.size == 0 and "do not carry" in discovery.judge(case.model, case.task, worse, n_controls=5).summary()


def test_unstable_scores_are_reported(random_model, pairs, scores):
    rng = np.random.default_rng(0)
    noisy = replace(scores, values=rng.standard_normal((150, scores.graph.n_edge)))
    assert noisy.stability(0.1).mean < 0.5 and "overlap" in noisy.stability(0.1).warning
    steady = replace(scores, values=np.repeat(scores.values[:1], 150, 0))
    assert steady.stability(0.1).mean == 1.0 and not steady.stability(0.1).warning


def test_scores_save_and_rank(tmp_path, scores):
    assert discovery.EdgeScores.load(scores.save(tmp_path)) == scores
    (edge, value), *_ = scores.top(3)
    assert scores.edges[edge] == value == scores.array[scores.graph.index(edge)]
    assert abs(value) == np.abs(scores.array).max()
    signed = scores.array[scores.ranking("signed")] * np.sign(scores.total)
    assert (np.diff(signed) <= 1e-12).all()
    assert sum(scores.nodes.values()) == pytest.approx(scores.array.sum())
    with pytest.raises(UsageError, match="unknown"):
        scores.graph.index("L0H9 → logits")
    with pytest.raises(UsageError, match="after"):
        scores.graph.index("L2H0 → L1H0.q")
    with pytest.raises(UsageError, match="share"):
        discovery.circuit(scores, share=0.0)
    with pytest.raises(UsageError, match="give model"):
        discovery.circuit(scores, by="acdc")


def test_a_parallel_model_has_no_edge_from_its_heads_to_its_mlp():
    graph = Graph(2, 2, 2, parallel=True)
    with pytest.raises(UsageError, match="after"):
        graph.index("L0H0 → MLP0")
    assert Graph(2, 2, 2, parallel=False).index("L0H0 → MLP0") >= 0
