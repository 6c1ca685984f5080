"""Path patching agrees with hooks set by hand on the transformers modules, and with exact edges."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from interp import edit, patching, tasks
from interp.discovery.graph import Graph
from interp.discovery.masks import evaluate
from interp.errors import UsageError
from tests import models


@pytest.fixture(scope="module", params=["gpt2", "llama"])
def case(request):
    model = models.load(request.param)
    return model, tasks.induction(model, n=3, seed=0, length=6)


class Modules:
    """The modules of a small model: what its attention and MLP read and write, by layer."""

    def __init__(self, hf):
        gpt2 = hf.config.model_type == "gpt2"
        blocks = hf.transformer.h if gpt2 else hf.model.layers
        self.heads = [b.attn.c_proj if gpt2 else b.self_attn.o_proj for b in blocks]
        self.mlps = [b.mlp for b in blocks]
        self.neurons = [b.mlp.c_proj if gpt2 else b.mlp.down_proj for b in blocks]
        self.queries = [b.attn.c_attn if gpt2 else b.self_attn.q_proj for b in blocks]
        self.width = hf.config.n_embd // hf.config.n_head if gpt2 else blocks[0].self_attn.head_dim


def by_hand(model, base, source, sender, receiver, fixed):
    """Logits of the base run with the path (layer, head) -> ("q", layer, head) or ("mlp", layer), by plain hooks."""
    hf, parts = model.hf, Modules(model.hf)
    (at, head), (kind, to, *rest) = sender, receiver
    columns = slice(head * parts.width, (head + 1) * parts.width)

    def run(tokens, before=(), after=()):
        handles = [module.register_forward_pre_hook(f) for module, f in before]
        handles += [module.register_forward_hook(f) for module, f in after]
        try:
            return hf(tokens).logits
        finally:
            for handle in handles:
                handle.remove()

    def keep(into, module):
        return (module, lambda _, args, into=into, module=module: into.__setitem__(module, args[0].clone()))

    def keep_after(into, module):
        return (module, lambda _, __, out, into=into, module=module: into.__setitem__(module, out.clone()))

    clean, other, taken = {}, {}, {}
    run(base, [keep(clean, m) for m in parts.heads], [keep_after(clean, m) for m in parts.mlps])
    run(source, [keep(other, parts.heads[at])])

    def send(_, args):
        x = (clean[parts.heads[at]] if fixed else args[0]).clone()
        x[..., columns] = other[parts.heads[at]][..., columns]
        return (x,)

    before = [(parts.heads[at], send)]
    after = []
    if fixed:
        before += [
            (m, lambda _, __, m=m: (clean[m],)) for layer, m in enumerate(parts.heads) if layer != at and layer >= at
        ]
        after += [(m, lambda _, __, ___, m=m: clean[m]) for m in parts.mlps[at:]]
    read = parts.queries[to] if kind == "q" else parts.neurons[to]
    if kind == "q":
        run(base, before, [*after, keep_after(taken, read)])
    else:
        run(base, [*before, keep(taken, read)], after)

    def receive_query(_, __, out):
        mine = slice(rest[0] * parts.width, (rest[0] + 1) * parts.width)
        out = out.clone()
        out[..., mine] = taken[read][..., mine]
        return out

    if kind == "q":
        return run(base, after=[(read, receive_query)])
    return run(base, before=[(read, lambda _, __: (taken[read],))])


@pytest.mark.parametrize("between", ["held", "real"])
@pytest.mark.parametrize("direction", ["noise", "denoise"])
@pytest.mark.parametrize("receiver", [("q", 2, 1), ("mlp", 1), ("mlp", 2)])
@torch.no_grad()
def test_hooks_set_by_hand_agree(case, between, direction, receiver):
    model, task = case
    name = f"L{receiver[1]}H{receiver[2]}.q" if receiver[0] == "q" else f"MLP{receiver[1]}"
    senders = [(layer, head) for layer in range(2) for head in range(4)]
    result = patching.path(model, task, [f"L{a}H{h}" for a, h in senders], name, between=between, direction=direction)
    base, source = (task.clean, task.counterfactual)[:: 1 if direction == "noise" else -1]
    for i, sender in enumerate(senders):
        wanted = task.measure(by_hand(model, base, source, sender, receiver, between == "held"))
        # float32 logits of size 1, whose products are formed in batches of another size
        np.testing.assert_allclose(result.values[:, i, 0], wanted.numpy(), rtol=0, atol=1e-5)
    assert (
        np.abs(result.values - (result.clean if direction == "noise" else result.counterfactual)[:, None, None]).max()
        > 1e-4
    )


@pytest.mark.parametrize("name", ["llama", "qwen2", "gpt2", "neox"])
def test_paths_with_fixed_components_are_exact_edges(name):
    """Without a post-norm, under which a head's share of what attention writes is not what the head writes."""
    model = models.load(name, dtype=torch.float64)
    task, graph = tasks.induction(model, n=2, seed=0, length=6), Graph.of(model.spec)
    senders = ["embed", "L0H1", "MLP0", "L1H2"]
    last, largest = "L2KV0" if model.spec.kv_group > 1 else "L2H0", 0.0
    for receiver in ("L2H3.q", f"{last}.k", f"{last}.v", "MLP2", "logits"):
        result = patching.path(model, task, senders, receiver)
        masks = [np.eye(1, graph.n_edge, graph.index(f"{sender} → {receiver}"))[0] for sender in senders]
        exact = evaluate(model, graph, task, masks).T
        # rounding of float64 sums in another order; rotary tables are float32 in transformers and here
        np.testing.assert_allclose(result.values[:, :, 0], exact, atol=1e-6)
        largest = max(largest, np.abs(exact - result.clean[:, None]).max())
    assert largest > 1e-3


def test_the_logits_of_others_that_react_are_the_whole_effect(case):
    model, task = case
    result = patching.path(model, task, ["L0H1", "MLP1"], "logits", between="real")
    for i, (hook, head) in enumerate((("blocks.0.attn.hook_z", 1), ("blocks.1.hook_mlp_out", None))):
        _, cache = model.run_with_cache(task.counterfactual, hook)
        wanted = task.measure(model.edited(edit.replace(hook, cache[hook], head=head))(task.clean))
        np.testing.assert_allclose(result.values[:, i, 0], wanted.numpy(), atol=1e-5)


def test_several_receivers_and_a_sender_behind_some_of_them(case):
    model, task = case
    both = patching.path(model, task, ["L0H1", "L1H0"], ["L1H2.q", "MLP2"])
    alone = patching.path(model, task, ["L1H0"], ["MLP2"])
    np.testing.assert_allclose(both.values[:, 1], alone.values[:, 0], atol=1e-5)
    first = patching.path(model, task, ["L0H1"], ["MLP2"])
    assert np.abs(both.values[:, 0] - first.values[:, 0]).max() > 1e-6
    assert both.rows == ("L0H1", "L1H0") and both.columns == ("L1H2.q + MLP2",)


@pytest.mark.parametrize(
    ("senders", "receivers", "options", "message"),
    [
        ("L9H0", "MLP2", {}, 'no sender "L9H0"'),
        ("L0H0", "L2H0", {}, 'no receiver "L2H0"'),
        ("L2H0", "L1H0.q", {}, "there is no path"),
        ("L2H0", "L2H1.q", {}, "there is no path"),
        ("L0H0", "logits", {"between": "frozen"}, 'Unknown between "frozen"'),
        ("L0H0", ["logits", "MLP2"], {"between": "real"}, "the whole effect"),
        ([], "MLP2", {}, "at least one sender"),
    ],
)
def test_what_cannot_be_patched_is_refused(case, senders, receivers, options, message):
    model, task = case
    with pytest.raises(UsageError, match=message):
        patching.path(model, task, senders, receivers, **options)
