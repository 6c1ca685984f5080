"""Edits of a run: ablate, replace, steer, clamp; `model.edited(...)` composes them.

    from interp import edit
    steer = edit.add("blocks.12.hook_resid_post", vector, scale=4.0)
    edited = model.edited(edit.zero("blocks.5.attn.hook_z", head=3), steer)
    edited(tokens); edited.run_with_cache(tokens, names); edited.generate("Once upon a time", max_tokens=20)

Hook points are those of `model.hooks()`. Positions are those of the prompt, negative ones counted from its end (from
the end of each row's own text where rows are padded); text that is generated afterwards has the positions behind it.
Everything after an edited value is computed from it: norms, attention patterns and gates react.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from numbers import Real
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from interp.errors import UsageError, require
from interp.model.edits import Change, Edit, Positions, Selection, Step, check_indices

if TYPE_CHECKING:
    from interp.model import Model
    from interp.model.hooks import Place

__all__ = ["Edit", "add", "function", "latent", "mean", "project_out", "replace", "zero"]

BATCH = 16
"""Prompts a forward pass, where activations are averaged."""
Indices = int | Sequence[int] | None


def zero(hook: str, *, head: Indices = None, position: Positions = None, neuron: Indices = None) -> Edit:
    """Set the value at a hook, or part of it, to zero.

    This is zero ablation.

    Args:
        hook: such as "blocks.5.hook_mlp_out" or "blocks.5.attn.hook_z".
        head: one or several heads of a value that has heads; all by default.
        position: one or several positions, or a slice; all by default.
        neuron: one or several indices of the last axis, such as neurons at "blocks.5.mlp.hook_post".

    Returns:
        An edit for `Model.edited` or `Model.edits`.

    >>> edited = model.edited(zero("blocks.0.attn.hook_z", head=[0, 2]))
    >>> edited("the tower").shape
    torch.Size([1, 2, 64])
    """
    chosen = Selection(head, position, neuron)

    def bind(_: Model, place: Place) -> Change:
        chosen.check(hook, place)
        return lambda value, step: chosen.keep(torch.zeros_like(value), value, place, step)

    return Edit(hook, f"zero({_target_name(hook, chosen)})", bind, affine=True)


def mean(
    hook: str,
    source: Any,
    *,
    head: Indices = None,
    position: Positions = None,
    neuron: Indices = None,
    per_position: bool = False,
) -> Edit:
    """Replace the value at a hook by its mean over other inputs.

    This is mean ablation.

    Args:
        hook: the hook point.
        source: a store of activations of that hook, a task (its clean prompts), token ids (batch, n_token) without
            padding, or texts. The mean over tokens is that of the model the edit is given to, before this edit.
        head: as in `zero`.
        position: as in `zero`.
        neuron: as in `zero`.
        per_position: take the mean at each position over prompts, instead of one over prompts and positions. The runs
            must then be as long as the prompts of `source`. Always so for scores and patterns.

    Returns:
        An edit for `Model.edited`.

    >>> model.edited(mean("blocks.0.hook_mlp_out", ["the tower is", "a b in"]))("the tower").shape
    torch.Size([1, 2, 64])
    """
    chosen = Selection(head, position, neuron)

    def bind(model: Model, place: Place) -> Change:
        chosen.check(hook, place)
        values = _mean(model, hook, place, source, per_position or place.position_axis == 2)
        return lambda value, step: chosen.keep(_at_step(values, value, place, step, value), value, place, step)

    return Edit(hook, f"mean({_target_name(hook, chosen)})", bind, affine=True)


def replace(
    hook: str, values: Tensor, *, head: Indices = None, position: Positions = None, neuron: Indices = None
) -> Edit:
    """Replace the value at a hook by given values (resample ablation, patching).

    Args:
        hook: the hook point.
        values: of the shape of the value at the hook, or one that broadcasts to it from the right: (d_model,),
            (n_token, d_model), (batch, n_token, d_model). An axis of positions longer than 1 is that of the prompt.
        head: as in `zero`.
        position: as in `zero`.
        neuron: as in `zero`.

    Returns:
        An edit for `Model.edited`.

    >>> model.edited(replace("blocks.0.hook_mlp_out", torch.zeros(model.spec.d_model)))("the tower").shape
    torch.Size([1, 2, 64])
    """
    chosen = Selection(head, position, neuron)

    def bind(model: Model, place: Place) -> Change:
        chosen.check(hook, place)
        fitting = _fitting(hook, values, place, model)
        return lambda value, step: chosen.keep(_at_step(fitting, value, place, step, value), value, place, step)

    return Edit(hook, f"replace({_target_name(hook, chosen)})", bind, affine=True)


def add(hook: str, vector: Tensor, scale: float = 1.0, positions: Positions = None, *, head: Indices = None) -> Edit:
    """Add scale · vector to the value at a hook (steering).

    Args:
        hook: the hook point, such as "blocks.12.hook_resid_post".
        vector: (d_model,), or any shape that broadcasts to the value, as in `replace`.
        scale: multiplies the vector.
        positions: one or several positions, or a slice such as slice(5, None); all by default, generated ones included.
        head: as in `zero`.

    Returns:
        An edit for `Model.edited`.

    >>> edited = model.edited(add("blocks.2.hook_resid_post", torch.ones(model.spec.d_model), scale=2.0))
    >>> _, activations = edited.run_with_cache("a", "blocks.2.hook_resid_post")
    >>> round(activations["blocks.2.hook_resid_post"].mean().item(), 1)
    2.2
    """
    chosen = Selection(head, positions)

    def bind(model: Model, place: Place) -> Change:
        chosen.check(hook, place)
        fitting = scale * _fitting(hook, vector, place, model)

        def change(value: Tensor, step: Step) -> Tensor:
            added = value + _at_step(fitting, value, place, step, torch.zeros_like(value))
            return chosen.keep(added, value, place, step)

        return change

    require(scale, Real, "scale")
    return Edit(hook, f"add({_target_name(hook, chosen)}, scale={scale:g})", bind, affine=True)


def project_out(
    hook: str,
    direction: Float[Tensor, " d"] | Float[Tensor, "k d"],
    positions: Positions = None,
    *,
    head: Indices = None,
) -> Edit:
    """Remove a direction, or the span of several, from a hook's value.

    Computes x ← x − Σ (x · uᵢ) uᵢ.

    Args:
        hook: the hook point.
        direction: (d,) or (k, d), of the length of the value's last axis; any norm. uᵢ is an orthonormal basis of it.
        positions: as in `add`.
        head: as in `zero`.

    Returns:
        An edit for `Model.edited`.

    Raises:
        UsageError: when the model is edited: a direction of another length, zero, with a NaN, or one of several that is
            a combination of the others.

    >>> edited = model.edited(project_out("blocks.2.hook_resid_post", torch.ones(model.spec.d_model)))
    >>> _, activations = edited.run_with_cache("a", "blocks.2.hook_resid_post")
    >>> round(abs(activations["blocks.2.hook_resid_post"].sum().item()), 4)  # ones · x
    0.0
    """
    chosen = Selection(head, positions)

    def bind(model: Model, place: Place) -> Change:
        chosen.check(hook, place)
        vectors = torch.as_tensor(direction).detach().double().cpu()
        vectors = vectors[None] if vectors.ndim == 1 else vectors
        if vectors.ndim != 2 or vectors.shape[1] != place.axes[-1]:
            raise UsageError(
                f'The direction has shape {tuple(torch.as_tensor(direction).shape)}, but "{hook}" {place.axes}.'
            )
        if not vectors.isfinite().all() or int(torch.linalg.matrix_rank(vectors)) < len(vectors):
            raise UsageError("The direction is zero, has a NaN, or one of several is a combination of the others.")
        basis = torch.linalg.qr(vectors.T).Q.to(model.device, model.dtype)
        return lambda value, step: chosen.keep(value - value @ basis @ basis.T, value, place, step)

    return Edit(hook, f"project_out({_target_name(hook, chosen)})", bind, affine=True)


def latent(
    sae: Any,
    index: int | Sequence[int],
    *,
    set: float | None = None,
    scale: float | None = None,
    add: float | None = None,
    positions: Positions = None,
    hook: str | None = None,
) -> Edit:
    """Set, scale or shift latents of a sparse autoencoder.

    The latents are changed at the hook that the autoencoder reads.

    With f = encode(x) and f′ the same with the chosen latents changed: x ← x + decode(f′) − decode(f), so that the
    reconstruction error stays, and a latent left at its own value changes nothing.

    Args:
        sae: with `encode`, `decode` and, unless `hook` is given, the hook's name in `metadata["hook_name"]`.
        index: the latents.
        set: the new value of the latents. Give exactly one of set, scale and add.
        scale: the factor on their value.
        add: the number added to their value.
        positions: as in `add`.
        hook: where the autoencoder reads, if its metadata do not say it.

    Returns:
        An edit for `Model.edited`.

    Raises:
        UsageError: none or several of set, scale and add; when the model runs: a latent that does not exist.

    >>> latent(sae, [3, 5], scale=0.0, hook="blocks.1.hook_resid_post")
    latent(blocks.1.hook_resid_post, [3, 5], scale=0)
    """
    name = hook or _hook_of(sae)
    given = {"set": set, "scale": scale, "add": add}
    how = [(key, float(value)) for key, value in given.items() if value is not None]
    if len(how) != 1:
        raise UsageError(f"A latent is changed by one of set=, scale= and add=, not by {len(how)} of them.")
    (kind, amount), chosen = how[0], Selection(position=positions)

    def bind(_: Model, place: Place) -> Change:
        chosen.check(name, place)

        def change(value: Tensor, step: Step) -> Tensor:
            x = value.flatten(2).flatten(0, 1)
            codes = sae.encode(x.to(_dtype_of(sae, x)))
            codes = codes.to_dense() if codes.layout != torch.strided else codes
            check_indices("Latent", index, codes.shape[-1])
            changed = codes.clone()
            columns = [index] if isinstance(index, int) else list(index)
            current = codes[:, columns]
            changed[:, columns] = {"set": torch.full_like(current, amount), "scale": current * amount}.get(
                kind, current + amount
            )
            difference = sae.decode(changed) - sae.decode(codes)
            return chosen.keep(value + difference.to(value.dtype).reshape(value.shape), value, place, step)

        return change

    return Edit(name, f"latent({_target_name(name, chosen)}, {index}, {kind}={amount:g})", bind)


def function(hook: str, change: Callable[[Tensor], Tensor]) -> Edit:
    """Replace the value at a hook by a function of it.

    The function returns a tensor of the same shape.     The function sees every position of the run at once; text is
    therefore generated without a key-value cache.

    >>> edited = model.edited(function("blocks.0.hook_mlp_out", lambda value: value / 2))
    """
    return Edit(hook, f"function({hook})", lambda _, __: lambda value, ___: change(value.clone()), local=False)


def _target_name(hook: str, chosen: Selection) -> str:
    require(hook, str, "hook")
    parts = (("head", chosen.head), ("position", chosen.position), ("neuron", chosen.neuron))
    return ", ".join((hook, *(f"{name}={value}" for name, value in parts if value is not None)))


def _fitting(hook: str, values: Any, place: Place, model: Model) -> Tensor:
    """Return the given values with the axes of the hook's value.

    On the model's device.
    """
    try:
        tensor = torch.as_tensor(values).detach().to(model.device, model.dtype)
    except (TypeError, ValueError, RuntimeError) as error:
        raise UsageError(f'The values for "{hook}" are numbers in a tensor, not {type(values).__name__}.') from error
    shape = (1,) * (len(place.axes) - tensor.ndim) + tuple(tensor.shape)
    fits = len(shape) == len(place.axes) and all(
        n == 1 or not isinstance(axis, int) or n == axis for n, axis in zip(shape, place.axes, strict=False)
    )
    if not fits:
        raise UsageError(f'The values have shape {tuple(tensor.shape)}, but "{hook}" {place.axes}.')
    if not tensor.isfinite().all():
        raise UsageError(f'The values for "{hook}" hold a NaN or an infinity.')
    return tensor.reshape(shape)


def _at_step(values: Tensor, value: Tensor, place: Place, step: Step, beyond: Tensor) -> Tensor:
    """Return the values at the positions of one step.

    After the prompt those of `beyond`.
    """
    axis = place.position_axis
    n = values.shape[axis]
    if values.shape[0] not in (1, value.shape[0]):
        raise UsageError(f"The values have a batch of {values.shape[0]}, but the run one of {value.shape[0]}.")
    if n == 1:
        return values.expand_as(value)
    if n != step.n_prompt:
        raise UsageError(f"The values have {n} positions, but the prompt has {step.n_prompt}.")
    placed = beyond.clone()
    here = min(n - step.start, step.n_token)
    if here > 0:
        mine = values.narrow(axis, step.start, here)
        place_of = placed.narrow(axis, 0, here)
        place_of = place_of[..., : mine.shape[-1]] if place.side in ("scores", "pattern") else place_of
        place_of.copy_(mine)
    return placed


def _mean(model: Model, hook: str, place: Place, source: Any, per_position: bool) -> Tensor:
    """Return the mean value at a hook over a source.

    With every axis of the value.
    """
    if hasattr(source, "statistics"):
        if per_position:
            raise UsageError("A store knows the mean over all positions only: give token ids for one per position.")
        return _fitting(hook, _shaped(torch.as_tensor(source.statistics(hook).mean), place), place, model)
    total, count = None, 0
    for batch in _values(model, hook, getattr(source, "clean", source)):
        value = batch.double()
        part = value.sum(0, keepdim=True) if per_position else value.sum((0, 1), keepdim=True)
        count += value.shape[0] if per_position else value.shape[0] * value.shape[1]
        if total is not None and part.shape != total.shape:
            raise UsageError("A mean per position needs prompts of one length: take one over all positions instead.")
        total = part if total is None else total + part
    if total is None:
        raise UsageError("The mean over no input is undefined: give at least one prompt.")
    return _fitting(hook, total / count, place, model)


def _values(model: Model, hook: str, source: Any) -> Iterator[Tensor]:
    if isinstance(source, str) or (isinstance(source, Sequence) and all(isinstance(one, str) for one in source)):
        texts = [source] if isinstance(source, str) else source
        batches: Any = (model.to_tokens(text) for text in texts)
    elif isinstance(source, Tensor):
        batches = (source[None] if source.ndim == 1 else source).split(BATCH)
    else:
        raise UsageError(
            f"A mean is taken over a store, a task, token ids (batch, n_token) or texts, not {type(source).__name__}."
        )
    for tokens in batches:
        _, cache = model.run_with_cache(tokens, hook)
        yield cache[hook]


def _shaped(mean: Tensor, place: Place) -> Tensor:
    """Return the flat mean of a store with an axis of heads.

    Where the value has one.
    """
    fixed = [axis for axis in place.axes if isinstance(axis, int)]
    return mean.reshape(fixed) if mean.numel() == torch.Size(fixed).numel() else mean


def _hook_of(sae: Any) -> str:
    metadata = getattr(sae, "metadata", None) or {}
    name, written = metadata.get("hook_name"), metadata.get("hook_name_out", metadata.get("hook_names_out"))
    if not isinstance(name, str):
        raise UsageError("The autoencoder does not say which hook it reads: pass hook=.")
    if written is not None and written != name:
        raise UsageError(
            f"A transcoder reads {name} and writes {written}: its latents are not a part of what it reads."
        )
    return name


def _dtype_of(sae: Any, x: Tensor) -> torch.dtype:
    encoder = getattr(sae, "W_enc", None)
    return encoder.dtype if isinstance(encoder, Tensor) else x.dtype
