"""Attention scores as sums over pairs of writers, against the model's own queries and keys, and as targets of trees."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from interp.attribution import direct, freeze, path_tree, score, scores
from interp.attribution.bilinear import measure, written
from interp.attribution.targets import resolve
from interp.errors import UsageError
from interp.model.arithmetic import rotate, visible
from tests import models
from tests.attribution import planted
from tests.attribution.test_paths import EIFFEL, chains, missed

IDS = models.tokens(1, 6)


@pytest.fixture(scope="module")
def frozen():
    """Frozen inputs of every family in float64, made when first asked for."""
    made = {}
    return lambda name: made.setdefault(name, freeze(models.load(name, torch.float64), IDS))


def own_scores(model, tokens) -> list[torch.Tensor]:
    """Each layer's pre-softmax scores as `transformers` gives them away: log of its own patterns.

    They are known up to a constant for each query, softmax taking no notice of one.
    """
    result = model.hf(tokens, output_attentions=True).attentions
    return [pattern[0].log() for pattern in result]


@pytest.mark.parametrize("name", models.NAMES)
def test_every_score_of_every_head(name, frozen):
    """Softcaps, query/key norms, partial rotation, grouped heads and biases; keys out of sight are refused."""
    frozen = frozen(name)
    spec = frozen.model.spec
    theirs = own_scores(frozen.model, IDS)
    for layer in range(spec.n_layer):
        seen = visible(6, spec.windows[layer], torch.device("cpu"))
        for head in range(spec.n_head):
            for query in range(6):
                keys = [key for key in range(6) if seen[query, key]]
                result = torch.tensor(
                    [scores(frozen, layer, head, query, key).total for key in keys], dtype=torch.float64
                )
                row = theirs[layer][head, query, keys].double()
                scale = float(result.abs().max())
                assert (result.softmax(0) - row.softmax(0)).abs().max() < 1e-12
                expected = frozen.blocks[layer].scores[head, query, keys]
                torch.testing.assert_close(result, expected, rtol=0, atol=1e-12 * max(scale, 1))
            for key in [*(key for key in range(6) if not seen[5, key]), 5]:
                query = 5 if key != 5 else 4
                with pytest.raises(UsageError, match=f"L{layer}H{head} cannot look from position {query} to {key}"):
                    scores(frozen, layer, head, query, key)


@pytest.mark.parametrize("name", models.NAMES)
@pytest.mark.parametrize("side", ["query", "key"])
def test_a_side_as_target(name, side, frozen):
    """The score's tree conserves, and its first level is the row or column of the pairs."""
    frozen = frozen(name)
    target = score(frozen, 2, 1, 4, 3, side=side)
    pairs = scores(frozen, 2, 1, 4, 3)
    sums = pairs.by_query() if side == "query" else pairs.by_key()
    np.testing.assert_allclose(direct(frozen, target).array, sums[: None if sums[-1] else -1], atol=1e-12)
    tree = path_tree(frozen, target, 300)
    assert tree.total == pytest.approx(pairs.value, abs=1e-12 * tree.mass)
    assert missed(tree) < 1e-12
    # What the score is when its side's stream is the model's own.
    linear = resolve(frozen, target)
    x = frozen.writes[: linear.visible, linear.position].sum(0)
    assert measure(frozen, target, x) == pytest.approx(pairs.value, abs=1e-12)


def test_a_saturated_softcap_is_handled():
    """In float32 a score near the cap says little about what it was before: the ratio comes from the pairs."""
    hf = models.build("gemma2")
    with torch.no_grad():
        for name, value in hf.named_parameters():
            if "q_proj" in name or "k_proj" in name:
                value.mul_(3)
    import interp

    frozen = freeze(interp.load(hf), IDS)
    capped = frozen.blocks[1].scores.abs().max()
    assert capped > 1.99999
    for head in range(4):
        for query in range(6):
            assert scores(frozen, 1, head, query, query).error < 1e-5


def test_rotation_is_part_of_it(frozen):
    """Turned to other positions, queries and keys of the same tokens no longer give the model's scores."""
    frozen = frozen("llama")
    pairs = written(frozen, 1, 0, 4, "query") @ written(frozen, 1, 0, 2, "key").T
    scale = frozen.model.spec.attention_scale[1]
    assert float(pairs.sum() * scale) == pytest.approx(float(frozen.blocks[1].scores[0, 4, 2]), abs=1e-12)
    unturned = rotate(written(frozen, 1, 0, 2, "key"), frozen.model.spec.rotaries[1], -2, frozen.n_token)
    wrong = float((written(frozen, 1, 0, 4, "query") @ unturned.T).sum() * scale)
    assert abs(wrong - float(frozen.blocks[1].scores[0, 4, 2])) > 1e-2


# Induction by hand


def test_the_planted_model_does_induction():
    model = planted.induction()
    tokens = torch.tensor([[7, 3, 1, 4, 6, 3]])
    frozen = freeze(model, tokens)
    assert int(model(tokens)[0, -1].argmax()) == 1
    assert frozen.blocks[0].pattern[0, 1:, :].diagonal().min() > 0.9
    assert float(frozen.blocks[1].pattern[0, 5, 2]) > 0.9


def test_the_key_of_an_induction_head_comes_from_the_previous_token_head():
    """Token 3 stands at 1 and 5: from 5, the induction head looks at 2, whose key says what stood before it."""
    frozen = freeze(planted.induction(), torch.tensor([[7, 3, 1, 4, 6, 3]]))
    tree = path_tree(frozen, score(frozen, 1, 0, 5, 2, side="key"), 200)
    assert tree.paths(1)[0].components[0].startswith("L0H0@")
    assert tree.paths(1)[0].components[1] == "embed@3.1"
    through = sum(value for chain, value in chains(tree).items() if chain[0].startswith("L0H0@"))
    assert through > 0.9 * tree.total > 0
    # The control looks for its own token where that token itself stands: no head has a hand in it.
    control = path_tree(frozen, score(frozen, 1, 1, 5, 1, side="key"), 200)
    assert control.paths(1)[0].components == ("embed@3.1",)
    through = sum(abs(value) for chain, value in chains(control).items() if chain[0].startswith("L0H0@"))
    assert through < 0.1 * control.total
    # And the query of the induction head is its own token, whatever the key is made of.
    query = path_tree(frozen, score(frozen, 1, 0, 5, 2, side="query"), 200)
    assert query.paths(1)[0].components == ("embed@3.5",)


# The real model


@pytest.mark.real
def test_all_heads_of_smollm2_in_float64(smollm2_double):
    assert worst_of_all_heads(smollm2_double) < 1e-10


@pytest.mark.real
def test_all_heads_of_smollm2_in_float32(smollm2):
    """Relative to the largest score of the query's row.

    A float32 score near 0 is the rest of products as large as its neighbours', and carries their rounding: what the
    softmax sees is the row, and 1e-5 of its largest entry is what can be asked of any one of them.
    """
    assert worst_of_all_heads(smollm2) < 1e-5


def worst_of_all_heads(model) -> float:
    """The largest error of a score's pairs over all heads, at the last query and two keys: the relative error above."""
    frozen = freeze(model, model.to_tokens(EIFFEL))
    worst = 0.0
    for layer in range(model.spec.n_layer):
        for head in range(model.spec.n_head):
            theirs = frozen.blocks[layer].scores[head, -1]
            result = torch.tensor([scores(frozen, layer, head, -1, key).total for key in (4, 9)], dtype=torch.float64)
            worst = max(worst, float((result - theirs[[4, 9]]).abs().max() / theirs.abs().max()))
    return worst


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda f: scores(f, 3, 0, 1, 0), "Layer 3 does not exist: the model has layers 0 to 2."),
        (lambda f: scores(f, 0, 4, 1, 0), "Head 4 does not exist: each layer has heads 0 to 3."),
        (lambda f: scores(f, 0, 0, 6, 0), "Position 6 is outside the prompt, which has 6 tokens."),
        (lambda f: score(f, 0, 0, 1, 0, side="value"), 'side must be "query" or "key", not "value".'),
    ],
)
def test_refusals(call, text, frozen):
    with pytest.raises(UsageError) as caught:
        call(frozen("llama"))
    assert text in str(caught.value)
