"""Path trees of a contrast: queries, keys and values apart, exact at every node, and right on models made by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from interp.attribution import (
    by_source,
    contrast,
    direction,
    edges,
    logit,
    logit_difference,
    neuronpedia_graph,
    path_tree,
    score,
    scores,
    sources,
)
from interp.errors import UsageError
from interp.model import trace
from tests import models
from tests.attribution import planted

CLEAN, OTHER = models.tokens(1, 4), models.tokens(1, 4, 2)
FAMILIES = (*models.NAMES, "olmo2")
"""With one norm over the queries of all heads."""
INDUCTION = torch.tensor([[7, 3, 1, 4, 6, 3]])
WITHOUT_MATCH = torch.tensor([[7, 5, 1, 4, 6, 3]])


@pytest.fixture(scope="module")
def pairs():
    """Contrasts of every family in float64, made when first asked for."""
    made = {}
    return lambda name: made.setdefault(name, contrast(models.load(name, torch.float64), CLEAN, OTHER))


@pytest.mark.parametrize("nodes", ["position", "component"])
@pytest.mark.parametrize("name", FAMILIES)
def test_every_node_is_the_sum_of_its_children(name, nodes, pairs):
    pair = pairs(name)
    for target in (logit_difference(pair.model, 3, 5), score(pair, 2, 1, 3, 2, side="key")):
        tree = path_tree(pair, target, 150, nodes=nodes)
        for row in np.flatnonzero(tree.expanded):
            children = np.flatnonzero(tree.parent == row)
            # A few hundred products are summed in float64.
            gap = tree.value[row] - tree.value[children].sum() - tree.remainder[row]
            assert abs(gap) < 1e-12 * max(tree.mass, abs(tree.value[row]))
        assert tree.total == pytest.approx(sources(pair, target).total, abs=1e-12 * tree.mass)
        assert tree.expanded.sum() > 100 and tree.error < 1e-12


@pytest.mark.parametrize("name", FAMILIES)
def test_positions_sum_to_whole_components(name, pairs):
    """Two implementations: chains summed over their positions against chains of components at all positions."""
    pair = pairs(name)
    vector = torch.randn(pair.model.spec.d_model, generator=torch.Generator().manual_seed(0))
    target = direction(pair.model, vector, 1)
    by_position, whole = path_tree(pair, target, 10**6), path_tree(pair, target, 150, nodes="component")
    sums: dict[tuple[str, ...], float] = {}
    for row in range(1, len(by_position.value)):
        chain = tuple(by_position.name(at).partition("@")[0] for at in by_position.rows_above(row))
        sums[chain] = sums.get(chain, 0.0) + by_position.value[row]
    compared = 0
    for row in range(1, len(whole.value)):
        above = whole.rows_above(row)
        if len(above) <= 3:  # the target, a head, a branch of it, and what wrote what that reads
            assert whole.value[row] == pytest.approx(sums[tuple(map(whole.name, above))], abs=1e-11 * whole.mass)
            compared += whole.components[whole.component[above[1 if len(above) > 1 else 0]]].endswith((".q", ".k"))
    assert compared > 5


def test_a_head_splits_into_query_key_and_value(pairs):
    pair = pairs("llama")
    tree = path_tree(pair, logit_difference(pair.model, 3, 5), 1000)
    names = np.array([tree.name(row) for row in range(len(tree.value))])
    row = int(np.flatnonzero(np.char.startswith(names, "L2H1@") & tree.expanded)[0])
    branches = np.flatnonzero(tree.parent == row)
    at = names[row].partition("@")[2]
    assert set(names[branches]) == {f"L2H1.{branch}@{at}" for branch in "qkv"}
    assert tree.remainder[row] == pytest.approx(0, abs=1e-15)
    below = int(np.flatnonzero(np.isin(tree.parent, branches))[0])
    assert tree.chain(below)[-2].startswith("L2H1.") and "L2H1@" not in " ".join(tree.chain(below))
    assert not any(tree.complete[np.char.startswith(names, "L")])


@pytest.mark.parametrize("name", FAMILIES)
def test_a_score_is_a_sum_over_pairs_of_writers(name, pairs):
    pair = pairs(name)
    for layer, head, query, key in ((0, 0, 3, 3), (1, 3, 2, 1), (2, 2, 3, 1)):
        result = scores(pair, layer, head, query, key)
        one, two = (end.blocks[layer].scores[head, query, key] for end in pair.ends)
        assert result.total == pytest.approx(float(one - two), abs=1e-12)
        # Its two sides as targets: what queries and keys bring, without the writers of the other side.
        if pair.model.spec.attention_softcap is None:
            sides = [sources(pair, score(pair, layer, head, query, key, side=side)).total for side in ("query", "key")]
            assert sum(sides) == pytest.approx(result.total, abs=1e-12)


def test_what_is_linear_is_what_patching_finds():
    model = planted.inert()
    clean, other = torch.tensor([[1, 5, 2, 7, 0]]), torch.tensor([[1, 3, 2, 6, 4]])
    pair, target = contrast(model, clean, other), logit(model, 3)
    flow = edges(pair, target)
    wanted = flow.flow.sum(0)
    blocks = list(trace.blocks(model.weights, clean, folded=False))
    for index, component in enumerate(pair.layout.components):
        if component.kind != "head":
            continue
        stream = blocks[component.layer].resid_pre + blocks[component.layer].attention.write - pair.writes[index]
        stream = stream + trace.run_mlp(model.weights, component.layer, stream, folded=False).write
        for layer in range(component.layer + 1, model.spec.n_layer):
            stream = trace.run_block(model.weights, layer, stream, folded=False).resid_post
        patched = trace.unembed(model.weights, stream, folded=False)[0][0, -1, 3]
        effect = float(model(clean)[0, -1, 3] - patched)
        # Norms of scale 1e7 undone by gains as large leave seven digits of the stream's sixteen.
        assert effect == pytest.approx(wanted[index], rel=1e-5, abs=1e-7)
        assert abs(effect) > 1e-4


def test_the_key_of_an_induction_head_names_the_previous_token_head():
    model = planted.induction()
    pair = contrast(model, INDUCTION, WITHOUT_MATCH)
    tree = path_tree(pair, logit(model, 1), 200)
    best = tree.paths(1)[0]
    assert [step.partition("@")[0] for step in best.components] == ["L1H0.k", "L0H0.v", "embed"]
    assert best.components[-1] == "embed@3|5" and best.components[1].endswith("@1")
    assert best.value > 0.5 * tree.total > 0.1
    # The control: the other head of the layer finds its own token by its key, which owes that head nothing.
    names = [tree.name(row) for row in range(len(tree.value))]
    control = [value for name, value in zip(names, tree.value, strict=True) if name.startswith("L1H1.k")]
    assert max(map(abs, control), default=0.0) < 0.01 * tree.total


def test_identical_prompts_grow_a_tree_of_nothing():
    pair = contrast(models.load("gemma2", torch.float64), CLEAN, CLEAN)
    tree = path_tree(pair, logit(pair.model, 3), 50)
    assert len(tree.value) == 1 and tree.remainder.tolist() == [0.0] and tree.paths(5) == ()


def test_what_a_tree_cannot_do(pairs):
    pair = pairs("llama")
    both = contrast(pair.model, CLEAN.repeat(2, 1), OTHER.repeat(2, 1))
    with pytest.raises(UsageError, match=r"A path tree is of one pair: pass one of the 2 pairs, as pair\[0\]"):
        path_tree(both, logit(pair.model, 3))
    with pytest.raises(UsageError, match="largest paths of a frozen input"):
        path_tree(pair, logit(pair.model, 3), 20, top=5)
    assert path_tree(both[1], logit(pair.model, 3), 20).total == pytest.approx(
        sources(pair, logit(pair.model, 3)).total
    )


def test_what_takes_one_prompt_alone_refuses_a_contrast(pairs):
    pair = pairs("llama")
    target = logit_difference(pair.model, 3, 5)
    with pytest.raises(UsageError, match="frozen"):
        by_source(pair, target, 0, 0)
    with pytest.raises(UsageError, match="this tree is of two"):
        neuronpedia_graph(path_tree(pair, target, 20), slug="s", scan="m")
