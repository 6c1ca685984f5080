"""Training configuration.

Plain values: no torch. The keys of a configuration file are these field names.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from interp.arguments import checked_fields
from interp.errors import UsageError, nearest

ARCHITECTURES = ("standard", "gated", "topk", "batchtopk", "jumprelu", "matryoshka")
VARIANTS = ("autoencoder", "transcoder", "crosscoder", "crosslayer")
CHOICES = {
    "architecture": ARCHITECTURES,
    "variant": VARIANTS,
    "bias": ("geometric_median", "mean", "zero"),
    "precision": ("auto", "float32", "bfloat16"),
}
BY_K = ("topk", "batchtopk", "matryoshka")
"""Architectures whose sparsity is k; the others ignore it."""
SPARSITY = {"standard": 2.0, "gated": 2.0, "jumprelu": 1.0}
"""Default weight of the sparsity loss for inputs of mean norm sqrt(d); tune it for the desired L0."""
FRACTIONS = ("lr_warmup", "lr_decay", "sparsity_warmup", "average", "start_density")
POSITIVE = ("width", "k", "steps", "batch_size", "dead_after", "auxiliary_k")

METRICS = ("step", "loss", "fvu", "l0", "dead", "lr", "sparsity", "norm", "seconds")
"""Metrics of a step: 1-based number, loss, fraction of variance unexplained, active latents per input, dead latents,
learning rate, weight of the sparsity loss, gradient norm before clipping, seconds of training so far."""


@dataclass(frozen=True)
class Config:
    """Configuration of a training run.

    Attributes:
        architecture: standard (ReLU, L1), gated, topk, batchtopk, jumprelu or matryoshka (nested, over batchtopk).
        width: number of latents.
        k: active latents per input for topk; on average over a batch for batchtopk and matryoshka.
        steps: number of batches to train on.
        batch_size: activations per batch.
        lr: peak learning rate of Adam (betas 0.9 and 0.999).
        seed: seed of the initial weights and of the order of the data.
        variant: autoencoder (x to x), transcoder (x to y), crosscoder (several layers at once) or crosslayer (a
            cross-layer transcoder, topk: each layer has `width` latents, k of them active, which write that layer and
            later ones).
        skip: transcoder only: add a linear path W_skip x from input to output.
        groups: matryoshka only: increasing widths of the nested prefixes; the last is `width`. Empty: width/16, /4, /1.
        sparsity: weight of the sparsity loss of standard, gated (per unit of activation) and jumprelu (per active
            latent), for activations of mean norm sqrt(d). None: see `SPARSITY`.
        sparsity_warmup: fraction of the steps over which `sparsity` rises from 0.
        bandwidth: jumprelu only: width of the window of the straight-through estimator, in normalised activations.
        pre_act: jumprelu only: weight of the pre-activation loss that revives dead latents.
        start_density: standard, gated and jumprelu: fraction of inputs on which each latent fires at the start (set by
            its bias or threshold). Sparse initial codes are faster and closer to the final ones. None: 0.05, or the
            density of 128 latents per input if that is less.
        auxiliary: weight of the loss in which dead latents reconstruct the residual (AuxK; topk, batchtopk,
            matryoshka). 0 turns it off.
        auxiliary_k: dead latents used per input in that loss. None: d_in / 2.
        dead_after: number of steps without firing after which a latent is dead.
        normalise: whether to train on activations scaled to mean norm sqrt(d); the scale is folded into the final
            weights.
        max_norm: exclude from training activations whose norm exceeds this multiple of the median (attention sinks).
            None trains on all of them; scale, centre and FVU always exclude those beyond 10 times the median.
        bias: initial decoder bias: geometric_median or mean of the data, or zero (which kills features if the data
            has an offset).
        clip: largest norm of the whole gradient. 0 turns clipping off.
        lr_warmup: fraction of the steps over which the learning rate rises from 0.
        lr_decay: fraction of the steps, at the end, over which it falls linearly to 0.
        average: decay per step of a running average of the weights, which is used as the final weights. 0: no average.
        precision: bfloat16 selects the active latents with a bfloat16 product; their values are computed in float32.
            auto: bfloat16 if the processor supports it.

    Example:
        >>> Config(architecture="topk", width=1024, k=16).steps
        1000
    """

    architecture: str = "topk"
    width: int = 4608
    k: int = 32
    steps: int = 1000
    batch_size: int = 2048
    lr: float = 3e-4
    seed: int = 0
    variant: str = "autoencoder"
    skip: bool = False
    groups: tuple[int, ...] = ()
    sparsity: float | None = None
    sparsity_warmup: float = 0.1
    bandwidth: float = 0.5
    pre_act: float = 3e-6
    start_density: float | None = None
    auxiliary: float = 1 / 32
    auxiliary_k: int | None = None
    dead_after: int = 200
    normalise: bool = True
    max_norm: float | None = None
    bias: str = "geometric_median"
    clip: float = 1.0
    lr_warmup: float = 0.05
    lr_decay: float = 0.2
    average: float = 0.0
    precision: str = "auto"

    def __post_init__(self) -> None:
        for field in fields(self):
            object.__setattr__(self, field.name, _plain(getattr(self, field.name)))
        checked_fields(self)
        for name, known in CHOICES.items():
            value = getattr(self, name)
            if value not in known:
                hint = nearest(value, known)
                raise UsageError(f'{name} "{value}" is not known{hint}: choose one of {", ".join(known)}.')
        for field in fields(self):
            self._check_number(field.name, getattr(self, field.name))
        if self.architecture in BY_K and self.k > self.width:
            raise UsageError(f"k={self.k} is larger than the width of {self.width} latents: make k smaller.")
        if self.skip and self.variant != "transcoder":
            raise UsageError(f'skip=True is for variant="transcoder", not "{self.variant}".')
        if self.variant == "crosslayer" and self.architecture != "topk":
            raise UsageError(
                f'A cross-layer transcoder is trained with architecture="topk", not "{self.architecture}".'
            )
        self._check_groups()

    @property
    def sparsity_weight(self) -> float:
        """`sparsity`, or its default for the architecture.

        It is 0 if k sets the sparsity.
        """
        return SPARSITY.get(self.architecture, 0.0) if self.sparsity is None else self.sparsity

    @property
    def first_density(self) -> float:
        """`start_density`, or its default for the width."""
        return min(0.05, 128 / self.width) if self.start_density is None else self.start_density

    @property
    def prefixes(self) -> tuple[int, ...]:
        """`groups`, or the default for the width.

        It is empty unless the architecture is matryoshka.
        """
        if self.architecture != "matryoshka":
            return ()
        return self.groups or tuple(sorted({max(self.width // 16, 1), max(self.width // 4, 1), self.width}))

    def _check_number(self, name: str, value: object) -> None:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return
        if not math.isfinite(value) or value < 0:
            raise UsageError(f"{name}={value} must be a finite number that is not negative.")
        if name in POSITIVE and value < 1:
            raise UsageError(f"{name}={value} must be at least 1.")
        if (name in FRACTIONS and value > 1) or (name in ("average", "start_density") and value == 1):
            raise UsageError(f"{name}={value} is a fraction: give a number from 0 to 1.")
        if name in ("lr", "bandwidth", "start_density", "max_norm") and value == 0:
            raise UsageError(f"{name}={value} must be above zero.")

    def _check_groups(self) -> None:
        if not self.groups:
            return
        if self.architecture != "matryoshka":
            raise UsageError(f'groups is for architecture="matryoshka", not "{self.architecture}".')
        rising = all(a < b for a, b in zip((0, *self.groups), self.groups, strict=False))
        if not rising or self.groups[-1] != self.width:
            raise UsageError(f"groups={self.groups} must rise from at least 1 to the width of {self.width}.")


def _plain(value: Any) -> Any:
    """Convert numpy numbers and lists to plain values.

    A numpy number becomes a Python number, and a list a tuple.
    """
    if isinstance(value, np.generic):
        return value.item()
    return tuple(value) if isinstance(value, list) else value
