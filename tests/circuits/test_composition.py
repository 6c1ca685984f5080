"""Composition against the dense formula, the average over offsets against its definition, and the baseline."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import interp
from interp import circuits, results
from tests import models


def dense(model, kind: str, offset: int) -> np.ndarray:
    """The definition, with every matrix formed."""
    heads = [divmod(i, model.spec.n_head) for i in range(model.spec.n_layer * model.spec.n_head)]
    writes = [circuits.ov(model, *head).matrix for head in heads]
    forms = [circuits.qk(model, *head).matrix(offset) for head in heads]
    reads = {"Q": forms, "K": [form.T for form in forms], "V": writes}[kind]
    return np.array([[float((w @ r).norm() / w.norm() / r.norm()) for r in reads] for w in writes])


@pytest.mark.parametrize("kind", ["Q", "K", "V"])
@pytest.mark.parametrize("name", models.NAMES)
def test_it_is_the_dense_formula(name: str, kind: str) -> None:
    model = models.load(name)
    for offset in (0, 3):
        result = circuits.composition(model, kind, offset=offset)
        # float32 weights, everything after them in float64.
        assert np.abs(result.array - dense(model, kind, offset)).max() < 1e-6


def test_several_kinds_together_are_each_kind_alone() -> None:
    model = models.load("llama")
    for result in circuits.compositions(model, ("V", "Q")):
        alone = circuits.composition(model, result.kind)
        assert (result.array == alone.array).all()
        assert (result.spread == alone.spread).all()


@pytest.mark.parametrize("name", ["llama", "neox"])
def test_the_average_over_offsets_is_the_mean_of_squares_over_independent_turns(name: str) -> None:
    model = models.load(name, torch.float64)
    head, writer, d_head = circuits.qk(model, 2, 1), circuits.ov(model, 0, 3).matrix, model.spec.d_head
    left, right = head.factors().left, head.factors().right
    half, generator = model.spec.rotary.dim // 2, torch.Generator().manual_seed(0)
    squares, norms = [], []
    for _ in range(4000):
        angles = torch.rand(half, generator=generator, dtype=torch.float64) * 2 * torch.pi
        turn = torch.eye(d_head, dtype=torch.float64)
        i = torch.arange(half)
        turn[i, i] = turn[i + half, i + half] = angles.cos()
        turn[i, i + half], turn[i + half, i] = -angles.sin(), angles.sin()
        form = left @ turn @ right.T
        squares.append(float((writer @ form).square().sum()))
        norms.append(float(form.square().sum()))
    expected = (np.mean(squares) / np.mean(norms)) ** 0.5 / float(writer.norm())
    spread = np.std(squares) / np.mean(squares) / 2 / len(squares) ** 0.5
    result = circuits.composition(model, "Q", offset="average")
    assert result.array[3, 2 * 4 + 1] == pytest.approx(expected, rel=5 * spread)
    assert result.offset == "root mean square over all offsets"


@pytest.mark.parametrize("kind", ["Q", "V"])
def test_the_null_is_that_of_random_rotations_of_the_writer(kind: str) -> None:
    """4,000 rotations of one writer: mean and deviation of the squared score, each within five standard errors."""
    model = models.load("gpt2", torch.float64)
    writer = circuits.ov(model, 0, 1).matrix
    reader = circuits.qk(model, 2, 3).matrix() if kind == "Q" else circuits.ov(model, 2, 3).matrix
    generator = torch.Generator().manual_seed(0)
    squares = []
    for _ in range(4000):
        q, r = torch.linalg.qr(torch.randn(24, 24, generator=generator, dtype=torch.float64))
        turned = writer @ (q * r.diagonal().sign())  # uniform over O(24)
        squares.append(float((turned @ reader).square().sum() / writer.square().sum() / reader.square().sum()))
    result = circuits.composition(model, kind)
    spread = result.spread[1, 2 * 4 + 3]
    assert np.mean(squares) == pytest.approx(1 / 24, abs=5 * spread / 4000**0.5)
    assert np.std(squares) == pytest.approx(spread, rel=5 / (2 * 4000) ** 0.5)
    assert result.z[1, 11] == pytest.approx((result.array[1, 11] ** 2 - 1 / 24) / spread)
    assert np.allclose(result.excess, result.array - 24**-0.5)


def test_random_heads_do_not_stand_out_and_a_planted_wire_does() -> None:
    """Random weights: z about 0 with deviation about 1 over 48 pairs. A reader of what a head writes: far beyond."""
    hf = models.build("gpt2")
    free = circuits.composition(interp.load(hf), "V")
    z = free.z[free.possible]
    assert abs(z.mean()) < 1
    assert 0.5 < z.std() < 2
    block, later = hf.transformer.h[0].attn, hf.transformer.h[2]
    with torch.no_grad():
        later.ln_1.weight.fill_(1.0)
        values = later.attn.c_attn.weight[:, 48 + 6 * 3 : 48 + 6 * 4]
        values.copy_(block.c_proj.weight[6:12].T)
    wired = circuits.composition(interp.load(hf), "V")
    assert wired.z[1, 11] == wired.z[wired.possible].max()
    assert wired.z[1, 11] > 2 * np.abs(z).max()


def test_without_rotation_the_offset_changes_nothing() -> None:
    model = models.load("gpt2")
    same, other = (circuits.composition(model, "K", offset=offset) for offset in (0, 7))
    assert np.array_equal(same.array, other.array)
    assert same.offset == other.offset == "no rotation"


def test_a_head_that_is_zero_composes_with_nothing() -> None:
    hf = models.build("gpt2")
    with torch.no_grad():
        hf.transformer.h[0].attn.c_proj.weight[:6] = 0
    result = circuits.composition(interp.load(hf), "V")
    assert not result.array[0].any()
    assert not result.array[:, 0].any()
    assert np.isfinite(result.array).all()


def test_only_earlier_layers_write_to_later_ones(tmp_path) -> None:
    result = circuits.composition(models.load("llama"), "K")
    assert result.array.shape == result.values.shape == np.asarray(result).shape == (12, 12)
    assert result.possible.sum() == 3 * 16
    assert len(result.top(1000)) == 48
    for writer, reader, _ in result.top(1000):
        assert int(writer[1]) < int(reader[1])
    assert results.load(result.save(tmp_path)) == result
    assert "composition-k" in result._repr_html_()
