"""Every package on both real models, one cheap case each: SmolLM2, and Gemma 3 of another family and tokenizer."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import interp
import probes
import saes
from interp import attribution, circuits, discovery, edit, patching, steering, tasks

pytestmark = pytest.mark.real
EIFFEL = "The Eiffel Tower is located in the city of"
LOUVRE = "The Big Ben Tower is located in the city of"
IOI = "When Mary and John went to the store, John gave a drink to"


@pytest.fixture(scope="module")
def frozen_by_name():
    return {}


@pytest.fixture
def frozen(real_model, frozen_by_name):
    if real_model.name not in frozen_by_name:
        frozen_by_name[real_model.name] = attribution.freeze(real_model, real_model.to_tokens(EIFFEL))
    return frozen_by_name[real_model.name]


def test_it_says_paris_and_mary(real_model):
    for prompt, answer in ((EIFFEL, " Paris"), (IOI, " Mary")):
        assert real_model.generate(prompt, max_tokens=1) == answer
    edited = real_model.edited(edit.zero("blocks.3.hook_mlp_out"))
    assert not torch.equal(edited(EIFFEL), real_model(EIFFEL))


def test_weights_reproduce_the_logits(real_model):
    # 30 layers of 1,536 sums in float32: some tens of roundings of 6e-8.
    assert interp.check(real_model, [real_model.to_tokens(EIFFEL)]).worst < 2e-6


def test_explanations_sum(real_model, frozen):
    target = attribution.logit_difference(real_model, " Paris", " London")
    assert frozen.error < 1e-5
    assert attribution.direct(frozen, target).error < 1e-5
    assert attribution.path_tree(frozen, target, max_expansions=50).error < 1e-5


def test_two_prompts_are_contrasted(real_model):
    clean, other = (real_model.to_tokens(f"{name} gave a drink to") for name in ("Mary", "John"))
    pair = attribution.contrast(real_model, clean, other)
    target = attribution.logit_difference(real_model, " Mary", " John")
    assert pair.error < 1e-4
    assert attribution.sources(pair, target).error < 1e-4


def test_heads_are_rebuilt(real_model):
    layer, last = real_model.spec.n_layer // 2, real_model.spec.n_head - 1
    tokens = real_model.to_tokens(EIFFEL)
    hook = f"blocks.{layer}."
    _, cache = real_model.run_with_cache(tokens, [hook + "hook_resid_pre", hook + "attn.hook_pattern"])
    ours = circuits.qk(real_model, layer, last).pattern(cache[hook + "hook_resid_pre"][0])
    torch.testing.assert_close(ours, cache[hook + "attn.hook_pattern"][0, last], rtol=0, atol=1e-4)


def test_the_lens_ends_in_the_answer(real_model):
    lens = attribution.logit_lens(real_model, real_model.to_tokens(EIFFEL), [" Paris"])
    assert lens.error < 1e-4
    assert lens.ranks[-1, -1, 0] == 0


def test_a_task_is_scored_patched_and_its_edges_ranked(real_model):
    task = tasks.ioi(real_model, n=4, seed=0)
    assert task.score(real_model).clean.mean() > task.score(real_model).counterfactual.mean()
    patched = patching.patch(real_model, task[:2], what="resid_post", by=("layer",))
    # The last stream carries the whole answer: the clean one put in gives the clean run's measure back.
    assert patched.values[:, -1, 0] == pytest.approx(patched.clean, abs=1e-3)
    scores = discovery.score(real_model, task[:1], method="secant")
    assert scores.values.shape[1] == len(scores.graph.edges) > 1000
    assert np.isfinite(scores.values).all()


def test_directions_are_collected_and_steer(real_model):
    texts = ["It is warm.", "It is hot.", "It is cold.", "It is icy."]
    hook = f"blocks.{real_model.spec.n_layer // 2}.hook_resid_post"
    rows = torch.stack([real_model.run_with_cache(text, hook)[1][hook][0, -1] for text in texts]).numpy()
    assert probes.MassMean().fit(rows, np.array([1, 1, 0, 0])).direction_.shape == (real_model.spec.d_model,)
    vector = steering.vector(real_model, texts[:2], texts[2:], layer=3)
    assert vector.direction.shape == (real_model.spec.d_model,)
    assert np.linalg.norm(vector.direction) > 0


def test_a_dictionary_is_trained(real_model):
    hook = "blocks.2.hook_resid_post"
    _, cache = real_model.run_with_cache(f"{EIFFEL} Paris. {IOI} Mary.", hook)
    config = saes.Config(architecture="topk", width=64, k=4, steps=5, batch_size=16, lr=1e-3, seed=0)
    assert saes.train(config, cache[hook][0, 1:])(cache[hook][0]).shape == cache[hook][0].shape
