"""Which patches one call of `patch` makes, and the edits that make them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, product
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Bool
from torch import Tensor

from interp import edit
from interp.model import Model

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
AT_ONCE = 4096
"""Positions that a batch of patches may have: more only costs memory."""
Site = dict[str, Any]
"""One patch: the entry of each axis of the result."""


@dataclass(frozen=True)
class Plan:
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
    batch_size: int

    def entries(self, axis: str) -> tuple[Any, ...]:
        """Return what an axis of the result runs over."""
        spec = self.model.spec
        return {
            "layer": self.layers,
            "position": tuple(range(self.task.clean.shape[1])),
            "place": tuple(self.task.positions),
            "head": tuple(range(spec.n_kv_head if self.what in ("k", "v") else spec.n_head)),
        }.get(axis, self.indices)

    def labels(self, axis: str) -> tuple[str, ...]:
        """Return the entries of an axis in words."""
        if axis == "place":
            return self.entries(axis)
        if axis == "position" and self.task.places:
            return tuple(f"{at} {place}" for at, place in enumerate(self.task.places))
        return tuple(f"{axis} {entry}" for entry in self.entries(axis))

    def sites(self) -> list[Site]:
        """Return every patch, in the order of the result."""
        return [dict(zip(self.by, site, strict=True)) for site in product(*map(self.entries, self.by))]

    def lots(self, sites: Sequence[int], part: Task) -> Iterator[list[int]]:
        """Yield patches (indices in `sites()`) that are rows of one run.

        They patch the same layers, and are not too many.
        """
        every, size = self.sites(), max(1, AT_ONCE // part.clean.numel())

        def layer(i: int) -> int:
            return every[i].get("layer", -1)

        for _, same in groupby(sorted(sites, key=layer), layer):
            together = list(same)
            yield from (together[at : at + size] for at in range(0, len(together), size))

    def hook(self, layer: int) -> str:
        """Return the hook of a layer's value."""
        return self.sae.metadata["hook_name"] if self.sae is not None else f"blocks.{layer}.{HOOKS[self.what]}"

    def base(self, part: Task) -> Tensor:
        """Return the prompts that are run."""
        return part.counterfactual if self.direction == "denoise" else part.clean


class Values:
    """Values of the patched run at every layer of a plan.

    Also what is put in. They are those of one batch of pairs, for all layers at once, with the residual stream before
    each of them.
    """

    def __init__(self, plan: Plan, start: int, part: Task):
        self.plan, self.part = plan, part
        streams = {layer: f"blocks.{layer}.hook_resid_pre" for layer in plan.layers}
        hooks = {layer: plan.hook(layer) for layer in plan.layers}
        cached = self._run(plan.base(part), [*hooks.values(), *streams.values()])
        new = self._source(start, list(hooks.values()), cached)
        self.streams = {layer: cached[hook] for layer, hook in streams.items()}
        self.base = {layer: cached[hook] for layer, hook in hooks.items()}
        self.new = {layer: new[hook] for layer, hook in hooks.items()}

    def changing(self, sites: Sequence[Site]) -> list[int]:
        """Return the patches that put in something else than what is there."""
        return [i for i, site in enumerate(sites) if any(self._differs(layer, site) for layer in self._layers(site))]

    def patched(self, sites: Sequence[Site]) -> Model:
        """Return the model with each patch in its own copy of pairs.

        It runs from the first patched layer on.
        """
        layers, first = self._layers(sites[0]), min(self._layers(sites[0]))
        model = self.plan.model.resumed(first, self.streams[first])
        return model.edited(*(edit.function(self.plan.hook(layer), self._change(layer, sites)) for layer in layers))

    def _layers(self, site: Site) -> tuple[int, ...]:
        return (site["layer"],) if "layer" in site else self.plan.layers

    def _source(self, start: int, hooks: list[str], base: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return what is put in."""
        plan, part = self.plan, self.part
        if plan.direction == "denoise":
            return self._run(part.clean, hooks)
        if plan.source == "counterfactual":
            return self._run(part.counterfactual, hooks)
        if plan.source == "zero":
            return {hook: torch.zeros_like(base[hook]) for hook in hooks}
        width = part.clean.shape[1]
        if plan.source == "mean":
            total: dict[str, Tensor] = {}
            for rows in plan.task.clean[:, :width].split(plan.batch_size):
                total |= {hook: value.sum(0) + total.get(hook, 0) for hook, value in self._run(rows, hooks).items()}
            return {hook: (total[hook] / len(plan.task)).expand_as(base[hook]) for hook in hooks}
        others = (torch.arange(start, start + len(part)) + 1) % len(plan.task)
        return self._run(plan.task.clean[others, :width], hooks)

    def _run(self, tokens: Tensor, hooks: list[str]) -> dict[str, Tensor]:
        return self.plan.model.run_with_cache(tokens, list(dict.fromkeys(hooks)))[1]

    def _differs(self, layer: int, site: Site) -> bool:
        base, new = (self._coded(x[layer]) for x in (self.base, self.new))
        return bool(((base != new) & self._chosen(site, base)).any())

    def _change(self, layer: int, sites: Sequence[Site]) -> Callable[[Tensor], Tensor]:
        """Return an edit of a layer's hook that makes each copy's patch."""
        new = self._coded(self.new[layer])
        chosen = torch.stack([self._chosen(site, new).expand_as(new) for site in sites])

        def change(value: Tensor) -> Tensor:
            codes = self._coded(value)
            mixed = torch.where(chosen, new, codes.unflatten(0, (len(sites), -1))).flatten(0, 1)
            if self.plan.sae is None:
                return mixed
            written = self.plan.sae.decode(mixed) - self.plan.sae.decode(codes)
            return value + written.to(value.dtype).reshape(value.shape)

        return change

    def _coded(self, value: Tensor) -> Tensor:
        """Return a value as what is exchanged: itself, or an autoencoder's latents."""
        return value if self.plan.sae is None else self.plan.sae.encode(value.flatten(2))

    def _chosen(self, site: Site, value: Tensor) -> Bool[Tensor, ...]:
        """Return which entries of a value are patched at a site."""
        square, part = self.plan.what == "pattern", self.part
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
