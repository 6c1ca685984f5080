"""`run_with_cache`: the bridge's values, nothing more than was asked, and no further than needed."""

from __future__ import annotations

import pytest
import torch

import interp
from interp.attribution import freeze
from interp.cache import Cache
from interp.errors import CheckFailedError, InterpError, UsageError
from interp.model import capture
from interp.model.pending_tensor import PendingTensor
from tests import models

IDS = models.tokens(2, 7)


@pytest.fixture(scope="module")
def loaded():
    """Every family once; the bridge of each is made when a test first asks for it."""
    return {name: models.load(name) for name in models.NAMES}


@pytest.fixture
def blocks_run():
    """How many blocks of a model a call starts."""

    def count(model, call):
        started = []
        handles = [block.register_forward_pre_hook(lambda *_: started.append(1)) for block in model.parts.blocks]
        try:
            call()
        finally:
            for handle in handles:
                handle.remove()
        return len(started)

    return count


@pytest.mark.parametrize("name", models.NAMES)
def test_every_hook_read_from_the_plain_modules_is_the_bridges(name, loaded):
    model = loaded[name]
    known = tuple(model.hooks())
    _, ours = model.run_with_cache(IDS, known)
    _, theirs = capture._through_bridge(model, IDS, known, None, None)
    for hook in known:
        # The bridge runs the same modules, at most with another attention kernel: a few float32 roundings.
        torch.testing.assert_close(
            ours[hook], theirs[hook], rtol=1e-5, atol=1e-5, msg=lambda text, h=hook: f"{h}: {text}"
        )


@pytest.mark.parametrize("name", models.NAMES)
def test_the_residual_stream_is_what_components_add(name, loaded):
    """Post-norms, parallel blocks and biases included: hook_attn_out and hook_mlp_out are what is added."""
    model = loaded[name]
    _, cache = model.run_with_cache(IDS, list(model.hooks()))
    for layer in range(model.spec.n_layer):
        at = f"blocks.{layer}.hook_"
        middle = cache[f"{at}resid_pre"] + cache[f"{at}attn_out"]
        torch.testing.assert_close(middle + cache[f"{at}mlp_out"], cache[f"{at}resid_post"], rtol=1e-5, atol=1e-5)
        if not model.spec.parallel:
            torch.testing.assert_close(middle, cache[f"{at}resid_mid"], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("hook", ["blocks.1.attn.hook_rot_q", "blocks.2.ln1.hook_scale"])
def test_other_hooks_come_from_the_bridge(hook, loaded):
    model = loaded["llama"]
    _, cache = model.run_with_cache(IDS, ["blocks.1.hook_resid_pre", hook])
    _, theirs = model.bridge.run_with_cache(IDS, return_cache_object=False)
    assert list(cache) == ["blocks.1.hook_resid_pre", hook]
    assert torch.equal(cache[hook], theirs[hook])


def test_the_cache_has_the_requested_hooks_and_an_error_names_the_nearest(loaded):
    _, cache = loaded["gpt2"].run_with_cache(IDS, ["blocks.1.hook_mlp_out", "hook_embed", "blocks.1.hook_mlp_out"])
    assert isinstance(cache, Cache)
    assert list(cache) == ["blocks.1.hook_mlp_out", "hook_embed"]
    with pytest.raises(
        UsageError, match=r'"blocks.1.hook_mlp_in" is not in this cache; the nearest is "blocks.1.hook_mlp_out"'
    ):
        cache["blocks.1.hook_mlp_in"]


@pytest.mark.parametrize(("hook", "blocks"), [
    ("hook_embed", 0), ("blocks.0.hook_resid_pre", 1), ("blocks.0.hook_mlp_out", 1), ("blocks.1.attn.hook_z", 2),
    ("blocks.2.hook_resid_post", 3),
])  # fmt: skip
@pytest.mark.parametrize("name", ["llama", "gpt2", "neox", "gemma2"])
def test_no_block_beyond_the_last_hook_is_run(name, hook, blocks, loaded, blocks_run):
    model = loaded[name]
    assert blocks_run(model, lambda: model.run_with_cache(IDS, hook)) == blocks
    assert blocks_run(model, lambda: model(IDS)) == 3


def test_the_unembedding_is_not_run_until_the_logits_are_used(loaded):
    model, unembedded = loaded["llama"], []
    handle = model.hf.lm_head.register_forward_hook(lambda *_: unembedded.append(1))
    logits, _ = model.run_with_cache(IDS, "blocks.2.hook_resid_post")
    assert isinstance(logits, PendingTensor) and logits.shape == (2, 7, 64) and not unembedded
    assert torch.equal(logits, model(IDS))
    assert torch.equal(logits + 0, model(IDS)) and not logits.value().requires_grad
    assert len(unembedded) == 3  # once for `logits` and once for each model(IDS)
    handle.remove()


@pytest.mark.parametrize("stop", [0, 1, 2, 3])
@pytest.mark.parametrize("extra", [(), ("blocks.0.attn.hook_pattern",)], ids=["plain", "bridge"])
@pytest.mark.parametrize("name", ["llama", "neox"])
def test_stopping_at_a_layer_returns_the_stream_that_enters_it(name, stop, extra, loaded, blocks_run):
    model = loaded[name]
    if stop == 0:
        extra = ("hook_embed",)
    _, whole = model.run_with_cache(IDS, list(model.hooks()))
    entering = "blocks.2.hook_resid_post" if stop == 3 else f"blocks.{stop}.hook_resid_pre"
    names = ("hook_embed", *extra)
    residual, cache = model.run_with_cache(IDS, names, stop_at_layer=stop)
    assert list(cache) == list(dict.fromkeys(names))
    torch.testing.assert_close(residual, whole[entering], rtol=1e-6, atol=1e-6)
    if len(extra) == 0:
        assert blocks_run(model, lambda: model.run_with_cache(IDS, names, stop_at_layer=stop)) <= max(stop, 1)


UNKNOWN = {
    "blocks.0.hook_residpre": r'no hook "blocks.0.hook_residpre"; the nearest is "blocks.0.hook_resid_pre"',
    "blocks.0.attn.hook_zz": r'the nearest is "blocks.0.attn.hook_z"',
    "blocks.1.hook_q": r'the nearest is "blocks.1.attn.hook_q"',
    "resid_pre": r'the nearest is "blocks.0.hook_resid_pre"',
    "blocks.3.hook_resid_pre": '"blocks.3.hook_resid_pre" does not exist: the model has layers 0 to 2',
    "hook_pos_embed": '"hook_pos_embed" is never computed by this run: this model does not use it',
    "blocks.0.attn.hook_result": r'hook_result" is switched off: .*set_use_attn_result.*on model\.bridge',
}


@pytest.mark.parametrize("hook", UNKNOWN)
def test_a_hook_that_is_not_there(hook, loaded):
    with pytest.raises(UsageError, match=UNKNOWN[hook]):
        loaded["llama"].run_with_cache(IDS, ["hook_embed", hook])


def test_a_parallel_block_has_no_middle(loaded):
    with pytest.raises(UsageError, match=r'no hook "blocks\.1\.hook_resid_mid"'):
        loaded["neox"].run_with_cache(IDS, "blocks.1.hook_resid_mid")


@pytest.mark.parametrize("hook", ["blocks.1.hook_resid_pre", "blocks.2.attn.hook_pattern", "ln_final.hook_normalized"])
def test_a_hook_beyond_the_stop(hook, loaded):
    with pytest.raises(UsageError, match="is never computed by"):
        loaded["llama"].run_with_cache(IDS, hook, stop_at_layer=1)


def test_no_hook_and_no_such_stop(loaded):
    with pytest.raises(UsageError, match=r'Name at least one hook, such as "blocks\.0\.hook_resid_post"'):
        loaded["llama"].run_with_cache(IDS, [])
    for stop in (4, -1, -4, 1.5, "2", True):
        with pytest.raises(UsageError, match=f"stop_at_layer={stop!r} does not exist: the model has 3 layers"):
            loaded["llama"].run_with_cache(IDS, "hook_embed", stop_at_layer=stop)


# Hooks of the user's own on the bridge.


def _ablated(value, hook):
    return torch.zeros_like(value)


ABLATION = [("blocks.1.attn.hook_z", _ablated)]


@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma2", "neox"])
def test_an_intervention_on_the_bridge_takes_part(name, loaded):
    model = loaded[name]
    clean = model(IDS)
    _, before = model.run_with_cache(IDS, ["blocks.1.hook_resid_pre", "blocks.2.hook_resid_pre"])
    with model.bridge.hooks(fwd_hooks=ABLATION):
        ablated = model(IDS)
        _, cache = model.run_with_cache(IDS, ["blocks.1.hook_resid_pre", "blocks.2.hook_resid_pre"])
        _, z = model.run_with_cache(IDS, "blocks.1.attn.hook_z")
    with torch.no_grad():
        assert torch.equal(ablated, model.bridge.run_with_hooks(IDS, fwd_hooks=ABLATION))
    assert not z["blocks.1.attn.hook_z"].any()
    torch.testing.assert_close(
        cache["blocks.1.hook_resid_pre"], before["blocks.1.hook_resid_pre"], rtol=1e-5, atol=1e-5
    )
    assert (cache["blocks.2.hook_resid_pre"] - before["blocks.2.hook_resid_pre"]).abs().max() > 0.01
    assert (ablated - clean).abs().max() > 0.01
    assert torch.equal(model(IDS), clean)  # and no longer, once it is gone


def test_logits_belong_to_the_run_they_came_from_whenever_they_are_used(loaded):
    model = loaded["llama"]
    clean = model(IDS)
    before, _ = model.run_with_cache(IDS, "blocks.0.hook_resid_post")
    with model.bridge.hooks(fwd_hooks=ABLATION):
        ablated = model(IDS)
        within, _ = model.run_with_cache(IDS, "blocks.0.hook_resid_post")
        assert torch.equal(before + 0, clean)
    assert torch.equal(within + 0, ablated)


def test_an_ablated_model_is_not_frozen_as_if_it_were_whole(loaded):
    model = loaded["llama"]
    with model.bridge.hooks(fwd_hooks=ABLATION), pytest.raises(CheckFailedError, match=r"or a hook on model\.bridge\?"):
        freeze(model, IDS[:1])
    assert freeze(model, IDS[:1]).error < 1e-4


@pytest.mark.parametrize("name", models.NAMES)
def test_compatibility_mode_alters_nothing_but_the_bridge(name):
    """transformer_lens folds norms and centres weights there; the parameters it does so to must be its own."""
    model = models.load(name)
    before, digest = model(IDS), models.load(name).weights_sha256
    model.bridge.enable_compatibility_mode()
    assert model.weights_sha256 == digest
    assert torch.equal(model(IDS), before)
    assert interp.check(model).worst < 1e-5


def test_the_bridge_boots_without_a_tokenizer_and_with_one_that_lies_nowhere():
    """transformer_lens would look both up on the hub."""
    assert models.load("qwen2").bridge.tokenizer is None
    with_text = models.load("qwen2", text=True)
    ids = with_text.to_tokens("the tower")
    assert torch.equal(with_text.bridge.to_tokens("the tower", prepend_bos=False), ids)
    with torch.no_grad():
        torch.testing.assert_close(with_text.bridge(ids), with_text(ids))


# Padding.


@pytest.mark.parametrize("name", models.NAMES)
def test_right_padding_changes_nothing(name, loaded):
    model = loaded[name]
    mask = torch.ones_like(IDS)
    mask[0, 4:] = 0
    hook = "blocks.2.hook_resid_post"
    logits, cache = model.run_with_cache(IDS, hook, attention_mask=mask)
    _, alone = model.run_with_cache(IDS[:1, :4], hook)
    torch.testing.assert_close(cache[hook][:1, :4], alone[hook], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(logits[:1, :4], model(IDS[:1, :4]), rtol=1e-5, atol=1e-5)
    assert torch.equal(model(IDS, attention_mask=mask), logits + 0)


@pytest.mark.parametrize(("mask", "text"), [
    ([[0, 1, 1, 1, 1, 1, 1]] * 2, "Padding must be on the right: each row of the attention mask is ones, then zeros"),
    ([[1, 1, 0, 1, 1, 1, 1]] * 2, "Padding must be on the right"),
    ([[0] * 7] * 2, "Padding must be on the right"),
    ([[1] * 6] * 2, r"The attention mask is \(2, 6\), but the tokens are \(2, 7\)"),
])  # fmt: skip
def test_other_padding_is_refused(mask, text, loaded):
    """A left-padded row would silently be read at the wrong positions."""
    for call in (loaded["llama"], lambda *a, **k: loaded["llama"].run_with_cache(*a, "hook_embed", **k)):
        with pytest.raises(UsageError, match=text):
            call(IDS, attention_mask=torch.tensor(mask))


# Nothing is left behind.


def _hooks(model):
    return [(len(part._forward_hooks), len(part._forward_pre_hooks)) for part in model.hf.modules()]


def test_no_hook_outlives_its_run(loaded, monkeypatch):
    model = loaded["mistral"]
    before = _hooks(model)
    model.run_with_cache(IDS, list(model.hooks()))
    model.run_with_cache(IDS, "blocks.1.hook_resid_mid")
    assert _hooks(model) == before
    clean = model(IDS)

    def broken(*args, **kwargs):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(model.parts.blocks[1].mlp, "forward", broken)
    with pytest.raises(RuntimeError, match="out of memory"):
        model.run_with_cache(IDS, ["blocks.0.hook_resid_pre", "blocks.2.hook_resid_post"])
    monkeypatch.undo()
    assert _hooks(model) == before
    assert torch.equal(model(IDS), clean)


def test_activations_carry_no_gradient_and_are_not_overwritten(loaded):
    model = loaded["llama"]
    _, cache = model.run_with_cache(IDS, "blocks.1.hook_resid_post")
    before = cache["blocks.1.hook_resid_post"].clone()
    model(models.tokens(2, 7, seed=9))
    assert torch.equal(cache["blocks.1.hook_resid_post"], before)
    assert not cache["blocks.1.hook_resid_post"].requires_grad


@pytest.mark.real
def test_smollm2_against_transformers_itself(smollm2):
    ids = smollm2.to_tokens("The Eiffel Tower is located in the city of")
    hook = "blocks.10.hook_resid_post"
    logits, cache = smollm2.run_with_cache(ids, hook)
    with torch.no_grad():
        theirs = smollm2.hf(ids, output_hidden_states=True, use_cache=False)
    assert torch.equal(cache[hook], theirs.hidden_states[11])
    assert torch.equal(logits + 0, theirs.logits)
    assert smollm2.to_str_tokens(logits[0, -1].argmax()[None]) == [" Paris"]
    _, bridged = smollm2.bridge.run_with_cache(ids, names_filter=[hook], return_cache_object=False)
    torch.testing.assert_close(cache[hook], bridged[hook], rtol=1e-5, atol=1e-4 * float(cache[hook].abs().max()))


def test_half_precision_that_overflows_is_reported_and_float32_is_unchanged():
    """Activations beyond 65,504: an infinity in float16, a number in float32."""
    hf = models.build("llama")
    hf.model.layers[1].mlp.down_proj.weight.data.mul_(1e6)
    single, half = interp.load(hf), interp.load(hf, dtype="float16")
    single.run_with_cache(IDS, "blocks.1.hook_mlp_out")
    half.run_with_cache(IDS, "blocks.0.hook_mlp_out")
    with pytest.raises(InterpError, match=r"blocks.1.hook_mlp_out is not finite in row 0 at position \d.*65,504"):
        half.run_with_cache(IDS, "blocks.1.hook_mlp_out")


@pytest.mark.parametrize("names", [None, 3, ["hook_embed", 3], {"hook_embed": 1}])
def test_names_of_hooks_are_texts(names, loaded):
    with pytest.raises(UsageError, match="Hooks are named by a string, or a list of several, not by"):
        loaded["llama"].run_with_cache(IDS, names)
