"""Attribution through mixtures of experts and attention sinks: sums, choices that differ, a dense twin."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import interp
from interp import attribution, circuits, edit, patching
from interp.attribution.neuronpedia import neuronpedia_graph
from interp.attribution.secants import SoftmaxSecant
from interp.errors import CheckFailedError, UnsupportedModelError, UsageError
from tests import models

CLEAN = models.tokens(1, 9)
OTHER = CLEAN.clone()
OTHER[0, 3] = (OTHER[0, 3] + 7) % models.D_VOCAB


@pytest.fixture(scope="module", params=models.EXPERTS)
def model(request):
    return models.load(request.param, torch.float64)


def _every(linearised, target):
    trees = [attribution.path_tree(linearised, target, 200, nodes=nodes) for nodes in ("position", "component")]
    result = [f(linearised, target) for f in (attribution.direct, attribution.sources, attribution.orders)]
    return [*result, attribution.edges(linearised, target), *trees]


def _target(model, kind):
    if kind == "logit_difference":
        return attribution.logit_difference(model, 3, 5)
    vector = torch.randn(model.spec.d_model, generator=torch.Generator().manual_seed(0))
    return attribution.direction(model, vector, layer=1, stage="resid_post")


@pytest.mark.parametrize("kind", ["logit_difference", "direction"])
def test_a_frozen_input_sums_to_the_models_own(model, kind):
    frozen = attribution.freeze(model, CLEAN)
    assert frozen.error < 1e-12
    for result in _every(frozen, _target(model, kind)):
        assert result.error < 1e-10
    assert attribution.scores(frozen, 2, 1, 7, 6).error < 1e-10


@pytest.mark.parametrize("kind", ["logit_difference", "direction"])
def test_a_contrast_sums_with_experts_chosen_in_one_run_only(model, kind):
    pair = attribution.contrast(model, CLEAN, OTHER)
    assert pair.error < 1e-12
    assert _alone(pair) > 0  # some experts run in one of the two runs only
    for result in _every(pair, _target(model, kind)):
        assert result.error < 1e-9
    assert attribution.scores(pair, 2, 1, 7, 6).error < 1e-9


def _alone(pair):
    """How often an expert adds something in one run only."""
    layout = pair.layout
    writes = [pair.writes[layout.mlp(layer) :][: layout.n_mlp] for layer in range(pair.model.spec.n_layer)]
    return sum(
        int((write.any(-1).T & ~block.experts.both).sum()) for write, block in zip(writes, pair.blocks, strict=True)
    )


@pytest.mark.parametrize("name", models.EXPERTS)
def test_single_precision(name):
    model = models.load(name)
    target = attribution.logit_difference(model, 3, 5)
    linearised = [attribution.freeze(model, CLEAN)]
    linearised.append(attribution.contrast(model, CLEAN, OTHER))
    for each in linearised:
        for result in _every(each, target):
            assert result.error < 1e-5


def test_a_batch_of_pairs_is_the_mean_of_its_pairs(model):
    target = attribution.logit_difference(model, 3, 5)
    clean, other = torch.cat([CLEAN, models.tokens(1, 9, 5)]), torch.cat([OTHER, models.tokens(1, 9, 6)])
    both = attribution.contrast(model, clean, other)
    for each in (attribution.direct, attribution.orders):
        apart = [each(both[i], target).array for i in range(2)]
        np.testing.assert_allclose(each(both, target).array, np.mean(apart, 0), atol=1e-12)
    flow = attribution.edges(both, target)
    assert flow.error < 1e-9


@pytest.mark.parametrize("fault", ["switched", "both", "softmax"])
def test_a_lost_choice_is_caught(model, fault):
    """The negative control: without what a choice changes, an expert passes on other than what it received."""
    if fault == "switched" and model.spec.expert_shares == "all":
        pytest.skip("shares of all experts do not depend on which of them run")
    pair = attribution.contrast(model, CLEAN, OTHER)

    def broken(experts):
        if fault == "softmax":
            return replace(experts, softmax=SoftmaxSecant(0 * experts.softmax.weight))
        lost = getattr(experts, fault)
        return replace(experts, **{fault: torch.ones_like(lost) if fault == "both" else 0 * lost})

    blocks = tuple(replace(block, experts=broken(block.experts)) for block in pair.blocks)
    with pytest.raises(CheckFailedError):
        attribution.edges(replace(pair, blocks=blocks), attribution.logit_difference(model, 3, 5))


def test_a_lost_sink_is_caught():
    pair = attribution.contrast(models.load("gpt_oss", torch.float64), CLEAN, OTHER)
    target = attribution.logit_difference(pair.model, 3, 5)
    blocks = tuple(replace(block, softmax=replace(block.softmax, sink=None)) for block in pair.blocks)
    with pytest.raises(CheckFailedError):
        attribution.sources(replace(pair, blocks=blocks), target)


def test_a_planted_choice_is_the_whole_difference():
    """The router of layer 0 sends one token to expert 0 and the other to expert 1: each contributes its whole write."""
    hf = models.build("mixtral", changed={"num_experts_per_tok": 1})
    for name in ("q_proj", "k_proj", "v_proj", "o_proj"):  # layer 0 attends to nothing: the router sees the token alone
        getattr(hf.model.layers[0].self_attn, name).weight.data.zero_()
    first, second = int(CLEAN[0, 3]), int(OTHER[0, 3])
    embedded = hf.model.embed_tokens.weight.data
    hf.model.layers[0].post_attention_layernorm.weight.data.fill_(1.0)
    hf.model.layers[0].mlp.gate.weight.data[:2] = 10 * embedded[[first, second]]
    hf.model.layers[0].mlp.gate.weight.data[2:] = 0
    model = interp.load(hf, dtype=torch.float64)
    pair = attribution.contrast(model, CLEAN, OTHER)
    chosen = [block.chosen[3].tolist() for end in pair.ends for block in end.blocks[:1]]
    assert chosen == [[0], [1]]
    clean, counterfactual = (end.writes for end in pair.ends)
    at = {name: pair.layout.names.index(name) for name in ("L0E0", "L0E1")}
    torch.testing.assert_close(pair.writes[at["L0E0"], 3], clean[at["L0E0"], 3], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(pair.writes[at["L0E1"], 3], -counterfactual[at["L0E1"], 3], rtol=1e-12, atol=1e-12)
    target = attribution.logit_difference(model, 3, 5, position=3)
    tree = attribution.path_tree(pair, target, 300)
    name = f"L0E0@{CLEAN[0, 3]}|{OTHER[0, 3]}"
    ends = [row for row in np.flatnonzero(tree.expanded).tolist() if tree.name(row) == name]
    assert ends
    for row in ends:  # nothing on the stream explains the choice: the node's only child is the choice itself
        below = [i for i in range(len(tree.value)) if tree.parent[i] == row]
        assert [tree.name(i).rpartition(".")[2] for i in below] == ["choice"]
        assert tree.value[below[0]] == pytest.approx(tree.value[row], rel=1e-9)
    assert attribution.sources(pair, target).error < 1e-9


def test_one_expert_is_the_dense_model():
    """The same contributions, path by path, whether layers have one MLP or one expert."""
    sparse = models.build("mixtral", changed={"num_local_experts": 1, "num_experts_per_tok": 1})
    ours, twin = (interp.load(hf, dtype=torch.float64) for hf in (sparse, models.dense_twin(sparse)))
    target = attribution.logit_difference(ours, 3, 5)
    for make in (
        lambda model: attribution.freeze(model, CLEAN),
        lambda model: attribution.contrast(model, CLEAN, OTHER),
    ):
        one, other = make(ours), make(twin)
        assert [name.replace("MLP", "L") for name in other.layout.names] == [
            n.replace("E0", "") for n in one.layout.names
        ]
        for single, twins in zip(_every(one, target)[:4], _every(other, target)[:4], strict=True):
            np.testing.assert_allclose(single.array, twins.array, rtol=1e-9, atol=1e-12)


def test_experts_that_do_not_run_are_never_read():
    """Weights that are not numbers where no token of the prompt goes: nothing notices."""
    hf = models.build("mixtral", changed={"num_local_experts": 24})
    ran = attribution.freeze(interp.load(hf, dtype=torch.float64), CLEAN)
    for block, routing in zip(hf.model.layers, ran.blocks, strict=True):
        idle = torch.tensor(sorted(set(range(24)) - set(routing.chosen.flatten().tolist())))
        assert len(idle) > 3
        block.mlp.experts.gate_up_proj.data[idle] = block.mlp.experts.down_proj.data[idle] = torch.nan
    model = interp.load(hf, dtype=torch.float64)
    frozen = attribution.freeze(model, CLEAN)
    for result in _every(frozen, attribution.logit_difference(model, 3, 5)):
        assert np.isfinite(result.value if hasattr(result, "mass") else result.array).all()
        assert result.error < 1e-10


def test_what_a_path_says_of_an_expert_is_tested_by_cutting_it(model):
    target = attribution.logit_difference(model, 3, 5)
    frozen = attribution.freeze(model, CLEAN)
    tree = attribution.path_tree(frozen, target, 200)
    result = attribution.verify(model, tree, 6, frozen=frozen)
    assert np.isfinite(result.actual).all()
    assert any("E" in path.split("@")[0] for path in result.paths)


def test_a_contrasts_paths_are_cut_too(model):
    target = attribution.logit_difference(model, 3, 5)
    tree = attribution.path_tree(attribution.contrast(model, CLEAN, OTHER), target, 200)
    assert np.isfinite(attribution.verify(model, tree, 6).actual).all()


def test_an_expert_is_a_kind_of_mlp_where_layers_are_shown(model):
    frozen = attribution.freeze(model, CLEAN)
    target = attribution.logit_difference(model, 3, 5)
    result = attribution.direct(frozen, target)
    names, values = result.by_layer()
    dense = [v for label, v in zip(result.labels, result.array, strict=True) if label.startswith(("L1E", "MLP1"))]
    assert values[names.index("MLP 1")] == pytest.approx(sum(dense))
    tree = attribution.path_tree(frozen, target, 50)
    experts = [
        row for row in range(1, len(tree.value)) if tree.name(row).startswith("L1E") and "." not in tree.name(row)
    ]
    assert experts
    assert {tree.kind(row) for row in experts} == {"mlp"}
    assert neuronpedia_graph(tree, slug="a", scan="b")["nodes"]


def test_other_packages_read_a_mixture_or_refuse_it(model):
    assert circuits.head_scores(model, n_text=4, length=6).error < 1e-2
    assert circuits.check(model, CLEAN).worst < 1e-5  # angles are float32: see circuits.check
    with pytest.raises(UsageError, match="mixture of experts cannot be certified: leave out top"):
        attribution.path_tree(attribution.freeze(model, CLEAN), attribution.logit(model, 3), top=2)
    with pytest.raises(UnsupportedModelError, match=r"a number of neurons .* the MLP of each layer"):
        attribution.features(attribution.freeze(model, CLEAN), 3)
    with pytest.raises(UsageError, match="Freezing a mixture of experts needs a model without edits"):
        attribution.freeze(model.edited(edit.zero("blocks.1.hook_mlp_out")), CLEAN)
    swapped = patching.patch_residual(model, CLEAN, OTHER, attribution.logit_difference(model, 3, 5))
    assert swapped.recovered[0, 3] == pytest.approx(1, abs=1e-9)  # the only token that differs, restored
