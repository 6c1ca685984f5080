"""Targets: a logit, a difference of logits, or a direction of the stream.

Every target is a linear function of the residual stream at one position, once the final norm's scale (and the
final softcap's ratio) are fixed: value = x · covector + constant.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from interp.attribution.bilinear import linear_parts
from interp.attribution.components import Layout
from interp.attribution.linearised import Linear, Linearised
from interp.attribution.results import STAGES, DirectionTarget, LogitTarget, ScoreTarget, Stage, Target
from interp.errors import UsageError, require, whole
from interp.model import Model
from interp.model.arithmetic import norm_scale, softcap

if TYPE_CHECKING:
    from interp.attribution.frozen import Frozen

Tokens = str | int | Sequence[str | int]
"""One token, or a set of them."""


def logit(model: Model, token: Tokens, position: int = -1) -> LogitTarget:
    """Return a token's logit, or the mean of several, as a target.

    Args:
        model: the model.
        token: a text of exactly one token or its id; or a list of them, whose mean logit is attributed.
        position: where the logit is read, negative from the end.

    Returns:
        The target.

    Raises:
        UsageError: a text that is not exactly one token, an id that does not exist, an empty or repeated list.

    >>> logit(model, " Paris").name, logit(model, [" Paris", " London"]).name
    ("logit of ' Paris'", "logit of mean of ' Paris', ' London'")
    """
    ids = _ids(model, token)
    return LogitTarget(
        f"logit of {_token_names(model, ids)}", "logits", whole(position, "A position"), ids, _shares(ids, 1.0)
    )


def logit_difference(model: Model, token: Tokens, versus: Tokens, position: int = -1) -> LogitTarget:
    """Return logit(token) − logit(versus) as a target.

    This is the log odds of two tokens, in nats, since the softmax's normaliser cancels. Each side is one token or a
    list of tokens, whose mean logit it then is: a linear function of the residual stream, which the log of their summed
    probability is not.

    Args:
        model: the model.
        token: a token or a list of tokens, as in `logit`.
        versus: the token, or tokens, to compare with.
        position: where the logits are read, negative from the end.

    Returns:
        The target.

    Raises:
        UsageError: as `logit`, or a token on both sides.

    >>> logit_difference(model, " Paris", [" London", " b"]).name
    "logit of ' Paris' − mean of ' London', ' b'"
    """
    right, wrong = _ids(model, token), _ids(model, versus)
    both = [index for index in right if index in wrong]
    if both:
        raise UsageError(f"The two tokens of a logit difference are the same: {_token_names(model, tuple(both))}.")
    name = f"logit of {_token_names(model, right)} − {_token_names(model, wrong)}"
    weights = (*_shares(right, 1.0), *_shares(wrong, -1.0))
    return LogitTarget(name, "logits", whole(position, "A position"), (*right, *wrong), weights)


def direction(
    model: Model,
    vector: Float[Tensor, " d_model"],
    layer: int,
    position: int = -1,
    *,
    stage: Stage = "resid_post",
    name: str = "direction",
) -> DirectionTarget:
    """Return x · vector of a residual stream as a target.

    x is the stream of block `layer`: before, inside or after it, as `stage` says.

    Args:
        model: the model.
        vector: (d_model,), such as the direction of a probe.
        layer: the block whose stream is read.
        position: where it is read, negative from the end.
        stage: "resid_pre", "resid_mid" or "resid_post".
        name: of the direction, in messages and captions.

    Returns:
        The target.

    Raises:
        UsageError: a vector of the wrong length, one with a NaN, or a layer that does not exist.

    >>> target = direction(model, torch.ones(model.spec.d_model), layer=1)
    >>> attribution.direct(attribution.freeze(model, tokens), target).total
    -12.321
    """
    require(model, Model, "model")
    layer, position = whole(layer, "A layer"), whole(position, "A position")
    try:
        vector = torch.as_tensor(vector, dtype=model.dtype, device=model.device).detach()
    except (TypeError, ValueError) as error:
        raise UsageError(f"The direction must be a tensor of numbers, not {type(vector).__name__}.") from error
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
    """Compute the target from residual streams that leave the last block.

    As the model does, norm and softcap free to change.
    """
    spec = model.spec
    columns, bias = model.weights.unembed(torch.tensor(target.tokens, device=x.device))
    logits = softcap(x / norm_scale(x, spec.norm, spec.norm_eps) @ columns + bias, spec.logit_softcap)
    return logits @ torch.tensor(target.weights).to(logits)


def probability(frozen: Linearised, target: Target) -> float | None:
    """Return the model's probability of a target's tokens of positive weight.

    None for other targets than logits.
    """
    if not isinstance(target, LogitTarget) or frozen.tokens.ndim != 1:
        return None
    chances = frozen.logits_at(target.position).double().softmax(-1)
    return float(sum(chances[token] for token, weight in zip(target.tokens, target.weights, strict=True) if weight > 0))


def resolve(frozen: Frozen, target: Target) -> Linear:
    """Return the target as a linear function of one frozen input's stream."""
    check_target(target)
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
    """Return the covector of a target of logits.

    Σ weight · ratio · W_U[:, token] / scale, with ratio = softcap(raw)/raw, 1 without a softcap.
    """
    tokens = torch.tensor(target.tokens, device=frozen.tokens.device)
    columns, bias = frozen.model.weights.unembed(tokens)
    theirs = frozen.logits_at(position)[tokens]
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
    """Return the model's own residual stream, to check the sum of writes against."""
    hook = f"blocks.{target.layer}.hook_{target.stage}"
    _, cache = frozen.model.run_with_cache(frozen.tokens[None], hook)
    return cache[hook][0]


def visible_to(layout: Layout, target: DirectionTarget) -> int:
    """Return how many components write to the stream of a direction."""
    match target.stage:
        case "resid_pre":
            return layout.start(target.layer)
        case "resid_mid":
            return layout.mlp(target.layer)
    return layout.start(target.layer + 1)


def check_target(target: object) -> None:
    """Raise `UsageError` for what is not a target."""
    if not isinstance(target, LogitTarget | DirectionTarget | ScoreTarget):
        raise UsageError(
            f"A target is made by logit, logit_difference, direction or score, not {type(target).__name__}."
        )


def _ids(model: Model, tokens: Tokens) -> tuple[int, ...]:
    """Return the ids of one token or of a list of different ones."""
    require(model, Model, "model")
    several = isinstance(tokens, Sequence) and not isinstance(tokens, str)
    ids = tuple(model.token_id(token) for token in (tokens if several else [tokens]))  # type: ignore[arg-type]
    if not ids or len(set(ids)) < len(ids):
        raise UsageError(f"A set of target tokens must hold different tokens, at least one; {tokens!r} does not.")
    return ids


def _shares(ids: tuple[int, ...], weight: float) -> tuple[float, ...]:
    return (weight / len(ids),) * len(ids)


def _token_names(model: Model, ids: tuple[int, ...]) -> str:
    """Return the texts of up to three tokens for a message.

    And how many more there are.
    """
    shown = [repr(text) if model.has_tokenizer else f"token {text}" for text in model.labels(torch.tensor(ids[:3]))]
    rest = [f"{len(ids) - 3} more"] if len(ids) > 3 else []
    return shown[0] if len(ids) == 1 else f"mean of {', '.join([*shown, *rest])}"
