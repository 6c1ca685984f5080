"""Path patching: how much of the answer goes from one component into others, run for real.

Goldowsky-Dill et al. (arXiv 2304.05969), Wang et al. (2211.00593). Two runs for every sender:

1. the base run with what the sender writes replaced by the source's. Components between sender and receivers
   are fixed at the base run ("held"), so that the change arrives by the direct path alone, or are run ("real"). Only
   the queries, keys, values or neurons that the receivers compute from their inputs are stored;
2. the base run with these put into the receivers; everything else is run, up to the logits.

The model itself runs, through hooks, as in `patching.patch`; both runs begin at the first block that can change.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from interp import edit
from interp.errors import UsageError, nearest, require
from interp.model import Model
from interp.patching.metrics import Measure, Metric, measure, patching_of
from interp.patching.plan import AT_ONCE
from interp.patching.results import Patching
from interp.progress import Progress, advance
from interp.provenance import Stopwatch

if TYPE_CHECKING:
    from interp.tasks import Task

LOGITS = "logits"
BETWEEN = ("held", "real")


@torch.no_grad()
def path(  # noqa: PLR0913 (all but the first four are keyword-only)
    model: Model,
    task: Task,
    senders: str | Sequence[str],
    receivers: str | Sequence[str],
    *,
    between: Literal["held", "real"] = "held",
    direction: Literal["denoise", "noise"] = "noise",
    metric: str | Metric = "log odds",
    batch_size: int = 32,
    progress: Progress | None = None,
) -> Patching:
    """Patch the paths from each sender into all the receivers at once.

    Args:
        model: the model, edited or not.
        task: pairs of prompts; see `interp.tasks`.
        senders: what is replaced, each in its own turn: "embed", heads such as "L3H1", MLPs such as "MLP4".
        receivers: what reads the change: queries, keys and values of heads ("L5H2.q", "L5H2.k"; where query heads share
            keys and values, those are "L5KV0.k" and "L5KV0.v"), MLPs ("MLP5"), or "logits".
        between: "held" leaves only the direct path from sender to receiver: all heads and MLPs are fixed at the base
            run until the receivers have read. "real" runs them, so that the change also arrives through others.
        direction: "noise" runs the clean prompts and takes the sender's values from the counterfactual ones; "denoise"
            the reverse.
        metric: as in `patching.patch`.
        batch_size: pairs a forward pass.
        progress: called with (senders done, senders in all, what is being done).

    Returns:
        One row for each sender. For one receiver and "held" its values are those of an exact edge,
            `discovery.score(model, task, "exact")`, added to the base run's metric.

    Raises:
        UsageError: a component the model does not have, or a receiver that no sender comes before.

    >>> result = patching.path(model, task, ["L0H0", "L0H1", "MLP0"], ["L2H1.q"])
    >>> result.effect.round(3)
    array([[-0.019],
           [ 0.003],
           [ 0.033]])
    """
    require(model, Model, "model")
    watch = Stopwatch()
    for name, given, known in (("between", between, BETWEEN), ("direction", direction, ("denoise", "noise"))):
        if given not in known:
            raise UsageError(f'Unknown {name} "{given}": {" or ".join(known)}.')
    sent, received = _parts(model, senders, _sender), _parts(model, receivers, _receiver)
    _check(sent, received, between)
    values, clean, other = [], [], []
    for start in range(0, len(task), batch_size):
        part = task[start : start + batch_size]
        of = measure(metric, model, part)
        clean.append(of(model, part.clean)[0])
        other.append(of(model, part.counterfactual)[0])
        base, source = part.clean, part.counterfactual
        runs = _Runs(model, (base, source) if direction == "noise" else (source, base), sent, received)
        values.append(runs.measured(of, between == "held", progress, (start, len(task))))
    name = metric if isinstance(metric, str) else getattr(metric, "__name__", "metric")
    return patching_of(
        [torch.cat(parts).double().cpu() for parts in (values, clean, other)],
        task=task.name,
        what=f"paths, others {'fixed' if between == 'held' else 'run'},",
        direction=direction,
        source="counterfactual" if direction == "noise" else "clean",
        metric=name,
        rows=tuple(part.name for part in sent),
        columns=(" + ".join(part.name for part in received),),
        axes=("sender", "receivers"),
        provenance=watch.provenance(command=None, seed=None, **model.identity()),
    )


class Part(NamedTuple):
    """A component: the hook of its value, its block, and its head.

    -1 is the block of the embedding.
    """

    name: str
    hook: str
    layer: int
    head: int | None = None


@dataclass(frozen=True)
class _Runs:
    """Senders and receivers in the runs of one batch of pairs.

    `tokens` are those of the base run and the source.
    """

    model: Model
    tokens: tuple[Tensor, Tensor]
    senders: tuple[Part, ...]
    receivers: tuple[Part, ...]

    def measured(
        self, of: Measure, fixed: bool, progress: Progress | None, place: tuple[int, int]
    ) -> Float[Tensor, "n n_sender"]:
        """Return the metric with the paths of each sender patched.

        Where there is no path, it is that of the base run.
        """
        _, base = self.model.run_with_cache(self.tokens[0], self._hooks(fixed))
        _, source = self.model.run_with_cache(self.tokens[1], list(dict.fromkeys(part.hook for part in self.senders)))
        metrics = of(self.model, self.tokens[0]).T.repeat(1, len(self.senders))
        size, done = max(1, AT_ONCE // self.tokens[0].numel()), 0
        for layer in sorted({part.layer for part in self.senders}):
            same = [i for i, part in enumerate(self.senders) if part.layer == layer]
            receivers = [part for part in self.receivers if part.layer >= layer]
            for lot in (same[at : at + size] for at in range(0, len(same), size)):
                if receivers:
                    taken = self._taken([self.senders[i] for i in lot], receivers, base, source, fixed)
                    patched = self._received(receivers, base, taken, len(lot))
                    metrics[:, lot] = of(patched, self.tokens[0], len(lot)).T
                done += len(lot)
                advance(progress, len(self.senders) * place[0] // place[1] + done, len(self.senders), "path patching")
        return metrics

    def _hooks(self, fixed: bool) -> list[str]:
        """Return the hooks of the base run that are needed."""
        layers = {min(max(0, part.layer), self._n_layer - 1) for part in (*self.senders, *self.receivers)}
        streams = [f"blocks.{layer}.hook_resid_pre" for layer in sorted(layers)]
        return [*streams, self._last(), *(hook for hook in self._fixed_hooks() if fixed)]

    @property
    def _n_layer(self) -> int:
        return self.model.spec.n_layer

    def _fixed_hooks(self) -> list[str]:
        """Return the hooks of what all heads and MLPs write from the first sender on."""
        first = max(0, min(part.layer for part in self.senders))
        layers = range(first, self._n_layer)
        return [f"blocks.{layer}.{hook}" for layer in layers for hook in ("attn.hook_z", "hook_mlp_out")]

    def _last(self) -> str:
        return f"blocks.{self._n_layer - 1}.hook_resid_post"

    def _taken(
        self,
        senders: Sequence[Part],
        receivers: Sequence[Part],
        base: dict[str, Tensor],
        source: dict[str, Tensor],
        fixed: bool,
    ) -> dict[str, Tensor]:
        """Return what the receivers compute of their inputs in the first run."""
        first = max(0, senders[0].layer)
        edits = [
            edit.function(hook, _given(base[hook])) for hook in self._fixed_hooks() if fixed and _layer(hook) >= first
        ]
        edits += [_sent(at, part, len(senders), source) for at, part in enumerate(senders)]
        model = self.model.resumed(first, base[f"blocks.{first}.hook_resid_pre"]).edited(*edits)
        wanted = [self._last() if part.hook == LOGITS else part.hook for part in receivers]
        return model.run_with_cache(self.tokens[0].repeat(len(senders), 1), list(dict.fromkeys(wanted)))[1]

    def _received(
        self, receivers: Sequence[Part], base: dict[str, Tensor], taken: dict[str, Tensor], copies: int
    ) -> Model:
        """Return the model with the receivers' values put in."""
        first, edits = min(self._n_layer - 1, *(part.layer for part in receivers)), []
        for part in receivers:
            if part.hook == LOGITS:
                change = taken[self._last()] - base[self._last()].repeat(copies, 1, 1)
                edits.append(edit.function(self._last(), lambda value, change=change: value + change))
            else:
                edits.append(edit.replace(part.hook, taken[part.hook], head=part.head))
        return self.model.resumed(first, base[f"blocks.{first}.hook_resid_pre"]).edited(*edits)


def _given(value: Tensor) -> Callable[[Tensor], Tensor]:
    """Return an edit that gives every copy of the pairs the base run's value."""
    return lambda here: value.repeat(len(here) // len(value), *[1] * (value.ndim - 1))


def _sent(at: int, part: Part, copies: int, source: dict[str, Tensor]) -> edit.Edit:
    """Return an edit that gives one copy of the pairs what the source writes."""

    def change(value: Tensor) -> Tensor:
        mine, new = value.unflatten(0, (copies, -1))[at], source[part.hook]
        if part.head is None:
            mine.copy_(new)
        else:
            mine[:, :, part.head] = new[:, :, part.head]
        return value

    return edit.function(part.hook, change)


def _layer(hook: str) -> int:
    return int(hook.split(".")[1])


def _parts(model: Model, names: str | Sequence[str], kind: Callable[[Model], Iterable[Part]]) -> tuple[Part, ...]:
    known = {part.name: part for part in kind(model)}
    names = (names,) if isinstance(names, str) else tuple(names)
    for name in names:
        if name not in known:
            what = kind.__name__.strip("_")
            raise UsageError(f'The model has no {what} "{name}"{nearest(str(name), known)}.')
    if not names:
        raise UsageError("Name at least one sender, such as L3H1, and one receiver, such as L5H2.q.")
    return tuple(known[name] for name in names)


def _sender(model: Model) -> Iterable[Part]:
    """Return a component that can send: everything that writes."""
    yield Part("embed", "hook_embed", -1)
    for layer in range(model.spec.n_layer):
        yield from (Part(f"L{layer}H{h}", f"blocks.{layer}.attn.hook_z", layer, h) for h in range(model.spec.n_head))
        yield Part(f"MLP{layer}", f"blocks.{layer}.hook_mlp_out", layer)


def _receiver(model: Model) -> Iterable[Part]:
    """Return a component that can receive, by the hook of what it computes of its input."""
    spec = model.spec
    key = "KV" if spec.kv_group > 1 else "H"
    for layer in range(spec.n_layer):
        for branch, name, n in (("q", "H", spec.n_head), ("k", key, spec.n_kv_head), ("v", key, spec.n_kv_head)):
            hook = f"blocks.{layer}.attn.hook_{branch}"
            yield from (Part(f"L{layer}{name}{head}.{branch}", hook, layer, head) for head in range(n))
        yield Part(f"MLP{layer}", f"blocks.{layer}.mlp.hook_post", layer)
    yield Part(LOGITS, LOGITS, spec.n_layer)


def _check(senders: Sequence[Part], receivers: Sequence[Part], between: str) -> None:
    if between == "real" and len(receivers) > 1 and any(part.hook == LOGITS for part in receivers):
        raise UsageError('Where others react, "logits" alone are the whole effect of a sender: leave out the others.')
    for receiver in receivers:
        if not any(_before(sender, receiver) for sender in senders):
            raise UsageError(f"No sender writes before {receiver.name} reads: there is no path.")


def _before(sender: Part, receiver: Part) -> bool:
    """Return whether there is a path: an MLP reads what its block's heads write.

    In a parallel block it does not.
    """
    same = sender.layer == receiver.layer and sender.head is not None and receiver.name.startswith("MLP")
    return same or sender.layer < receiver.layer
