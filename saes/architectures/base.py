"""What the six architectures share: one step's view of the data and weights, and the gradients they hand back.

Weights with a row a latent are held as (width, d) in training, so that a sparse code touches whole rows:
`encoder` (width, d_in), `decoder` (width, d_out), `b_dec` (d_out) and what the architecture adds. A batch's loss is

    (Σ_i |x̂_i − y_i|² + sparsity + auxiliary) / (n d_out)

with x centred and scaled; dividing by d_out keeps gradients of order one, so that one clipping norm fits all sizes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from saes.config import Config
from saes.kernels.encode import Scratch, preactivations
from saes.kernels.select import above
from saes.kernels.support import Dense, Support, Values
from saes.kernels.together import TrainingGroup

Weights = dict[str, Tensor]
DENSE_FROM = 0.1
"""Fraction of active latents from which matrix products are quicker than sparse ones."""


@dataclass
class Memory:
    """What the next step reuses of this one; numbers that are part of the training state.

    Attributes:
        guess: the smallest value chosen last by batchtopk and matryoshka; negative if there is none yet.
        density: fraction of pairs that were active in the last step.
    """

    guess: float = -1.0
    density: float = 0.0


@dataclass(frozen=True)
class Batch:
    """What a step gives an architecture.

    Attributes:
        x: (n, d_in) inputs, centred and scaled.
        y: (n, d_out) targets, scaled.
        weights: by name.
        config: the run's.
        sparsity: weight of the sparsity loss at this step.
        dead: (width,) which latents are dead; None if none is, or nothing is done about them.
        half: find active latents in bfloat16.
        scratch: buffers.
        memory: see `Memory`.
        group: the processes that share the batch, of which x and y are this one's part; None for this one alone.
    """

    x: Float[Tensor, "n d_in"]
    y: Float[Tensor, "n d_out"]
    weights: Weights
    config: Config
    sparsity: float
    dead: Bool[Tensor, " width"] | None
    half: bool
    scratch: Scratch
    memory: Memory = field(default_factory=Memory)
    group: TrainingGroup | None = None

    @property
    def unit(self) -> float:
        """1 / (n d_out): what every loss is multiplied by."""
        return 1.0 / self.y.numel()

    def pre(self, bias: Float[Tensor, " width"], exact: bool = False) -> Float[Tensor, "n width"]:
        """The pre-activations x encoderᵀ + bias, in a buffer."""
        return preactivations(self.x, self.weights["encoder"], bias, self.scratch, half=self.half and not exact)

    def active(self, bias: Float[Tensor, " width"]) -> tuple[Support, Values]:
        """The pairs with x·encoder + bias > 0 and x·encoder there; all pairs while many latents fire."""
        if self.memory.density > DENSE_FROM:
            support = Dense(len(self.x), len(bias))
            return support, self.pre(torch.zeros_like(bias), exact=True)
        rough = self.pre(bias)
        support = above(rough, 0.0)
        return support, self.exact(support, rough, bias) - support.of_latents(bias)

    def exact(self, support: Support, pre: Float[Tensor, "n width"], bias: Float[Tensor, " width"]) -> Values:
        """The pre-activations of the pairs: read from `pre`, or computed anew if that is only bfloat16."""
        if pre.dtype == self.x.dtype:
            return support.of_pairs(pre)
        return support.at(self.x, self.weights["encoder"]) + support.of_latents(bias)

    def reconstruct(self, support: Support, values: Values) -> Float[Tensor, "n d_out"]:
        """Σ_j v_ij decoder_j + b_dec (+ W_skip x)."""
        out = support.combine(values, self.weights["decoder"]).add_(self.weights["b_dec"])
        return out.addmm_(self.x, self.weights["W_skip"].T) if "W_skip" in self.weights else out

    def gradients(
        self, support: Support, d_pre: Values, code: Support, values: Values, outer: Float[Tensor, "rows d_out"]
    ) -> dict[str, Tensor]:
        """Of encoder, decoder, b_dec and W_skip.

        Args:
            support: pairs of `d_pre`.
            d_pre: the gradient of the loss in x·encoder.
            code: pairs of `values`, in the same order; with several rows an input for nested prefixes.
            values: the code.
            outer: the gradient in what each row of the code is decoded to; an input's first row counts for b_dec.
        """
        encoder, decoder = self.weights["encoder"], self.weights["decoder"]
        whole = outer.view(len(self.x), -1, outer.shape[1])[:, 0]
        found = {
            "encoder": support.spread(d_pre, self.x, self.scratch.get("d_encoder", tuple(encoder.shape), encoder)),
            "decoder": code.spread(values, outer, self.scratch.get("d_decoder", tuple(decoder.shape), decoder)),
            "b_dec": whole.sum(0),
        }
        if "W_skip" in self.weights:
            found["W_skip"] = whole.T @ self.x
        return found


@dataclass
class Found:
    """The outcome of a step's forward and backward pass.

    Attributes:
        gradients: of every weight.
        parallel: (width,) decoder_j · gradient of decoder_j: what is taken out where decoder rows have length 1.
        fired: (width,) inputs each latent fired on.
        residual: (n, d_out) reconstruction minus target.
        losses: the terms of the loss by name, each already multiplied as it is in the sum.
    """

    gradients: dict[str, Tensor]
    parallel: Float[Tensor, " width"]
    fired: Float[Tensor, " width"]
    residual: Float[Tensor, "n d_out"]
    losses: dict[str, Tensor]


@dataclass(frozen=True)
class Final:
    """What inference has: `tensors` by name (W_dec and those in `Architecture.latents`) and `settings` (of an SAE)."""

    tensors: Weights
    settings: dict[str, Any]


class Architecture:
    """One way to decide which latents fire, and how that is trained. Stateless.

    Attributes:
        latents: names of the parameters with one number a latent that inference needs.
        unit_decoder: decoder rows are kept at length 1 in training.
        sparse: it has a sparsity loss (otherwise k fixes the sparsity).
    """

    latents: tuple[str, ...] = ("b_enc",)
    unit_decoder: bool = True
    sparse: bool = False

    def activate(self, z: Float[Tensor, "... width"], final: Final) -> Float[Tensor, "... width"]:
        """The code of z = x W_enc in inference."""
        raise NotImplementedError

    def start(self, quantile: Float[Tensor, " width"]) -> Weights:
        """The first values of its own parameters; `quantile` is what x·encoder exceeds in `start_density` of inputs."""
        return {"b_enc": torch.zeros_like(quantile)}

    def step(self, batch: Batch) -> Found:
        """Forward and backward pass."""
        raise NotImplementedError
