"""Embedding space: planted relations are recovered and shuffled ones are not."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import interp
from interp.circuits import embedding
from interp.errors import UsageError
from tests import models


def planted(change) -> interp.Model:
    """A llama with its two ends changed by `change(W_E, W_U)` (rows are tokens)."""
    hf = models.build("llama")
    with torch.no_grad():
        change(hf.model.embed_tokens.weight, hf.lm_head.weight)
        hf.model.norm.weight.fill_(1.0)
    return interp.load(hf, dtype=torch.float64)


def test_a_tied_model_has_one_space_and_a_random_one_two() -> None:
    tied, untied = models.load("llama3"), models.load("llama")
    one, two = (embedding.compare(model, neighbours=3) for model in (tied, untied))
    assert one.cosine == pytest.approx(1, abs=1e-6)
    assert one.overlap == 1
    assert abs(two.cosine) < 0.2
    assert two.overlap < 0.2  # by chance 3 of 63


def test_a_rotated_copy_is_recovered() -> None:
    turn, _ = torch.linalg.qr(torch.randn(24, 24, generator=torch.Generator().manual_seed(1)))
    result = embedding.compare(planted(lambda W_E, W_U: W_U.copy_(W_E @ turn)), neighbours=3)
    assert result.aligned_cosine == pytest.approx(1, abs=1e-6)
    assert result.overlap == 1  # a rotation keeps every neighbour
    assert abs(result.cosine) < 0.2
    random = embedding.compare(models.load("llama"), neighbours=3)
    assert random.aligned_cosine < 0.7


def test_the_stream_starts_as_the_token_read() -> None:
    result = embedding.compare(models.load("llama"), models.tokens(2, 9), neighbours=3)
    assert result.identity[0] == pytest.approx(1)
    assert result.n_position == 18
    assert len(result.identity) == len(result.table().rows) == 4


def test_planted_offsets_are_parallel_and_shuffled_ones_are_not() -> None:
    pairs = [(2 * i, 2 * i + 1) for i in range(6)]
    step = torch.randn(24, generator=torch.Generator().manual_seed(2))
    step = 0.6 * step / step.norm()  # shorter than the words lie apart, which is about √2

    def plant(W_E, W_U):
        W_E.div_(W_E.norm(dim=1, keepdim=True))
        W_E[1:12:2] = W_E[0:12:2] + step

    result = embedding.analogy(planted(plant), pairs)
    assert result.parallelism > 0.8
    assert result.ranks == (0,) * 6
    assert result.p_value < 0.01
    null = embedding.analogy(models.load("llama"), pairs)
    assert null.parallelism < 0.3
    assert null.p_value > 0.01
    assert np.median(null.ranks) > 3
    assert result.null_parallelism.max() < 0.5 * result.parallelism


@pytest.mark.parametrize(
    ("pairs", "message"),
    [([(1, 2), (3, 4)], "at least three pairs"), ([(1, 2), (3, 4), (5, 1)], "with repetitions")],
)
def test_too_few_or_repeated_words_are_refused(pairs, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        embedding.analogy(models.load("llama"), pairs)


def test_planted_tokens_are_decoded_where_recovery_is_certain() -> None:
    model = models.load("llama", torch.float64)
    rows = torch.nn.functional.normalize(model.weights.W_U.T, dim=-1)
    result = embedding.sparse_code(model, 3 * rows[7] - 2 * rows[40], k=2)
    assert set(zip(result.tokens, np.round(result.coefficients, 9), strict=True)) == {("7", 3.0), ("40", -2.0)}
    assert result.left[-1] < 1e-20
    assert result.left[0] > 0.05
    cosines = (rows[[7, 40]] @ rows.T).abs()
    cosines[[0, 1], [7, 40]] = 0
    assert result.coherence == pytest.approx(float(cosines.max()))
    assert "coherence" in result.table().caption


def test_a_vector_of_nothing_in_particular_is_not_explained_by_a_few_tokens() -> None:
    model = models.load("llama", torch.float64)
    noise = torch.randn(24, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    left = embedding.sparse_code(model, noise, k=3).left
    assert (np.diff(left) < 0).all()
    assert left[-1] > 0.05


def test_collapse_is_one_for_equal_vectors_and_about_zero_for_random_ones() -> None:
    same = planted(lambda W_E, W_U: W_E.copy_(W_E[:1].expand_as(W_E)))
    assert embedding.collapse(same).cosine[0] == pytest.approx(1)
    assert embedding.collapse(same).effective_rank[0] == pytest.approx(1, abs=1e-6)
    random = embedding.collapse(models.load("llama"), torch.arange(36)[None])
    # 630 pairs with a cosine of standard deviation 1/√24 each.
    assert abs(random.cosine[0]) < 4 * (24 * 630) ** -0.5
    assert random.effective_rank[0] > 10
    assert random.norm[0] == pytest.approx(float(models.load("llama").weights.W_E[:36].norm(dim=1).mean()))


def test_a_neuron_is_read_as_the_tokens_it_answers_to_and_raises() -> None:
    hf = models.build("llama")
    with torch.no_grad():
        hf.model.layers[1].post_attention_layernorm.weight.fill_(1.0)
        hf.model.layers[1].mlp.up_proj.weight[5] = 10 * hf.model.embed_tokens.weight[17]
        hf.model.layers[1].mlp.down_proj.weight[:, 5] = 10 * hf.lm_head.weight[23] / hf.model.norm.weight
    read, _, written = embedding.project(interp.load(hf), 1, neuron=5, k=3).vectors
    assert read.promoted[0] == "17"
    assert "23" in written.promoted


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda m: embedding.project(m, 0), "a head or a neuron, and not both"),
        (lambda m: embedding.project(m, 0, head=0, neuron=0), "a head or a neuron, and not both"),
        (lambda m: embedding.project(m, 0, neuron=40), "Neuron 40 does not exist"),
        (lambda m: embedding.sparse_code(m, torch.zeros(24)), "not all zero"),
        (lambda m: embedding.sparse_code(m, torch.ones(24), k=25), "there can be 1 to 24"),
        (lambda m: embedding.sparse_code(m, torch.ones(24), dictionary="both"), 'no dictionary "both"'),
        (lambda m: embedding.collapse(m, torch.tensor([[1]])), "at least two tokens"),
        (lambda m: embedding.compare(m, neighbours=64), "the vocabulary has 64 tokens"),
    ],
)
def test_a_mistake_gets_one_sentence(ask, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        ask(models.load("llama"))
