"""Generation: the same tokens with and without the key-value cache, under every kind of edit."""

from __future__ import annotations

import pytest
import torch

from interp import edit
from interp.errors import NotFiniteError, UsageError
from tests import models

N_NEW = 8


class _Latents:
    """Two latents of a stream, for `edit.latent`."""

    def __init__(self, d: int, hook: str):
        self.W_dec = torch.eye(d)[:2]
        self.metadata = {"hook_name": hook}

    def encode(self, x):
        return (x @ self.W_dec.T).relu()

    def decode(self, codes):
        return codes @ self.W_dec


def _edits(model, n_prompt: int):
    d, hook = model.spec.d_model, "blocks.1.hook_resid_post"
    vector = torch.randn(d, generator=torch.Generator().manual_seed(0))
    _, cache = model.run_with_cache(models.tokens(1, n_prompt, seed=9), [hook, "blocks.1.attn.hook_pattern"])
    return {
        "none": (),
        "zero a head": (edit.zero("blocks.1.attn.hook_z", head=1),),
        "zero keys at a position": (edit.zero("blocks.1.attn.hook_k", position=2),),
        "zero a neuron and the last position": (
            edit.zero("blocks.0.mlp.hook_post", neuron=3),
            edit.zero("blocks.0.hook_mlp_out", position=-1),
        ),
        "mean": (edit.mean("blocks.1.hook_mlp_out", models.tokens(3, 5)),),
        "replace the prompt": (edit.replace(hook, cache[hook]),),
        "steer": (edit.add(hook, vector, scale=2.0, positions=slice(-2, None)),),
        "project out": (edit.project_out(hook, vector),),
        "latent": (edit.latent(_Latents(d, hook), 1, set=3.0),),
        "pattern": (edit.zero("blocks.1.attn.hook_pattern", head=2, position=3),),
        "pattern of the prompt": (edit.replace("blocks.1.attn.hook_pattern", cache["blocks.1.attn.hook_pattern"]),),
        "function": (edit.function(hook, lambda value: value - 0.5 * value.mean(1, keepdim=True)),),
    }


@pytest.mark.parametrize("name", models.NAMES)
def test_the_same_tokens_with_and_without_a_cache_under_every_edit(name):
    """A dozen kinds of edit, each on a prompt of its own: 120 texts over the families, token for token."""
    model, changed = models.load(name), 0
    options = {"temperature": 3.0} if name.startswith("gemma") else {}  # whose tied logits repeat one token
    for number, kind in enumerate(_edits(model, 4)):
        prompt = models.tokens(1, 4 + number % 3, seed=100 + number)
        edited = model.edited(*_edits(model, prompt.shape[1])[kind])
        cached = edited.generate_tokens(prompt, N_NEW, **options)
        assert torch.equal(cached, edited.generate_tokens(prompt, N_NEW, use_cache=False, **options)), kind
        changed += not torch.equal(cached, model.generate_tokens(prompt, N_NEW, **options))
    assert changed >= 1  # the control: edits change the text


@pytest.mark.parametrize("name", ["gpt2", "gemma2"])
def test_greedy_generation_is_that_of_the_logits(name):
    model, prompt = models.load(name), models.tokens(1, 5)
    tokens = prompt
    for _ in range(N_NEW):
        tokens = torch.cat([tokens, model(tokens)[:, -1:].argmax(-1)], 1)
    assert torch.equal(model.generate_tokens(prompt, N_NEW), tokens[0, 5:])


def test_sampling_is_seeded_and_follows_the_distribution():
    model, prompt = models.load("llama"), models.tokens(1, 5)
    draws = [model.generate_tokens(prompt, 5, temperature=1.0, seed=seed).tolist() for seed in range(20)]
    assert draws[3] == model.generate_tokens(prompt, 5, temperature=1.0, seed=3, use_cache=False).tolist()
    assert len({tuple(draw) for draw in draws}) > 10
    cold = [model.generate_tokens(prompt, 5, temperature=1e-3, seed=seed).tolist() for seed in range(3)]
    assert cold == [model.generate_tokens(prompt, 5).tolist()] * 3


def test_text_streams_in_pieces_that_join_to_the_whole():
    model = models.load("gpt2", text=True)
    parts = list(model.stream("the tower is", 6))
    assert "".join(parts) == model.generate("the tower is", max_tokens=6)
    ids = model.generate_tokens(model.to_tokens("the tower is"), 6)
    assert model.generate("the tower is", 6) == model.tokenizer.decode(ids, clean_up_tokenization_spaces=False)


def test_edits_can_be_given_to_generate_alone():
    model = models.load("gpt2", text=True)
    zero = edit.zero("blocks.1.hook_resid_post")
    assert model.generate("the tower", 6, edits=[zero]) == model.edited(zero).generate("the tower", 6)
    assert model.edits == ()


def test_generation_stops_at_the_end_of_text():
    model, prompt = models.load("llama"), models.tokens(1, 5)
    ids = model.generate_tokens(prompt, N_NEW).tolist()
    model.hf.generation_config.eos_token_id = [ids[4]]
    assert model.generate_tokens(prompt, N_NEW).tolist() == ids[: ids.index(ids[4])]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_tokens": 0}, "max_tokens=0: give a whole number of at least 1"),
        ({"max_tokens": "5"}, "max_tokens='5'"),
        ({"max_tokens": 99}, "and 99 more do not fit into the 40"),
        ({"max_tokens": 5, "temperature": -1.0}, "temperature=-1.0: give 0"),
        ({"max_tokens": 5, "temperature": float("nan")}, "temperature=nan"),
        ({"chat": True}, "has no chat template"),
    ],
)
def test_what_cannot_be_generated_is_refused(options, message):
    model = models.load("llama", text=True)
    with pytest.raises(UsageError, match=message):
        model.generate("the tower", **options)


def test_logits_that_are_not_finite_end_the_text():
    model = models.load("llama", text=True)
    broken = edit.function("blocks.1.hook_resid_post", lambda value: value * float("nan"))
    with pytest.raises(NotFiniteError, match="next token are not finite"):
        model.generate("the tower", 5, edits=[broken])


@pytest.mark.real
def test_smollm2_continues_and_answers(smollm2):
    assert smollm2.generate("The Eiffel Tower is located in the city of", max_tokens=1) == " Paris"
    assert "Paris" in smollm2.generate("What is the capital of France?", max_tokens=20, chat=True)
    steer = edit.zero("blocks.20.hook_mlp_out", position=slice(5, None))
    texts = {smollm2.generate("Once upon a time", 8, edits=[steer], use_cache=cached) for cached in (True, False)}
    assert len(texts) == 1
