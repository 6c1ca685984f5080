"""Swap part of a corrupted run for the clean run's, and see how much of the prediction comes back.

The rest of the network runs as it would: norms, attention patterns and gates react. All patches of a layer are rows
of one batch that starts at that layer, so a sweep costs about n_layer / 2 forward passes of a batch.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.attribution.results import LogitTarget
from interp.attribution.targets import measure
from interp.errors import UsageError
from interp.model import Model, trace
from interp.patching.results import Patched


@torch.no_grad()
def patch_residual(
    model: Model, clean: Int[Tensor, "1 n_token"], corrupted: Int[Tensor, "1 n_token"], target: LogitTarget
) -> Patched:
    """Replace the residual stream of the corrupted run by the clean one, one layer and position at a time.

    Row l is the stream that enters block l, the last row the one that leaves the last block (causal tracing,
    arXiv 2202.05262). Raises `UsageError` for prompts of different lengths, or when both give the same target.
    """
    runs = _Runs.of(model, clean, corrupted, target)
    n_token = runs.clean[0].shape[1]
    rows = []
    for layer in range(model.spec.n_layer + 1):
        patched = runs.corrupted[layer].repeat(n_token, 1, 1)
        places = torch.arange(n_token)
        patched[places, places] = runs.clean[layer][0]
        rows.append(runs.value(_finish(model, layer, patched)))
    names = (*(f"before block {layer}" for layer in range(model.spec.n_layer)), "after the last")
    labels = _labels(model, clean)
    what = "Residual stream replaced by the clean run's at one layer and position"
    return runs.result(what, torch.stack(rows), names, labels, ("stream", "position"))


@torch.no_grad()
def patch_heads(
    model: Model, clean: Int[Tensor, "1 n_token"], corrupted: Int[Tensor, "1 n_token"], target: LogitTarget
) -> Patched:
    """Replace what one head computes (its z, at every position) in the corrupted run by the clean run's.

    Raises `UsageError` for prompts of different lengths, or when both give the same target.
    """
    runs, spec = _Runs.of(model, clean, corrupted, target), model.spec
    rows = []
    for layer in range(spec.n_layer):
        entered = runs.corrupted[layer]
        z, kept = (trace.run_attention(model.weights, layer, x, folded=False).z for x in (runs.clean[layer], entered))
        mixed = kept.repeat(spec.n_head, 1, 1, 1)
        heads = torch.arange(spec.n_head)
        mixed[heads, heads] = z[0]
        rows.append(runs.value(_finish(model, layer + 1, _block_with(model, layer, entered, mixed))))
    names = tuple(f"layer {layer}" for layer in range(spec.n_layer))
    columns = tuple(f"head {head}" for head in range(spec.n_head))
    what = "Output of one head, at every position, replaced by the clean run's"
    return runs.result(what, torch.stack(rows), names, columns, ("layer", "head"))


@dataclass(frozen=True)
class _Runs:
    """Both runs: the stream before each block and after the last, (1, n_token, d_model) each."""

    model: Model
    target: LogitTarget
    position: int
    clean: list[Tensor]
    corrupted: list[Tensor]

    @classmethod
    def of(cls, model: Model, clean: Tensor, corrupted: Tensor, target: LogitTarget) -> _Runs:
        clean, corrupted = model.check_tokens(clean), model.check_tokens(corrupted)
        if clean.shape != corrupted.shape or len(clean) != 1:
            shapes = f"{tuple(clean.shape)} and {tuple(corrupted.shape)}"
            raise UsageError(f"Patching needs two prompts of the same length, (1, n_token) each, not {shapes}.")
        n_token = clean.shape[1]
        if not -n_token <= target.position < n_token:
            raise UsageError(f"Position {target.position} is outside the prompts, which have {n_token} tokens.")
        streams = [_streams(model, tokens) for tokens in (clean, corrupted)]
        return cls(model, target, target.position % n_token, *streams)

    def value(self, residual: Float[Tensor, "batch n_token d_model"]) -> Float[Tensor, " batch"]:
        """The target of each row of a batch of final streams."""
        return measure(self.model, self.target, residual[:, self.position])

    def result(
        self, what: str, array: Tensor, rows: tuple[str, ...], columns: tuple[str, ...], axes: tuple[str, str]
    ) -> Patched:
        clean, corrupted = (float(self.value(run[-1])) for run in (self.clean, self.corrupted))
        if clean == corrupted:
            raise UsageError("Both prompts give the target the same value: there is nothing to recover.")
        target = self.target
        return Patched(target.name, target.unit, what, array.cpu().numpy(), rows, columns, axes, clean, corrupted)


def _streams(model: Model, tokens: Tensor) -> list[Tensor]:
    streams = [trace.embed(model.weights, tokens)]
    streams += [block.resid_post for block in trace.blocks(model.weights, tokens, folded=False)]
    return streams


def _finish(model: Model, layer: int, residual: Tensor) -> Tensor:
    """Run the blocks from `layer` on."""
    for index in range(layer, model.spec.n_layer):
        residual = trace.run_block(model.weights, index, residual, folded=False).resid_post
    return residual


def _block_with(model: Model, layer: int, entered: Tensor, z: Tensor) -> Tensor:
    """One block whose heads are given: attention's output is made of `z`, the MLP runs on what comes of it."""
    weights, spec = model.weights, model.spec
    write, _ = trace.attention_write(weights, layer, z)
    middle = entered + write
    read = entered.expand_as(middle) if spec.parallel else middle
    return middle + trace.run_mlp(weights, layer, read, folded=False).write


def _labels(model: Model, tokens: Tensor) -> tuple[str, ...]:
    tokens = tokens.flatten()
    return tuple(model.to_str_tokens(tokens)) if model.has_tokenizer else tuple(map(str, tokens.tolist()))
