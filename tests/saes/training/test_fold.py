"""The final weights are the training weights in other units: same function, no preprocessing left."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

import saes
from interp.errors import UsageError
from saes.architectures.base import Batch, Memory
from saes.config import ARCHITECTURES
from saes.kernels.encode import Scratch
from tests.saes.training.planted import activations, fvu

CONFIG = saes.Config(width=24, k=4, steps=30, batch_size=64, lr=3e-3)


def data(variant: str) -> Any:
    x = activations(600) * 7
    if variant == "autoencoder":
        return x
    y = torch.relu(x @ torch.randn(32, 20, generator=torch.Generator().manual_seed(4))) * 0.01 + 1
    return (x, y) if variant == "transcoder" else torch.stack([x, 100 * x.roll(1, dims=1) + 5], dim=1)


CASES = [(name, variant, False) for name in ARCHITECTURES for variant in ("autoencoder", "transcoder", "crosscoder")]
CASES += [(name, "transcoder", True) for name in ARCHITECTURES]


@pytest.mark.parametrize(("name", "variant", "skip"), CASES)
def test_the_folded_sae_reconstructs_what_training_did(name: str, variant: str, skip: bool) -> None:
    given = data(variant)
    config = replace(CONFIG, architecture=name, variant=variant, skip=skip, sparsity=0.1)
    trainer = saes.Trainer(config, given)
    for _ in range(20):
        trainer.step()
    pair = given if variant == "transcoder" else (given, given)
    flat = tuple(part[:64].flatten(1) for part in pair)
    scaling = trainer._scaling
    x, y = scaling.apply(flat)
    batch = Batch(x, y, trainer.weights, config, 0.1, None, False, Scratch(), Memory())
    residual = trainer._rule.step(batch).residual / scaling.scale_out
    sae = trainer.finish()
    if name in ("batchtopk", "matryoshka"):  # chosen over a batch in training, by a threshold afterwards
        common = scaling.scale_out.log().mean().exp()
        norm = (trainer.weights["decoder"] * (common / scaling.scale_out)).norm(dim=1)
        sae.threshold.copy_(batch.memory.guess / common * norm * (1 - 1e-6))
    result = (sae(pair[0][:64]) - pair[1][:64]).flatten(1)
    # float32: reconstructions of size |y| are subtracted from y, and the centre from inputs far from zero
    torch.testing.assert_close(result, residual, rtol=1e-3, atol=2e-5 * float(flat[1].abs().max()))
    assert not torch.allclose(sae(pair[0][:64] * 1.1).flatten(1), sae(pair[0][:64]).flatten(1))


def test_activations_of_any_scale_train_alike() -> None:
    """Scaling the data scales the reconstruction, and nothing else."""
    x = activations(600)
    small, large = saes.train(CONFIG, x), saes.train(CONFIG, 1024 * x)  # a power of two: the same roundings
    assert torch.equal(small.W_enc, large.W_enc) and torch.equal(small.W_dec, large.W_dec)
    torch.testing.assert_close(1024 * small(x), large(1024 * x))
    plain = replace(CONFIG, normalise=False)
    assert not torch.allclose(saes.train(plain, x).W_dec, saes.train(plain, 1024 * x).W_dec)


def test_layers_of_a_crosscoder_count_alike_whatever_their_scale() -> None:
    x = data("crosscoder")
    config = replace(CONFIG, variant="crosscoder", steps=200)
    sae = saes.train(config, x)
    residual = sae(x) - x
    by_layer = residual.square().sum((0, 2)) / (x - x.mean(0)).square().sum((0, 2))
    assert by_layer.max() < 0.75
    assert sae.encode(x).shape == (600, 24) and sae(x).shape == x.shape
    with pytest.raises(UsageError, match=r"expected \(\.\.\., 2, 32\)"):
        sae(x.flatten(1))


def test_a_skip_path_learns_the_linear_part() -> None:
    x = activations(600)
    y = x @ torch.randn(32, 20, generator=torch.Generator().manual_seed(4))
    config = replace(CONFIG, variant="transcoder", steps=300, lr=1e-2)
    with_skip = saes.train(replace(config, skip=True), (x, y))
    assert fvu(with_skip, x, y) < 0.05 < fvu(saes.train(config, (x, y)), x, y)


def test_averaged_weights_are_the_running_mean() -> None:
    trainer = saes.Trainer(replace(CONFIG, average=0.5, architecture="standard"), activations(600))
    mean = trainer.weights["b_enc"].clone()
    for _ in range(5):
        trainer.step()
        mean = 0.5 * mean + 0.5 * trainer.weights["b_enc"]
    torch.testing.assert_close(trainer.state()[0]["average.b_enc"], mean)
    without = saes.Trainer(replace(CONFIG, architecture="standard"), activations(600))
    for _ in range(5):
        without.step()
    assert torch.equal(without.weights["b_enc"], trainer.weights["b_enc"])  # averaging changes no step
    assert not torch.allclose(without.finish().b_enc, trainer.finish().b_enc)


def test_gradients_along_the_decoder_are_taken_out_and_clipped() -> None:
    config = replace(CONFIG, clip=1e-3)
    trainer = saes.Trainer(config, activations(600))
    before: Tensor = trainer.weights["decoder"].clone()
    norm = trainer.step()["norm"]
    gradients = [weight.grad for weight in trainer.weights.values()]
    assert norm > 1e-3
    total = torch.stack([g.norm() for g in gradients if g is not None]).norm()
    torch.testing.assert_close(total, torch.tensor(1e-3))  # Adam saw a gradient of the clipping norm
    decoder = trainer.weights["decoder"].grad
    assert decoder is not None
    along = (decoder * before).sum(1).abs().max()
    assert along < 1e-4 * decoder.norm(dim=1).max()
