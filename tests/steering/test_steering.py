"""Vectors and their dose-response: equal to edits of the model, planted directions recovered, nulls do nothing."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from interp import edit, results, steering
from interp.errors import NotFiniteError, UsageError
from interp.model.generation import batch_ids
from interp.model.suffix import Suffix
from interp.steering import DoseResponse, Vector
from tests import models

LAYER = 1
RIGHT, WRONG = [3, 5], [7]


def planted(model, n: int = 12, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Prompts of two classes that differ in their last token alone, as pairs."""
    rows = models.tokens(n, 6, seed=seed)
    high, low = rows.clone(), rows.clone()
    high[:, -1], low[:, -1] = 11, 12
    return high, low


def random_vector(model, layer: int = LAYER, seed: int = 0) -> Vector:
    generator = torch.Generator().manual_seed(seed)
    return steering.from_direction(
        model, torch.randn(model.spec.d_model, generator=generator), layer, texts=models.tokens(4, 6)
    )


def respond(model, v, prompts=None, measure=(RIGHT, WRONG), **options) -> DoseResponse:
    options = {"strengths": (-0.5, 0.5), "neutral": models.tokens(3, 8, seed=5), "n_controls": 4} | options
    return steering.dose_response(model, v, models.tokens(5, 6) if prompts is None else prompts, measure, **options)


@pytest.mark.parametrize("name", models.NAMES)
def test_the_upper_blocks_give_what_an_edited_run_gives(name):
    """Padded and not, with edits below and above: both are the same modules, up to rounding of fused kernels."""
    model, tokens = models.load(name), models.tokens(3, 7)
    mask = torch.ones_like(tokens)
    mask[1, 5:] = 0
    vector = torch.randn(model.spec.d_model, generator=torch.Generator().manual_seed(0))
    last = "blocks.2.hook_resid_post"
    edits = (edit.zero("blocks.0.hook_mlp_out"), edit.zero("blocks.2.attn.hook_pattern", head=2))
    for base in (model, model.edited(*edits)):
        for padding in (None, mask):
            suffix = Suffix.of(base, tokens, LAYER, padding)
            result = suffix.final(torch.cat([suffix.stream, suffix.stream + vector]))
            steered = base.edited(edit.add("blocks.1.hook_resid_post", vector))
            for rows, one in zip(result.split(3), (base, steered), strict=True):
                _, cache = one.run_with_cache(tokens, last, attention_mask=padding)
                assert torch.allclose(rows, cache[last], atol=1e-5)
    assert torch.equal(model(tokens), models.load(name)(tokens))  # nothing is left behind


def test_nothing_is_left_behind_by_a_run_that_fails():
    model, tokens = models.load("llama"), models.tokens(2, 5)
    before, suffix = model(tokens), Suffix.of(model, tokens, LAYER)
    with pytest.raises(RuntimeError):
        suffix.final(suffix.stream[..., :-1])
    assert torch.equal(model(tokens), before)
    with pytest.raises(UsageError, match="multiple of the 2 prompts"):
        suffix.final(suffix.stream[:1])


@pytest.mark.parametrize("positions", [None, -1, slice(1, None)])
def test_values_are_those_of_an_edited_model(positions):
    model, v = models.load("llama", text=True), random_vector(models.load("llama"))
    prompts = ["the tower is", "Paris", "the tower is in London"]
    result = respond(model, v, prompts, positions=positions, strengths=(-0.5, 0.3))
    for dose, strength in enumerate(result.strengths):
        steered = model.edited(v.edit(strength, positions)) if positions != slice(1, None) or strength else model
        for i, prompt in enumerate(prompts):
            logits = steered(prompt)[0, -1]
            expected = logits[RIGHT].logsumexp(0) - logits[WRONG].logsumexp(0)
            assert result.values[0, dose, i] == pytest.approx(float(expected), abs=1e-4)  # logits are about 1


def test_costs_are_those_of_an_edited_model_and_zero_without_steering():
    model, v = models.load("gemma2"), random_vector(models.load("gemma2"))
    texts = models.tokens(3, 8, seed=5)
    result = respond(model, v, neutral=texts)
    before, after = (one(texts).log_softmax(-1).double() for one in (model, model.edited(v.edit(0.5))))
    kl = (before.exp() * (before - after)).sum(-1).mean(1)
    loss = -after[:, :-1].gather(2, texts[:, 1:, None])[..., 0].mean(1)
    assert np.allclose(result.kl[0, -1], kl, atol=1e-5) and np.allclose(result.loss[0, -1], loss, atol=1e-5)
    assert np.allclose(result.kl[0, result.strengths.index(0.0)], 0.0, atol=1e-6) and kl.min() > 1e-3


def test_a_planted_direction_steers_and_its_controls_do_not(tmp_path):
    """After the last block, the difference of two columns of the unembedding moves their log odds on every prompt."""
    model = models.load("llama")
    direction = model.weights.W_U[:, 3] - model.weights.W_U[:, 7]
    v = steering.from_direction(model, direction, 2, texts=models.tokens(4, 6))
    result = respond(model, v, models.tokens(12, 6), ([3], [7]), n_controls=100)
    assert result.steers and result.wrong_way[0] == 0 and result.p_random == pytest.approx(1 / 101)
    assert "The vector steers" in result.verdict()
    null = respond(model, random_vector(model, 2), models.tokens(12, 6), ([3], [7]), n_controls=100)
    assert not null.steers and null.p_random > 0.01 and "does not steer" in null.verdict()
    again = results.load(result.save(tmp_path))
    assert again == result and again.verdict() == result.verdict()
    assert result.figure().table.rows and len(result.table().rows) == 3


def test_vectors_find_the_planted_class_and_shuffled_labels_lose_it():
    model = models.load("llama")
    high, low = planted(model, 36)
    true = steering.vector(model, high, low, layer=LAYER)
    for method in ("difference", "pca", "probe"):
        v = steering.vector(model, high, low, layer=LAYER, method=method)
        assert v.cosine(true) > 0.6 and v.separation > 0.8 and v.agreement > 0.3, method
        # in 24 dimensions a chance cosine is about 0.2, and the contrast itself has cancelled.
        units = v.shuffled / np.linalg.norm(v.shuffled, axis=1, keepdims=True)
        assert np.abs(units @ true.unit).mean() < 0.45, method
    # The null: two classes of one kind. Of 36 pairs a chance ROC area has a standard error of about 0.07.
    equal = steering.vector(model, models.tokens(36, 6, seed=3), models.tokens(36, 6, seed=4), layer=LAYER)
    assert equal.agreement < 0.25 and abs(equal.separation - 0.5) < 0.2


def test_difference_of_means_and_centred_vectors_are_what_they_say():
    model = models.load("llama")
    high, low = planted(model)
    hook = f"blocks.{LAYER}.hook_resid_post"
    up, down = (model.run_with_cache(rows, hook)[1][hook].double() for rows in (high, low))
    v = steering.vector(model, high, low, layer=LAYER)
    assert np.allclose(v.direction, (up[:, -1] - down[:, -1]).mean(0), atol=1e-6)
    centred = steering.vector(model, high, low, layer=LAYER, method="centred")
    assert np.allclose(centred.direction, up[:, -1].mean(0) - down.mean((0, 1)), atol=1e-6)
    medians = [float(rows[:, 1:].norm(dim=-1).median()) for rows in (up, down)]
    assert v.stream_norm == pytest.approx(sum(medians) / 2)
    both = steering.vectors(model, high, low, (0, LAYER))
    assert np.array_equal(both[1].direction, v.direction) and both[0].layer == 0


def test_latents_and_probes_give_vectors():
    sae = SimpleNamespace(W_dec=torch.eye(24)[:3], metadata={"hook_name": "blocks.1.hook_resid_post"})
    probe = SimpleNamespace(direction_=np.arange(24.0))
    model, texts = models.load("llama"), models.tokens(4, 6)
    v = steering.from_latent(model, sae, 2, texts=texts)
    assert v.layer == 1 and v.direction[2] == 1 and v.method == "SAE latent 2" and np.isnan(v.separation)
    assert np.array_equal(steering.from_direction(model, probe, 0, texts=texts).direction, probe.direction_)
    with pytest.raises(UsageError, match="Latent 3 does not exist"):
        steering.from_latent(model, sae, 3, texts=texts)


def test_the_layer_is_chosen_on_one_half_and_judged_on_the_other():
    model = models.load("llama")
    direction = model.weights.W_U[:, 3] - model.weights.W_U[:, 7]
    several = (
        random_vector(model, 0),
        steering.from_direction(model, direction, 2, texts=models.tokens(4, 6)),
    )
    result = respond(model, several, models.tokens(10, 6), ([3], [7]))
    assert result.layers[result.best] == 2 and result.chooses.sum() == 5
    assert not (result.chooses & result.judges).any()
    assert result.slope[0] == pytest.approx(result.slopes[1, result.judges].mean())


def test_a_judged_text_and_tasks_answers_are_measures():
    model, v = models.load("llama", text=True), random_vector(models.load("llama"))
    prompts = ["the tower is", "is in Paris", "London"]

    def length(text: str) -> float:
        return float(len(text))

    result = respond(model, v, prompts, length, n_controls=2)
    assert result.measure == "length" and result.random.shape == (1, 2, 3, 3)
    for dose, strength in enumerate(result.strengths):
        text = model.generate_tokens(model.to_tokens(prompts[0]), 20) if strength == 0 else None
        if text is not None:
            assert result.values[0, dose, 0] == len("".join(model.labels(text)))
    with pytest.raises(UsageError, match="must return a number"):
        respond(model, v, prompts, lambda text: text)


def test_a_batch_is_continued_as_each_of_its_rows():
    model, rows = models.load("gpt2"), models.tokens(4, 5)
    vector = torch.randn(4, 1, model.spec.d_model, generator=torch.Generator().manual_seed(0))
    result = batch_ids(model.edited(edit.add("blocks.1.hook_resid_post", vector)), rows, 6)
    for row, one, added in zip(rows, result, vector, strict=True):
        alone = model.edited(edit.add("blocks.1.hook_resid_post", added[0])).generate_tokens(row[None], 6)
        assert torch.equal(one[: len(alone)], alone)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"measure": (3, 3)}, "both right and wrong"),
        ({"measure": None}, "Give a measure"),
        ({"strengths": ()}, "other than 0"),
        ({"strengths": (float("nan"),)}, "finite"),
        ({"prompts": []}, "at least one row"),
    ],
)
def test_wrong_requests_are_usage_errors(options, words):
    model = models.load("llama")
    with pytest.raises(UsageError, match=words):
        respond(model, random_vector(model), **options)


def test_wrong_vectors_are_usage_errors():
    model = models.load("llama")
    high, low = planted(model)
    with pytest.raises(UsageError, match="Layer 3 does not exist"):
        steering.vector(model, high, low, layer=3)
    with pytest.raises(UsageError, match="same mean"):
        steering.vector(model, high, high, layer=1)
    with pytest.raises(UsageError, match='nearest is "difference"'):
        steering.vector(model, high, low, layer=1, method="diference")
    with pytest.raises(UsageError, match="needs pairs"):
        steering.vector(model, high, low[:-1], layer=1, method="pca")
    with pytest.raises(UsageError, match="each layer"):
        respond(model, (random_vector(model), random_vector(model)))
    with pytest.raises(NotFiniteError):
        respond(model, random_vector(model), strengths=(1e38,))
