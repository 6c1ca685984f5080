"""The hand-written sparse gradients against autograd on the papers' formulas, in float64."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from saes.architectures import architecture, auxiliary
from saes.architectures.base import Batch, Final, Memory
from saes.config import ARCHITECTURES, Config
from saes.kernels.encode import Scratch
from tests.saes.architectures import plain

N, D, WIDTH = 64, 12, 40


@pytest.fixture(autouse=True)
def auxiliary_on_half(monkeypatch: pytest.MonkeyPatch) -> None:
    """The auxiliary loss is measured on every second input, as `plain` does."""
    monkeypatch.setattr(auxiliary, "INPUTS", N // 2)


NEARLY = {"rtol": 1e-9, "atol": 1e-13}  # the same sums in float64, in another order; the loss is of order 1


def batch_of(name: str, *, dead: bool, dense: bool, skip: bool = False, width: int = WIDTH) -> Batch:
    """A random batch and random weights, about an eighth of the latents firing."""
    g = torch.Generator().manual_seed(3)
    config = Config(name, width, k=5, variant="transcoder" if skip else "autoencoder", skip=skip, bandwidth=0.5)
    config = replace(config, pre_act=0.3, auxiliary_k=4)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=g, dtype=torch.float64)

    weights = {"encoder": normal(width, D), "decoder": normal(width, D), "b_dec": normal(D)}
    weights |= {name: normal(width) - 3 for name in ("b_enc", "b_gate", "b_mag")}
    weights |= {"r_mag": normal(width) / 3, "threshold": normal(width).abs()}
    if name in ("topk", "batchtopk", "matryoshka", "standard"):
        del weights["threshold"]
    needed = {"encoder", "decoder", "b_dec", *architecture(name).latents} & weights.keys()
    weights = {key: weights[key].requires_grad_() for key in needed}
    if skip:
        weights["W_skip"] = normal(D, D).requires_grad_()
    x = normal(N, D)
    mask = torch.zeros(width, dtype=torch.bool)
    mask[3:10] = True
    memory = Memory(density=1.0 if dense else 0.0)
    return Batch(x, normal(N, D) if skip else x, weights, config, 0.7, mask if dead else None, False, Scratch(), memory)


CASES = [(name, dead, False) for name in ARCHITECTURES for dead in (False, True)]
CASES += [(name, True, True) for name in ("standard", "gated", "jumprelu")]


@pytest.mark.parametrize(("name", "dead", "dense"), CASES)
@pytest.mark.parametrize("skip", [False, True])
def test_gradients_are_those_of_the_plain_formula(name: str, dead: bool, dense: bool, skip: bool) -> None:
    batch = batch_of(name, dead=dead, dense=dense, skip=skip)
    expected = plain.loss(batch)
    expected.backward()
    with torch.no_grad():
        result = architecture(name).step(batch)
    loss = batch.unit * result.residual.square().sum() + sum(result.losses.values())
    torch.testing.assert_close(torch.as_tensor(loss), expected.detach(), **NEARLY)
    assert result.gradients.keys() == batch.weights.keys()
    for key, weight in batch.weights.items():
        assert weight.grad is not None and weight.grad.any()
        torch.testing.assert_close(result.gradients[key], weight.grad, **NEARLY)
    parallel = (result.gradients["decoder"] * batch.weights["decoder"]).sum(1)
    torch.testing.assert_close(result.parallel, parallel.detach(), **NEARLY)


@pytest.mark.parametrize("name", ["topk", "batchtopk", "matryoshka", "jumprelu"])
def test_dead_latents_are_what_the_auxiliary_loss_moves(name: str) -> None:
    """With and without dead latents the gradients of the living agree; only those of the dead differ."""
    with torch.no_grad():
        without = architecture(name).step(batch_of(name, dead=False, dense=False)).gradients["encoder"]
        batch = batch_of(name, dead=True, dense=False)
        with_dead = architecture(name).step(batch).gradients["encoder"]
    assert batch.dead is not None
    assert torch.equal(without[~batch.dead], with_dead[~batch.dead])
    assert not torch.equal(without[batch.dead], with_dead[batch.dead])


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_fired_counts_active_inputs(name: str) -> None:
    batch = batch_of(name, dead=False, dense=False)
    rule = architecture(name)
    with torch.no_grad():
        result = rule.step(batch)
        z = batch.x @ batch.weights["encoder"].T
        if name in ("batchtopk", "matryoshka"):
            batch.weights["threshold"] = torch.full((WIDTH,), batch.memory.guess - 1e-12)
        code = rule.activate(z, Final(batch.weights, {"k": 5}))
    torch.testing.assert_close(result.fired, (code > 0).sum(0).to(torch.float64))
