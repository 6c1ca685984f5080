"""Cross-layer transcoders: gradients against autograd, a planted one recovered, and what one layer alone cannot do."""

from __future__ import annotations

import pytest
import torch

import saes
from interp import cache
from interp.errors import UsageError
from saes.architectures import architecture
from saes.architectures.base import Batch
from saes.kernels.encode import Scratch
from saes.runs.settings import Run
from saes.training.trainer import Trainer
from tests import models

LAYERS, D, FEATURES = 3, 16, 24
CONFIG = saes.Config(variant="crosslayer", width=24, k=3, steps=400, batch_size=256, lr=3e-3, precision="float32")


def planted(n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(x, y) of (n, 3, 16): features are read at layer 0 only, in three of which each writes all layers."""
    fixed, draw = torch.Generator().manual_seed(5), torch.Generator().manual_seed(seed)
    reads, writes = torch.randn(FEATURES, D, generator=fixed), torch.randn(FEATURES, LAYERS, D, generator=fixed)
    code = (torch.rand(n, FEATURES, generator=draw) < 0.06) * (0.5 + torch.rand(n, FEATURES, generator=draw))
    x = torch.randn(n, LAYERS, D, generator=draw)
    x[:, 0] = code @ reads
    return x, torch.einsum("nf,fld->nld", code, writes)


def fvu(result: torch.Tensor, y: torch.Tensor) -> float:
    return float((result - y).square().sum() / (y - y.mean(0)).square().sum())


def rebuilt(made: list[saes.SAE], x: torch.Tensor) -> torch.Tensor:
    """Every layer's output: the sum of what its own and earlier layers write there."""
    out = torch.zeros(len(x), LAYERS, made[0].d_out // LAYERS)
    for layer, sae in enumerate(made):
        out[:, layer:] += sae(x[:, layer])
    return out


@pytest.mark.parametrize("dead", [False, True])
def test_gradients_are_those_of_autograd(dead):
    draw = torch.Generator().manual_seed(3)
    width, config = 10, saes.Config(variant="crosslayer", width=10, k=2, precision="float32", auxiliary_k=4)
    x, y = (torch.randn(40, LAYERS * 6, generator=draw, dtype=torch.float64) for _ in range(2))
    mask = torch.ones(LAYERS, width, LAYERS, 6, dtype=torch.float64)
    for layer in range(1, LAYERS):
        mask[layer, :, :layer] = 0
    mask = mask.reshape(LAYERS * width, LAYERS * 6)
    weights = {
        "encoder": torch.randn(LAYERS * width, 6, generator=draw, dtype=torch.float64),
        "decoder": torch.randn(LAYERS * width, LAYERS * 6, generator=draw, dtype=torch.float64) * mask,
        "b_enc": torch.randn(LAYERS * width, generator=draw, dtype=torch.float64),
        "b_dec": torch.randn(LAYERS * 6, generator=draw, dtype=torch.float64),
    }
    silent = torch.rand(LAYERS * width, generator=draw) < 0.4 if dead else None
    batch = Batch(x, y, weights, config, 0.0, silent, False, Scratch())
    result = architecture("topk", "crosslayer").step(batch)
    free = {name: value.clone().requires_grad_() for name, value in weights.items()}
    loss = _plain_loss(batch, free, mask)
    loss.backward()
    loss = loss.detach()
    for name, gradient in result.gradients.items():
        torch.testing.assert_close(gradient, free[name].grad, rtol=1e-9, atol=1e-11, msg=name)
    total = result.residual.square().sum() * batch.unit + sum(result.losses.values())
    assert float(total) == pytest.approx(float(loss), rel=1e-12)
    assert bool(result.losses) == dead


def _plain_loss(batch: Batch, weights: dict[str, torch.Tensor], mask: torch.Tensor) -> torch.Tensor:
    """The loss with dense products: top k of every layer, and the auxiliary loss of dead latents."""
    config, inputs = batch.config, batch.x.unflatten(1, (LAYERS, -1))
    encoder, b_enc = (weights[name].unflatten(0, (LAYERS, -1)) for name in ("encoder", "b_enc"))
    pre = torch.einsum("nld,lwd->nlw", inputs, encoder) + b_enc
    active = torch.zeros_like(pre).scatter_(2, pre.topk(config.k, dim=2).indices, 1.0)
    decoder = weights["decoder"] * mask
    residual = (torch.relu(pre) * active).flatten(1) @ decoder + weights["b_dec"] - batch.y
    loss = residual.square().sum() * batch.unit
    if batch.dead is None:
        return loss
    for layer, dead in enumerate(batch.dead.view(LAYERS, -1)):
        rows, d_out = dead.nonzero().squeeze(1), batch.y.shape[1] // LAYERS
        z = torch.relu(pre[:, layer, rows])
        if config.auxiliary_k < len(rows):
            best = z.topk(config.auxiliary_k, dim=1).indices
            z = z * torch.zeros_like(z).scatter_(1, best, 1.0)
        mine = decoder.unflatten(0, (LAYERS, -1))[layer, rows, layer * d_out :]
        left = -residual[:, layer * d_out :].detach()
        unit = 1.0 / left.numel()
        loss = loss + config.auxiliary * unit * (z @ mine - left).square().sum()
    return loss


def test_a_planted_one_is_recovered_where_a_transcoder_of_each_layer_fails():
    trainer = Trainer(CONFIG, planted(8192, seed=1))
    for _ in range(CONFIG.steps):
        trainer.step()
    x, y = planted(2048, seed=2)
    result = rebuilt(trainer.parts(), x)
    # A twentieth of the rows have more than k = 3 features, and latents of layers 1 and 2 fire on noise: some is left
    assert fvu(result, y) < 0.3
    assert fvu(result[:, 2], y[:, 2]) < 0.3
    alone = saes.Config(**{**vars(CONFIG), "variant": "transcoder"})
    last = saes.train(alone, tuple(part[:, 2] for part in planted(8192, seed=1)))
    assert fvu(last(x[:, 2]), y[:, 2]) > 0.9  # what it must say is not in what it reads


def test_the_parts_are_the_training_weights_in_units_of_the_data():
    x, y = planted(1024, seed=1)
    config = saes.Config(**{**vars(CONFIG), "steps": 30})
    trainer = Trainer(config, (x * 3 + 1, y * torch.tensor([1.0, 5.0, 25.0])[:, None] - 2))
    for _ in range(config.steps):
        trainer.step()
    pair = (x * 3 + 1, y * torch.tensor([1.0, 5.0, 25.0])[:, None] - 2)
    scaled = trainer._scaling.apply(tuple(part.flatten(1) for part in pair))
    batch = Batch(*scaled, trainer._final(), config, 0.0, None, False, Scratch())
    residual = architecture("topk", "crosslayer").step(batch).residual / trainer._scaling.scale_out
    parts = trainer.parts()
    torch.testing.assert_close(rebuilt(parts, pair[0]) - pair[1], residual.view_as(y), rtol=1e-4, atol=2e-3)
    assert [sae.settings["layers"] for sae in parts] == [3, 2, 1]
    assert not parts[0].b_dec[D:].any() and parts[0].b_dec[:D].any()


@pytest.mark.parametrize("kind", ["store", "stream"])
def test_a_set_of_a_model_is_trained_saved_and_resumed(kind, tmp_path):
    model, ids = models.load("llama"), models.tokens(40, 12)
    hooks = tuple(f"blocks.{layer}.{end}" for layer in range(3) for end in ("mlp.hook_in", "hook_mlp_out"))
    config = saes.Config(variant="crosslayer", width=24, k=4, steps=12, batch_size=32, lr=3e-3)
    if kind == "store":
        acts = cache.harvest(model, ids, cache.Config(hooks, context=12), tmp_path / "acts")
    else:
        acts = cache.ModelStream(model, lambda: ids, hooks, batch_size=32, context=12, buffer=128)
    whole = saes.train_set(config, acts, "blocks.*.mlp", folder=tmp_path / "whole")
    assert repr(whole) == "DictionarySet(3 topk crosslayers: layers 0 to 2, 24 latents)"
    assert whole["blocks.1.mlp.hook_in"].writes == ("blocks.1.hook_mlp_out", "blocks.2.hook_mlp_out")

    def stop(_, metrics):
        if metrics["step"] == 7:
            raise KeyboardInterrupt

    run = Run(checkpoint_every=5)
    with pytest.raises(KeyboardInterrupt):
        saes.train_set(config, acts, "blocks.*.mlp", folder=tmp_path / "cut", run=run, progress=stop)
    again = saes.train_set(config, acts, "blocks.*.mlp", folder=tmp_path / "cut", run=run, resume=True)
    memory = saes.train_set(config, acts, "blocks.*.mlp")
    for hook, sae in whole.items():
        for other in (again, memory):
            for name, value in sae.named_parameters():
                assert torch.equal(value, dict(other[hook].named_parameters())[name]), (hook, name)
    assert not (tmp_path / "cut" / "checkpoint.safetensors").exists()


def test_what_cannot_be_trained_is_refused():
    with pytest.raises(UsageError, match='trained with architecture="topk"'):
        saes.Config(variant="crosslayer", architecture="gated")
    with pytest.raises(UsageError, match=r"train it with saes\.train_set"):
        saes.train(CONFIG, planted(512, seed=1))
