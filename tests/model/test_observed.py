"""Observed models: streams are located by structure on made-up classes, and inconsistent ones are refused."""

from __future__ import annotations

import copy
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import transformers
from torch import nn

import interp
import probes
import saes
from interp import attribution, circuits, edit
from interp.errors import UnsupportedModelError, UsageError
from tests import models

WIDTH, N_LAYER = 16, 3


class Mixer(nn.Module):
    """Attention of one head, under a name that says nothing."""

    def __init__(self, causal: bool = True):
        super().__init__()
        self.causal = causal
        self.inward, self.outward = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x):
        q, k, v = self.inward(x).chunk(3, dim=-1)
        scores = q @ k.mT / WIDTH**0.5
        if self.causal:
            scores = scores.masked_fill(torch.ones_like(scores).triu(1).bool(), -torch.inf)
        return self.outward(scores.softmax(-1) @ v)


class Cell(nn.Module):
    """A block: `order` says which piece comes first, `factor` what the second one is multiplied by."""

    def __init__(self, order: str = "mixer", factor: float = 1.0, causal: bool = True):
        super().__init__()
        self.first_norm, self.second_norm = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.mixer = Mixer(causal)
        self.dense = nn.Sequential(nn.Linear(WIDTH, 32), nn.Tanh(), nn.Linear(32, WIDTH))
        self.order, self.factor = order, factor

    def forward(self, stream):
        pieces = (self.mixer, self.dense) if self.order == "mixer" else (self.dense, self.mixer)
        stream = stream + pieces[0](self.first_norm(stream))
        return (stream + self.factor * pieces[1](self.second_norm(stream)), None)


class Invented(transformers.PreTrainedModel):
    """A class that `transformers` has never seen: other names, cells in a tuple, a tanh no family has."""

    config_class = transformers.PretrainedConfig

    def __init__(self, config, **options):
        super().__init__(config)
        self.table = nn.Embedding(64, WIDTH)
        self.tower = nn.ModuleList([Cell(**options) for _ in range(N_LAYER)])
        self.last = nn.LayerNorm(WIDTH)
        self.words = nn.Linear(WIDTH, 64, bias=False)

    def forward(self, input_ids):
        x = self.table(input_ids)
        for cell in self.tower:
            x, _ = cell(stream=x)
        return SimpleNamespace(logits=self.words(self.last(x)))


def invented(**options):
    torch.manual_seed(0)
    return Invented(transformers.PretrainedConfig(), **options).eval()


@pytest.fixture(scope="module")
def model():
    return interp.load(invented(), tokenizer=models.tokenizer())


IDS = models.tokens(3, 8)
EIFFEL = "The Eiffel Tower is located in the city of"


def test_it_is_observed_and_says_so(model):
    assert (model.level, model.spec.n_layer, model.spec.d_model, model.spec.d_vocab) == ("observed", 3, WIDTH, 64)
    assert "observed" in repr(model)
    assert interp.load(models.build("llama")).level == "exact"
    assert interp.load(models.build("llama"), level="observed").level == "observed"
    assert len(model.weights_sha256) == 64


@pytest.mark.parametrize("order", ["mixer", "dense"])
def test_the_pieces_are_those_of_the_class_whatever_comes_first(order):
    model = interp.load(invented(order=order))
    logits, cache = model.run_with_cache(IDS, list(model.hooks()))
    assert torch.equal(logits + 0, model.hf(IDS).logits)
    for layer in range(N_LAYER):
        at = {name: cache[f"blocks.{layer}.hook_{name}"] for name in ("resid_pre", "attn_out", "mlp_out", "resid_post")}
        total = at["resid_pre"] + at["attn_out"] + at["mlp_out"]
        torch.testing.assert_close(total, at["resid_post"], rtol=1e-6, atol=1e-6)
    assert model.structure.pieces == {"attn": "mixer", "mlp": "dense"}


def test_edits_take_effect_at_streams_and_pieces(model):
    plain = model(IDS)
    for hook in ("hook_resid_pre", "hook_attn_out", "hook_mlp_out", "hook_resid_post"):
        edited = model.edited(edit.zero(f"blocks.1.{hook}", position=5))
        changed = (edited(IDS) - plain).abs().amax(-1).amax(0)
        assert not changed[:5].any()
        assert changed[5] > 1e-3
    block, seen = model.hf.tower[1], []
    handle = block.dense.register_forward_hook(lambda *_: torch.zeros(3, 8, WIDTH))
    seen.append(model.hf(IDS).logits)
    handle.remove()
    assert torch.equal(model.edited(edit.zero("blocks.1.hook_mlp_out"))(IDS), seen[0])


def test_it_generates_probes_patches_and_trains_a_dictionary(model):
    assert model.generate_tokens(IDS[:1], 3).shape == (3,)
    assert model.generate("the tower is", max_tokens=2) == model.generate("the tower is", max_tokens=2, use_cache=False)
    hook = "blocks.1.hook_resid_post"
    _, cache = model.run_with_cache(models.tokens(40, 8), hook)
    rows = cache[hook].flatten(0, 1)
    config = saes.Config(architecture="topk", width=32, k=4, steps=20, batch_size=64, lr=1e-3, seed=0)
    assert saes.train(config, rows)(rows).shape == rows.shape
    X, y = cache[hook][:, -1].numpy(), np.arange(40) % 2
    assert probes.MassMean().fit(X, y).direction_.shape == (WIDTH,)


def test_what_needs_the_arithmetic_is_one_clear_sentence(model):
    asks = (
        lambda: attribution.freeze(model, IDS[:1]),
        lambda: attribution.contrast(model, IDS[:1], IDS[1:2]),
        lambda: attribution.logit_lens(model, IDS[:1]),
        lambda: circuits.check(model, IDS),
        lambda: circuits.qk(model, 0, 0),
        lambda: interp.check(model),
        lambda: model.weights,
        lambda: model.bridge,
    )
    for ask in asks:
        with pytest.raises(UnsupportedModelError, match=r"is an observed model: it runs, caches, .* exact family"):
            ask()


def test_an_unknown_hook_has_its_nearest(model):
    with pytest.raises(UsageError, match=r'the nearest is "blocks.1.hook_mlp_out"'):
        model.run_with_cache(IDS, "blocks.1.hook_mlp_ou")
    with pytest.raises(UnsupportedModelError, match="takes no attention mask"):
        model(IDS, torch.ones_like(IDS))


# What would be a wrong guess.


def test_pieces_that_do_not_add_up_are_not_offered():
    model = interp.load(invented(factor=0.5))
    assert [name for name in model.hooks() if name.startswith("blocks.0.")] == [
        "blocks.0.hook_resid_pre",
        "blocks.0.hook_resid_post",
    ]
    with pytest.raises(UnsupportedModelError, match=r"cannot be read: no two modules of the first block add up"):
        model.run_with_cache(IDS, "blocks.1.hook_attn_out")
    model.run_with_cache(IDS, "blocks.1.hook_resid_post")


def test_one_block_that_is_not_like_the_first_withdraws_the_guess():
    hf = invented()
    hf.tower[2].factor = 2.0
    with pytest.raises(UnsupportedModelError, match=r"mixer and dense do not add up to what block 2 adds"):
        interp.load(hf).run_with_cache(IDS, "blocks.0.hook_mlp_out")


def test_two_pieces_that_mix_nothing_are_ambiguous():
    hf = invented()
    for cell in hf.tower:
        cell.mixer = nn.Sequential(nn.Linear(WIDTH, 8), nn.GELU(), nn.Linear(8, WIDTH))
    with pytest.raises(UnsupportedModelError, match="so that attention and MLP cannot be distinguished"):
        interp.load(hf).run_with_cache(IDS, "blocks.0.hook_mlp_out")


def test_a_model_that_sees_what_comes_later_is_refused():
    with pytest.raises(UnsupportedModelError, match="is not causal: the last token changes the logits of earlier"):
        interp.load(invented(causal=False))


def test_a_model_without_blocks_is_refused():
    class Flat(Invented):
        def forward(self, input_ids):
            return SimpleNamespace(logits=self.words(self.last(self.table(input_ids))))

    with pytest.raises(UnsupportedModelError, match="The blocks of Flat cannot be located"):
        interp.load(Flat(transformers.PretrainedConfig()).eval())


# Models of `transformers` without a family here, and those that must not change.


def test_mamba_has_a_stream_and_no_attention():
    config = transformers.MambaConfig(vocab_size=64, hidden_size=16, num_hidden_layers=2, state_size=4)
    torch.manual_seed(0)
    model = interp.load(transformers.MambaForCausalLM(config).eval())
    _, cache = model.run_with_cache(IDS, ["blocks.0.hook_resid_post", "blocks.1.hook_resid_pre"])
    assert torch.equal(cache["blocks.0.hook_resid_post"], cache["blocks.1.hook_resid_pre"])
    with pytest.raises(UnsupportedModelError, match="cannot be read"):
        model.run_with_cache(IDS, "blocks.0.hook_mlp_out")


@pytest.mark.parametrize("name", [*models.NAMES, *models.MORE_NAMES])
def test_what_is_observed_of_an_exact_family_is_what_is_known_of_it(name):
    """Families say where their streams are; structure alone finds the same, or (Granite) offers less."""
    hf = models.build(name)
    exact, seen = interp.load(hf), interp.load(hf, level="observed")
    hooks = list(seen.hooks())
    assert torch.equal(seen(IDS), exact(IDS))
    assert ("blocks.0.hook_attn_out" in hooks) == (name != "granite")
    ours, theirs = (model.run_with_cache(IDS, hooks)[1] for model in (exact, seen))
    for hook in hooks:
        if not (
            name in ("granite", "bloom") and hook == "hook_embed"
        ):  # the table's own rows, not yet scaled or normed
            torch.testing.assert_close(ours[hook], theirs[hook], rtol=1e-6, atol=1e-6)


def test_a_feature_that_is_not_written_out_can_be_observed():
    hf = models._falcon(alibi=True).eval()
    with pytest.raises(UnsupportedModelError, match=r'interp.load\(..., level="observed"\)'):
        interp.load(hf)
    assert interp.load(hf, level="observed").level == "observed"


class EightBits(nn.Module):
    """A linear layer with weights of 8 bits and one scale for each output, as int8 libraries store them."""

    def __init__(self, linear):
        super().__init__()
        self.scale = nn.Buffer(linear.weight.detach().abs().amax(1, keepdim=True) / 127)
        self.weight = nn.Parameter((linear.weight.detach() / self.scale).round().to(torch.int8), requires_grad=False)
        self.bias = linear.bias

    def forward(self, x):
        return nn.functional.linear(x, self.weight * self.scale, self.bias)


def test_eight_bits_are_observed():
    hf, quantised = models.build("llama"), models.build("llama")
    for module in list(quantised.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.Linear):
                setattr(module, name, EightBits(child))
    model = interp.load(quantised)
    assert model.level == "observed"
    assert model.weights_sha256 != interp.load(hf).weights_sha256
    _, cache = model.run_with_cache(IDS, ["blocks.1.hook_attn_out", "blocks.2.hook_resid_post"])
    plain = interp.load(hf).run_with_cache(IDS, "blocks.2.hook_resid_post")[1]["blocks.2.hook_resid_post"]
    error = (cache["blocks.2.hook_resid_post"] - plain).abs().max() / plain.abs().max()
    assert 0 < error < 0.1  # 8 bits, three blocks
    with pytest.raises(UnsupportedModelError, match="can only be observed"):
        interp.load(quantised, level="exact")
    with pytest.raises(UsageError, match="its dtype cannot be changed"):
        interp.load(quantised, dtype="float64")


def test_a_model_spread_over_devices_is_observed(tmp_path):
    """Half of it on the disk, as `device_map` spreads it: hooks of accelerate move every block where it is run."""
    hf = models.build("llama")
    hf.save_pretrained(tmp_path / "model")
    where = {"model.embed_tokens": "cpu", "model.layers.0": "cpu", "model.layers.1": "disk", "model.layers.2": "disk"}
    where |= {"model.norm": "cpu", "model.rotary_emb": "cpu", "lm_head": "cpu"}
    spread = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path / "model", device_map=where, offload_folder=tmp_path / "offload", dtype=torch.float32
    )
    model = interp.load(spread)
    assert model.level == "observed"
    torch.testing.assert_close(model(IDS), hf(IDS).logits, rtol=1e-5, atol=1e-5)
    edited = model.edited(edit.zero("blocks.1.hook_mlp_out"))
    expected = interp.load(hf).edited(edit.zero("blocks.1.hook_mlp_out"))(IDS)
    torch.testing.assert_close(edited(IDS), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("build", [invented, lambda: models.build("llama"), lambda: models.build("mixtral")])
def test_a_model_in_bfloat16_is_observed(build):
    plain = interp.load(build(), level="observed")
    model = interp.load(build().bfloat16(), level="observed")
    assert (model.level, model.dtype) == ("observed", torch.bfloat16)
    _pieces_add_up(model, 1, 2e-2)
    cut = edit.zero("blocks.1.hook_mlp_out")
    exact = plain.edited(cut)(IDS)
    # Four units in the last of 8 bits over three blocks; what is cut out moves the logits by several times as much.
    assert (model.edited(cut)(IDS) - exact).norm() < 0.1 * exact.norm() < (plain(IDS) - exact).norm()
    assert model.generate_tokens(IDS[:1], 2).shape == (2,)
    hook = "blocks.1.hook_resid_post"
    rows = model.run_with_cache(models.tokens(40, 8), hook)[1][hook]
    config = saes.Config(architecture="topk", width=16, k=4, steps=3, batch_size=64, lr=1e-3, seed=0)
    assert saes.train(config, rows.flatten(0, 1))(rows).isfinite().all()


def _pieces_add_up(model, layer, tolerance):
    names = [f"blocks.{layer}.hook_{name}" for name in ("resid_pre", "attn_out", "mlp_out", "resid_post")]
    _, cache = model.run_with_cache(model.to_tokens(EIFFEL) if model.has_tokenizer else IDS, names)
    before, attention, mlp, after = (cache[name].float() for name in names)
    assert {cache[name].dtype for name in names} == {torch.bfloat16}
    assert (before + attention + mlp - after).norm() < tolerance * after.norm()
    assert (before + attention - after).norm() > tolerance * after.norm()  # the MLP's part is seen


@pytest.mark.real
def test_smollm2_in_bfloat16_is_observed(smollm2):
    model = interp.load(copy.deepcopy(smollm2.hf).bfloat16(), tokenizer=smollm2.tokenizer, level="observed")
    assert (model.level, model.dtype) == ("observed", torch.bfloat16)
    assert model.generate(EIFFEL, max_tokens=1) == " Paris"
    _pieces_add_up(model, 12, 2e-3)  # measured 4e-4
    tokens, cut = model.to_tokens(EIFFEL), edit.zero("blocks.12.hook_mlp_out")
    exact = smollm2.edited(cut)(tokens)
    error = (model.edited(cut)(tokens) - exact).abs().max() / exact.abs().max()
    assert error < 0.1  # measured 3.6 %: 8 bits over 30 blocks; the cut moves the logits by 26 %


def test_a_level_that_does_not_exist():
    with pytest.raises(UsageError, match="level='seen' does not exist"):
        interp.load("smollm2", level="seen")
