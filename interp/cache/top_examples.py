"""`top_examples`: the rows of a store with the largest projection on a direction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from interp.cache.examples import TopExamples
from interp.cache.store import Store
from interp.errors import NotFiniteError, UsageError, require, whole

if TYPE_CHECKING:
    from interp.model import Model

AT_ONCE = 8192
"""Rows read at once."""
AROUND = (12, 4)
"""Tokens shown before and after."""


def top_examples(
    store: Store, direction: Any, k: int = 20, *, hook: str | None = None, model: Model | None = None
) -> TopExamples:
    """Return the k rows furthest along a direction.

    They have the largest x · direction / |direction|, one of each context.

    Args:
        store: activations on disk.
        direction: (d,), or anything with `direction_` such as a fitted probe, or with `direction` such as a steering
            vector.
        k: how many.
        hook: which of the store's hooks, if it has several.
        model: the model of the store, whose tokenizer gives the text; token ids are shown without.

    Returns:
        The examples, with the mean and deviation of all rows.

    Raises:
        UsageError: a direction of another length, zero or not finite; several hooks and none named; another model.
        NotFiniteError: a stored row that is not finite.

    >>> top = top_examples(store, np.ones(24), k=2, hook="blocks.1.hook_resid_post", model=model)
    >>> top.values.round(3), top.positions
    (array([9.815, 9.294]), array([4, 7]))
    """
    require(store, Store, "store")
    k = whole(k, "k", 1)
    if model is not None:
        store.check_model(model)
    if hook is None and len(store.hooks) != 1:
        raise UsageError(f"The store has the hooks {', '.join(store.hooks)}: name one as hook=.")
    name = store.hooks[0] if hook is None else hook
    unit = _unit(direction, len(store.statistics(name).mean))
    values = np.empty(len(store))
    for start in range(0, len(store), AT_ONCE):
        rows = store.tensor(name, start, min(start + AT_ONCE, len(store)))
        values[start : start + AT_ONCE] = (rows.double() @ unit).numpy()
    if not np.isfinite(values).all():
        raise NotFiniteError(f"A stored row of {name} is not finite.")
    chosen = _one_of_each_context(values, store.places()[:, 0].numpy(), k)
    places = torch.cat([store.places(row, row + 1) for row in chosen]).numpy()
    shown = [_around(store, model, *place) for place in places.tolist()]
    return TopExamples(
        hook=name,
        values=values[chosen],
        contexts=places[:, 0],
        positions=places[:, 1],
        texts=tuple(text for text, _ in shown),
        before=tuple(before for _, before in shown),
        mean=float(values.mean()),
        deviation=float(values.std()),
        rows=len(store),
    )


def _unit(direction: Any, d: int) -> Float[Tensor, " d"]:
    values = getattr(direction, "direction_", getattr(direction, "direction", direction))
    vector = torch.as_tensor(values).detach().double().cpu().squeeze()
    if vector.shape != (d,):
        raise UsageError(f"The direction has shape {tuple(vector.shape)}, but the rows have {d} coordinates.")
    norm = vector.norm()
    if not torch.isfinite(norm) or norm == 0:
        raise UsageError("The direction is zero or holds a NaN.")
    return vector / norm


def _one_of_each_context(values: np.ndarray, contexts: np.ndarray, k: int) -> list[int]:
    seen: set[int] = set()
    chosen: list[int] = []
    for row in np.argsort(-values, kind="stable").tolist():
        if int(contexts[row]) not in seen:
            seen.add(int(contexts[row]))
            chosen.append(row)
        if len(chosen) == k:
            break
    return chosen


def _around(store: Store, model: Model | None, context: int, position: int) -> tuple[tuple[str, ...], int]:
    """Return (the tokens around a position, how many are before it)."""
    result = store.contexts(context, context + 1)
    first, last = max(0, position - AROUND[0]), min(int(result.lengths[0]), position + AROUND[1] + 1)
    ids = result.tokens[0, first:last].long()
    texts = tuple(map(str, ids.tolist())) if model is None else model.labels(ids)
    return texts, position - first
