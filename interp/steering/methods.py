"""Vectors made from contrasting prompts, from the direction of a probe, or from a latent of an autoencoder."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from interp.errors import UsageError, nearest, require, whole
from interp.model import Model
from interp.provenance import Provenance, Stopwatch
from interp.statistics import auc
from interp.steering.neutral import NEUTRAL
from interp.steering.prompts import Prompts, stream_norms, streams
from interp.steering.vectors import Vector

Rows = Float[np.ndarray, "n d_model"]
METHODS = ("difference", "pca", "probe", "centred")
SHUFFLED = 10
"""Vectors of shuffled labels that are made as controls of each one."""


def vector(
    model: Model,
    positive: Any,
    negative: Any,
    layer: int,
    *,
    method: str = "difference",
    position: int | None = -1,
    seed: int = 0,
) -> Vector:
    """Compute a steering vector from prompts of two opposite kinds.

    Some prompts show a behaviour, the others its opposite. With h⁺ and h⁻ the residual streams after block `layer` at
    `position`:

        difference   mean(h⁺) − mean(h⁻)                                    (arXiv 2312.06681)
        pca          first right singular vector of h⁺ᵢ − h⁻ᵢ, not centred, which would remove the mean; the sign and
                     length are those of the mean's projection              (arXiv 2310.01405)
        probe        weights of a logistic regression on centred streams, penalty 1 / n, length as for "pca"
        centred      mean(h⁺) − mean of all positions of `negative`, which is any text   (arXiv 2312.03813)

    Args:
        model: the model.
        positive: texts, token ids (n, n_token) or a task's clean prompts.
        negative: the same; for "pca", and the agreement of pairs, the i-th belongs to the i-th of `positive`.
        layer: the block whose output is read and steered, from 0.
        method: one of the above.
        position: the position read, counted from the end where negative; None for the mean of all.
        seed: of the halves, and of the shuffled labels.

    Returns:
        The vector.

    Raises:
        UsageError: an unknown method or layer, fewer than two prompts of a class, or classes that are equal.

    >>> v = vector(model, ["a b", "the tower"], ["is in", "London Paris"], layer=1)
    >>> v.direction.shape, v.stream_norm
    ((24,), 29.213)
    """
    return vectors(model, positive, negative, (layer,), method=method, position=position, seed=seed)[0]


def vectors(
    model: Model,
    positive: Any,
    negative: Any,
    layers: Sequence[int],
    *,
    method: str = "difference",
    position: int | None = -1,
    seed: int = 0,
) -> tuple[Vector, ...]:
    """Compute a steering vector for each of several layers.

    All come from one run over the prompts.

    Args:
        model: the model.
        positive: as in `vector`.
        negative: as in `vector`.
        layers: the blocks, from 0.
        method: as in `vector`.
        position: as in `vector`.
        seed: as in `vector`.

    Returns:
        One vector for each layer.

    Raises:
        UsageError: as in `vector`.

    >>> several = vectors(model, ["the tower", "a b"], ["is in", "in a"], (0, 1))
    >>> [one.layer for one in several]
    [0, 1]
    """
    watch = Stopwatch()
    require(model, Model, "model")
    layers = _checked_layers(model, layers)
    if method not in METHODS:
        raise UsageError(f'Unknown method "{method}"{nearest(str(method), METHODS)}; known: {", ".join(METHODS)}.')
    classes = Prompts.of(model, positive, "positive"), Prompts.of(model, negative, "negative")
    if min(map(len, classes)) < 2:
        raise UsageError("A vector needs at least two prompts of each class.")
    if method == "pca" and len(classes[0]) != len(classes[1]):
        raise UsageError(
            f"PCA of differences needs pairs: {len(classes[0])} prompts are given against {len(classes[1])}."
        )
    high = streams(model, classes[0], layers, position).numpy()
    low = streams(model, classes[1], layers, None if method == "centred" else position).numpy()
    norms = (stream_norms(model, classes[0], layers) + stream_norms(model, classes[1], layers)) / 2
    provenance = watch.provenance(seed=seed, **model.identity())
    return tuple(
        _vector(high[:, i], low[:, i], layer, method, float(norms[i]), seed, provenance)
        for i, layer in enumerate(layers)
    )


def from_direction(
    model: Model, direction: Any, layer: int, *, method: str = "given direction", texts: Any = NEUTRAL
) -> Vector:
    """Return a steering vector from a given direction.

    It has no control of shuffled labels.

    Args:
        model: the model.
        direction: an array (d_model,), or a fitted probe with `direction_`.
        layer: the block whose output is steered.
        method: how the direction was made, in words.
        texts: give the norm of the stream.

    Returns:
        The vector.

    Raises:
        UsageError: a direction of another length, zero or not finite.

    >>> from_direction(model, np.ones(model.spec.d_model), 1, texts=["the tower is in"]).stream_norm
    34.442
    """
    watch = Stopwatch()
    values = getattr(direction, "direction_", direction)
    values = values.detach().cpu() if isinstance(values, torch.Tensor) else values
    array = np.asarray(values, dtype=float).squeeze()
    if array.shape != (model.spec.d_model,):
        raise UsageError(f"The direction has shape {array.shape}, but the stream has {model.spec.d_model} coordinates.")
    if not np.isfinite(array).all() or not array.any():
        raise UsageError("The direction is zero or has a NaN.")
    (layer,) = _checked_layers(model, (layer,))
    norm = float(stream_norms(model, Prompts.of(model, texts, "texts"), (layer,))[0])
    none = np.zeros((0, len(array)))
    provenance = watch.provenance(seed=None, **model.identity())
    return Vector(layer, array, method, norm, none, math.nan, math.nan, provenance)


def from_latent(model: Model, sae: Any, index: int, *, texts: Any = NEUTRAL) -> Vector:
    """Return a latent's decoder direction as a steering vector.

    The autoencoder reads the stream after a block.

    Args:
        model: the model.
        sae: the autoencoder.
        index: the latent.
        texts: give the norm of the stream.

    Returns:
        The vector.

    Raises:
        UsageError: a latent that does not exist, or an autoencoder that reads something else.

    >>> v = from_latent(model, dictionaries["blocks.1.hook_resid_post"], 3, texts=["the tower is in"])
    >>> v.method, v.hook
    ('SAE latent 3', 'blocks.1.hook_resid_post')
    """
    hook = str((getattr(sae, "metadata", None) or {}).get("hook_name"))
    head, _, tail = hook.rpartition(".")
    if tail != "hook_resid_post" or hook not in model.hooks():
        raise UsageError(f"The autoencoder reads {hook}: a vector is made of one that reads blocks.L.hook_resid_post.")
    index = whole(index, "index", 0)
    if index >= len(sae.W_dec):
        raise UsageError(f"Latent {index} does not exist: give a number from 0 to {len(sae.W_dec) - 1}.")
    return from_direction(model, sae.W_dec[index], int(head.split(".")[1]), method=f"SAE latent {index}", texts=texts)


def _vector(high: Rows, low: Rows, layer: int, method: str, norm: float, seed: int, provenance: Provenance) -> Vector:
    make, rng = _MAKERS[method], np.random.default_rng(seed)
    direction = make(high, low)
    if not np.linalg.norm(direction) > 0:
        raise UsageError(f"The two classes have the same mean after block {layer}: there is no direction to steer in.")
    paired = len(high) == len(low) and method != "centred"
    shuffled = [_shuffled(high, low, make, paired, rng) for _ in range(SHUFFLED)]
    return Vector(
        layer=layer,
        direction=direction,
        method=method,
        stream_norm=norm,
        shuffled=np.stack(shuffled),
        agreement=_agreement(high - low, direction) if paired else math.nan,
        separation=_separation(high, low, make, rng),
        provenance=provenance,
    )


def _difference(high: Rows, low: Rows) -> np.ndarray:
    return high.mean(0) - low.mean(0)


def _pca(high: Rows, low: Rows) -> np.ndarray:
    first = np.linalg.svd(high - low, full_matrices=False)[2][0]
    return first * (_difference(high, low) @ first)


def _probe(high: Rows, low: Rows) -> np.ndarray:
    from sklearn.linear_model import LogisticRegression

    rows = np.concatenate([high, low])
    rows = rows - rows.mean(0)
    size = np.sqrt(np.square(rows).mean())
    labels = np.r_[np.ones(len(high)), np.zeros(len(low))]
    weights = LogisticRegression(max_iter=1000).fit(rows / size, labels).coef_[0]
    first = weights / np.linalg.norm(weights)
    return first * (_difference(high, low) @ first)


_MAKERS: dict[str, Callable[[Rows, Rows], np.ndarray]] = {
    "difference": _difference,
    "pca": _pca,
    "probe": _probe,
    "centred": _difference,
}


def _shuffled(
    high: Rows, low: Rows, make: Callable[[Rows, Rows], np.ndarray], paired: bool, rng: np.random.Generator
) -> np.ndarray:
    """Return vectors of shuffled labels: each new class has half of both.

    Principal components do not see the sign of a pair's difference, so their pairs are drawn within a class.
    """
    if paired and make is not _pca:
        even = len(high) // 2 * 2  # of an odd number one pair is left out, whose contrast would remain
        order = rng.permutation(len(high))[:even]
        flip = (np.arange(even) < even // 2)[:, None]
        return make(np.where(flip, low[order], high[order]), np.where(flip, high[order], low[order]))
    a, b = rng.permutation(high), rng.permutation(low)
    i, j = len(a) // 2, len(b) // 2
    n = min(i, j)  # equal parts of both classes on both sides
    return make(np.concatenate([a[:n], b[:n]]), np.concatenate([a[n : 2 * n], b[n : 2 * n]]))


def _agreement(differences: Rows, direction: np.ndarray) -> float:
    sizes = np.linalg.norm(differences, axis=1) * np.linalg.norm(direction)
    return float(np.divide(differences @ direction, sizes, out=np.zeros(len(sizes)), where=sizes > 0).mean())


def _separation(high: Rows, low: Rows, make: Callable[[Rows, Rows], np.ndarray], rng: np.random.Generator) -> float:
    """Return the ROC area on each half of the prompts along the other half's direction."""
    first, second = (np.array_split(rng.permutation(len(rows)), 2) for rows in (high, low))
    if len(high) == len(low):
        second = first  # pairs stay together
    areas = []
    for fit, test in ((0, 1), (1, 0)):
        along = make(high[first[fit]], low[second[fit]])
        scores = np.concatenate([high[first[test]], low[second[test]]]) @ along
        labels = np.r_[np.ones(len(first[test])), np.zeros(len(second[test]))]
        areas.append(float(auc(scores, labels == 1)[0]))
    return float(np.mean(areas))


def _checked_layers(model: Model, layers: Sequence[int]) -> tuple[int, ...]:
    chosen = tuple(layers)
    if not chosen or len(set(chosen)) != len(chosen):
        raise UsageError("Give at least one layer, and each once.")
    for layer in chosen:
        if not 0 <= whole(layer, "layer") < model.spec.n_layer:
            raise UsageError(f"Layer {layer} does not exist: give one from 0 to {model.spec.n_layer - 1}.")
    return chosen
