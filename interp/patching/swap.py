"""Swap part of a corrupted run for the clean run's, and see how much of the prediction comes back: one pair of prompts.

The rest of the network runs as it would: norms, attention patterns and gates react. Nothing before the first position
that differs, or behind the target's, can matter: the first keep their keys and values, the second are not computed. All
patches of earlier layers go through a block together. For sets of pairs and every other kind of patch see
`interp.patching.patch`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, partial

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.attribution.frozen import max_or_nan, off
from interp.attribution.results import LogitTarget
from interp.attribution.targets import measure
from interp.errors import CheckFailedError, UsageError, require
from interp.model import Model, capture, trace
from interp.model.spec import require_fixed_rotations
from interp.model.weights import Weights
from interp.patching.results import Patched

TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-9}
"""Largest relative error of the written-out pass against the model's own logits, by dtype."""
AT_ONCE = 4096
"""Positions that go through a block at once: more only costs memory."""


@torch.no_grad()
def patch_residual(
    model: Model, clean: Int[Tensor, "1 n_token"], corrupted: Int[Tensor, "1 n_token"], target: LogitTarget
) -> Patched:
    """Patch the residual stream at one layer and position at a time.

    Each value of the corrupted run is replaced by the clean one.

    Row l is the stream that enters block l, the last row the one that leaves the last block (causal tracing,
    arXiv 2202.05262).

    Args:
        model: in float32 or float64.
        clean: token ids of the clean prompt.
        corrupted: token ids of another prompt of the same length.
        target: a logit or difference of logits.

    Returns:
        The target after each patch: (n_layer + 1, n_token).

    Raises:
        UsageError: prompts of different lengths, the same target value in both, a target that is not one of logits, or
            a model in half precision.
        CheckFailedError: the model does not compute what its weights say (a hook, an adapter), or a value is a NaN.

    >>> clean, other = model.to_tokens("the tower is in"), model.to_tokens("a tower is in")
    >>> patched = patch_residual(model, clean, other, attribution.logit_difference(model, " Paris", " London"))
    >>> patched.recovered.round(3)
    array([[ 1.   ,  0.   ,  0.   , -0.   ],
           [ 0.841, -0.57 ,  0.219,  0.09 ],
           [-0.058, -0.034,  0.003,  1.431],
           [ 0.   ,  0.   ,  0.   ,  1.   ]])
    """
    runs = _Runs.of(model, clean, corrupted, target)
    array = torch.full((model.spec.n_layer + 1, runs.n_token), runs.value_of(runs.corrupted), dtype=torch.float64)
    for position in range(runs.first, runs.position + 1):
        array[:, position] = runs.measured(_residual_patches(runs, position))
    names = (*(f"before block {layer}" for layer in range(model.spec.n_layer)), "after the last")
    what = "Residual stream replaced by the clean run's at one layer and position"
    return runs.result(what, array, names, _numbered(model.labels(model.check_tokens(clean))), ("stream", "position"))


def _residual_patches(runs: _Runs, position: int) -> Tensor:
    """Return final streams of patches before every block and after the last.

    They begin at `position`, where the patches are.
    """
    x = runs.corrupted.streams[0].new_empty(0)
    for layer in range(runs.model.spec.n_layer + 1):
        patched = runs.corrupted.streams[layer][:, position : runs.position + 1].clone()
        patched[0, 0] = runs.clean.streams[layer][0, position]
        x = torch.cat([x, patched]) if layer else patched
        if layer < runs.model.spec.n_layer:
            x = runs.through(layer, x, position)
    return x


@torch.no_grad()
def patch_heads(
    model: Model, clean: Int[Tensor, "1 n_token"], corrupted: Int[Tensor, "1 n_token"], target: LogitTarget
) -> Patched:
    """Patch the output of one head after another.

    What it computes, its z, is replaced by the clean run's at every position of the corrupted run.

    Args:
        model: in float32 or float64.
        clean: token ids of the clean prompt.
        corrupted: token ids of another prompt of the same length.
        target: a logit or difference of logits.

    Returns:
        The target after each patch: (n_layer, n_head).

    Raises:
        UsageError: as in `patch_residual`.
        CheckFailedError: as in `patch_residual`.

    >>> clean, other = model.to_tokens("the tower is in"), model.to_tokens("a tower is in")
    >>> patched = patch_heads(model, clean, other, attribution.logit_difference(model, " Paris", " London"))
    >>> patched.recovered.round(3)
    array([[ 1.135, -0.541,  0.448,  0.242],
           [ 0.363, -0.232, -0.632,  2.054],
           [ 0.111, -0.117, -0.362,  0.169]])
    """
    runs, spec = _Runs.of(model, clean, corrupted, target), model.spec
    span = slice(runs.first, runs.position + 1)
    x: Tensor | None = None
    for layer in range(spec.n_layer):
        z = runs.corrupted.z[layer][:, :, span].repeat(spec.n_head, 1, 1, 1)
        heads = torch.arange(spec.n_head)
        z[heads, heads] = runs.clean.z[layer][0, :, span]
        patched = _block_with(runs.weights, layer, runs.corrupted.streams[layer][:, span], z)
        x = patched if x is None else torch.cat([runs.through(layer, x, runs.first), patched])
    assert x is not None
    names = tuple(f"layer {layer}" for layer in range(spec.n_layer))
    columns = tuple(f"head {head}" for head in range(spec.n_head))
    what = "Output of one head, at every position, replaced by the clean run's"
    array = runs.measured(x).unflatten(0, (spec.n_layer, spec.n_head))
    return runs.result(what, array, names, columns, ("layer", "head"))


@dataclass(frozen=True)
class _Run:
    """One run: the streams, and each block's z, keys and values."""

    streams: list[Float[Tensor, "1 n_token d_model"]]
    z: list[Float[Tensor, "1 n_head n_token d_head"]]
    past: list[trace.KeysValues]

    @classmethod
    def of(cls, model: Model, tokens: Tensor, position: int) -> _Run:
        blocks = list(trace.blocks(model.weights.cached(), tokens, folded=False))
        streams = [blocks[0].resid_pre, *(block.resid_post for block in blocks)]
        run = cls(
            streams,
            [block.attention.z for block in blocks],
            [(block.attention.key, block.attention.value) for block in blocks],
        )
        _check_run(model, tokens, position, streams[-1])
        return run


@dataclass(frozen=True)
class _Runs:
    """Both runs, the target's position, and their first difference.

    The first position at which they differ.
    """

    model: Model
    target: LogitTarget
    position: int
    first: int
    clean: _Run
    corrupted: _Run

    @cached_property
    def weights(self) -> Weights:
        return self.model.weights.cached()

    @classmethod
    def of(cls, model: Model, clean: Tensor, corrupted: Tensor, target: LogitTarget) -> _Runs:
        require(model, Model, "model")
        clean, corrupted = model.check_tokens(clean), model.check_tokens(corrupted)
        if clean.shape != corrupted.shape or len(clean) != 1:
            shapes = f"{tuple(clean.shape)} and {tuple(corrupted.shape)}"
            raise UsageError(f"Patching needs two prompts of the same length, (1, n_token) each, not {shapes}.")
        if not isinstance(target, LogitTarget):
            raise UsageError(f"Patching measures attribution.logit or logit_difference, not {type(target).__name__}.")
        if model.dtype not in TOLERANCE:
            raise UsageError(f"A patch in {model.dtype} would be rounding: load the model in float32 or float64.")
        n_token = clean.shape[1]
        if not -n_token <= target.position < n_token:
            raise UsageError(f"Position {target.position} is outside the prompts, which have {n_token} tokens.")
        require_fixed_rotations(model.spec, n_token, "patching a pair, which leaves out what follows the target,")
        position = target.position % n_token
        runs = [_Run.of(model, tokens, position) for tokens in (clean, corrupted)]
        differing = (clean != corrupted)[0].nonzero()
        first = int(differing[0]) if len(differing) else 0
        return cls(model, target, position, min(first, position), *runs)

    @property
    def n_token(self) -> int:
        return self.clean.streams[0].shape[1]

    def through(self, layer: int, x: Float[Tensor, "row n_end d_model"], start: int) -> Tensor:
        """Run rows through one block.

        As the corrupted run's positions from `start` on.
        """
        key, value = self.corrupted.past[layer]
        past = key[:, :, :start], value[:, :, :start]
        parts = x.split(max(1, AT_ONCE // x.shape[1]))
        run = partial(trace.run_block, self.weights, layer, folded=False, past=past)
        return torch.cat([run(part).resid_post for part in parts])

    def measured(self, x: Float[Tensor, "row n_end d_model"]) -> Float[Tensor, " row"]:
        """Measure the target of final streams that end at its position."""
        return measure(self.model, self.target, x[:, -1]).double().cpu()

    def value_of(self, run: _Run) -> float:
        return float(measure(self.model, self.target, run.streams[-1][0, self.position]))

    def result(
        self, what: str, array: Tensor, rows: tuple[str, ...], columns: tuple[str, ...], axes: tuple[str, str]
    ) -> Patched:
        clean, corrupted = self.value_of(self.clean), self.value_of(self.corrupted)
        if clean == corrupted:
            raise UsageError("Both prompts give the target the same value: there is nothing to recover.")
        target = self.target
        return Patched(target.name, target.unit, what, array.numpy(), rows, columns, axes, clean, corrupted)


def _check_run(model: Model, tokens: Tensor, position: int, residual: Tensor) -> None:
    """Raise `CheckFailedError` unless the written-out pass is the model's own.

    Its streams are compared, and logits at the target.
    """
    theirs, stream = capture.ending(model, tokens, position)
    ours, _ = trace.unembed(model.weights, residual[:, [position]], folded=False)
    errors = (ours[:, 0] - theirs).abs().max() / theirs.abs().max(), off(residual, stream)
    error = max_or_nan(*errors)
    if not error <= TOLERANCE[model.dtype]:
        raise CheckFailedError(
            f"{model.name} does not compute what its weights say: relative error {error:.2e} of its logits. Is there a "
            "hook or an adapter on it, an edit, or a NaN in its weights? interp.patching.patch runs the model itself."
        )


def _block_with(weights: Weights, layer: int, entered: Tensor, z: Tensor) -> Tensor:
    """Run one block whose heads are given as `z`."""
    write, _ = trace.attention_write(weights, layer, z)
    middle = entered + write
    read = entered.expand_as(middle) if weights.spec.parallel else middle
    return middle + trace.run_mlp(weights, layer, read, folded=False).write


def _numbered(labels: tuple[str, ...]) -> tuple[str, ...]:
    """Number the labels that occur several times, in the order of the prompt."""
    return tuple(_each_numbered(labels))


def _each_numbered(labels: tuple[str, ...]) -> Iterator[str]:
    for index, label in enumerate(labels):
        yield f"{label} ({labels[: index + 1].count(label)})" if labels.count(label) > 1 else label
