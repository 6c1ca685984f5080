"""Whole heads corrupted: minimal sets, interactions and backups."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real

import numpy as np

from interp.discovery.graph import Graph
from interp.discovery.headsets import Backups, HeadEffects, HeadSet
from interp.discovery.masks import Outside, evaluate
from interp.discovery.pairs import checked
from interp.errors import UsageError, nearest, require
from interp.model import Model
from interp.tasks.pairs import Pairs
from interp.tasks.task import Task


def head_effects(model: Model, task: Task | Pairs, *, outside: Outside = "counterfactual") -> HeadEffects:
    """Measure the effect of corrupting each head alone, on every pair.

    `HeadEffects` correlates these effects over pairs. One run of the pairs for each head.

    Args:
        model: the model.
        task: the pairs.
        outside: what a corrupted head writes: "counterfactual", "mean" (over the task) or "zero".

    Returns:
        The change of every pair's measure by each head.

    >>> effects = head_effects(model, task)
    >>> effects.top(2), effects.total
    ((('L0H3', 1.411), ('L0H0', -0.686)), 1.176)
    """
    bench = _Bench(model, task, outside)
    measures = bench.measure([[head] for head in bench.heads])
    return HeadEffects(bench.task.name, bench.names, measures - bench.clean, float((bench.floor - bench.clean).mean()))


def minimal_heads(
    model: Model,
    task: Task | Pairs,
    share: float = 0.9,
    *,
    outside: Outside = "counterfactual",
    n_controls: int = 20,
    seed: int = 0,
) -> HeadSet:
    """Find few heads that carry `share` of the measure on their own.

    All other heads are corrupted; embedding and MLPs run for real. f = (m(set) − m(no head)) / (m(all) − m(no head)).
    Heads are added by their single effect until f reaches the share; then each is left out again if the rest still
    reaches it, weakest first. The result is minimal in that no single head can be left out; a smaller set of other
    heads may exist.

    Args:
        model: the model.
        task: the pairs.
        share: the least f, in (0, 1].
        outside: what a corrupted head writes: "counterfactual", "mean" (over the task) or "zero".
        n_controls: random sets of as many heads, the control.
        seed: of the random sets.

    Returns:
        The heads, with the control.

    Raises:
        UsageError: a share outside (0, 1], or heads that all together do nothing.

    >>> heads = minimal_heads(model, task, share=0.9, n_controls=3)
    >>> heads.heads, heads.f
    (('L0H3',), 1.248)
    """
    require(share, Real, "share")
    if not 0 < share <= 1:
        raise UsageError(f"share={share}: choose a fraction in (0, 1].")
    bench = _Bench(model, task, outside)
    effects = (bench.measure([[head] for head in bench.heads]) - bench.clean).mean(1)
    order = np.argsort(effects * np.sign((bench.clean - bench.no_head).mean()), kind="stable").tolist()
    by_size = bench.faithfulness([order[: k + 1] for k in range(len(order))])
    size = int(np.argmax(by_size >= share)) + 1
    chosen = order[:size]
    for head in reversed(order[:size]):
        rest = [other for other in chosen if other != head]
        if rest and bench.faithfulness([rest])[0] >= share:
            chosen = rest
    rng = np.random.default_rng(seed)
    random = [rng.choice(len(order), len(chosen), replace=False).tolist() for _ in range(n_controls)]
    return HeadSet(
        task=bench.task.name,
        share=share,
        heads=tuple(bench.names[i] for i in chosen),
        f=float(bench.faithfulness([chosen])[0]),
        f_by_size=by_size,
        control=bench.faithfulness(random),
        n_head=len(order),
    )


def synergy(
    model: Model, task: Task | Pairs, heads: Sequence[str], *, outside: Outside = "counterfactual"
) -> np.ndarray:
    """Compute the interaction of every two heads.

    S_ij = D_ij − D_i − D_j, where D is the mean change of the measure when they are corrupted.

    Heads that support the answer and stand in for each other have S < 0: losing both costs more than the sum.

    Args:
        model: the model.
        task: the pairs.
        heads: names, such as "L5H2".
        outside: what a corrupted head writes: "counterfactual", "mean" (over the task) or "zero".

    Returns:
        (n_head, n_head) interactions, in nats.

    >>> synergy(model, task, ["L0H1", "L1H1"]).round(3)
    array([[ 0.   , -0.582],
           [-0.582,  0.   ]])
    """
    bench = _Bench(model, task, outside)
    index = [bench.index(head) for head in heads]
    pairs = [(i, j) for i in range(len(index)) for j in range(i)]
    single = bench.change([[bench.heads[i]] for i in index])
    both = bench.change([[bench.heads[index[i]], bench.heads[index[j]]] for i, j in pairs])
    interaction = np.zeros((len(index), len(index)))
    for (i, j), value in zip(pairs, both, strict=True):
        interaction[i, j] = interaction[j, i] = value - single[i] - single[j]
    return interaction


def backups(
    model: Model, task: Task | Pairs, primaries: Sequence[str], *, k: int = 8, outside: Outside = "counterfactual"
) -> Backups:
    r"""Find heads that take over when `primaries` are gone.

    The method is conditional ablation (CoAx, arXiv 2607.01940):

        compensation(u) = [m(N \ u) − m(N)] − [m(N \ (S ∪ u)) − m(N \ S)]

    with S the primaries. Two runs of the pairs for each head. `k` backups are lost together with the primaries to
    compare their joint loss with the sum.

    Args:
        model: the model.
        task: the pairs.
        primaries: names of the heads that are lost, such as "L5H2".
        k: backups lost together with them.
        outside: what a corrupted head writes: "counterfactual", "mean" (over the task) or "zero".

    Returns:
        The compensation of every head.

    Raises:
        UsageError: no primary head, or a head that does not exist.

    >>> result = backups(model, task, ["L0H1"], k=2)
    >>> result.top(2)
    (('L1H1', 0.582), ('L1H3', 0.372))
    """
    bench = _Bench(model, task, outside)
    gone = [bench.heads[bench.index(head)] for head in primaries]
    if not gone:
        raise UsageError("Name at least one primary head, such as L18H6.")
    alone = bench.change([[head] for head in bench.heads])
    without = bench.change([gone])[0]
    given = bench.change([[*gone, head] for head in bench.heads]) - without
    given[[bench.heads.index(head) for head in gone]] = alone[[bench.heads.index(head) for head in gone]]
    best = [bench.heads[i] for i in np.argsort(given - alone, kind="stable")[:k].tolist() if bench.heads[i] not in gone]
    joint, apart = bench.change([[*gone, *best], best])
    return Backups(
        task=bench.task.name,
        heads=bench.names,
        primaries=tuple(primaries),
        alone=alone,
        given=given,
        joint=float(joint),
        summed=float(apart + without),
    )


class _Bench:
    """Task on which sets of heads are corrupted.

    Heads are numbers of writers.
    """

    def __init__(self, model: Model, task: Task | Pairs, outside: Outside):
        self.model, self.task = model, checked(model, task)
        self.outside: Outside = outside
        self.graph = Graph.of(model.spec)
        writers = range(self.graph.n_layer)
        self.heads = [i for layer in writers for i in range(*self.graph.heads(layer).indices(len(self.graph.writers)))]
        self.names = tuple(self.graph.writers[i] for i in self.heads)
        every = np.ones(self.graph.n_edge)
        self.clean, self.no_head, self.floor = self._evaluate([0 * every, self._mask(self.heads), every])
        if not abs((self.clean - self.no_head).mean()) > 0:
            raise UsageError(f"Corrupting every head does not change {self.task.name}: there is nothing to attribute.")

    def index(self, name: str) -> int:
        """Return the index of a head by its name."""
        if name not in self.names:
            raise UsageError(f'The model has no head "{name}"{nearest(name, self.names)}.')
        return self.names.index(name)

    def measure(self, sets: Sequence[Sequence[int]]) -> np.ndarray:
        """Return the measure (n_set, n_pair) with each set of heads corrupted."""
        return self._evaluate([self._mask(heads) for heads in sets])

    def change(self, sets: Sequence[Sequence[int]]) -> np.ndarray:
        """Return the mean change of the measure (n_set,)."""
        return (self.measure(sets) - self.clean).mean(1)

    def faithfulness(self, sets: Sequence[Sequence[int]]) -> np.ndarray:
        """Return f of sets of heads (indices in `heads`), all others corrupted."""
        lost = [[head for i, head in enumerate(self.heads) if i not in set(heads)] for heads in sets]
        return (self.measure(lost) - self.no_head).mean(1) / (self.clean - self.no_head).mean()

    def _mask(self, heads: Sequence[int]) -> np.ndarray:
        return np.isin(self.graph.writer, list(heads)).astype(float)

    def _evaluate(self, masks: list[np.ndarray]) -> np.ndarray:
        return evaluate(self.model, self.graph, self.task, masks, outside=self.outside)
