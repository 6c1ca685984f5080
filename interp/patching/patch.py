"""`patch`: activations of one run put into another, anywhere, over a task.

The model itself runs, with the activations given by `interp.edit.replace`: hooks, adapters and edits take part.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from interp.errors import UsageError, nearest, require
from interp.model import Model
from interp.patching.metrics import Measure, Metric, measure, patching_of
from interp.patching.plan import HOOKS, Plan, Values
from interp.patching.results import Patching
from interp.progress import Progress, advance
from interp.provenance import Stopwatch

if TYPE_CHECKING:
    from interp.tasks import Task

AXES = ("layer", "position", "place", "head", "neuron", "latent")
SOURCES = ("counterfactual", "mean", "zero", "other")


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
    batch_size: int = 32,
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
        batch_size: pairs a forward pass.
        progress: called with (patches done, patches in all, what is being done).

    Returns:
        The metric after each patch: `.effect` is the share of the runs' difference, `.interval()` its bootstrap
            interval.

    Raises:
        UsageError: an unknown kind, axis, direction, source or metric, or two runs with the same metric.
        NotFiniteError: a metric that is not finite.

    >>> result = patching.patch(model, task, "attn_out", by=("layer", "position"))
    >>> result.effect.round(3)
    array([[-0.21 ,  0.73 , -0.306,  1.731],
           [-0.161,  0.095,  0.018, -0.956],
           [-0.   , -0.   , -0.   ,  0.42 ]])
    """
    watch = Stopwatch()
    by = (by,) if isinstance(by, str) else tuple(by)
    _check(model, what, by, direction, source, indices, sae)
    plan = Plan(
        model, task, what, by, direction, source, _layers(model, layers, sae), tuple(indices or ()), sae, batch_size
    )
    values, clean, other = [], [], []
    for start in range(0, len(task), batch_size):
        part = task[start : start + batch_size]
        of = measure(metric, model, part)
        clean.append(of(model, part.clean)[0])
        other.append(of(model, part.counterfactual)[0])
        unpatched = other[-1] if direction == "denoise" else clean[-1]
        values.append(_patched(plan, start, part, of, unpatched, progress))
    name = metric if isinstance(metric, str) else getattr(metric, "__name__", "metric")
    labels = [*(plan.labels(axis) for axis in by), *[("all",)] * (2 - len(by))]
    return patching_of(
        [torch.cat(parts).double().cpu() for parts in (values, clean, other)],
        task=task.name,
        what=what,
        direction=direction,
        source=source if direction == "noise" else "clean",
        metric=name,
        rows=labels[0],
        columns=labels[1],
        axes=(by[0], by[1] if len(by) > 1 else "all"),
        provenance=watch.provenance(command=None, seed=None, **model.identity()),
    )


def _patched(
    plan: Plan, start: int, part: Task, of: Measure, unpatched: Tensor, progress: Progress | None
) -> Float[Tensor, "n n_site"]:
    """Return the metric of some pairs after each patch.

    Where a patch changes nothing, it is that of the run without.
    """
    values, sites = Values(plan, start, part), plan.sites()
    metrics = unpatched[:, None].repeat(1, len(sites))
    changing = values.changing(sites)
    done, total = len(sites) * (start // plan.batch_size), len(sites) * -(-len(plan.task) // plan.batch_size)
    for lot in plan.lots(changing, part):
        metrics[:, lot] = of(values.patched([sites[i] for i in lot]), plan.base(part), len(lot)).T
        advance(progress, done + lot[-1] + 1, total, f"patching {plan.what}")
    advance(progress, done + len(sites), total, f"patching {plan.what}")
    return metrics


def _layers(model: Model, layers: Sequence[int] | None, sae: Any) -> tuple[int, ...]:
    if sae is not None:
        hook = (getattr(sae, "metadata", None) or {}).get("hook_name")
        if hook not in model.hooks():
            raise UsageError(f"The autoencoder reads {hook!r}, which is not a hook of this model.")
        return (max(0, model.places[hook].layer),)
    chosen = tuple(range(model.spec.n_layer)) if layers is None else tuple(layers)
    if not chosen or not all(isinstance(layer, int) and 0 <= layer < model.spec.n_layer for layer in chosen):
        raise UsageError(f"layers={layers!r}: give some from 0 to {model.spec.n_layer - 1}.")
    return chosen


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
