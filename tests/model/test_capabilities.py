"""Capabilities of a model: each that is listed works, and each that is not raises an error."""

from __future__ import annotations

from functools import partial

import pytest
import torch
import transformers

import interp
from interp import attribution, circuits, discovery, tasks
from interp.errors import UnsupportedModelError
from interp.model import capabilities
from tests import models

IDS = models.tokens(1, 6)
ASKS = {
    "freeze, path trees, orders": lambda model: attribution.freeze(model, IDS),
    "contrast": lambda model: attribution.contrast(model, IDS, models.tokens(1, 6, seed=3)),
    "discovery": lambda model: discovery.score(model, tasks.induction(model, n=2, seed=0, length=6)),
    "circuits": lambda model: circuits.check(model, IDS),
    "logit lens": lambda model: attribution.logit_lens(model, IDS),
}


def _mamba():
    torch.manual_seed(0)
    config = transformers.MambaConfig(vocab_size=64, hidden_size=16, num_hidden_layers=2, state_size=4)
    return interp.load(transformers.MambaForCausalLM(config).eval())


@pytest.mark.parametrize(
    "make", [*(partial(models.load, name) for name in ("gpt2", "olmo2", "bloom", "mixtral", "olmoe")), _mamba]
)
def test_each_listed_capability_works_and_each_other_is_refused(make):
    model = make()
    listed = {part.name: part for part in capabilities(model)}
    assert all(bool(part.reason) != part.works for part in listed.values())
    for name, ask in ASKS.items():
        if listed[name].works:
            ask(model)
        else:
            with pytest.raises(UnsupportedModelError):
                ask(model)
    assert listed["runs and caches"].works
    assert listed["hooks of attention and MLP"].works == ("blocks.0.hook_attn_out" in model.hooks())
