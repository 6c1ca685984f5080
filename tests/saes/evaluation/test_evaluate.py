"""What `saes.evaluate` says of autoencoders whose every measure is known beforehand."""

from __future__ import annotations

import dataclasses
import math
import subprocess
import sys

import numpy as np
import pytest
import torch

import interp
import saes
from interp import results
from interp.errors import UsageError
from interp.statistics import Bootstrap
from saes import Truth
from saes.evaluation.geometry import geometry
from saes.evaluation.rows import CLUSTERS, Source
from saes.evaluation.scores import NAMES, Score

N, D, FEATURES = 3000, 24, 16
DRAW = torch.Generator().manual_seed(21)
DIRECTIONS = torch.linalg.qr(torch.randn(D, D, generator=DRAW))[0][:FEATURES]  # orthonormal: exactly decodable
ACTIVE = torch.rand(N, FEATURES, generator=DRAW) < torch.linspace(0.02, 0.3, FEATURES)
COEFFICIENTS = ACTIVE * (0.5 + torch.rand(N, FEATURES, generator=DRAW))
X = COEFFICIENTS @ DIRECTIONS + 0.3
OFFSET = torch.full((D,), 0.3)


def relu(encoder, decoder, bias=-0.25, b_dec=OFFSET, **metadata):
    """A standard autoencoder; its bias makes latents fire on coefficients above a quarter."""
    width = len(decoder)
    tensors = {"W_enc": encoder.T.contiguous(), "W_dec": decoder.clone(), "b_dec": b_dec.clone()}
    return saes.build("standard", "autoencoder", tensors | {"b_enc": torch.full((width,), bias)}, {}, metadata)


def perfect(order=None, **options):
    directions = DIRECTIONS if order is None else DIRECTIONS[order]
    return relu(directions, directions, **options)


def value(result, name):
    score = result.score(name)
    assert score.value is not None, score.why
    assert math.isfinite(score.value)
    return score.value


def judged(sae, activations=X, rows=100_000, **options):
    config = saes.evaluation.Config(baselines=False, rows=rows)
    return saes.evaluate(sae, activations, config=config, **options)


def test_every_measure_equals_its_formula():
    sae = perfect()
    result, f, out = judged(sae), sae.encode(X).double(), sae(X).double()
    x = X.double()
    variance, error = (x - x.mean(0)).square().sum(), (x - out).square().sum()
    wanted = {
        "FVU": error / variance,
        "explained variance": 1 - error / variance,
        "cosine": torch.cosine_similarity(x, out, dim=1).mean(),
        "norm ratio": (out.norm(dim=1) / x.norm(dim=1)).mean(),
        "relative bias": out.square().sum() / (out * x).sum(),
        "L0": (f != 0).sum(1).double().mean(),
        "dead latents": (f == 0).all(0).double().mean(),
        "dense latents": ((f != 0).double().mean(0) > 0.1).double().mean(),
    }
    for name, direct in wanted.items():
        # `sae(X)` is a matrix product in float32, the evaluation a sum over the latents that fire: roundings differ.
        assert value(result, name) == pytest.approx(float(direct), rel=6e-8, abs=1e-12), name
        score = result.score(name)
        assert score.low <= score.value <= score.high
    np.testing.assert_allclose(result.latents.frequency, (f != 0).double().mean(0))
    np.testing.assert_allclose(result.latents.strength, f.sum(0) / (f != 0).sum(0), rtol=1e-6)
    assert value(result, "norm ratio") < 1  # a quarter is taken off every coefficient


@pytest.mark.parametrize("scale", [1.0, 1e-4, 1e4])
def test_a_large_mean_costs_no_digits_and_units_do_not_matter(scale):
    """float32 rows a thousand times further from 0 than they vary: the moments are taken about a row of the data."""
    x = X[:500] * scale
    shifted, mean = x + 1000 * scale, OFFSET * scale + 1000 * scale
    sae = relu(DIRECTIONS / scale, DIRECTIONS * scale, b_dec=mean)
    direct = (shifted.double() - sae(shifted).double()).square().sum()
    direct /= (shifted.double() - shifted.double().mean(0)).square().sum()
    assert value(judged(sae, shifted), "FVU") == pytest.approx(float(direct), rel=1e-6)


@pytest.mark.parametrize("size", [17, 70, 999, N])
def test_batches_do_not_matter(size):
    """But for the rounding of float32 products of other shapes."""
    whole, parts = judged(perfect()), judged(perfect(), lambda: iter(X.split(size)))
    assert (parts.rows, whole.rows) == (N, N)
    for score in whole.scores:
        if score.value is not None:
            assert value(parts, score.name) == pytest.approx(score.value, rel=1e-7), score.name
    assert np.array_equal(parts.latents.frequency, whole.latents.frequency)


def test_memory_is_bounded_by_the_batch():
    """A wide autoencoder is read in small batches."""
    seen = []
    sae = perfect()
    sae.width = 2**20  # only the size of a batch is derived from it here
    source = Source.of(sae, X, None, N)
    seen = [len(batch.x) for batch in source.batches()]
    assert max(seen) == 64
    assert sum(seen) == N


def test_the_limit_on_rows_is_respected():
    assert judged(perfect(), rows=100).rows == 100
    assert judged(perfect(), iter(X.split(64)), rows=100).rows == 100


def test_reconstructions_of_zero_the_mean_and_itself():
    nothing = relu(torch.zeros(4, D), torch.ones(4, D), b_dec=torch.zeros(D))
    result = judged(nothing)
    assert value(result, "dead latents") == 1
    assert value(result, "L0") == 0
    assert value(result, "FVU") > 1  # zero is worse than the mean
    assert result.score("relative bias").value is None
    assert "every reconstruction is zero" in result.score("relative bias").why
    mean = relu(torch.zeros(4, D), torch.ones(4, D), b_dec=X.mean(0))
    assert value(judged(mean), "FVU") == pytest.approx(1, abs=1e-6)  # float32 mean
    eye = torch.eye(D)
    itself = judged(relu(torch.cat([eye, -eye]), torch.cat([eye, -eye]), bias=0.0))
    assert value(itself, "FVU") < 1e-12
    assert value(itself, "norm ratio") == pytest.approx(1, abs=1e-6)


def test_rows_that_are_all_alike_have_no_variance_to_explain():
    result = judged(perfect(), torch.ones(50, D))
    for name in ("FVU", "explained variance"):
        assert result.score(name).value is None
        assert "there is no variance to explain" in result.score(name).why


def test_intervals_come_from_contexts_not_from_rows():
    """Every context repeats one row 50 times: there are 60 independent rows, not 3,000."""
    rows = torch.randn(60, D, generator=DRAW) @ torch.diag(torch.linspace(0.1, 3, D))
    repeated, context = rows.repeat_interleave(50, 0), np.repeat(np.arange(60), 50)
    sae = perfect()
    by_context, alone = judged(sae, repeated, groups=context).score("FVU"), judged(sae, rows).score("FVU")
    blind = judged(sae, repeated[torch.randperm(3000, generator=DRAW)], groups=np.arange(3000)).score("FVU")
    width = {name: s.high - s.low for name, s in (("by context", by_context), ("alone", alone), ("blind", blind))}
    assert width["by context"] == pytest.approx(width["alone"], rel=0.15)  # 1,000 draws: a few per cent each
    assert width["blind"] < 0.3 * width["alone"]  # 1/sqrt(50) = 0.14


def test_intervals_cover_as_often_as_they_say():
    """95 % intervals of a ratio whose true value is 1/2, from 40 clusters, 200 times."""
    draw, covered = np.random.default_rng(1), 0
    for seed in range(200):
        top, bottom = draw.gamma(2.0, size=40), draw.gamma(4.0, size=40)
        _, low, high = Bootstrap.of(40, seed).ratio(top, bottom)
        covered += low <= 0.5 <= high
    assert covered > 175  # 190 expected, standard deviation 3; percentile intervals of 40 clusters run a little short


def test_the_histogram_counts_every_latent():
    width = 40
    decoder = torch.randn(width, D, generator=DRAW)
    result = judged(relu(decoder, decoder, bias=-6.0))
    counts, edges, never = result.latents.histogram()
    assert counts.sum() + never == width
    assert 0 < never < width
    assert never == round(value(result, "dead latents") * width)
    assert len(edges) == len(counts) + 1


def test_many_contexts_share_clusters():
    groups = np.arange(N) // 1
    assert judged(perfect(), groups=groups).clusters == min(N, CLUSTERS)


# Known features


def test_a_permuted_copy_of_the_truth_is_perfect():
    order = torch.randperm(FEATURES, generator=DRAW)
    result = judged(perfect(order), truth=Truth(DIRECTIONS, COEFFICIENTS, offset=OFFSET))
    for name in ("feature to latent", "latent to feature", "one to one"):
        assert value(result, f"matched cosine, {name}") == pytest.approx(1, abs=1e-5)
    for name in ("coverage", "uniqueness", "recovered above 0.99", "firing recall", "firing precision", "firing F1"):
        assert value(result, name) == pytest.approx(1, abs=1e-9), name
    assert (result.known.latent[order] == np.arange(FEATURES)).all()
    assert result.known.deciles[:, 2].sum() == FEATURES
    np.testing.assert_allclose(result.known.frequency, ACTIVE.float().mean(0), rtol=1e-6)
    assert value(result, "firing F1, true dictionary with OMP") > 0.9


def test_a_random_dictionary_is_at_the_chance_that_is_stated():
    random = torch.randn(FEATURES, D, generator=torch.Generator().manual_seed(99))
    result = judged(relu(random, random), truth=Truth(DIRECTIONS, COEFFICIENTS))
    score = result.score("matched cosine, feature to latent")
    stated = float(score.why.rsplit(" ", 1)[1])
    # Both are means over 16 features of maxima with a deviation of about 0.1.
    assert score.value == pytest.approx(stated, abs=4 * 0.1 / math.sqrt(FEATURES))
    assert score.value < 0.7
    assert value(result, "recovered above 0.9") == 0


def test_half_the_features_are_half_covered():
    result = judged(perfect(torch.arange(FEATURES // 2)), truth=Truth(DIRECTIONS, COEFFICIENTS))
    assert value(result, "coverage") == 0.5
    assert value(result, "matched cosine, one to one") == pytest.approx(0.5, abs=1e-5)
    assert value(result, "firing recall") == pytest.approx(0.5, abs=1e-6)
    assert value(result, "firing precision") == pytest.approx(1)


def test_copies_are_counted():
    copies = perfect(torch.zeros(FEATURES, dtype=torch.long))
    result = judged(copies, truth=Truth(DIRECTIONS))
    assert value(result, "uniqueness") == pytest.approx(1 / FEATURES)
    assert value(result, "decoder coherence, largest") == pytest.approx(1, abs=1e-5)
    assert "it is not known in which rows" in result.score("firing F1").why
    assert value(judged(perfect()), "decoder coherence, largest") == pytest.approx(0, abs=1e-5)


def test_absorption_is_detected_where_it_was_planted():
    parent = torch.rand(N, generator=DRAW) < 0.5
    child = parent & (torch.rand(N, generator=DRAW) < 0.4)
    active = torch.stack([parent, child], 1).float()
    directions = DIRECTIONS[:2]
    x, truth = active @ directions, Truth(directions, active, pairs=((0, 1),))
    zero = torch.zeros(D)
    clean = judged(relu(directions, directions, b_dec=zero), x, truth=truth)
    assert value(clean, "absorption gap") == 0
    # The child suppresses the parent's latent: its own latent writes both.
    encoder = torch.stack([directions[0] - directions[1], directions[1]])
    decoder = torch.stack([directions[0], directions[0] * 0.7 + directions[1]])
    result = judged(relu(encoder, decoder, b_dec=zero), x, truth=truth)
    assert value(result, "absorption gap") == 1
    counts = result.known.absorption[0]
    assert list(counts) == [0, 1, int((parent & ~child).sum()), int((parent & ~child).sum()), int(child.sum()), 0]
    never = judged(perfect(), truth=Truth(DIRECTIONS, torch.zeros(N, FEATURES), pairs=((0, 1),)))
    assert "no parent is active both alone and with its child (features 0 and 1: 0 alone, 0 with it)" in (
        never.score("absorption gap").why
    )


# Probing


def test_probing_finds_the_latent_of_a_concept_and_nothing_in_shuffled_labels():
    concept = ACTIVE[:, 12].numpy()
    result = judged(perfect(), labels={"concept": concept, "chance": np.random.default_rng(0).random(N) < 0.3})
    assert value(result, "concept, 1 latents") > 0.99
    assert value(result, "concept, whole activation") > 0.99
    shuffled = float(result.score("concept, 1 latents").why.rsplit(" ", 1)[1])
    # 900 test rows, 210 positive: the area of a random score has a standard deviation of 0.022
    assert shuffled == pytest.approx(0.5, abs=0.09)
    assert value(result, "chance, 1 latents") == pytest.approx(0.5, abs=0.09)
    rare = judged(perfect(), labels={"rare": np.arange(N) == 3})
    assert "fewer than 5 rows of one class" in rare.score("rare, 1 latents").why
    once = judged(perfect(), iter(X.split(500)), labels={"concept": concept})
    assert "can be read only once" in once.score("concept, 1 latents").why


# Baselines


def test_baselines_are_evaluated_with_the_autoencoder():
    result = saes.evaluate(perfect(), X, truth=Truth(DIRECTIONS, COEFFICIENTS))
    by_name = {b.name.split(",")[0]: b for b in result.baselines}
    own, pca = by_name["this autoencoder"], by_name["principal components"]
    assert own.matched == pytest.approx(1, abs=1e-5)
    assert own.fvu == pytest.approx(value(result, "FVU"), rel=1e-6)  # 3,000 rows fit into the sample: all were taken
    random, learned = by_name["random dictionary"], by_name["K-SVD"]
    assert own.fvu < random.fvu
    assert learned.fvu < random.fvu
    assert random.matched < learned.matched < own.matched
    values = np.linalg.eigvalsh(np.cov(X.double().numpy().T))[::-1]
    k = round(pca.l0)
    assert pca.fvu == pytest.approx(values[k:].sum() / values.sum(), rel=1e-6)
    np.testing.assert_allclose(result.pca, np.maximum(1 - np.cumsum(values) / values.sum(), 0), atol=1e-9)
    assert result.pca[k - 1] == pytest.approx(pca.fvu, abs=1e-9)


def test_a_baseline_that_cannot_be_run_says_why():
    result = saes.evaluate(perfect(bias=1.0), X[:20])  # all latents on: more directions a row than rows to learn from
    learned = result.baselines[-1]
    assert learned.fvu is None
    assert "too few to learn" in learned.note


def test_nearest_latents_and_their_chance():
    result = geometry(torch.cat([DIRECTIONS, -DIRECTIONS[:1] * 3, torch.zeros(1, D)]), seed=0)
    assert result.nearest[0] == FEATURES
    assert result.cosine[0] == pytest.approx(-1, abs=1e-5)
    assert result.cosine[-1] == 0
    assert result.norm[FEATURES] == pytest.approx(3, abs=1e-5)
    # 64 random directions in 32 dimensions: largest |cos| with 63 others about 0.43 (0.44 with 64 independent ones)
    assert geometry(torch.randn(64, 32, generator=DRAW), seed=0).chance == pytest.approx(0.436, abs=0.03)


# Saving, transcoders, crosscoders, refusals


def test_a_judgement_saves_and_loads_without_torch(tmp_path):
    result = saes.evaluate(perfect(hook_name="blocks.0.hook_resid_pre"), X, truth=Truth(DIRECTIONS, COEFFICIENTS))
    assert interp.results.load(result.save(tmp_path)) == result
    assert saes.Evaluation.load(tmp_path).summary() == result.summary()
    assert len(result.table().rows) == len(result.scores)
    code = (
        "import sys, interp.results; r = interp.results.load(sys.argv[1]); r.table(); r.baseline_table(); "
        "assert 'torch' not in sys.modules; print(r.score('FVU').value)"
    )
    run = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False)
    assert float(run.stdout) == result.score("FVU").value, run.stderr


def test_a_transcoder_is_judged_on_pairs():
    y = X @ torch.randn(D, 5, generator=DRAW)
    solved = torch.linalg.lstsq(X, y).solution
    tensors = {"W_enc": torch.eye(D), "W_dec": solved, "b_enc": torch.full((D,), 9.0), "b_dec": -9 * solved.sum(0)}
    sae = saes.build("standard", "transcoder", tensors, {}, {})
    result = saes.evaluate(sae, (X, y))
    assert value(result, "FVU") < 1e-6
    assert result.baselines[-1].note.startswith("a transcoder does not rebuild")
    skip = saes.build("standard", "transcoder", tensors | {"W_skip": torch.ones(5, D)}, {}, {})
    assert value(judged(skip, (X, y)), "FVU") > 1e-2  # the skip path is part of the reconstruction
    with pytest.raises(UsageError, match="There are 3000 inputs and 10 outputs"):
        judged(sae, (X, y[:10]))
    with pytest.raises(UsageError, match="transcoder is evaluated on 2 tensors a batch; given were 1"):
        judged(sae, X)


def test_a_crosscoder_is_judged_on_layers():
    layers = torch.stack([X, 2 * X], 1)
    eye = torch.eye(2 * D)
    tensors = {"W_enc": eye, "W_dec": eye, "b_enc": torch.full((2 * D,), 9.0), "b_dec": torch.full((2 * D,), -9.0)}
    sae = saes.build("standard", "crosscoder", tensors, {"layers": 2, "apply_b_dec_to_input": False}, {})
    assert value(judged(sae, layers), "FVU") < 1e-9
    with pytest.raises(UsageError, match=r"this crosscoder takes \(n, 2, 24\)"):
        judged(sae, X)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_values_that_are_not_finite_raise(bad):
    x = X.clone()
    x[1234, 5] = bad
    with pytest.raises(UsageError, match=r"input activations hold NaN .* in 1 of 3000 rows \(row 1234\)"):
        judged(perfect(), x)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(activations=X[:, :5]), r"input activations have shape \(3000, 5\); this autoencoder takes \(n, 24\)"),
        (dict(activations=X[:0]), "There are no activations"),
        (dict(activations=3), "not int"),
        (dict(rows=0), "rows=0 must be at least 1"),
        (dict(truth=torch.eye(24)), "The argument truth must be a Truth or None, not Tensor"),
        (dict(truth=Truth(torch.eye(3))), "directions have 3 numbers each, the decoder's 24"),
        (dict(truth=Truth(DIRECTIONS, COEFFICIENTS[:10])), "The coefficients have no row 10"),
        (dict(groups=np.zeros(10)), "There are 10 groups but more rows"),
        (dict(labels={"a": np.arange(N)}), 'The label "a" must be true or false'),
    ],
)
def test_what_does_not_fit_is_one_sentence(change, message):
    with pytest.raises(UsageError, match=message):
        judged(perfect(), **change)


def test_truth_is_checked():
    with pytest.raises(UsageError, match="finite and not zero"):
        Truth(torch.zeros(2, 3))
    with pytest.raises(UsageError, match=r"Coefficients are \(rows, 16\)"):
        Truth(DIRECTIONS, torch.zeros(5, 3))
    with pytest.raises(UsageError, match="The offset has shape"):
        Truth(DIRECTIONS, offset=torch.zeros(3))
    with pytest.raises(UsageError, match="names features that do not exist"):
        Truth(DIRECTIONS, pairs=((0, 99),))


def test_an_unknown_score_names_the_nearest():
    with pytest.raises(UsageError, match='no score "L1"; the nearest is "L0"'):
        judged(perfect()).score("L1")


def test_a_judgement_saved_before_measures_had_keys_loads_with_them(tmp_path, monkeypatch):
    result = judged(perfect(), labels={"concept": np.arange(N) % 3 == 0})
    with monkeypatch.context() as old:
        old.setattr(Score, "layout", 1)
        old.setattr(results, "fields", lambda kind: tuple(f for f in dataclasses.fields(kind) if f.name != "key"))
        result.save(tmp_path)
    assert '"key"' not in (tmp_path / results.JSON_NAME).read_text()
    loaded = results.load(tmp_path)
    assert loaded == result
    assert loaded.score("dead_latents") == loaded.score("dead latents") == result.score("dead_latents")


def test_every_measure_has_a_key_and_a_name_of_its_own():
    result = judged(perfect(), truth=Truth(DIRECTIONS, COEFFICIENTS, pairs=((0, 1),)))
    assert {score.key for score in result.scores} == set(NAMES)
    assert len(set(NAMES.values())) == len(NAMES)


def test_the_same_seed_gives_the_same_judgement():
    first, second = (judged(perfect(), truth=Truth(DIRECTIONS, COEFFICIENTS)) for _ in range(2))
    assert dataclasses.replace(first, provenance=second.provenance) == second
