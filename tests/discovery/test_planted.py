"""On models of known wiring the wired edges score highest, dead heads score 0, and planted edges are recovered."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from interp import discovery
from interp.statistics import auc
from tests.discovery import planted

NAMES = tuple(planted.PLANTED)


@pytest.fixture(scope="module")
def cases():
    return {name: make() for name, make in planted.PLANTED.items()}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("method", "settings"), [("exact", {"direction": "both"}), ("secant", {})])
def test_wired_edges_score_highest_and_dead_heads_score_nothing(cases, name, method, settings):
    case = cases[name]
    assert case.task.score(case.model).able
    scores = discovery.score(case.model, case.task, method, **settings)
    truth = case.truth(scores.graph)
    assert truth.sum() == len(case.wiring)
    assert auc(np.abs(scores.array), truth)[0] >= 0.95
    assert all(scores.nodes[head] == 0 for head in case.dead)
    chance = discovery.score(case.model, case.task, "random", seed=1)
    assert auc(np.abs(chance.array), truth)[0] < 0.9


def test_what_one_sided_and_local_methods_miss(cases):
    """An OR gate hides from single corruption, and a saturated softmax from the gradient; not from the secant."""
    either = cases["or gate"]
    inputs = ["L0H0 → MLP0", "L0H1 → MLP0"]
    noise, both, secant = (
        discovery.score(either.model, either.task, method, **settings)
        for method, settings in (("exact", {}), ("exact", {"direction": "both"}), ("secant", {}))
    )
    for edge in inputs:
        assert abs(noise.edges[edge]) < 0.01 * abs(noise.total)
        assert abs(both.edges[edge]) > 0.4 * abs(both.total) and abs(secant.edges[edge]) > 0.4 * abs(secant.total)
    sharp, edge = cases["saturated"], "embed → L0H0.q"
    eap, star, secant = (discovery.score(sharp.model, sharp.task, method) for method in ("eap", "atp", "secant"))
    assert abs(eap.edges[edge]) < 0.01 * abs(eap.total)
    assert abs(star.edges[edge]) > 0.9 * abs(star.total) and abs(secant.edges[edge]) > 0.9 * abs(secant.total)


@pytest.mark.parametrize("name", NAMES)
def test_the_secant_is_complete_at_the_embedding_and_at_the_logits(cases, name):
    case = cases[name]
    for grouped in (True, False):
        scores = discovery.score(case.model, case.task, "secant", grouped=grouped, by_position=True)
        assert scores.cut() == pytest.approx(scores.total, rel=1e-9)
        at_logits = scores.array[scores.graph.of_reader(len(scores.graph.readers) - 1)].sum()
        assert at_logits == pytest.approx(scores.total, rel=1e-9)
        assert np.allclose(scores.by_position.sum(1), scores.array, atol=1e-9)


def test_circuits_of_the_wiring_carry_the_task_and_acdc_returns_it(cases):
    for name in ("cancelling", "shared key"):
        case = cases[name]
        scores = discovery.score(case.model, case.task, "exact")
        n = len(case.wiring)
        for by, size in (("absolute", n), ("greedy", n)):
            result = discovery.circuit(scores, n=size, by=by)
            assert set(result.edges) == case.wiring, (name, by)
            f = _f(case, result.run(case.model, case.task))
            # what the norm's scale lets through of the edges left out
            assert f == pytest.approx(1.0, abs=0.02), (name, by)
        chosen = discovery.circuit(scores, 1.0, "acdc", model=case.model, task=case.task, threshold=0.05)
        assert set(chosen.edges) == case.wiring, name
        assert _f(case, chosen.complement.run(case.model, case.task)) == pytest.approx(0.0, abs=0.02)


def test_signed_ranking_leaves_out_what_works_against_the_answer(cases):
    case = cases["cancelling"]
    scores = discovery.score(case.model, case.task, "exact")
    signed = discovery.circuit(scores, n=2, by="signed")
    assert set(signed.edges) == {"embed → L0H0.v", "L0H0 → logits"}
    assert _f(case, signed.run(case.model, case.task)) > 5


def test_backup_heads_wake_when_the_primaries_are_gone():
    case, waking = planted.with_backups()
    result = discovery.backups(case.model, case.task, ["L0H0"], k=2)
    truth = np.array([head in waking for head in result.heads])
    assert auc(result.compensation, truth)[0] >= 0.91
    assert auc(np.abs(result.alone), truth)[0] < 0.9  # alone they hardly matter
    assert result.synergy > 1.5
    lone = discovery.synergy(case.model, case.task, ["L0H0", *waking])
    assert lone[0, 1] < -0.5 and lone[1, 2] == pytest.approx(0.0, abs=0.6)


def test_the_fewest_heads_are_those_that_were_planted(cases):
    case = cases["induction"]
    result = discovery.minimal_heads(case.model, case.task, 0.9)
    assert set(result.heads) == {"L0H0", "L1H0"}
    assert result.f >= 0.9 and np.median(result.control) < 0.1
    effects = discovery.head_effects(case.model, case.task)
    assert {name for name, _ in effects.top(2)} == {"L0H0", "L1H0"}
    assert np.isnan(effects.correlation[effects.heads.index("L0H1")]).all()


def _f(case, values: np.ndarray) -> float:
    score = case.task.score(case.model)
    return float((values - score.counterfactual).mean() / (score.clean - score.counterfactual).mean())


def test_cases_are_models_the_toolkit_reproduces(cases):
    import interp

    for case in cases.values():
        assert interp.check(case.model, [torch.as_tensor(case.task.clean)]).worst < 1e-11
