"""Edits of a run: every hook of every family, equal to hooks on the modules, and nothing left behind."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import pytest
import torch

from interp import cache, edit
from interp.errors import UsageError
from tests import models

IDS = models.tokens(3, 9)
PARTS = (
    ("hook_embed",),
    ("hook_resid_pre", "hook_resid_mid", "hook_resid_post", "hook_attn_out", "hook_mlp_out"),
    ("attn.hook_q", "attn.hook_k", "attn.hook_v", "attn.hook_attn_scores", "attn.hook_pattern", "attn.hook_z"),
    ("mlp.hook_in", "mlp.hook_pre", "mlp.hook_pre_linear", "mlp.hook_post"),
)
# Fused attention and attention that forms its scores round differently; float32 logits are about 1.
ROUNDING = 2e-5


def _hooks_in_place(model) -> int:
    return sum(len(part._forward_hooks) + len(part._forward_pre_hooks) for part in model.hf.modules())


@pytest.fixture(params=models.NAMES, scope="module")
def model(request):
    return models.load(request.param)


def test_hooks_lists_every_point_with_the_shape_of_its_value(model):
    names = model.hooks()
    sizes = {"batch": 3, "n_token": 9, "query": 9, "key": 9}
    _, cache = model.run_with_cache(IDS, list(names))
    for name, axes in names.items():
        assert tuple(cache[name].shape) == tuple(sizes.get(axis, axis) for axis in axes), name
    expected = {f"blocks.1.{name}" for part in PARTS[1:] for name in part} | {"hook_embed"}
    absent = {name for name in expected if name not in names}
    spec = model.spec
    assert absent == ({"blocks.1.hook_resid_mid"} if spec.parallel else set()) | (
        set() if spec.gated else {"blocks.1.mlp.hook_pre_linear"}
    )


def test_every_hook_is_edited_and_nothing_stays_behind(model):
    wanted = model(IDS)
    for name in model.hooks():
        same = model.edited(edit.function(name, lambda value: value))(IDS)
        torch.testing.assert_close(same, wanted, rtol=0, atol=ROUNDING)
        other = model.edited(edit.function(name, lambda value: value.roll(1, 0)))  # the next prompt's value
        assert (other(IDS) - wanted).abs().max() > 1e-4, name
        _, cache = model.edited(edit.zero(name)).run_with_cache(IDS, name)
        assert not cache[name].any(), name  # a cache holds the edited value
    assert torch.equal(model(IDS), wanted)
    assert _hooks_in_place(model) == 0


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_no_hook_is_left_behind_by_an_error_or_an_interrupt(model, error):
    wanted = model(IDS)
    before = model.hf.config._attn_implementation

    def fail(_):
        raise error

    for name in model.hooks():
        with pytest.raises(error):
            model.edited(edit.zero("blocks.0.hook_mlp_out"), edit.function(name, fail))(IDS)
        with pytest.raises(error):
            model.edited(edit.function(name, fail)).run_with_cache(IDS, name)
        assert _hooks_in_place(model) == 0
    assert model.hf.config._attn_implementation == before
    assert torch.equal(model(IDS), wanted)


def _by_module_hook(model, module, side, change):
    """The logits of the `transformers` module with a plain torch hook on one of its parts."""

    def before(_, args):
        return (change(args[0]), *args[1:])

    def after(_, __, output):
        return (change(output[0]), *output[1:]) if isinstance(output, tuple) else change(output)

    handle = module.register_forward_pre_hook(before) if side == "input" else module.register_forward_hook(after)
    with torch.no_grad():
        logits = model.hf(input_ids=IDS).logits
    handle.remove()
    return logits


def test_an_edited_input_of_an_mlp_reaches_its_gate_and_its_linear_part(model):
    """mlp.hook_in is read by one module of an MLP but edited for all of it, as a hook on the whole MLP does."""
    mlp = model.parts.blocks[1].mlp
    wanted = _by_module_hook(model, mlp, "input", lambda value: value * 1.5)
    ours = model.edited(edit.function("blocks.1.mlp.hook_in", lambda value: value * 1.5))(IDS)
    torch.testing.assert_close(ours, wanted, rtol=0, atol=ROUNDING)
    assert (wanted - model(IDS)).abs().max() > 1e-4


@pytest.mark.parametrize("method", ["zero", "mean", "resample"])
def test_ablation_of_heads_mlps_and_neurons_equals_hooks_on_the_modules(model, method):
    others = models.tokens(3, 9, seed=5)
    spec, parts = model.spec, model.parts
    cases = (
        ("blocks.1.attn.hook_z", "head", 2, parts.attn_output[1], "input", slice(2 * spec.d_head, 3 * spec.d_head)),
        ("blocks.2.hook_mlp_out", None, None, parts.mlp_write[2].module, "output", slice(None)),
        ("blocks.0.mlp.hook_post", "neuron", 7, parts.mlp_output[0], "input", slice(7, 8)),
    )
    for hook, axis, index, module, side, columns in cases:
        chosen = {} if axis is None else {axis: index}
        _, cache = model.run_with_cache(others, hook)
        values = cache[hook].flatten(2)
        ours = {
            "zero": lambda hook=hook, chosen=chosen: edit.zero(hook, **chosen),
            "mean": lambda hook=hook, chosen=chosen: edit.mean(hook, others, **chosen),
            "resample": lambda hook=hook, chosen=chosen, cache=cache: edit.replace(hook, cache[hook], **chosen),
        }[method]()
        new = {"zero": torch.zeros_like(values), "mean": values.mean((0, 1)).expand_as(values), "resample": values}[
            method
        ]

        def change(value, columns=columns, new=new):
            value = value.clone()
            value[..., columns] = new[..., columns]
            return value

        wanted = _by_module_hook(model, module, side, change)
        edited = model.edited(ours)(IDS)
        torch.testing.assert_close(edited, wanted, rtol=0, atol=1e-5)
        assert (edited - model(IDS)).abs().max() > 1e-4  # the control: something was ablated


def test_adding_and_projecting_out(model):
    hook = "blocks.1.hook_resid_post"
    vector = torch.randn(model.spec.d_model, generator=torch.Generator().manual_seed(0))
    _, before = model.run_with_cache(IDS, hook)
    _, cache = model.edited(edit.add(hook, vector, scale=2.0, positions=[1, -2])).run_with_cache(IDS, hook)
    difference = cache[hook] - before[hook]
    torch.testing.assert_close(difference[:, [1, 7]], (2 * vector).expand(3, 2, -1), rtol=1e-4, atol=1e-4)
    assert not difference[:, [0, 2, 3, 4, 5, 6, 8]].any()
    _, cache = model.edited(edit.project_out(hook, 3 * vector)).run_with_cache(IDS, hook)
    assert (cache[hook] @ vector).abs().max() < 1e-4 < (before[hook] @ vector).abs().max()


def test_edits_are_made_in_order(model):
    hook, ones = "blocks.0.hook_mlp_out", torch.ones(model.spec.d_model)
    first = model.edited(edit.zero(hook), edit.add(hook, ones))
    second = model.edited(edit.add(hook, ones)).edited(edit.zero(hook))
    assert (first.run_with_cache(IDS, hook)[1][hook] == 1).all()
    assert (second.run_with_cache(IDS, hook)[1][hook] == 0).all()
    assert model.edits == ()


def test_positions_from_the_end_are_those_of_each_row_without_its_padding():
    model, hook = models.load("llama"), "blocks.1.hook_resid_post"
    mask = torch.ones_like(IDS)
    mask[1, 5:] = 0
    vector = torch.ones(model.spec.d_model)
    edited = model.edited(edit.add(hook, vector, positions=-1))
    _, cache = edited.run_with_cache(IDS, hook, attention_mask=mask)
    _, plain = model.run_with_cache(IDS, hook, attention_mask=mask)
    where = (cache[hook] - plain[hook]).abs().sum(-1) > 0.5
    assert where.nonzero().tolist() == [[0, 8], [1, 4], [2, 8]]
    alone = edited(IDS[1:2, :5])
    torch.testing.assert_close(edited(IDS, mask)[1, :5], alone[0], rtol=0, atol=1e-5)


class _TwoLatents:
    """A tiny autoencoder with an error of its own: two orthogonal latents of a wider stream."""

    def __init__(self, d, hook):
        self.W_dec = torch.eye(d)[:2] * 2
        self.metadata = {"hook_name": hook}

    def encode(self, x):
        return (x @ self.W_dec.T / 4).relu()

    def decode(self, codes):
        return codes @ self.W_dec + 0.1


def test_a_latent_is_changed_and_the_error_of_the_autoencoder_added_back():
    model, hook = models.load("gpt2"), "blocks.1.hook_resid_post"
    sae = _TwoLatents(model.spec.d_model, hook)
    _, before = model.run_with_cache(IDS, hook)
    x = before[hook]
    for options, wanted in (
        ({"set": 3.0}, torch.full_like(x[..., 0], 3.0)),
        ({"scale": 0.0}, torch.zeros_like(x[..., 0])),
        ({"add": 1.5}, sae.encode(x)[..., 1] + 1.5),
    ):
        _, after = model.edited(edit.latent(sae, 1, **options)).run_with_cache(IDS, hook)
        change = after[hook] - x
        torch.testing.assert_close(change[..., 1], 2 * (wanted - sae.encode(x)[..., 1]), rtol=1e-4, atol=1e-5)
        change[..., 1] = 0
        assert change.abs().max() < 1e-5
    same = model.edited(edit.latent(sae, 1, scale=1.0))
    torch.testing.assert_close(same(IDS), model(IDS), rtol=0, atol=1e-6)


def test_two_threads_on_one_model_get_their_own_runs():
    """300 calls of two threads, one edited; on one model without a lock, most are mixed up."""
    model, hook = models.load("llama"), "blocks.1.hook_resid_post"
    zeroed = model.edited(edit.zero("blocks.0.hook_mlp_out"))
    inputs = [models.tokens(2, 9, seed) for seed in range(4)]
    wanted = [[(one(ids), one.run_with_cache(ids, hook)[1][hook]) for ids in inputs] for one in (model, zeroed)]
    wrong, started = [], threading.Barrier(2)

    def work(which: int) -> None:
        one = (model, zeroed)[which]
        started.wait()
        for call in range(150):
            index = call % len(inputs)
            logits, residual = wanted[which][index]
            _, cache = one.run_with_cache(inputs[index], hook)
            if not torch.equal(cache[hook], residual) or not torch.equal(one(inputs[index]), logits):
                wrong.append((which, call))

    threads = [threading.Thread(target=work, args=(which,)) for which in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert _hooks_in_place(model) == 0


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda: edit.zero("blocks.1.hook_resid_pos"), 'cannot be replaced; the nearest is "blocks.1.hook_resid_post"'),
        (lambda: edit.zero("blocks.9.hook_mlp_out"), 'cannot be replaced; the nearest is "blocks.'),
        (lambda: edit.zero("blocks.1.hook_mlp_out", head=1), "has no heads"),
        (lambda: edit.zero("blocks.1.attn.hook_z", head=4), "Head 4 does not exist: give numbers from 0 to 3"),
        (lambda: edit.zero("blocks.1.mlp.hook_post", neuron=-1), "Neuron -1 does not exist"),
        (lambda: edit.zero("blocks.1.attn.hook_pattern", neuron=1), "has no neurons"),
        (lambda: edit.zero("blocks.1.hook_mlp_out", position=1.5), "Positions are whole numbers"),
        (lambda: edit.add("blocks.1.hook_mlp_out", torch.ones(5)), r"shape \(5,\), but \"blocks.1.hook_mlp_out\""),
        (lambda: edit.add("blocks.1.hook_mlp_out", torch.full((24,), torch.nan)), "hold a NaN"),
        (lambda: edit.replace("blocks.1.hook_mlp_out", "zero"), "are numbers in a tensor, not str"),
        (lambda: edit.project_out("blocks.1.hook_mlp_out", torch.zeros(24)), "direction is zero"),
        (lambda: edit.mean("blocks.1.hook_mlp_out", 3), "not int"),
        (lambda: "blocks.1.hook_mlp_out", "takes edits, such as"),
    ],
)
def test_an_edit_that_does_not_fit_is_refused_by_name(made, message):
    model = models.load("llama")
    with pytest.raises(UsageError, match=message):
        model.edited(made())


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (
            lambda: edit.zero("blocks.1.hook_mlp_out", position=9),
            "Position 9 is outside the prompt, which has 9",
        ),
        (lambda: edit.replace("blocks.1.hook_mlp_out", torch.zeros(4, 24)), "have 4 positions, but the prompt has 9"),
        (lambda: edit.replace("blocks.1.hook_mlp_out", torch.zeros(2, 9, 24)), "a batch of 2, but the run one of 3"),
        (lambda: edit.function("blocks.1.hook_mlp_out", lambda value: value[:1]), r"gave \(1, 9, 24\)"),
        (lambda: edit.function("blocks.1.hook_mlp_out", lambda value: None), "gave NoneType"),
    ],
)
def test_an_edit_that_does_not_fit_the_run_is_refused(made, message):
    model = models.load("llama")
    with pytest.raises(UsageError, match=message):
        model.edited(made())(IDS)
    assert _hooks_in_place(model) == 0


def test_a_hooked_bridge_is_refused_and_an_edited_model_has_none():
    model = models.load("llama")
    with pytest.raises(UsageError, match="has no bridge"):
        _ = model.edited(edit.zero("hook_embed")).bridge
    model.bridge.add_hook("blocks.0.hook_resid_pre", lambda value, hook: value * 2)
    with pytest.raises(UsageError, match="bridge has hooks of its own"):
        model.edited(edit.zero("hook_embed"))


def test_a_mean_is_taken_over_a_store_a_task_tokens_or_texts(tmp_path):
    """One mean for all four where they hold the same activations; per position it is another."""
    model, hook = models.load("gpt2", text=True), "blocks.1.hook_mlp_out"
    texts = ["the tower is in Paris", "the tower is in London"]
    tokens = model.to_tokens(texts)
    config = cache.Config(hooks=(hook,), context=tokens.shape[1], batch_size=2, exclude=())
    store = cache.harvest(model, tokens, config, tmp_path)
    _, result = model.run_with_cache(tokens, hook)
    wanted = result[hook].mean((0, 1)).expand_as(result[hook])
    for source in (store, SimpleNamespace(clean=tokens), tokens, texts):
        _, after = model.edited(edit.mean(hook, source)).run_with_cache(tokens, hook)
        torch.testing.assert_close(after[hook], wanted, rtol=1e-4, atol=1e-5)
    _, after = model.edited(edit.mean(hook, tokens, per_position=True)).run_with_cache(tokens, hook)
    torch.testing.assert_close(after[hook], result[hook].mean(0).expand_as(result[hook]), rtol=1e-4, atol=1e-5)
    with pytest.raises(UsageError, match="A store knows the mean over all positions only"):
        model.edited(edit.mean(hook, store, per_position=True))
