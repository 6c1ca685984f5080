"""Where one position is asked for, no logits of all positions are made: a vocabulary may have 262,144 tokens."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import interp
from analyses import explain
from interp import attribution, patching, tasks
from interp.attribution import lens_comparison, lens_fit, logit_difference
from tests import models

N_TOKEN = 13
"""No other size of these models, so that an axis of this length is that of positions."""
CLEAN, OTHER = models.tokens(1, N_TOKEN), models.tokens(1, N_TOKEN, 5)


class LogitsOfAllPositions(TorchDispatchMode):
    """Collect the shapes of tensors, made while it is active, with an axis of positions and one of the vocabulary."""

    def __init__(self):
        super().__init__()
        self.shapes = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        shapes = (tuple(x.shape) for x in tree_leaves(made) if isinstance(x, torch.Tensor))
        self.shapes |= {shape for shape in shapes if {N_TOKEN, models.D_VOCAB} <= set(shape)}
        return made


def _attributions(model, position):
    frozen, target = attribution.freeze(model, CLEAN), logit_difference(model, 4, 6, position)
    _all(frozen, target)
    assert attribution.path_tree(frozen, target, max_expansions=3).error < 1e-4


def _contrasts(model, position):
    pair, target = attribution.contrast(model, CLEAN, OTHER), logit_difference(model, 4, 6, position)
    _all(pair, target)
    batch = attribution.contrast(model, CLEAN.repeat(2, 1), torch.cat([OTHER, CLEAN.roll(1)]))
    _all(batch[1], target)


def _all(linearised, target):
    for sweep in (attribution.direct, attribution.sources, attribution.orders, attribution.edges):
        assert sweep(linearised, target).error < 1e-4


def _patches(model, position):
    target = logit_difference(model, 4, 6, position)
    other = torch.cat([OTHER[:, :2], CLEAN[:, 2:]], 1)  # differs before every position asked for
    patching.patch_residual(model, CLEAN, other, target)
    patching.patch_heads(model, CLEAN, other, target)


def _task(model, position):
    answers = torch.tensor([4]), torch.tensor([6])
    task = tasks.Task("t", CLEAN, OTHER, *answers, {"end": torch.tensor([position % N_TOKEN])}, ("a",), ("p",))
    patching.patch(model, task, by=("layer",))


def _explained(model, position):
    prompt = " the tower is in London a b" * 2
    prompt = prompt[: prompt.rindex(" b")]
    assert model.to_tokens(prompt).shape[1] == N_TOKEN
    explain.run(model, explain.Config(prompt=prompt, position=position, max_expansions=5))


def _lens(model, _):
    attribution.logit_lens(model, CLEAN, [4])


CASES = (_attributions, _contrasts, _patches, _task, _lens, _explained)


@pytest.mark.parametrize("name", ["llama", "gemma2"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__.strip("_"))
def test_one_position_does_not_unembed_the_others(name, case):
    model = models.load(name, text=True)
    with LogitsOfAllPositions() as seen:
        for position in (-1, 3):
            case(model, position)
    assert seen.shapes == set()


def test_logits_of_all_positions_are_seen_where_they_are_asked_for():
    model = models.load("llama")
    frozen, pair = attribution.freeze(model, CLEAN), attribution.contrast(model, CLEAN, OTHER)
    for ask in (lambda: model(CLEAN), lambda: frozen.logits, lambda: pair.logits):
        with LogitsOfAllPositions() as seen:
            ask()
        assert seen.shapes


def test_a_check_of_long_prompts_compares_a_lot_of_positions_at_a_time(monkeypatch):
    model = models.load("gemma2")
    whole = interp.check(model, [CLEAN])
    monkeypatch.setattr(sys.modules["interp.model.check"], "AT_ONCE", 4 * models.D_VOCAB)
    with LogitsOfAllPositions() as seen:
        parts = interp.check(model, [CLEAN])
    assert seen.shapes == set()
    assert parts.worst == pytest.approx(whole.worst, abs=1e-7)  # another shape of the product rounds otherwise


class RowsOfLogits(TorchDispatchMode):
    """Find the largest number of rows of the vocabulary in a tensor that is made while it is active."""

    def __init__(self):
        super().__init__()
        self.most = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        for x in tree_leaves(made):
            if isinstance(x, torch.Tensor) and models.D_VOCAB in x.shape and D_MODEL not in x.shape:
                self.most = max(self.most, x.numel() // models.D_VOCAB)
        return made


D_MODEL = 24
"""An axis of the unembedding, whose tensors are no logits."""
N_AT_ONCE = 16


@pytest.fixture
def few_at_once(monkeypatch):
    """Let the lenses make 16 rows of the vocabulary at once, and sample few of its tokens in a step."""
    for module in (lens_comparison, lens_fit):
        monkeypatch.setattr(module, "AT_ONCE", N_AT_ONCE * models.D_VOCAB)
    monkeypatch.setattr(lens_fit, "LIKELY", 1)
    monkeypatch.setattr(lens_fit, "SAMPLED", 3)


@pytest.mark.parametrize("name", ["llama", "gemma2"])
def test_lenses_are_fitted_and_compared_a_fixed_number_of_rows_at_a_time(name, few_at_once):
    """Steps of 40 positions and texts of 26 tokens would be more rows."""
    model = models.load(name)
    with RowsOfLogits() as seen:
        lenses = attribution.fit_lenses(model, models.tokens(24, 8), ("tuned", "bias"), steps=12, batch_size=40)
        result = attribution.compare_lenses(model, models.tokens(2, 2 * N_TOKEN), lenses)
    assert result.bias.size < N_AT_ONCE  # a mean prediction of each lens and row is stored
    assert seen.most == N_AT_ONCE


def test_the_comparison_does_not_depend_on_the_rows_at_a_time(few_at_once, monkeypatch):
    model = models.load("gemma2", torch.float64)
    lenses = attribution.fit_lenses(model, models.tokens(24, 8), ("tuned", "bias"), steps=12, batch_size=40)
    parts = attribution.compare_lenses(model, models.tokens(2, N_TOKEN), lenses)
    monkeypatch.setattr(sys.modules["interp.attribution.lens_comparison"], "AT_ONCE", 2**24)
    whole = attribution.compare_lenses(model, models.tokens(2, N_TOKEN), lenses)
    for field in ("cross_entropy", "kl", "bias"):
        # The mean predictions are summed in float32.
        np.testing.assert_allclose(
            getattr(parts, field), getattr(whole, field), atol=1e-6 if field == "bias" else 1e-12
        )
    np.testing.assert_array_equal(parts.depth, whole.depth)


def test_logits_at_a_position_are_those_of_the_whole_run():
    model = models.load("gemma2", torch.float64)
    frozen, pair = attribution.freeze(model, CLEAN), attribution.contrast(model, CLEAN, OTHER)
    for position in (0, 5, -1):
        torch.testing.assert_close(frozen.logits_at(position), frozen.logits[position], rtol=0, atol=1e-12)
        torch.testing.assert_close(pair.logits_at(position), pair.logits[:, position], rtol=0, atol=1e-12)
    assert set(frozen.known) == {0, 5, N_TOKEN - 1}
