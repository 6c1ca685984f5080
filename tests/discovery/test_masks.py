"""Edges run for real: masked runs, batched exact runs and transformer_lens agree; EAP is the gradient of the mask."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from interp import discovery, edit, tasks
from interp.discovery.exact import exact_edges, exact_nodes
from interp.discovery.gradients import attribution
from interp.discovery.graph import Graph
from interp.discovery.masks import evaluate, masked_run
from interp.discovery.pairs import PairRuns
from interp.discovery.secant import secant_edges
from interp.errors import CheckFailedError, DamagedFileError, UsageError
from tests import models

FAMILIES = (*models.NAMES, "bloom", "olmo2", "olmo3", *models.EXPERTS)
"""With slopes of distance, norms over all heads, sinks, and mixtures of experts, whose experts are one MLP."""


@pytest.mark.parametrize("name", FAMILIES)
def test_masks_exact_edges_and_gradients_agree_in_every_family(name):
    model = models.load(name, dtype=torch.float64)
    task = tasks.induction(model, n=2, seed=0, length=6)
    score = task.score(model)
    graph = Graph.of(model.spec, grouped=name not in ("llama3", "olmo3"))
    none, every = evaluate(model, graph, task, [np.zeros(graph.n_edge), np.ones(graph.n_edge)])
    # float64 rounding through three layers, of numbers of size 1 to 10
    assert np.abs(none - score.clean).max() < 1e-9 and np.abs(every - score.counterfactual).max() < 1e-9
    chosen = np.random.default_rng(0).choice(graph.n_edge, 12, replace=False)
    single = evaluate(model, graph, task, list(np.eye(graph.n_edge)[chosen])) - none
    exact = exact_edges(model, graph, task)
    assert np.abs(single.T - exact[:, chosen]).max() < 1e-9
    assert np.abs(exact).max() > 1e-3
    nodes = evaluate(model, graph, task, [(graph.writer == i) * 1.0 for i in range(len(graph.writers))]) - none
    assert np.abs(nodes.T - exact_nodes(model, graph, task)).max() < 1e-9
    mask = torch.zeros(graph.n_edge, dtype=torch.float64, requires_grad=True)
    runs = PairRuns(model, graph, task)
    masked_run(runs, mask).sum().backward()
    assert mask.grad is not None
    assert torch.allclose(attribution(runs).sum(0), mask.grad, atol=1e-9)


def test_a_mask_by_position_corrupts_only_there():
    model = models.load("qwen2", dtype=torch.float64)
    task = tasks.induction(model, n=2, seed=0, length=6)
    graph = Graph.of(model.spec)
    whole = np.random.default_rng(0).random(graph.n_edge) < 0.3
    spread = np.repeat(whole[:, None], task.clean.shape[1], 1)
    shared = spread.copy()
    shared[:, int(task.differs.any(0).int().argmax()) :] = False
    clean, masked, by_position, before = (
        evaluate(model, graph, task, [m])[0] for m in (0 * whole, whole, spread, shared)
    )
    assert np.allclose(masked, by_position, atol=1e-9) and np.allclose(before, clean, atol=1e-9)
    assert np.abs(masked - clean).max() > 1e-3


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_transformer_lens_patches_and_attributes_the_same_edges(name):
    """The edge of a head into a query, key, value or MLP input, patched by hooks of the bridge; and its gradient."""
    model = models.load(name)
    task = tasks.induction(model, n=2, seed=0, length=6)
    scores = discovery.score(model, task, "exact")
    eap = discovery.score(model, task, "eap")
    bridge = models.load(name).bridge
    bridge.set_use_split_qkv_input(True)
    bridge.set_use_attn_result(True)
    _, clean = bridge.run_with_cache(task.clean)
    _, other = bridge.run_with_cache(task.counterfactual)
    key = "KV" if model.spec.kv_group > 1 else "H"
    places = {
        f"L0H1 → L2{key}1.k": ("blocks.2.hook_k_input", 1),
        "L0H1 → L1H3.q": ("blocks.1.hook_q_input", 3),
        f"L1H2 → L2{key}0.v": ("blocks.2.hook_v_input", 0),
        "L1H2 → MLP2": ("blocks.2.hook_mlp_in", None),
        "MLP1 → logits": ("blocks.2.hook_resid_post", None),
    }
    bridge.set_use_hook_mlp_in(True)
    for edge, (hook, head) in places.items():
        writer = edge.split(" ")[0]
        if writer.startswith("MLP"):
            change = other["blocks.1.hook_mlp_out"] - clean["blocks.1.hook_mlp_out"]
        else:
            layer, number = int(writer[1]), int(writer[3])
            result = f"blocks.{layer}.attn.hook_result"
            change = other[result][:, :, number] - clean[result][:, :, number]
        gradients = []

        def patch(x, hook, change=change, head=head):
            x = x.clone()
            (x if head is None else x[:, :, head]).add_(change.detach())
            return x

        def watch(x, hook, gradients=gradients):
            x = x.detach().requires_grad_(True)
            gradients.append(x)
            return x

        patched = task.measure(bridge.run_with_hooks(task.clean, fwd_hooks=[(hook, patch)]))
        with torch.enable_grad():
            measure = task.measure(bridge.run_with_hooks(task.clean, fwd_hooks=[(hook, watch)]))
            (gradient,) = torch.autograd.grad(measure.sum(), gradients)
        gradient = gradient if head is None else gradient[:, :, head]
        # float32 through three layers
        assert abs(float(patched.detach().mean()) - scores.clean.mean() - scores.edges[edge]) < 1e-4, edge
        assert abs(float((gradient * change).sum()) / 2 - eap.edges[edge]) < 1e-4, edge
        assert abs(scores.edges[edge]) > 1e-4, edge


def test_an_exact_run_goes_on_where_it_stopped(tmp_path):
    model = models.load("qwen2", dtype=torch.float64)
    task, graph = tasks.induction(model, n=2, seed=0, length=6), Graph.of(model.spec)

    def stop(done: int, total: int, what: str) -> None:
        if done == 9:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        exact_edges(model, graph, task, folder=tmp_path, progress=stop)
    files = sorted(tmp_path.iterdir())
    assert len(files) == 9
    files[0].write_bytes(np.full(len(files[0].read_bytes()) // 8, 7.0).tobytes())
    result = exact_edges(model, graph, task, folder=tmp_path)
    fresh = exact_edges(model, graph, task)
    assert (result[0, : graph.offsets[8]] == 7.0).any()  # what was done is read, not done again
    assert np.array_equal(result[1], fresh[1])
    files[1].write_bytes(b"12345678")
    with pytest.raises(DamagedFileError, match="remove it"):
        exact_edges(model, graph, task, folder=tmp_path)
    other = tasks.induction(model, n=2, seed=5, length=6)
    assert np.array_equal(exact_edges(model, graph, other, folder=tmp_path), exact_edges(model, graph, other))


def test_streaming_in_small_batches_changes_nothing():
    model = models.load("neox", dtype=torch.float64)
    task = tasks.induction(model, n=5, seed=0, length=6)
    for method in ("secant", "eap", "exact"):
        whole, parts = (discovery.score(model, task, method, limit=limit) for limit in (2**28, 2**20))
        assert np.allclose(whole.values, parts.values, atol=1e-9), method


@pytest.mark.parametrize("name", FAMILIES)
def test_the_secant_from_the_first_difference_is_that_of_all_positions(name):
    """Edges out of the embedding sum to the change in both, which `secant_edges` checks to 1e-9."""
    model = models.load(name, dtype=torch.float64)
    task = tasks.induction(model, n=2, seed=0, length=6)
    graph = Graph.of(model.spec, grouped=name not in ("llama3", "olmo3"))
    late, whole = PairRuns(model, graph, task), PairRuns(model, graph, task, start=0)
    assert late.start > 0
    result, expected = secant_edges(late, by_position=True), secant_edges(whole, by_position=True)
    # float64 rounding through three layers
    assert torch.allclose(result, expected[..., late.start :], atol=1e-10)
    assert expected[..., : late.start].abs().max() < 1e-10
    assert result.abs().max() > 1e-4


@pytest.mark.parametrize("name", ["llama", "gemma2", "olmo2", "gpt_oss"])
def test_segments_of_the_secant_are_exact_and_tend_to_the_path_integral(name):
    """The sum is checked inside to 1e-9. With many segments scores out of the embedding are integrated gradients."""
    model = models.load(name, dtype=torch.float64)
    task = tasks.induction(model, n=2, seed=0, length=6)
    one, two, many = (discovery.score(model, task, "secant", segments=n) for n in (1, 2, 8))
    assert np.abs(one.values - two.values).max() > 1e-3
    assert two.clean == pytest.approx(one.clean) and two.corrupted == pytest.approx(one.corrupted)
    where = discovery.score(model, task, "secant", segments=2, by_position=True)
    assert np.allclose(where.by_position.sum(1), two.array, atol=1e-9)
    if model.spec.n_expert:  # a choice of experts jumps on the line
        return
    gradients = discovery.score(model, task, "eap-ig-inputs", steps=64, rule="middle")
    out = one.graph.writer == 0
    gaps = [np.abs(result.array - gradients.array)[out].max() for result in (one, many)]
    assert gaps[1] < 0.1 * gaps[0]


@pytest.mark.parametrize(("model", "edges", "ungrouped"), [("smollm2", 70_651, 123_211)])
def test_the_edges_of_smollm2_by_both_conventions(model, edges, ungrouped):
    graph = Graph(30, 9, 3, False)
    assert graph.n_edge == edges and graph.weight.sum() == ungrouped
    assert Graph(30, 9, 3, False, grouped=False).n_edge == ungrouped
    assert Graph(12, 12, 12, False).n_edge == 32_491  # GPT-2 small, as MIB counts it


def test_bad_requests_are_one_sentence():
    model = models.load("llama")
    task = tasks.induction(model, n=2, seed=0, length=6)
    for message, request in {
        "nearest is": lambda: discovery.score(model, task, "secent"),
        "direction": lambda: discovery.score(model, task, "exact", direction="up"),
        "rule": lambda: discovery.score(model, task, "eap-ig-inputs", rule="top"),
        "outside": lambda: evaluate(model, Graph.of(model.spec), task, [], outside="else"),  # type: ignore[arg-type]
        "Give a task": lambda: discovery.score(model, "ioi"),  # type: ignore[arg-type]
        "bfloat16": lambda: discovery.score(models.load("llama", dtype=torch.bfloat16), task),
        "post-norms": lambda: discovery.score(models.load("gemma2"), task, "atp"),
    }.items():
        with pytest.raises(UsageError, match=message):
            request()


def test_a_model_that_computes_something_else_than_its_weights_is_refused():
    model = models.load("llama")
    task = tasks.induction(model, n=2, seed=0, length=6)
    with pytest.raises(UsageError, match="Discovery needs a model without edits"):
        discovery.score(model.edited(edit.zero("blocks.1.hook_mlp_out")), task)
    model.hf.model.layers[1].mlp.register_forward_hook(lambda module, given, out: 0 * out)  # as an adapter would
    with pytest.raises(CheckFailedError, match="is there an adapter or a hook on it"):
        discovery.score(model, task)
