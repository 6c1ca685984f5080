"""Patching over tasks: what must be restored is, transformer_lens agrees, and the model is not changed."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import interp
from interp import circuits, discovery, edit, patching
from interp.errors import NotFiniteError, UnsupportedModelError, UsageError
from interp.results import load
from interp.tasks import Task
from tests import models

N, T = 4, 6


def _task(n: int = N, n_token: int = T) -> Task:
    """Random pairs that differ in their third token."""
    clean = models.tokens(n, n_token, seed=3)
    other = clean.clone()
    other[:, 2] = (clean[:, 2] + 7) % models.D_VOCAB
    right = torch.arange(n) + 5
    return Task(
        name="random pairs",
        clean=clean,
        counterfactual=other,
        right=right,
        wrong=right + 20,
        positions={"end": torch.full((n,), n_token - 1), "change": torch.full((n,), 2)},
        templates=("one",) * n,
        labels=tuple(f"pair {i}" for i in range(n)),
    )


@pytest.fixture(scope="module", params=["gpt2", "llama"])
def model(request):
    return models.load(request.param)


def test_the_residual_stream_carries_everything(model):
    result = patching.patch(model, _task(), "resid_pre")
    assert result.values.shape == (N, 3, T)
    # The difference enters at position 2 and must pass there; rounding of float32 logits, relative to their difference.
    np.testing.assert_allclose(result.effect[0, 2], 1, atol=1e-4)
    np.testing.assert_allclose(result.effect[:, :2], 0, atol=1e-4)
    np.testing.assert_allclose(result.effect[0, 3:], 0, atol=1e-4)
    last = patching.patch(model, _task(), "resid_post", layers=[2])
    np.testing.assert_allclose(last.effect[0], [0] * (T - 1) + [1], atol=1e-4)


TRANSFORMER_LENS = {
    "resid_pre": ("get_act_patch_resid_pre", ("layer", "position")),
    "attn_out": ("get_act_patch_attn_out", ("layer", "position")),
    "mlp_out": ("get_act_patch_mlp_out", ("layer", "position")),
    "z": ("get_act_patch_attn_head_out_all_pos", ("layer", "head")),
    "q": ("get_act_patch_attn_head_q_all_pos", ("layer", "head")),
    "pattern": ("get_act_patch_attn_head_pattern_all_pos", ("layer", "head")),
}


@pytest.mark.parametrize("what", TRANSFORMER_LENS)
def test_transformer_lens_agrees(model, what):
    from transformer_lens import patching as theirs

    task, (name, by) = _task(), TRANSFORMER_LENS[what]
    model.bridge.reset_hooks()
    _, cache = model.bridge.run_with_cache(task.clean)
    wanted = getattr(theirs, name)(model.bridge, task.counterfactual, cache, lambda logits: task.measure(logits).mean())
    result = patching.patch(model, task, what, by)
    np.testing.assert_allclose(result.values.mean(0), wanted.detach().numpy(), rtol=0, atol=1e-4)
    assert result.values.std() > 1e-3


@pytest.mark.parametrize(
    ("what", "hook", "by"),
    [
        ("attn_out", "hook_attn_out", ("layer", "position")),
        ("v", "attn.hook_v", ("head", "layer")),
        ("z", "attn.hook_z", ("position",)),
        ("pattern", "attn.hook_pattern", ("layer", "head")),
        ("neuron", "mlp.hook_post", ("neuron", "layer")),
    ],
)
@pytest.mark.parametrize("edited", [False, True])
def test_rows_that_begin_at_the_patched_layer_equal_a_loop_over_whole_runs(model, what, hook, by, edited):
    """Without a layer in `by` all layers are patched at once, and their other entries react."""
    task = _task()
    if edited:
        model = model.edited(edit.add("blocks.0.hook_resid_post", torch.ones(model.spec.d_model), scale=0.5))
    result = patching.patch(model, task, what, by, indices=[3, 8] if what == "neuron" else None)
    hooks = [f"blocks.{layer}.{hook}" for layer in range(3)]
    _, cache = model.run_with_cache(task.clean, hooks)
    changed = 0
    for i, j in np.ndindex(*result.values.shape[1:]):
        site = dict(zip(by, (i, j), strict=False))
        if "neuron" in site:
            site["neuron"] = (3, 8)[site["neuron"]]
        layer = site.pop("layer", None)
        edits = [edit.replace(name, cache[name], **site) for at, name in enumerate(hooks) if layer in (None, at)]
        wanted = task.measure(model.edited(*edits)(task.counterfactual))
        # float32 logits of size 1, whose products are formed in batches of another size
        np.testing.assert_allclose(result.values[:, i, j], wanted.numpy(), rtol=0, atol=1e-5)
        changed += bool(np.abs(wanted.numpy() - result.counterfactual).max() > 1e-4)
    assert changed > 0.3 * result.values[0].size


def test_noising_everything_is_the_counterfactual_run_and_zero_is_zero_ablation(model):
    task = _task()
    both = patching.patch(model, task, "resid_pre", ("layer",), direction="noise")
    np.testing.assert_allclose(both.effect[0, 0], 1, atol=1e-4)
    zeroed = patching.patch(model, task, "mlp_out", ("layer",), direction="noise", source="zero")
    for layer in range(3):
        wanted = task.measure(model.edited(edit.zero(f"blocks.{layer}.hook_mlp_out"))(task.clean))
        np.testing.assert_allclose(zeroed.values[:, layer, 0], wanted.numpy(), atol=1e-4)


@pytest.mark.parametrize("source", ["mean", "other"])
def test_other_sources(model, source):
    task, hook = _task(), "blocks.1.hook_mlp_out"
    result = patching.patch(
        model, task, "mlp_out", ("layer",), direction="noise", source=source, layers=[1], batch_size=3
    )
    _, cache = model.run_with_cache(task.clean, hook)
    new = cache[hook].mean(0) if source == "mean" else cache[hook].roll(-1, 0)
    wanted = task.measure(model.edited(edit.replace(hook, new))(task.clean))
    np.testing.assert_allclose(result.values[:, 0, 0], wanted.numpy(), atol=1e-4)


class _Latents:
    """Every coordinate of the stream as two latents: nothing is left unreconstructed."""

    def __init__(self, d: int, hook: str):
        self.W = torch.cat([torch.eye(d), -torch.eye(d)])
        self.metadata = {"hook_name": hook}

    def encode(self, x):
        return (x @ self.W.T).relu()

    def decode(self, codes):
        return codes @ self.W


def test_neurons_latents_and_places(model):
    task = _task()
    neurons = patching.patch(model, task, "neuron", ("layer", "neuron"), indices=[1, 7])
    assert neurons.columns == ("neuron 1", "neuron 7")
    places = patching.patch(model, task, "resid_pre", ("layer", "place"))
    assert places.columns == ("end", "change")
    np.testing.assert_allclose(places.effect[0], [0, 1], atol=1e-4)
    sae = _Latents(model.spec.d_model, "blocks.0.hook_resid_pre")
    latents = patching.patch(model, task, "latent", ("latent",), sae=sae, indices=[0, 3])
    assert latents.values.shape == (N, 2, 1)
    whole = patching.patch(model, task, "latent", ("position",), sae=sae)
    np.testing.assert_allclose(whole.effect[2], 1, atol=1e-4)


@pytest.mark.parametrize("metric", ["log odds", "probability", "kl", lambda logits, task: logits[:, -1, 3]])
def test_metrics(model, metric):
    result = patching.patch(model, _task(), "resid_pre", ("layer",), metric=metric, layers=[0])
    np.testing.assert_allclose(result.effect[0, 0], 1, atol=1e-3)


def test_batches_do_not_matter_and_the_interval_holds_the_effect(model):
    one, several = (patching.patch(model, _task(), "attn_out", batch_size=batch) for batch in (32, 3))
    np.testing.assert_allclose(one.values, several.values, atol=1e-4)
    low, high = one.interval()
    assert ((low <= one.effect + 1e-9) & (one.effect <= high + 1e-9)).mean() > 0.9


def test_saved_and_drawn_on_a_fixed_scale(model, tmp_path):
    result = patching.patch(model, _task(), "attn_out")
    result.save(tmp_path)
    assert load(tmp_path) == result
    assert "restored" in result.table().to_html()
    assert result.figure().caption


def test_a_model_with_a_hook_is_patched_as_it_runs():
    """What the written-out pass cannot know: a hook on a module."""
    hf = models.build("gpt2")
    model, task = models.load("gpt2"), _task()
    assert hf is not model.hf
    model.hf.transformer.h[1].mlp.register_forward_hook(lambda *args: args[2] * 2)
    result = patching.patch(model, task, "resid_pre", layers=[0])
    np.testing.assert_allclose(result.clean, task.measure(model(task.clean)).numpy(), atol=1e-5)
    np.testing.assert_allclose(result.effect[0, 2], 1, atol=1e-4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"what": "attn_ou"}, 'Unknown what "attn_ou"; the nearest is "attn_out"'),
        ({"by": ("layer", "head")}, '"attn_out" has no heads'),
        ({"by": ("layer", "token")}, "give one or two of layer, position"),
        ({"direction": "both"}, 'Unknown direction "both"'),
        ({"source": "zero"}, "another source is for direction='noise'"),
        ({"metric": "logits"}, 'Unknown metric "logits"'),
        ({"what": "neuron", "by": ("neuron",)}, "indices="),
        ({"what": "latent"}, "pass the autoencoder"),
        ({"layers": [3]}, "give some from 0 to 2"),
    ],
)
def test_what_cannot_be_patched_is_refused(model, arguments, message):
    with pytest.raises(UsageError, match=message):
        patching.patch(model, _task(), **arguments)


def test_a_metric_that_is_not_finite_is_an_error():
    model = models.load("gpt2")
    model.hf.transformer.h[1].mlp.c_fc.weight.data[0, 0] = torch.nan
    with pytest.raises(NotFiniteError, match="log odds of a run is not finite"):
        patching.patch(model, _task(), layers=[0])


@pytest.mark.parametrize("name", models.EXPERTS)
def test_a_mixture_of_experts_is_patched_but_for_its_neurons(name):
    model = models.load(name, torch.float64)
    for what in ("resid_pre", "resid_mid"):  # all positions at once: everything that differs passes through
        np.testing.assert_allclose(patching.patch(model, _task(), what, "layer").effect, 1, atol=1e-9)
    for what, hook in (("mlp_out", "hook_mlp_out"), ("z", "attn.hook_z")):
        result = patching.patch(model, _task(), what, "layer", layers=[1])
        name = f"blocks.1.{hook}"
        clean = model.run_with_cache(_task().clean, [name])[1][name]
        by_hand = _task().measure(model.edited(edit.replace(name, clean))(_task().counterfactual))
        np.testing.assert_allclose(result.values[:, 0, 0], by_hand, atol=1e-9)
        assert np.abs(result.effect).max() > 1e-3
    with pytest.raises(UsageError, match="cannot be replaced"):
        patching.patch(model, _task(), "neuron", ("layer", "neuron"), indices=[0])


class _Adapted(torch.nn.Linear):
    """A linear map with a low-rank one added, as in an adapter."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) + x @ self.down.T @ self.up.T


def _adapted(hf):
    """Low-rank maps added to every query and value projection, by peft if it is installed."""
    try:
        from peft import LoraConfig, inject_adapter_in_model

        return inject_adapter_in_model(
            LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False), hf
        )
    except ImportError:
        for module in hf.modules():
            if isinstance(module, torch.nn.Linear) and module.out_features < hf.config.vocab_size:
                module.__class__ = _Adapted
                module.down, module.up = torch.randn(4, module.in_features), torch.randn(module.out_features, 4)
        return hf


def test_adapters_take_part_and_what_needs_the_weights_refuses():
    """Even one adapter makes the model observed: its plain weights are not what it computes with."""
    torch.manual_seed(0)
    plain, hf = models.load("llama"), _adapted(models.build("llama"))
    model = interp.load(hf, tokenizer=models.tokenizer())
    ids = _task().clean
    assert torch.equal(model(ids), hf(ids).logits) and not torch.allclose(model(ids), plain(ids), atol=0.1)
    np.testing.assert_allclose(patching.patch(model, _task(), "resid_pre", "layer").effect, 1, atol=1e-4)
    ours, theirs = (patching.patch(each, _task(), "attn_out", "layer").effect for each in (model, plain))
    assert np.abs(ours - theirs).max() > 1e-2
    assert (model.level, model.spec.family, plain.level) == ("observed", "llama with adapters", "exact")
    for ask in (lambda: discovery.score(model, _task()), lambda: circuits.qk(model, 0, 0), lambda: model.weights.W_U):
        with pytest.raises(UnsupportedModelError, match='"llama with adapters" is an observed model'):
            ask()
    with pytest.raises(UnsupportedModelError, match=r"model.layers.0.self_attn.q_proj computes .*: merge the adapters"):
        interp.load(hf, level="exact")
