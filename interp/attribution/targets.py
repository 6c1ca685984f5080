"""What is attributed: a logit, a difference of logits, or any direction in the residual stream.

Every target is a linear function of the residual stream at one position, once the final norm's scale (and the
final softcap's ratio) are held: value = x · covector + constant.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from interp.attribution.bilinear import linear_parts
from interp.attribution.components import Layout
from interp.attribution.linearised import Linear, Linearised
from interp.attribution.results import STAGES, DirectionTarget, LogitTarget, ScoreTarget, Stage, Target
from interp.errors import UsageError
from interp.model import Model
from interp.model.arithmetic import norm_scale, softcap

if TYPE_CHECKING:
    from interp.attribution.frozen import Frozen


def logit(model: Model, token: str | int, position: int = -1) -> LogitTarget:
    """The logit of one token. Raises `UsageError` for a text that is not exactly one token."""
    index = _token(model, token)
    return LogitTarget(f"logit of {_shown(model, index)}", "logits", position, (index,), (1.0,))


def logit_difference(model: Model, token: str | int, versus: str | int, position: int = -1) -> LogitTarget:
    """logit(token) − logit(versus): log odds between the two, in nats, since the softmax's normaliser cancels."""
    first, second = _token(model, token), _token(model, versus)
    if first == second:
        raise UsageError(f"The two tokens of a logit difference are the same: {_shown(model, first)}.")
    name = f"logit of {_shown(model, first)} − {_shown(model, second)}"
    return LogitTarget(name, "logits", position, (first, second), (1.0, -1.0))


def direction(
    model: Model,
    vector: Float[Tensor, " d_model"],
    layer: int,
    position: int = -1,
    *,
    stage: Stage = "resid_post",
    name: str = "direction",
) -> DirectionTarget:
    """Return x · vector, with x the residual stream of block `layer`: before, inside or after it, as `stage` says.

    Raises `UsageError` for a vector of the wrong length, one with a NaN, or a layer that does not exist.
    """
    vector = torch.as_tensor(vector, dtype=model.dtype, device=model.device).detach()
    if vector.shape != (model.spec.d_model,):
        raise UsageError(
            f"The direction has shape {tuple(vector.shape)}, but the residual stream ({model.spec.d_model},)."
        )
    if not vector.isfinite().all():
        raise UsageError("The direction holds a NaN or an infinity.")
    if not 0 <= layer < model.spec.n_layer:
        raise UsageError(f"Layer {layer} does not exist: the model has layers 0 to {model.spec.n_layer - 1}.")
    if stage not in STAGES:
        raise UsageError(f'Unknown stage "{stage}"; known: {", ".join(STAGES)}.')
    if stage == "resid_mid" and model.spec.parallel:
        raise UsageError("A parallel block has no resid_mid: attention and MLP read the same residual stream.")
    return DirectionTarget(name, "residual units", position, vector.cpu().numpy(), layer, stage)


def measure(model: Model, target: LogitTarget, x: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch"]:
    """The target as the model computes it from residual streams that leave the last block: norm and softcap free."""
    spec = model.spec
    columns, bias = model.weights.unembed(torch.tensor(target.tokens, device=x.device))
    logits = softcap(x / norm_scale(x, spec.norm, spec.norm_eps) @ columns + bias, spec.logit_softcap)
    return logits @ torch.tensor(target.weights).to(logits)


def probability(frozen: Linearised, target: Target) -> float | None:
    """Return the model's probability of a logit target's tokens of positive weight; None for other targets."""
    if not isinstance(target, LogitTarget) or frozen.logits.ndim != 2:
        return None
    chances = frozen.logits[frozen.position(target.position)].double().softmax(-1)
    return float(sum(chances[token] for token, weight in zip(target.tokens, target.weights, strict=True) if weight > 0))


def resolve(frozen: Frozen, target: Target) -> Linear:
    """The target as a linear function of the residual stream of one frozen input."""
    position = frozen.position(target.position)
    if isinstance(target, ScoreTarget):
        covector, constant, value = linear_parts(frozen, target)
        visible = frozen.layout.start(target.layer)
        return Linear(target.name, target.unit, position, visible, covector, constant, value)
    if isinstance(target, DirectionTarget):
        visible = visible_to(frozen.layout, target)
        vector = torch.from_numpy(target.vector).to(frozen.writes)
        value = float(_stream(frozen, target)[position] @ vector)
        return Linear(target.name, target.unit, position, visible, vector, 0.0, value)
    return _logits(frozen, target, position)


def _logits(frozen: Frozen, target: LogitTarget, position: int) -> Linear:
    """Covector = Σ weight · ratio · W_U[:, token] / scale, with ratio = softcap(raw)/raw, 1 without a softcap."""
    tokens = torch.tensor(target.tokens, device=frozen.tokens.device)
    columns, bias = frozen.model.weights.unembed(tokens)
    theirs = frozen.logits[position, tokens]
    weights = torch.tensor(target.weights, dtype=theirs.dtype, device=theirs.device)
    scaled = weights * _softcap_ratio(frozen, position, columns, bias)
    return Linear(
        name=target.name,
        unit=target.unit,
        position=position,
        visible=len(frozen.layout.components),
        covector=columns @ scaled / frozen.final_scale[position],
        constant=float(scaled @ bias),
        value=float(weights @ theirs),
    )


def _softcap_ratio(frozen: Frozen, position: int, columns: Tensor, bias: Tensor) -> Tensor:
    cap = frozen.model.spec.logit_softcap
    if cap is None:
        return torch.ones_like(bias)
    ratio = (frozen.residual[position] @ columns / frozen.final_scale[position] + bias) / cap
    return torch.where(ratio == 0, torch.ones_like(ratio), torch.tanh(ratio) / ratio)


def _stream(frozen: Frozen, target: DirectionTarget) -> Float[Tensor, "n_token d_model"]:
    """The residual stream as the model itself computes it, which the sum of the writes is then held against."""
    hook = f"blocks.{target.layer}.hook_{target.stage}"
    _, cache = frozen.model.run_with_cache(frozen.tokens[None], hook)
    return cache[hook][0]


def visible_to(layout: Layout, target: DirectionTarget) -> int:
    """How many components have written to the stream that a direction is read from."""
    match target.stage:
        case "resid_pre":
            return layout.start(target.layer)
        case "resid_mid":
            return layout.mlp(target.layer)
    return layout.start(target.layer + 1)


def _token(model: Model, token: str | int) -> int:
    if isinstance(token, str):
        return model.to_single_token(token)
    if not 0 <= token < model.spec.d_vocab:
        raise UsageError(f"Token id {token} does not exist: ids run from 0 to {model.spec.d_vocab - 1}.")
    return token


def _shown(model: Model, token: int) -> str:
    return repr(model.to_str_tokens(torch.tensor([token]))[0]) if model.has_tokenizer else f"token {token}"
