"""Attributing an edited model: the edited run's logits are rebuilt, and every attribution sums to them."""

from __future__ import annotations

import pytest
import torch

from interp import attribution, edit
from interp.errors import UsageError
from tests import models

N_TOKEN = 6
LAYER = 1


def vector(d: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(d, generator=torch.Generator().manual_seed(seed))


def edits(model) -> dict[str, tuple]:
    d, d_head = model.spec.d_model, model.spec.d_head
    block = f"blocks.{LAYER}."
    whole = {
        "zero a head": (edit.zero(f"{block}attn.hook_z", head=1),),
        "replace a head at a position": (edit.replace(f"{block}attn.hook_z", vector(d_head), head=2, position=3),),
        "project a head": (edit.project_out(f"{block}attn.hook_z", vector(d_head), head=0),),
        "zero attention": (edit.zero(f"{block}hook_attn_out"),),
        "project attention": (edit.project_out(f"{block}hook_attn_out", vector(d)),),
        "mean of attention": (edit.mean(f"{block}hook_attn_out", models.tokens(4, N_TOKEN, seed=8)),),
        "zero an MLP": (edit.zero(f"{block}hook_mlp_out"),),
        "replace an MLP": (edit.replace(f"{block}hook_mlp_out", vector(d), position=-1),),
        "steer": (edit.add(f"{block}hook_resid_post", vector(d), scale=2.0),),
        "steer the embedding": (edit.add("blocks.0.hook_resid_pre", vector(d), positions=2),),
    }
    stream = {
        "project the stream": (edit.project_out(f"{block}hook_resid_post", torch.stack([vector(d), vector(d, 1)])),),
        "zero the stream at a position": (edit.zero(f"{block}hook_resid_post", position=-1),),
        "replace the stream before a block": (edit.replace("blocks.2.hook_resid_pre", vector(d), position=-1),),
        "steer in the middle": (edit.add(f"{block}hook_resid_mid", vector(d)),),
        "several": (
            edit.project_out(f"{block}hook_resid_post", vector(d)),
            edit.add(f"{block}hook_resid_post", vector(d, 2), positions=slice(1, 4)),
            edit.zero("blocks.2.attn.hook_z", head=3),
            edit.zero("blocks.0.hook_mlp_out"),
        ),
    }
    return whole | ({} if model.spec.parallel else stream)


@pytest.mark.parametrize("name", ["llama", "gemma2", "gpt2", "neox", "neox-sequential", "olmo2"])
def test_every_attribution_of_every_edit_sums_to_the_edited_run(name):
    """In float64: a sum that misses the run's value by more than 1e-9 raises inside each function."""
    model, tokens = models.load(name, dtype=torch.float64), models.tokens(1, N_TOKEN)
    target = attribution.logit_difference(model, 3, 7)
    plain = attribution.direct(attribution.freeze(model, tokens), target)
    for kind, several in edits(model).items():
        edited = model.edited(*several)
        frozen = attribution.freeze(edited, tokens)
        logits = edited(tokens)[0, -1]
        value = float(logits[3] - logits[7])
        assert frozen.error < 1e-9, kind
        for result in (
            attribution.direct(frozen, target),
            attribution.sources(frozen, target),
            attribution.orders(frozen, target),
            attribution.edges(frozen, target),
        ):
            assert result.total == pytest.approx(value, abs=1e-9), kind
        for nodes in ("position", "component") if kind in ("project a head", "zero attention", "several") else ():
            tree = attribution.path_tree(frozen, target, 30, nodes=nodes)
            assert tree.total == pytest.approx(value, abs=1e-9) and tree.error < 1e-9, kind
        assert value != pytest.approx(plain.value, abs=1e-6), kind  # the edit does something


def test_paths_of_an_edited_model_are_the_products_of_its_maps():
    """Complete paths of a fully expanded small tree sum to the value: nothing is left in a remainder."""
    model, tokens = models.load("llama", dtype=torch.float64), models.tokens(1, 2)
    edited = model.edited(*edits(model)["several"])
    frozen = attribution.freeze(edited, tokens)
    tree = attribution.path_tree(frozen, attribution.logit(edited, 3), 5000)
    paths = tree.paths(len(tree.value))
    assert sum(path.value for path in paths) == pytest.approx(tree.total, abs=1e-9)


def test_zeroed_parts_contribute_nothing_and_a_projected_direction_is_gone():
    model, tokens = models.load("qwen2", dtype=torch.float64), models.tokens(1, N_TOKEN)
    target = attribution.logit(model, 3)
    frozen = attribution.freeze(model.edited(edit.zero("blocks.1.attn.hook_z", head=1)), tokens)
    direct = attribution.direct(frozen, target)
    assert direct.by_head()[1, 1] == 0 and direct.by_head()[1, 0] != 0
    u = vector(model.spec.d_model).double()
    projected = attribution.freeze(model.edited(edit.project_out("blocks.1.hook_resid_post", u)), tokens)
    along = attribution.direct(projected, attribution.direction(model, u, layer=1))
    assert along.total == pytest.approx(0, abs=1e-9)
    plain = attribution.direct(attribution.freeze(model, tokens), attribution.direction(model, u, layer=1))
    assert abs(plain.total) > 0.1


def test_a_head_of_an_edited_run_is_split_by_source():
    model, tokens = models.load("llama", dtype=torch.float64), models.tokens(1, N_TOKEN)
    edited = model.edited(edit.project_out("blocks.1.attn.hook_z", vector(model.spec.d_head), head=1))
    frozen, target = attribution.freeze(edited, tokens), attribution.logit(edited, 3)
    split = attribution.by_source(frozen, target, 1, 1)
    assert split.total == pytest.approx(attribution.direct(frozen, target).by_head()[1, 1], abs=1e-9)


def test_the_logit_lens_reads_an_edited_run():
    model, tokens = models.load("gpt2"), models.tokens(1, N_TOKEN)
    edited = model.edited(edit.add("blocks.1.hook_resid_post", vector(model.spec.d_model)))
    result, plain = (attribution.logit_lens(one, tokens, [3]) for one in (edited, model))
    assert result.logits[-1, -1, 0] == pytest.approx(float(edited(tokens)[0, -1, 3]), abs=1e-4)
    assert (result.logits[:2] == plain.logits[:2]).all() and (result.logits[2:] != plain.logits[2:]).any()


@pytest.mark.parametrize(
    "made",
    [
        lambda model: edit.zero("blocks.1.attn.hook_q", head=1),
        lambda model: edit.zero("blocks.1.attn.hook_pattern", head=1),
        lambda model: edit.zero("blocks.1.mlp.hook_post", neuron=3),
        lambda model: edit.function("blocks.1.hook_resid_post", lambda value: value.relu()),
        lambda model: edit.project_out("blocks.1.hook_resid_mid", vector(model.spec.d_model)),
    ],
)
def test_edits_that_are_not_affine_there_are_refused(made):
    model = models.load("llama")
    with pytest.raises(UsageError, match="cannot be frozen"):
        attribution.freeze(model.edited(made(model)), models.tokens(1, N_TOKEN))


def test_what_needs_an_unedited_model_says_so():
    model, tokens = models.load("llama", dtype=torch.float64), models.tokens(1, N_TOKEN)
    edited = model.edited(edit.zero("blocks.1.hook_mlp_out"))
    frozen, target = attribution.freeze(edited, tokens), attribution.logit(edited, 3)
    with pytest.raises(UsageError, match="needs a model without edits"):
        attribution.contrast(edited, tokens, models.tokens(1, N_TOKEN, seed=2))
    with pytest.raises(UsageError, match="needs a model without edits"):
        attribution.verify(edited, attribution.path_tree(frozen, target, 20))
    with pytest.raises(UsageError, match="needs a model without edits"):
        attribution.path_tree(frozen, target, top=3)
