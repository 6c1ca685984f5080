"""The model run on reconstructions: what is known beforehand of perfect, empty and constant ones."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import saes
from interp import cache
from interp.cache import Contexts
from interp.errors import UsageError
from saes.evaluation.language import losses, spliced_logits
from tests import models

QUICK = saes.evaluation.Config(baselines=False)
HOOK = "blocks.1.hook_resid_post"
TOKENS = models.tokens(6, 20)


@pytest.fixture(scope="module", params=["llama", "gpt2", "neox"])
def model(request):
    return models.load(request.param, dtype=torch.float64)


@pytest.fixture(scope="module")
def llama():
    return models.load("llama", dtype=torch.float64)


def standard(encoder, decoder, b_dec, hook=HOOK, hook_out=None, **tensors):
    width = encoder.shape[1]
    tensors = {"W_enc": encoder, "W_dec": decoder, "b_enc": torch.zeros(width).double(), "b_dec": b_dec} | tensors
    variant = "autoencoder" if hook_out is None else "transcoder"
    metadata = {"hook_name": hook} | ({} if hook_out is None else {"hook_name_out": hook_out})
    return saes.build("standard", variant, tensors, {}, metadata)


def identity(d, **options):
    eye = torch.eye(d, dtype=torch.float64)
    return standard(torch.cat([eye, -eye], 1), torch.cat([eye, -eye]), torch.zeros(d).double(), **options)


def constant(value, **options):
    d = len(value)
    return standard(torch.zeros(d, 3).double(), torch.ones(3, d).double(), value, **options)


def rows(model, hook=HOOK, contexts=TOKENS):
    """What a harvest keeps: all positions but the first."""
    return model.run_with_cache(contexts, hook)[1][hook][:, 1:].flatten(2).flatten(0, 1)


def own_loss(model, contexts=TOKENS):
    """Of the predictions made at positions 1 to T - 2."""
    log_p = model(contexts).log_softmax(-1)
    return -log_p[:, 1:-1].gather(2, contexts[:, 2:, None]).mean()


def judged(sae, model, contexts=TOKENS, hook=HOOK):
    result = saes.evaluate(sae, rows(model, hook, contexts), model=model, contexts=contexts, config=QUICK)
    return result, {s.name: s.value for s in result.scores if s.group == "language model"}


def test_perfect_reconstructions_lose_nothing(model):
    result, reported = judged(identity(model.spec.d_model), model)
    assert reported["loss, original"] == pytest.approx(float(own_loss(model)), rel=1e-12)
    assert reported["loss, reconstruction"] == pytest.approx(reported["loss, original"], rel=1e-12)
    assert reported["KL divergence"] == pytest.approx(0, abs=1e-12)
    for ablation in ("zero", "mean"):
        score = result.score(f"loss recovered ({ablation})")
        # A random model loses little to ablation, or even gains: then nothing can be recovered, and the reason says so.
        assert (
            score.value == pytest.approx(1, abs=1e-9) if score.value is not None else "nothing to recover" in score.why
        )


def test_zeros_and_means_recover_nothing_of_their_own_ablation(model):
    d = model.spec.d_model
    _, nothing = judged(constant(torch.zeros(d).double()), model)
    assert nothing["loss, reconstruction"] == nothing["loss, zero ablation"]
    assert nothing["loss recovered (zero)"] in (0.0, None)
    mean = rows(model).mean(0)
    _, average = judged(constant(mean), model)
    assert average["loss, reconstruction"] == pytest.approx(average["loss, mean ablation"], rel=1e-12)
    assert average["loss recovered (mean)"] is None or average["loss recovered (mean)"] == pytest.approx(0, abs=1e-9)
    assert average["KL divergence"] > 1e-6  # the control of the KL of 0 above


def trained_like(model):
    """Contexts that the model itself continues greedily: ablation then costs it a lot."""
    ids = models.tokens(6, 8)
    for _ in range(12):
        ids = torch.cat([ids, model(ids)[:, -1:].argmax(-1)], 1)
    return ids


def test_loss_recovered_is_one_and_zero_where_ablation_hurts(llama):
    contexts, d = trained_like(llama), llama.spec.d_model
    result, reported = judged(identity(d), llama, contexts)
    assert reported["loss, zero ablation"] > reported["loss, original"] + 0.01
    assert reported["loss recovered (zero)"] == pytest.approx(1, abs=1e-9)
    assert "20 tokens" not in result.score("KL divergence").evaluated_on
    assert result.score("loss, original").evaluated_on == "108 predictions in 6 contexts"
    assert judged(constant(torch.zeros(d).double()), llama, contexts)[1]["loss recovered (zero)"] == 0


@pytest.mark.parametrize("name", ["llama", "gpt2", "neox", "gemma2"])
def test_a_splice_of_the_value_itself_changes_nothing_and_of_another_does(name):
    model = models.load(name, dtype=torch.float64)
    wanted = model(TOKENS)
    hooks = [hook for hook in model.hooks() if ".attn.hook_attn" not in hook and "pattern" not in hook]
    for hook in hooks:
        same = spliced_logits(model, TOKENS, hook, lambda value: value.clone())
        torch.testing.assert_close(same, wanted, rtol=0, atol=0)
        assert (spliced_logits(model, TOKENS, hook, torch.zeros_like) - wanted).abs().max() > 1e-6, hook
    torch.testing.assert_close(model(TOKENS), wanted, rtol=0, atol=0)  # no hook is left behind


@pytest.mark.parametrize("hook", ["blocks.0.hook_mlp_out", "blocks.1.hook_resid_pre", "blocks.2.hook_attn_out"])
def test_runs_that_begin_at_the_spliced_block_lose_what_whole_runs_lose(llama, hook):
    sae = constant(torch.linspace(-1, 1, llama.spec.d_model).double(), hook=hook)
    mean = torch.zeros(llama.spec.d_model).double()
    result, rest = losses(sae, llama, TOKENS, mean), torch.arange(TOKENS.shape[1])[:, None] > 0
    for run, replace_all in ((1, lambda value: sae.run(value)[1]), (2, torch.zeros_like)):
        logits = spliced_logits(llama, TOKENS, hook, lambda x, f=replace_all: torch.where(rest, f(x), x))
        log_p = logits.log_softmax(-1)[:, 1:-1].gather(2, TOKENS[:, 2:, None])
        np.testing.assert_allclose(result.loss[:, run], -log_p[..., 0].sum(1), rtol=1e-14)  # the order of the sum
    assert (result.loss[:, 1] != result.loss[:, 0]).all()


def test_a_splice_agrees_with_the_bridge(llama):
    """transformer_lens's own hooks, through float32 in places."""
    hook = "blocks.1.hook_mlp_out"
    ours = spliced_logits(llama, TOKENS, hook, lambda value: 0.5 * value)
    theirs = llama.bridge.run_with_hooks(TOKENS, fwd_hooks=[(hook, lambda value, hook: 0.5 * value)])
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    assert (ours - llama(TOKENS)).abs().max() > 1e-3


def test_an_error_inside_the_run_leaves_no_hook_behind(llama):
    wanted = llama(TOKENS)
    with pytest.raises(RuntimeError):
        spliced_logits(llama, TOKENS, HOOK, lambda value: value @ value)
    assert torch.equal(llama(TOKENS), wanted)


def test_position_0_and_padding_are_left_alone(llama):
    lengths = torch.tensor([20, 12, 5, 20, 3, 2])
    contexts = Contexts(TOKENS.to(torch.int32), lengths)
    sae = constant(torch.zeros(llama.spec.d_model).double())
    whole = losses(sae, llama, contexts, torch.zeros(llama.spec.d_model))
    assert whole.count.tolist() == [18, 10, 3, 18, 1, 0]
    for index, length in enumerate(lengths.tolist()[:5]):
        alone = losses(sae, llama, TOKENS[index : index + 1, :length], torch.zeros(llama.spec.d_model))
        np.testing.assert_allclose(alone.loss[0], whole.loss[index], rtol=1e-9)
        assert alone.count[0] == length - 2

    # Written out: zeros from position 1 on, position 0 as it was.
    def cut(value):
        return torch.cat([value[:, :1], torch.zeros_like(value[:, 1:])], 1)

    log_p = spliced_logits(llama, TOKENS[:1], HOOK, cut).log_softmax(-1)
    direct = -log_p[0, 1:-1].gather(1, TOKENS[0, 2:, None]).sum()
    assert whole.loss[0, 2] == pytest.approx(float(direct), rel=1e-12)


def test_a_transcoder_is_spliced_where_it_writes(llama):
    """One that gives the MLP's output exactly, for these very inputs: a lookup by nearest input."""
    read, write = "blocks.1.hook_resid_mid", "blocks.1.hook_mlp_out"
    x, y = rows(llama, read), rows(llama, write)
    d = llama.spec.d_model
    solved = torch.linalg.lstsq(x, y).solution
    eye = torch.eye(d, dtype=torch.float64)
    sae = standard(
        torch.cat([eye, -eye], 1), torch.cat([solved, -solved]), torch.zeros(d).double(), hook=read, hook_out=write
    )
    result = saes.evaluate(sae, (x, y), model=llama, contexts=TOKENS, config=QUICK)
    mapped = x @ solved

    def linear(value):
        return torch.cat([value[:, :1], mapped.unflatten(0, (len(TOKENS), -1))], 1)

    log_p = spliced_logits(llama, TOKENS, write, linear).log_softmax(-1)
    direct = -log_p[:, 1:-1].gather(2, TOKENS[:, 2:, None]).mean()
    assert result.score("loss, reconstruction").value == pytest.approx(float(direct), rel=1e-9)


def test_a_store_brings_its_contexts(tmp_path):
    model = models.load("llama")
    config = cache.Config(hooks=(HOOK,), context=10, batch_size=4)
    store = cache.harvest(model, models.tokens(12, 10), config, tmp_path)
    result = saes.evaluate(identity(model.spec.d_model).float(), store, model=model, config=QUICK)
    assert result.rows == len(store) == 12 * 9
    assert result.cluster == "contexts"
    assert result.clusters == 12
    assert result.score("loss, original").evaluated_on == "96 predictions in 12 contexts"
    assert result.score("FVU").value < 1e-10
    with_latents = result.score("KL divergence")
    assert with_latents.value == pytest.approx(0, abs=1e-6)


def test_what_is_trained_on_a_store_knows_where_it_belongs(tmp_path):
    """Of one hook and of two: judged in the model without a word on hooks; another hook's store is refused."""
    model, hooks = models.load("llama"), ("blocks.0.hook_mlp_out", HOOK)
    contexts = models.tokens(30, 12)
    one, two, other = (
        cache.harvest(model, contexts, cache.Config(hooks=names, context=12), tmp_path / str(index))
        for index, names in enumerate([hooks[1:], hooks, hooks[:1]])
    )
    config = saes.Config(width=16, k=2, steps=3, batch_size=32)
    sae = saes.train(config, one, metadata={"note": "mine"})
    assert (sae.metadata["hook_name"], sae.metadata["note"]) == (HOOK, "mine")
    assert sae.metadata["model_weights_sha256"] == model.weights_sha256
    assert saes.evaluate(sae, one, model=model, config=QUICK).score("KL divergence").value is not None
    with pytest.raises(UsageError, match=f'no hook "{HOOK}"'):
        saes.evaluate(sae, other, config=QUICK)
    transcoder = saes.train(replace(config, variant="transcoder"), two)
    assert (transcoder.metadata["hook_name"], transcoder.metadata["hook_name_out"]) == hooks
    assert saes.evaluate(transcoder, two, model=model, config=QUICK).score("KL divergence").value is not None
    crosscoder = saes.train(replace(config, variant="crosscoder"), two)
    assert crosscoder.metadata["hook_names"] == list(hooks)
    assert saes.evaluate(crosscoder, two, config=QUICK).score("FVU").value is not None


@pytest.mark.parametrize(
    ("hook", "message"),
    [
        ("blocks.1.hook_scale", "cannot be replaced"),
        ("blocks.1.hook_resid_pos", 'cannot be replaced; the nearest is "blocks.1.hook_resid_post"'),
        (None, "do not say where it belongs"),
    ],
)
def test_what_cannot_be_spliced_is_reported(llama, hook, message):
    with pytest.raises(UsageError, match=message):
        losses(identity(llama.spec.d_model, hook=hook), llama, TOKENS, torch.zeros(llama.spec.d_model))


def test_an_sae_without_a_place_is_judged_on_all_but_the_model(llama):
    sae = identity(llama.spec.d_model, hook=None)
    rows = torch.randn(64, llama.spec.d_model, generator=torch.Generator().manual_seed(0))
    result = saes.evaluate(sae, rows, model=llama, contexts=TOKENS, config=QUICK)
    reported = result.score("KL divergence")
    assert reported.value is None and "does not say where it belongs" in str(reported)
    assert result.score("FVU").value == pytest.approx(0, abs=1e-6)


def test_a_hooked_bridge_is_refused():
    model = models.load("llama")
    model.bridge.add_hook("blocks.0.hook_resid_pre", lambda value, hook: value * 2)
    with pytest.raises(UsageError, match="The model's bridge has hooks of its own"):
        spliced_logits(model, TOKENS, HOOK, lambda value: value)


@pytest.mark.parametrize(
    "contexts", [torch.zeros(3, 1, dtype=torch.long), torch.zeros(5), torch.zeros(0, 4, dtype=torch.long)]
)
def test_contexts_are_checked(llama, contexts):
    with pytest.raises(UsageError, match="Contexts are token ids"):
        losses(identity(llama.spec.d_model), llama, contexts, torch.zeros(llama.spec.d_model))


@pytest.mark.real
def test_the_real_model_has_its_own_loss(smollm2):
    """SmolLM2: identity gives the model's loss to 1e-5 and recovers all; zeros recover nothing."""
    tokens = smollm2.to_tokens("The Eiffel Tower is located in the city of Paris, which is the capital of France.")
    d, hook = smollm2.spec.d_model, "blocks.10.hook_resid_post"
    x = smollm2.run_with_cache(tokens, hook)[1][hook][0, 1:]
    log_p = smollm2(tokens).log_softmax(-1)
    own = float(-log_p[0, 1:-1].gather(1, tokens[0, 2:, None]).mean())
    result = saes.evaluate(identity(d, hook=hook).float(), x, model=smollm2, contexts=tokens, config=QUICK)
    assert result.score("loss, reconstruction").value == pytest.approx(own, abs=1e-5)
    assert result.score("loss recovered (zero)").value == pytest.approx(1, abs=1e-5)
    assert result.score("loss recovered (mean)").value == pytest.approx(1, abs=1e-5)
    assert result.score("KL divergence").value == pytest.approx(0, abs=1e-6)
    assert result.score("loss, zero ablation").value > own + 3  # nats
