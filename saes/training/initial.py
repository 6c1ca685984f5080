"""Start of training: scale and centre of the data, and initial weights."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from interp.cache import sinks
from interp.cache.tensors import check_finite
from interp.errors import UsageError
from saes.architectures import Architecture
from saes.architectures.base import Weights
from saes.config import Config
from saes.training.data import FIX, Pair

SEEDS_APART = 1_000_003
"""Difference between the seeds of the layers of a cross-layer transcoder."""


@dataclass(frozen=True)
class Scaling:
    """Scaling of the training data.

    Inputs become x · scale_in − centre and targets y · scale_out.

    Attributes:
        scale_in: (d_in) sqrt(d) / mean norm, one value per layer.
        scale_out: (d_out) the same for targets.
        centre: (d_in) in scaled units.
        variance: of the scaled targets, the mean of |y − mean|²: the denominator of the FVU.
        limit_in: the norm of unscaled inputs above which a row is an attention sink (see `interp.cache.sinks`).
        limit_out: the same for targets. Scale, centre, variance and the FVU of training exclude these rows.

    Example:
        >>> one = torch.ones(())
        >>> Scaling(torch.tensor([2.0, 2.0]), torch.tensor([2.0, 2.0]), torch.zeros(2), one, one, one).scale_in.tolist()
        [2.0, 2.0]
    """

    scale_in: Float[Tensor, " d_in"]
    scale_out: Float[Tensor, " d_out"]
    centre: Float[Tensor, " d_in"]
    variance: Float[Tensor, ""]
    limit_in: Float[Tensor, ""]
    limit_out: Float[Tensor, ""]

    def usual(self, pair: Pair) -> Bool[Tensor, " n"]:
        """Return the mask of rows that are not attention sinks."""
        x, y = pair
        usual = sinks.usual(x, self.limit_in)
        return usual if y is x else usual & sinks.usual(y, self.limit_out)

    def of_layer(self, at: int, layers: int, *, later: bool = False) -> Scaling:
        """Return the scaling of one layer.

        With `later`, it is that of its input and the outputs of its own and later layers.
        """
        scale_in, centre = (part.unflatten(0, (layers, -1))[at] for part in (self.scale_in, self.centre))
        outputs = self.scale_out.unflatten(0, (layers, -1))
        scale_out = outputs[at:].flatten() if later else outputs[at]
        return replace(self, scale_in=scale_in, scale_out=scale_out, centre=centre)

    def apply(self, pair: Pair) -> Pair:
        """Return the scaled batch in float32."""
        x, y = pair
        scale = self.scale_in
        inputs = torch.addcmul(-self.centre, x.to(scale), scale)
        return inputs, y.to(scale) * self.scale_out


def measure(config: Config, sample: list[Pair], layers: int, device: torch.device) -> tuple[Scaling, Tensor]:
    """Measure the scaling and the initial decoder bias.

    They are measured on the first batches. The bias is in scaled units.

    Raises:
        UsageError: NaN, infinite or constant activations.
    """
    widths = {(pair[0].shape[1], pair[1].shape[1]) for pair in sample}
    if len(widths) > 1:
        raise UsageError(f"The first batches have rows of different lengths: {sorted(widths)} (inputs, outputs).")
    x, y = (torch.cat([pair[i] for pair in sample]).to(device, torch.float32) for i in (0, 1))
    for name, part in (("inputs", x), ("outputs", y)):
        check_finite(part, f"{name} of the first batches", fix=FIX)
        if not (part - part[0]).any():
            raise UsageError(f"All {name} are the same vector: there is nothing to learn from them.")
    same = all(pair[0] is pair[1] for pair in sample)
    limits = [sinks.limit(part, config.max_norm or sinks.TIMES) for part in (x, y)]
    usual = sinks.usual(x, limits[0]) & sinks.usual(y, limits[1])
    x, y = (x[usual], x[usual]) if same else (x[usual], y[usual])
    scale_in, scale_out = (_scale(config, part, layers) for part in (x, y))
    x, y = x * scale_in, y * scale_out
    variance = (y - y.mean(0)).square().sum(1).mean()
    if not (torch.isfinite(x).all() and torch.isfinite(variance) and variance > 0):
        raise UsageError("The activations are too large or too small for float32 arithmetic: scale them first.")
    limit_in, limit_out = (torch.tensor(value, device=device) for value in limits)
    scaling = Scaling(scale_in, scale_out, _middle(config.bias, x), variance, limit_in, limit_out)
    return scaling, _middle(config.bias, y)


def first_weights(
    config: Config, rule: Architecture, scaling: Scaling, bias: Tensor, sample: list[Pair], layers: int = 1
) -> Weights:
    """Return the initial weights.

    Decoder rows are random unit vectors, the encoder equals them, and all other parameters are included. They are drawn
    on the CPU from `config.seed`, equal on every device. A transcoder's inputs and outputs are different spaces: its
    encoder is drawn separately, and a decoder row is the mean output where its latent fires.
    """
    if config.variant == "crosslayer":
        return _cross_layer(config, rule, scaling, bias, sample, layers)
    generator = torch.Generator().manual_seed(config.seed)
    device, d_in, d_out = bias.device, len(scaling.scale_in), len(bias)
    decoder = _unit_rows(config.width, d_out, generator).to(device)
    encoder = (
        _unit_rows(config.width, d_in, generator).to(device) if config.variant == "transcoder" else decoder.clone()
    )
    x, y = scaling.apply((sample[0][0].to(device), sample[0][1].to(device)))
    rank = max(round(config.first_density * len(x)), 1)
    quantile = torch.cat([(part @ x.T).topk(rank, dim=1).values[:, -1] for part in encoder.split(1024)])
    if config.variant == "transcoder":
        decoder = _mean_outputs(x, y - bias, encoder, quantile, decoder)
    weights = {"encoder": encoder, "decoder": decoder, "b_dec": bias.clone(), **rule.start(quantile)}
    if config.skip:
        weights["W_skip"] = torch.zeros(d_out, d_in, device=device)
    return weights


def _cross_layer(
    config: Config, rule: Architecture, scaling: Scaling, bias: Tensor, sample: list[Pair], layers: int
) -> Weights:
    """Return initial weights with each layer as its own transcoder.

    No latent writes a later layer at first.
    """
    parts, biases = [], bias.unflatten(0, (layers, -1))
    for at in range(layers):
        x, y = (whole.unflatten(1, (layers, -1))[:, at] for whole in sample[0])
        alone = replace(config, variant="transcoder", seed=config.seed + at * SEEDS_APART)
        parts.append(first_weights(alone, rule, scaling.of_layer(at, layers), biases[at], [(x, y)]))
    decoder = torch.block_diag(*[one["decoder"] for one in parts])
    joined = {name: torch.cat([one[name] for one in parts]) for name in ("encoder", "b_enc", "b_dec")}
    return joined | {"decoder": decoder}


def _mean_outputs(
    x: Float[Tensor, "n d_in"], y: Float[Tensor, "n d_out"], encoder: Tensor, quantile: Tensor, otherwise: Tensor
) -> Float[Tensor, "width d_out"]:
    """Return unit rows along the mean output of each latent.

    They are along Σ_i relu(x_i·encoder − quantile) y_i, or those of `otherwise` if that is zero.
    """
    parts = zip(encoder.split(1024), quantile.split(1024), strict=True)
    rows = torch.cat([torch.relu(part @ x.T - least[:, None]) @ y for part, least in parts])
    length = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    return torch.where(length > 0, rows / length, otherwise)


def _unit_rows(count: int, d: int, generator: torch.Generator) -> Float[Tensor, "count d"]:
    rows = torch.randn(count, d, generator=generator)
    return rows / torch.linalg.vector_norm(rows, dim=1, keepdim=True)


def _scale(config: Config, x: Tensor, layers: int) -> Float[Tensor, " d"]:
    """Return sqrt(d) / mean norm of each layer.

    It is repeated over the layer's dimensions, and 1 without normalisation.
    """
    if not config.normalise:
        return torch.ones_like(x[0])
    parts = x.unflatten(1, (layers, -1))
    norms = torch.linalg.vector_norm(parts, dim=2).mean(0).clamp(min=torch.finfo(x.dtype).tiny)
    return (math.sqrt(parts.shape[2]) / norms).repeat_interleave(parts.shape[2])


def _middle(how: str, x: Float[Tensor, "n d"]) -> Float[Tensor, " d"]:
    """Return the mean, the geometric median, or zero.

    The median is by Weiszfeld's iteration from the mean.
    """
    if how == "zero":
        return torch.zeros_like(x[0])
    middle = x.mean(0)
    for _ in range(20 if how == "geometric_median" else 0):
        weight = 1 / torch.linalg.vector_norm(x - middle, dim=1).clamp(min=1e-6)
        middle = weight @ x / weight.sum()
    return middle
