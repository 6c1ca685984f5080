"""`evaluate_set`: evaluation of every dictionary of a set.

All are evaluated on the same rows, in one pass over a store.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from interp.arguments import checked
from interp.cache import Store, sinks
from interp.errors import UsageError
from interp.progress import Progress, advance
from interp.provenance import Stopwatch
from interp.statistics import Bootstrap
from saes.evaluation.rows import CLUSTERS, Rows
from saes.evaluation.tally import Tally
from saes.sets.dictionaries import DictionarySet
from saes.sets.result import SetEvaluation
from saes.sparse_codes import SparseCodes

SIZE = 1024
"""Rows of every hook in memory at once."""


@checked
@torch.no_grad()
def evaluate_set(
    dictionaries: DictionarySet,
    store: Store,
    *,
    seed: int = 0,
    command: str | None = None,
    progress: Progress | None = None,
) -> SetEvaluation:
    """Compute the FVU of every hook that a set writes.

    The set should not be trained on the rows of the evaluation.

    A hook is reconstructed by the sum of all dictionaries that write it: one, or of a cross-layer transcoder those of
    its own and of all earlier layers, with skip paths.

    Args:
        dictionaries: the set; weights are read once.
        store: activations of every hook that the set reads or writes.
        seed: seed of the bootstrap over contexts.
        command: command for the provenance.
        progress: called with (rows done, rows in all, what is done).

    Returns:
        `SetEvaluation` with the FVU (a fraction) of each hook and its 95 % interval.

    Raises:
        UsageError: a store that lacks a hook, an empty set, or a crosscoder, which reads several hooks.
        NotFiniteError: activations that are not finite.

    Example:
        >>> result = saes.evaluate_set(dictionaries, store)  # store = interp.cache.Store.open("folder")
        >>> result.fvu[:, 0].round(2).tolist(), result.l0.tolist()
        ([0.29, 0.33, 0.39], [8.0, 8.0, 8.0])
    """
    watch = Stopwatch()
    written = _written(dictionaries, store)
    hooks = tuple(dict.fromkeys((*dictionaries.hooks, *written)))
    parts = {hook: store.batches(SIZE, seed=None, hook=hook) for hook in hooks}
    first = 0
    for batch in zip(*parts.values(), strict=True):
        values = {hook: part.float() for hook, part in zip(hooks, batch, strict=True)}
        cluster = store.places(first, first + len(batch[0]))[:, 0].numpy() % CLUSTERS
        codes, rebuilt = _reconstructed(dictionaries, values)
        for one in written.values():
            one.add(values[one.hook], codes.get(one.reads), rebuilt[one.hook], cluster, first)
        first += len(batch[0])
        advance(progress, first, len(store), "rows evaluated")
    scores = [one.numbers(seed) for one in written.values()]
    model = {name: str(value) for name, value in store.manifest.model.items() if name in ("model", "dtype")}
    return SetEvaluation(
        hooks=tuple(written),
        layers=np.array([_layer(hook) for hook in written]),
        fvu=np.array([fvu for fvu, _, _ in scores]),
        l0=np.array([l0 for _, l0, _ in scores]),
        dead=np.array([dead for _, _, dead in scores]),
        rows=first,
        clusters=len(next(iter(written.values())).tally.used),
        provenance=watch.provenance(command=command, seed=seed, **model),
    )


@dataclass
class _Written:
    """Sums of one hook.

    `reads` is what the dictionary of its own layer reads, "" if there is none.
    """

    hook: str
    reads: str
    tally: Tally
    limit: float | None = None

    def add(self, y: Tensor, codes: SparseCodes | None, rebuilt: Tensor, cluster: np.ndarray, first: int) -> None:
        """Take in a batch, attention sinks left out."""
        self.limit = sinks.limit(y) if self.limit is None else self.limit
        number = np.arange(first, first + len(y))
        codes = SparseCodes.of(y.new_zeros(len(y), 1)) if codes is None else codes
        usual = sinks.usual(y, self.limit)
        self.tally.add(Rows(y, y, first, cluster, number).where(usual), codes.where(usual), rebuilt[usual])

    def numbers(self, seed: int) -> tuple[tuple[float, float, float], float, float]:
        """Return (FVU and its interval, L0, dead fraction)."""
        tally = self.tally
        bootstrap = Bootstrap.of(len(tally.used), seed)
        try:
            value, low, high = bootstrap.ratio(tally.column("error"), tally.variance)
        except ZeroDivisionError:
            value, low, high = np.nan, None, None
        ends = [np.nan if end is None else end for end in (low, high)]
        dead = float((tally.fired.sum(0) == 0).mean())
        return (value, ends[0], ends[1]), float(tally.column("l0").sum() / tally.rows), dead


def _written(dictionaries: DictionarySet, store: Store) -> dict[str, _Written]:
    """Return the sums of each written hook, by layer.

    The store is checked for all hooks.
    """
    if not len(dictionaries):
        raise UsageError("The set has no dictionary to evaluate.")
    written: dict[str, _Written] = {}
    for reads, sae in dictionaries.items():
        if sae.variant == "crosscoder":
            raise UsageError(f"{reads}: a crosscoder reads several hooks; evaluate it alone, with saes.evaluate.")
        for i, hook in enumerate(sae.writes):
            size = sae.d_out // len(sae.writes)
            if i == 0 or hook not in written:
                written[hook] = _Written(
                    hook, reads if i == 0 else "", Tally(sae.width if i == 0 else 1, size, moments=False)
                )
    lacking = [hook for hook in (*dictionaries.hooks, *written) if hook not in store.hooks]
    if lacking:
        raise UsageError(
            f"The store lacks {lacking[0]}, which the set reads or writes: harvest all of "
            f"{len({*dictionaries.hooks, *written})} hooks (interp cache run --hooks)."
        )
    return {hook: written[hook] for hook in sorted(written, key=_layer)}


def _reconstructed(
    dictionaries: DictionarySet, values: dict[str, Tensor]
) -> tuple[dict[str, SparseCodes], dict[str, Tensor]]:
    """Return codes and reconstructions by hook.

    The codes are by the hook that is read, the reconstructions by the hook that is written.
    """
    codes, rebuilt = {}, {}
    for reads, sae in dictionaries.items():
        codes[reads], out = sae.run_sparse(values[reads])
        for hook, part in zip(sae.writes, out.unbind(1) if out.ndim == 3 else (out,), strict=True):
            rebuilt[hook] = rebuilt[hook] + part if hook in rebuilt else part
    return codes, rebuilt


def _layer(hook: str) -> int:
    return int(hook.split(".")[1])
