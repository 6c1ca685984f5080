"""Query-key and output-value maps: what they say against the model's own run, and the identities they must obey."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from interp import circuits
from interp.circuits.attention_hooks import stacked_patterns
from interp.circuits.factors import LowRank, top_entries
from interp.errors import CheckFailedError, UnsupportedModelError, UsageError
from tests import models

N = 9
ANGLE = 1e-5
"""Rotation angles are float32 in the model, also when all else is float64: R(i)ᵀR(j) and R(i − j) differ by rounding
of angles up to N, about 1e-6 in a score of size one."""


@pytest.fixture(scope="module", params=models.NAMES)
def model(request):
    return models.load(request.param, torch.float64)


def streams(model, layer: int) -> torch.Tensor:
    name = f"blocks.{layer}.hook_resid_pre"
    return model.run_with_cache(models.tokens(1, N), [name])[1][name][0]


def test_every_head_is_rebuilt_from_its_factors(model) -> None:
    result = circuits.check(model, models.tokens(2, 12))
    assert result.worst < 1e-6  # of which the float32 angles are all: a model without rotation has 1e-15
    assert model.spec.rotary is not None or result.worst < 1e-14
    assert len(result.table().rows) == model.spec.n_layer * model.spec.n_head


def test_patterns_are_the_models_own(model) -> None:
    theirs = stacked_patterns(model, models.tokens(1, N))
    for layer in range(model.spec.n_layer):
        ours = circuits.qk(model, layer, 3).pattern(streams(model, layer))
        assert (ours - theirs[layer, 0, 3]).abs().max() < 1e-9


def test_scores_depend_on_the_offset_alone(model) -> None:
    head, x = circuits.qk(model, 1, 2), streams(model, 1)
    whole = head.attention_scores(x)
    for query, key in ((5, 5), (5, 2), (8, 0), (2, 6)):
        assert float(head.scores(x[query], x[key], query - key)) == pytest.approx(float(whole[query, key]), abs=ANGLE)


def test_leaving_the_rotation_out_is_wrong_where_there_is_one() -> None:
    model = models.load("llama", torch.float64)
    head, x = circuits.qk(model, 1, 2), streams(model, 1)
    assert abs(float(head.scores(x[8], x[0], 0)) - float(head.attention_scores(x)[8, 0])) > 1000 * ANGLE


def test_the_four_terms_of_content_and_bias_sum_to_the_score(model) -> None:
    head, x = circuits.qk(model, 1, 2), streams(model, 1)
    terms = circuits.score_terms(head, x[7], x[3], 4)
    total = float(terms.sum())
    cap = model.spec.attention_softcap
    total = total if cap is None else cap * np.tanh(total / cap)
    assert total == pytest.approx(float(head.scores(x[7], x[3], 4)), abs=1e-12)
    has_bias = bool(head.b_Q.any())
    assert bool(terms[1:].any()) == has_bias


def test_frequencies_sum_to_the_score_at_every_offset(model) -> None:
    head, x = circuits.qk(model, 1, 2), streams(model, 1)
    if model.spec.rotary is None:
        with pytest.raises(UsageError, match="gpt2 has no rotary positions"):
            circuits.frequency_terms(head, x[7], x[3])
        return
    offsets = torch.arange(N, dtype=torch.float64)
    ours = circuits.frequency_terms(head, x[7], x[3]).at(offsets)
    theirs = torch.stack([circuits.score_terms(head, x[7], x[3], int(i)).sum() for i in offsets])
    assert (ours - theirs).abs().max() < ANGLE


def test_the_energy_of_a_frequency_is_that_of_its_two_matrices() -> None:
    head = circuits.qk(models.load("neox", torch.float64), 1, 2)
    factors, rotary = head.factors(), head.spec.rotary
    half = rotary.dim // 2
    for f in range(half):
        (a1, a2), (b1, b2) = ((side[:, f], side[:, f + half]) for side in (factors.left, factors.right))
        cosine, sine = torch.outer(a1, b1) + torch.outer(a2, b2), torch.outer(a1, b2) - torch.outer(a2, b1)
        energy = float(cosine.square().sum() + sine.square().sum())
        assert float(circuits.frequency_energy(head)[f]) == pytest.approx(energy)


def test_the_profile_is_the_mean_score_of_all_pairs(model) -> None:
    head, x = circuits.qk(model, 1, 2), streams(model, 1)
    result = circuits.positional_profile(head, x, torch.tensor([0.0, 3.0], dtype=torch.float64))
    pairs = [circuits.score_terms(head, one, other, 3).sum() for one in x for other in x]
    assert float(result[1]) == pytest.approx(float(torch.stack(pairs).mean()), abs=ANGLE)


def test_the_matrix_gives_the_content_scores(model) -> None:
    head, x = circuits.qk(model, 1, 2), streams(model, 1)
    if model.spec.query_key_norm:
        return  # its scales stand between matrix and score
    unit = head.normalised(x)
    form = float(unit[7] @ head.matrix(4) @ unit[3]) * head.scale
    assert form == pytest.approx(float(circuits.score_terms(head, x[7], x[3], 4)[0]), abs=1e-9)


def test_spectra_are_those_of_the_dense_matrix(model) -> None:
    head, moves = circuits.qk(model, 2, 1), circuits.ov(model, 2, 1)
    dense = head.matrix(0)
    symmetric = (dense + dense.T) / 2
    largest = torch.linalg.eigvalsh(symmetric).flip(0)
    rank = len(head.spectrum)
    expected = largest if rank == len(largest) else torch.cat([largest[: rank // 2], largest[-(rank // 2) :]])
    assert (head.spectrum - expected).abs().max() < 1e-10
    assert head.symmetric_fraction == pytest.approx(float((symmetric.norm() / dense.norm()) ** 2))
    assert head.signature == (model.spec.d_head, model.spec.d_head)
    sums = (complex(moves.eigenvalues.sum()), complex(torch.trace(moves.matrix)))
    assert sums[0] == pytest.approx(sums[1])


def test_the_two_parts_sum_to_the_whole_and_one_vanishes_on_itself(model) -> None:
    head, x = circuits.qk(model, 1, 2), streams(model, 1)
    symmetric, antisymmetric = head.split(3)
    assert (symmetric.matrix + antisymmetric.matrix - head.matrix(3)).abs().max() < 1e-12
    assert antisymmetric.form(x, x).abs().max() < 1e-9 * symmetric.form(x, x).abs().max()
    whole = head.factors(3).energy()
    assert symmetric.energy() + antisymmetric.energy() == pytest.approx(whole)


def test_singular_directions_rebuild_the_map_and_span_what_it_writes(model) -> None:
    moves = circuits.ov(model, 1, 2)
    result = moves.svd()
    rebuilt = result.reads.T @ np.diag(result.values) @ result.writes
    assert np.abs(rebuilt - moves.matrix.numpy()).max() < 1e-12
    basis = moves.write_basis
    written = moves.write(streams(model, 1), torch.eye(N, dtype=torch.float64)) - 0
    assert (written - written @ basis @ basis.T).abs().max() < 1e-10
    assert basis.shape[1] <= model.spec.d_head


def test_the_copying_score_is_that_of_the_dense_token_circuit(model) -> None:
    moves = circuits.ov(model, 1, 2)
    values = torch.linalg.eigvals(model.weights.W_E @ moves.matrix @ model.weights.W_U)
    assert moves.copying_score == pytest.approx(float(values.real.sum() / values.abs().sum()), abs=1e-6)


def test_the_full_circuit_is_the_dense_one(model) -> None:
    moves = circuits.ov(model, 1, 2)
    dense = moves.values(model.weights.W_E) @ moves.W_O @ model.weights.W_U
    result = moves.full_circuit(7, block=10)
    assert np.allclose(result.values, dense.flatten().topk(7).values.numpy())
    for source, target, value in zip(result.sources, result.targets, result.values, strict=True):
        assert float(dense[int(source), int(target)]) == pytest.approx(value)
    assert result.copied == float((dense.argmax(1) == torch.arange(len(dense))).double().mean())
    assert moves.top_tokens(5, k=1).promoted == (str(int(dense[5].argmax())),)


def test_heads_that_share_keys_share_their_key_weights() -> None:
    model = models.load("llama")
    first, second, third = (circuits.qk(model, 0, head) for head in (0, 1, 2))
    assert torch.equal(first.W_K, second.W_K)
    assert not torch.equal(second.W_K, third.W_K)
    assert not torch.equal(first.W_Q, second.W_Q)


def test_top_entries_are_those_of_the_dense_product_whatever_the_block() -> None:
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.randn(n, 4, generator=generator) for n in (37, 11))
    dense = left @ right.T
    for block in (1, 5, 37, 100):
        result = top_entries(left, right, 20, block)
        assert torch.allclose(result.values, dense.flatten().topk(20).values)
        assert torch.allclose(dense[result.rows, result.columns], result.values)
        assert torch.equal(result.best_column, dense.argmax(1))


def test_random_weights_have_the_null_of_a_half() -> None:
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.randn(200, 20, generator=generator) for _ in range(2))
    result = LowRank(left, right)
    # tr(M²)/‖M‖² of independent factors is 1/200 in the mean and of that order in spread.
    assert result.symmetric_fraction() == pytest.approx(0.5, abs=0.02)
    definite = circuits.definiteness(models.load("gpt2"), draws=10)
    assert definite.null_fraction[0] == pytest.approx(0.5 + 0.5 / 24, abs=0.05)
    assert definite.null_signature == (6, 6)


def test_what_is_not_covered_is_refused_by_name() -> None:
    model = models.load("gpt2")
    model.spec = dataclasses.replace(model.spec, positional="relative")
    for ask in (circuits.check, circuits.definiteness, lambda m: circuits.composition(m, "K")):
        with pytest.raises(UnsupportedModelError, match='kind "relative" are not in the query-key formula'):
            ask(model)


def test_a_head_that_is_not_the_models_fails_the_check(monkeypatch) -> None:
    model = models.load("llama")
    original = circuits.QueryKey.turn
    monkeypatch.setattr(circuits.QueryKey, "turn", lambda self, rows, offset: original(self, rows, 0))
    with pytest.raises(CheckFailedError, match=r"The circuits of .* do not reproduce its heads: error"):
        circuits.check(model)


def test_a_nan_fails_the_check() -> None:
    hf = models.build("gpt2")
    with torch.no_grad():
        hf.transformer.h[1].attn.c_proj.weight[0, 0] = torch.nan
    import interp

    with pytest.raises(CheckFailedError, match="NaN"):
        circuits.check(interp.load(hf))


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda m: circuits.qk(m, 9, 0), "Layer 9 does not exist"),
        (lambda m: circuits.ov(m, 0, 9), "Head 9 does not exist"),
        (lambda m: circuits.qk(m, 0, 0).scores(torch.ones(3), torch.ones(3), 0), "have 24 coordinates, these have 3"),
        (lambda m: circuits.ov(m, 0, 0).svd(99), "k=99 singular directions were asked for; the head has 1 to 8"),
        (lambda m: circuits.ov(m, 0, 0).top_tokens(64), "Token id 64 does not exist: ids run from 0 to 63"),
        (lambda m: circuits.ov(m, 0, 0).top_tokens(1, k=65), "k=65 tokens were asked for; there are 1 to 64"),
        (lambda m: circuits.composition(m, "k"), 'There is no "k"-composition; .*kinds are Q, K and V'),
        (
            lambda m: circuits.composition(m, "K", offset="mean"),
            'offset is a number of tokens or "average", not "mean"',
        ),
        (lambda m: circuits.head_scores(m, n_text=5), "intervals need an even number of texts"),
        (lambda m: circuits.head_scores(m, length=30), "between 2 and 20 tokens a half"),
    ],
)
def test_a_mistake_gets_one_sentence(ask, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        ask(models.load("llama"))


def test_half_precision_is_checked_in_none_but_read_in_float32() -> None:
    model = models.load("llama", torch.bfloat16)
    with pytest.raises(UsageError, match="needs float32 or float64"):
        circuits.check(model)
    assert circuits.qk(model, 0, 0).matrix().dtype == torch.float32
