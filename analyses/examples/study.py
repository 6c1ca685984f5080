"""Rank a store's rows along each direction and along a random one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from analyses.examples.result import Examples
from interp import cache
from interp.cache import Store
from interp.errors import UsageError
from interp.model import Model
from interp.provenance import Stopwatch


def run(
    model: Model,
    store: Store,
    directions: Mapping[str, Any],
    k: int = 20,
    *,
    hook: str | None = None,
    seed: int = 0,
    command: str | None = None,
) -> Examples:
    """Rank a store's positions along each direction and a random one.

    Args:
        model: the model of the store, whose tokenizer gives the texts.
        store: store of activations to rank.
        directions: name -> direction, as `interp.cache.top_examples` takes it.
        k: number of examples of each direction.
        hook: which of the store's hooks, if it has several.
        seed: seed of the random direction.
        command: the command that the user typed, for the provenance.

    Returns:
        `Examples` with the k positions of largest projection on each direction.

    Raises:
        UsageError: there is no direction; also the errors of `top_examples`.

    Example:
        >>> from analyses import examples
        >>> axis = {"first axis": np.eye(24)[0]}
        >>> examples.run(model, store, axis, k=2, hook="blocks.1.hook_resid_post").examples[0].values.round(1).tolist()
        [44.2, 41.9]
    """
    watch = Stopwatch()
    if not directions:
        raise UsageError('Give at least one direction by name, such as {"truth": probe}.')
    examples = {name: cache.top_examples(store, one, k, hook=hook, model=model) for name, one in directions.items()}
    name = next(iter(examples.values())).hook
    random = np.random.default_rng(seed).standard_normal(len(store.statistics(name).mean))
    return Examples(
        names=tuple(examples),
        examples=tuple(examples.values()),
        random=cache.top_examples(store, random, k, hook=hook, model=model),
        provenance=watch.provenance(command=command, seed=seed, **model.identity()),
    )
