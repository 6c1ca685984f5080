"""`patch`: put one run's activations into another, anywhere, over a task, and see how much of the answer follows.

The model runs as it is, with the activations given by `interp.edit.replace`: hooks, adapters and edits take part.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from interp import edit
from interp.errors import NotFiniteError, UsageError, nearest, require
from interp.model import Model
from interp.patching.results import Patching
from interp.provenance import Stopwatch

if TYPE_CHECKING:
    from interp.tasks import Task

HOOKS = {
    "resid_pre": "hook_resid_pre",
    "resid_mid": "hook_resid_mid",
    "resid_post": "hook_resid_post",
    "attn_out": "hook_attn_out",
    "mlp_out": "hook_mlp_out",
    "z": "attn.hook_z",
    "q": "attn.hook_q",
    "k": "attn.hook_k",
    "v": "attn.hook_v",
    "pattern": "attn.hook_pattern",
    "neuron": "mlp.hook_post",
    "latent": "",
}
"""What can be patched, and the hook of each block where it is."""
AXES = ("layer", "position", "place", "head", "neuron", "latent")
SOURCES = ("counterfactual", "mean", "zero", "other")
Metric = Callable[[Float[Tensor, "n n_token d_vocab"], "Task"], Float[Tensor, " n"]]
Progress = Callable[[int, int, str], None]


@torch.no_grad()
def patch(  # noqa: PLR0913 (all but the first four are keyword-only)
    model: Model,
    task: Task,
    what: str = "attn_out",
    by: tuple[str, ...] = ("layer", "position"),
    *,
    direction: Literal["denoise", "noise"] = "denoise",
    source: str = "counterfactual",
    metric: str | Metric = "log odds",
    layers: Sequence[int] | None = None,
    indices: Sequence[int] | None = None,
    sae: Any = None,
    batch: int = 32,
    progress: Progress | None = None,
) -> Patching:
    """Patch one activation after the other over all pairs of a task.

    "denoise" runs the counterfactual prompts and puts in what the clean run had: what is sufficient to restore the
    answer. "noise" runs the clean prompts and puts in the source's: what is necessary (arXiv 2309.16042, 2404.15255).

    Args:
        model: the model, edited or not.
        task: pairs of prompts; see `interp.tasks`.
        what: resid_pre, resid_mid, resid_post, attn_out, mlp_out, z, q, k, v, pattern, neuron or latent.
        by: one or two axes of the result. "layer"; "position", a column of the task; "place", a position by its name in
            `task.positions`, wherever it is in each pair; "head"; "neuron" or "latent", those in `indices`. What no
            axis names is patched whole.
        direction: "denoise" or "noise".
        source: when noising, what is put in: "counterfactual" (that of the pair), "mean" (over the clean prompts, at
            each position), "zero", or "other" (the clean run of the next pair).
        metric: "log odds" (of the task's answers; for single answers their logit difference), "probability" (of the
            right answers), "kl" (nats from the clean run's prediction), or a function of (logits, task).
        layers: those patched; all by default.
        indices: neurons or latents, where `by` names them.
        sae: for "latent": an autoencoder that reads one of the model's hooks; what it does not reconstruct stays that
            of the run which is patched.
        batch: pairs a forward pass.
        progress: called with (patches done, patches in all, what is being done).

    Returns a `Patching`: `.effect` is the share of the runs' difference, `.interval()` its bootstrap interval.

    Raises:
        UsageError: an unknown kind, axis, direction, source or metric, or two runs that the metric does not tell apart.
        NotFiniteError: a metric that is not finite.
    """
    watch = Stopwatch()
    by = (by,) if isinstance(by, str) else tuple(by)
    _check(model, what, by, direction, source, indices, sae)
    plan = _Plan(
        model, task, what, by, direction, source, _layers(model, layers, sae), tuple(indices or ()), sae, batch
    )
    measure = _measure(metric)
    sites, values, clean, other = plan.sites(), [], [], []
    for start in range(0, len(task), batch):
        part, found = task[start : start + batch], []
        clean.append(measure(model(part.clean), part, model))
        other.append(measure(model(part.counterfactual), part, model))
        edited = plan.edited(start, part, sites)
        for done, patched in enumerate(edited, 1 + len(sites) * (start // batch)):
            found.append(measure(patched(plan.base(part)), part, model))
            if progress is not None:
                progress(done, len(sites) * -(-len(task) // batch), f"patching {what}")
        values.append(torch.stack(found, 1))
    name = metric if isinstance(metric, str) else getattr(metric, "__name__", "metric")
    return _result(plan, name, [torch.cat(parts).double().cpu() for parts in (values, clean, other)], watch)


@dataclass(frozen=True)
class _Plan:
    """What is patched in one call of `patch`, whose arguments these are."""

    model: Model
    task: Task
    what: str
    by: tuple[str, ...]
    direction: str
    source: str
    layers: tuple[int, ...]
    indices: tuple[int, ...]
    sae: Any
    batch: int

    def entries(self, axis: str) -> tuple[Any, ...]:
        """What an axis of the result runs over."""
        spec = self.model.spec
        return {
            "layer": self.layers,
            "position": tuple(range(self.task.clean.shape[1])),
            "place": tuple(self.task.positions),
            "head": tuple(range(spec.n_kv_head if self.what in ("k", "v") else spec.n_head)),
        }.get(axis, self.indices)

    def labels(self, axis: str) -> tuple[str, ...]:
        """The entries of an axis in words."""
        if axis == "place":
            return self.entries(axis)
        if axis == "position" and self.task.places:
            return tuple(f"{at} {place}" for at, place in enumerate(self.task.places))
        return tuple(f"{axis} {entry}" for entry in self.entries(axis))

    def sites(self) -> list[dict[str, Any]]:
        """Every patch: the entry of each axis."""
        return [dict(zip(self.by, site, strict=True)) for site in product(*map(self.entries, self.by))]

    def hook(self, layer: int) -> str:
        return self.sae.metadata["hook_name"] if self.sae is not None else f"blocks.{layer}.{HOOKS[self.what]}"

    def base(self, part: Task) -> Tensor:
        return part.counterfactual if self.direction == "denoise" else part.clean

    def edited(self, start: int, part: Task, sites: list[dict[str, Any]]) -> Iterator[Model]:
        """The model with each patch made, for the pairs of the task from `start` on.

        Holds the activations of a batch at the layers that are patched, of both runs.
        """
        held: dict[int, tuple[Tensor, Tensor]] = {}
        for site in sites:
            layers = [site["layer"]] if "layer" in site else self.layers
            held |= {layer: self._values(layer, start, part) for layer in layers if layer not in held}
            yield self.model.edited(*(self._edit(layer, site, part, *held[layer]) for layer in layers))

    def _values(self, layer: int, start: int, part: Task) -> tuple[Tensor, Tensor]:
        """(what the patched run has at the layer's hook, what is put in)."""
        base = self._at(layer, self.base(part))
        if self.direction == "denoise":
            return base, self._at(layer, part.clean)
        if self.source == "counterfactual":
            return base, self._at(layer, part.counterfactual)
        if self.source == "zero":
            return base, torch.zeros_like(base)
        width = part.clean.shape[1]
        if self.source == "mean":
            total = sum(self._at(layer, rows[:, :width]).sum(0) for rows in self.task.clean.split(self.batch))
            return base, (torch.as_tensor(total) / len(self.task)).expand_as(base)
        others = (torch.arange(start, start + len(part)) + 1) % len(self.task)
        return base, self._at(layer, self.task.clean[others, :width])

    def _at(self, layer: int, tokens: Tensor) -> Tensor:
        return self.model.run_with_cache(tokens, self.hook(layer))[1][self.hook(layer)]

    def _edit(self, layer: int, site: dict[str, Any], part: Task, base: Tensor, new: Tensor) -> edit.Edit:
        if self.what == "latent":
            shape, flat = base.shape, (base.flatten(2), new.flatten(2))
            codes, others = (self.sae.encode(x) for x in flat)
            mixed = torch.where(self._chosen(site, part, codes), others, codes)
            change = self.sae.decode(mixed) - self.sae.decode(codes)
            return edit.replace(self.hook(layer), base + change.to(base.dtype).reshape(shape))
        return edit.replace(self.hook(layer), torch.where(self._chosen(site, part, base), new, base))

    def _chosen(self, site: dict[str, Any], part: Task, value: Tensor) -> Bool[Tensor, ...]:
        """Which entries of a value are patched at a site."""
        square = self.what == "pattern"
        positions = torch.arange(value.shape[2 if square else 1], device=value.device)[None]
        chosen = torch.ones_like(positions, dtype=torch.bool)
        if "position" in site:
            chosen = positions == site["position"]
        if "place" in site:
            chosen = positions == part.positions[site["place"]].to(value.device)[:, None]
        shape = [chosen.shape[0], *[1] * (value.ndim - 1)]
        shape[2 if square else 1] = chosen.shape[1]
        chosen = chosen.reshape(shape)
        for name, axis in (("head", 1 if square else 2), ("neuron", value.ndim - 1), ("latent", value.ndim - 1)):
            if name in site:
                along = [1] * value.ndim
                along[axis] = value.shape[axis]
                numbers = torch.arange(value.shape[axis], device=value.device).reshape(along)
                chosen = chosen & (numbers == site[name])
        return chosen


def _result(plan: _Plan, name: str, arrays: list[Tensor], watch: Stopwatch) -> Patching:
    values, clean, other = arrays
    if not all(array.isfinite().all() for array in arrays):
        raise NotFiniteError(f"The {name} of a run is not finite: is there a NaN in the weights, or an overflow?")
    if float(clean.mean()) == float(other.mean()):
        raise UsageError(f"Clean and counterfactual prompts give the same mean {name}: there is nothing to patch.")
    labels = [*(plan.labels(axis) for axis in plan.by), *[("all",)] * (2 - len(plan.by))]
    return Patching(
        task=plan.task.name,
        what=plan.what,
        direction=plan.direction,
        source=plan.source if plan.direction == "noise" else "clean",
        metric=name,
        values=values.unflatten(1, [len(label) for label in labels]).numpy(),
        clean=clean.numpy(),
        counterfactual=other.numpy(),
        rows=labels[0],
        columns=labels[1],
        axes=(plan.by[0], plan.by[1] if len(plan.by) > 1 else "all"),
        provenance=watch.provenance(command=None, seed=None, **plan.model.identity()),
    )


def _layers(model: Model, layers: Sequence[int] | None, sae: Any) -> tuple[int, ...]:
    if sae is not None:
        hook = (getattr(sae, "metadata", None) or {}).get("hook_name")
        if hook not in model.hooks():
            raise UsageError(f"The autoencoder reads {hook!r}, which is no hook of this model.")
        return (max(0, model.places[hook].layer),)
    chosen = tuple(range(model.spec.n_layer)) if layers is None else tuple(layers)
    if not chosen or not all(isinstance(layer, int) and 0 <= layer < model.spec.n_layer for layer in chosen):
        raise UsageError(f"layers={layers!r}: give some from 0 to {model.spec.n_layer - 1}.")
    return chosen


def _measure(metric: str | Metric) -> Callable[[Tensor, Task, Model], Tensor]:
    """The metric as a function of (logits, pairs, model)."""
    if callable(metric):
        return lambda logits, part, _: metric(logits, part)

    def at_end(logits: Tensor, part: Task) -> Tensor:
        return logits[torch.arange(len(part), device=logits.device), part.end.to(logits.device)].log_softmax(-1)

    def probability(logits: Tensor, part: Task, _: Model) -> Tensor:
        right = (part.right if part.right.ndim == 2 else part.right[:, None]).to(logits.device)
        return at_end(logits, part).exp().gather(1, right.clamp_min(0)).masked_fill(right < 0, 0.0).sum(1)

    def divergence(logits: Tensor, part: Task, model: Model) -> Tensor:
        clean = at_end(model(part.clean), part)
        return (clean.exp() * (clean - at_end(logits, part))).sum(1)

    known: dict[str, Callable[[Tensor, Task, Model], Tensor]] = {
        "log odds": lambda logits, part, _: part.measure(logits),
        "probability": probability,
        "kl": divergence,
    }
    if metric not in known:
        hint = nearest(str(metric), known)
        raise UsageError(f'Unknown metric "{metric}"{hint}; known: {", ".join(known)}, or a function.')
    return known[metric]


def _check(
    model: Model,
    what: str,
    by: tuple[str, ...],
    direction: str,
    source: str,
    indices: Sequence[int] | None,
    sae: Any,
) -> None:
    require(model, Model, "model")
    for name, given, known in (("what", what, HOOKS), ("source", source, SOURCES)):
        if given not in known:
            raise UsageError(f'Unknown {name} "{given}"{nearest(str(given), known)}; known: {", ".join(known)}.')
    if direction not in ("denoise", "noise"):
        raise UsageError(f'Unknown direction "{direction}": "denoise" or "noise".')
    if direction == "denoise" and source != "counterfactual":
        raise UsageError("Denoising puts in what the clean run had: another source is for direction='noise'.")
    unknown = [axis for axis in by if axis not in AXES]
    if unknown or not 1 <= len(by) <= 2 or len(set(by)) != len(by) or set(by) >= {"position", "place"}:
        raise UsageError(f"by={by}: give one or two of {', '.join(AXES)}, not both position and place.")
    if "head" in by and what not in ("z", "q", "k", "v", "pattern"):
        raise UsageError(f'"{what}" has no heads: they are in z, q, k, v and pattern.')
    for axis in ("neuron", "latent"):
        if axis in by and (what != axis or not indices):
            raise UsageError(f'by "{axis}" needs what="{axis}" and indices=[...].')
    if (what == "latent") != (sae is not None):
        raise UsageError('what="latent" and sae= belong together: pass the autoencoder whose latents are patched.')
    if what == "resid_mid" and model.spec.parallel:
        raise UsageError("A parallel block has no resid_mid: attention and MLP read the same residual stream.")
