"""Planted heads get their scores, and heads that do nothing get none."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from interp import circuits
from interp.circuits import embedding
from tests import models
from tests.circuits import planted


@pytest.fixture(scope="module")
def model():
    return planted.load()


@pytest.fixture(scope="module")
def scores(model):
    return circuits.head_scores(model, n_text=8, length=planted.V)


@pytest.mark.parametrize(("name", "head"), [("previous", (0, 0)), ("induction", (1, 0)), ("first", (1, 1))], ids=str)
def test_the_planted_head_and_no_other_has_the_score(scores, name: str, head: tuple[int, int]) -> None:
    result = scores.of(name)
    # At the first token L0H0 has only itself to look at, so that token answers to its own copy too: of the V queries
    # of the induction head one splits its attention in two.
    assert result[head] == pytest.approx(1 - 0.5 / planted.V if name == "induction" else 1, abs=1e-3)
    others = np.delete(result.ravel(), head[0] * 4 + head[1])
    assert others.max() < 0.35
    assert [named[0] for named in scores.named(name, threshold=0.5)] == [f"L{head[0]}H{head[1]}"]


def test_the_similarity_head_shares_its_attention_between_itself_and_the_copy(scores) -> None:
    # Query and earlier copy hold the same token, so each gets half of what the rest does not get.
    assert scores.duplicate[0, 3] == pytest.approx(0.5, abs=0.01)
    assert np.delete(scores.duplicate.ravel(), 3).max() < 0.2


def test_a_head_that_looks_by_position_is_positional_and_one_that_looks_by_token_is_not(scores) -> None:
    positional = scores.of("positional")
    assert positional[0, 0] > 0.999
    assert positional[1, 1] > 0.999
    # The similarity head shares only its own position on unrelated texts, and the copy at a fixed distance with it.
    assert positional[0, 1] == 0  # spread evenly: nothing to share
    assert positional[1, 3] == 0


def test_copying_scores_are_plus_one_minus_one_and_zero(scores) -> None:
    assert scores.copying[0, 1] == pytest.approx(1.0)
    assert scores.copying[0, 2] == pytest.approx(-1.0)
    assert scores.copying[0, 0] == pytest.approx(0.0, abs=1e-9)
    assert scores.copying[1, 3] == 0
    assert abs(scores.copying[1, 2]) < 0.5  # a permutation without fixed points has eigenvalues all around the circle


def test_chance_is_what_a_head_that_does_nothing_scores(scores) -> None:
    for index, name in enumerate(scores.names):
        assert scores.of(name)[1, 3] == pytest.approx(scores.chance[0, index], abs=1e-7)  # scores are float32


def test_composition_finds_the_wire_from_the_previous_token_head_to_the_induction_head(model) -> None:
    keys = circuits.composition(model, "K")
    assert keys.top(1)[0][:2] == ("L0H0", "L1H0")
    queries = circuits.composition(model, "Q")
    assert queries.array[0, 4] == 0  # the induction head's query reads nothing that L0H0 writes
    # V equal singular values meet V equal ones head on: ‖I‖ / ‖I‖² = 1/√V, the most that two such maps can compose.
    assert keys.array[0, 4] == pytest.approx(planted.V**-0.5)
    assert keys.array[0, 4] > 2.5 * keys.baseline[0]


def test_a_similarity_map_is_semidefinite_and_a_shift_is_not(model) -> None:
    similarity, shift = circuits.qk(model, 0, 3), circuits.qk(model, 0, 0)
    assert similarity.signature == (planted.V, 0)
    assert similarity.symmetric_fraction == pytest.approx(1)
    assert similarity.positive_share == pytest.approx(1)
    assert shift.symmetric_fraction == pytest.approx(0.5)
    assert shift.positive_share == pytest.approx(0.5)


def test_the_bigrams_are_read_back(model) -> None:
    head = circuits.ov(model, 1, 2)
    for token in range(planted.V):
        assert head.top_tokens(token, k=1).promoted == (str(planted.SUCCESSOR[token]),)
    full = head.full_circuit(planted.V, block=5)
    pairs = dict(zip(map(int, full.sources), map(int, full.targets), strict=True))
    assert pairs == dict(enumerate(planted.SUCCESSOR))
    assert full.copied == 0
    assert circuits.ov(model, 0, 1).full_circuit(1).copied == 1


def test_the_bigrams_are_read_off_the_weights_in_order_of_their_strength(model) -> None:
    result = embedding.project(model, 1, head=2, k=1, directions=planted.V).vectors
    reads, writes = result[0 : 2 * planted.V : 2], result[1 : 2 * planted.V : 2]
    for place, (read, write) in enumerate(zip(reads, writes, strict=True)):
        token = planted.V - 1 - place
        # The sign of a direction is arbitrary, but the same at both ends.
        ends = {(read.promoted[0], write.promoted[0]), (read.suppressed[0], write.suppressed[0])}
        assert (str(token), str(planted.SUCCESSOR[token])) in ends


def test_equal_singular_values_are_reported_and_different_ones_are_not(model) -> None:
    copying, bigram = circuits.ov(model, 0, 1).svd(), circuits.ov(model, 1, 2).svd()
    assert copying.rank == bigram.rank == planted.V
    assert set(range(planted.V)) <= set(copying.degenerate)
    assert not set(range(planted.V)) & set(bigram.degenerate)
    assert copying.participation_rank == pytest.approx(planted.V)


def test_ablating_the_induction_head_is_measured_in_the_running_model(model, scores) -> None:
    result = circuits.ablate_induction(model, scores, k=1, n_controls=3, length=planted.V)
    # Nothing is written by it, so the loss does not move: a score is not an effect.
    assert result.heads == ("L1H0",)
    assert result.effect == pytest.approx(0, abs=1e-12)


def test_random_heads_are_of_the_layers_of_the_chosen_ones() -> None:
    """Two of four heads chosen in the last layer, one in the first: every random set has two and one, none of them."""
    model = models.load("llama")
    scores = circuits.head_scores(model, n_text=4, length=8)
    index = scores.names.index("induction")
    induction = np.zeros((3, 4), np.float32)
    induction[0, 2], induction[2, 1], induction[2, 3] = 0.7, 0.9, 0.8
    planted_scores = scores.scores.copy()
    planted_scores[:, index] = induction
    ranked = dataclasses.replace(scores, scores=planted_scores)
    result = circuits.ablate_induction(model, ranked, k=3, n_controls=12, length=8)
    assert result.heads == ("L2H1", "L2H3", "L0H2")
    for heads in result.control_heads:
        assert sorted(head[:2] for head in heads) == ["L0", "L2", "L2"]
        assert not set(heads) & set(result.heads)
    assert len(set(result.control_heads)) > 1


@pytest.mark.parametrize("method", ["zero", "mean"])
def test_runs_that_begin_at_the_first_ablated_block_lose_what_whole_runs_lose(method: str) -> None:
    from interp.circuits import ablation
    from interp.circuits.texts import repeated

    model = models.load("llama")
    tokens = repeated(model, 2, 8, 0)
    means = ablation._means(model, tokens) if method == "mean" else None
    sets = [[(1, 0), (2, 3)], [(2, 1)], [(0, 2)]]
    whole = [ablation._loss(ablation.without(model, heads, means), tokens) for heads in sets]
    baseline = ablation._loss(model, tokens)
    assert ablation._losses(model, tokens, sets, means) == [baseline, *whole]
    assert len({*whole, baseline}) == 4


def test_where_a_layer_has_too_few_heads_left_the_nearest_layers_give_theirs() -> None:
    from interp.circuits.ablation import _matched

    chosen = [(1, 0), (1, 1), (1, 2)]
    rest = [(layer, head) for layer in range(4) for head in range(4) if (layer, head) not in chosen]
    for seed in range(10):
        drawn = _matched(chosen, rest, np.random.default_rng(seed))
        assert len(set(drawn)) == 3
        assert (1, 3) in drawn
        assert {layer for layer, _ in drawn} <= {0, 1, 2}


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_random_weights_have_no_named_head(name: str) -> None:
    result = circuits.head_scores(models.load(name), n_text=8, length=12)
    for score in ("previous", "duplicate", "induction"):
        assert result.named(score) == ()
    assert np.abs(result.induction - result.chance[0, 2]).max() < 0.15
