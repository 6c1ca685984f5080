"""Base of the six architectures.

It has the batch and weights of a step, and the gradients that it returns.

Weights of latents have shape (width, d) in training, so that a sparse code uses whole rows: `encoder` (width, d_in),
`decoder` (width, d_out), `b_dec` (d_out) and those of the architecture. The loss of a batch is

    (Σ_i |x̂_i − y_i|² + sparsity + auxiliary) / (n d_out)

with x centred and scaled. Dividing by d_out keeps gradients of order one, so that one clipping norm fits all sizes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from saes.config import Config
from saes.kernels.distributed_topk import TrainingGroup
from saes.kernels.encode import Scratch, preactivations
from saes.kernels.select import above
from saes.kernels.support import Dense, Sparse, Support, Values

Weights = dict[str, Tensor]
DENSE_FROM = 0.1
"""Fraction of active latents above which dense products are faster than sparse ones."""


@dataclass
class Memory:
    """Values that a step passes to the next one.

    They are part of the training state.

    Attributes:
        guess: the smallest value selected last by batchtopk and matryoshka; negative if there is none yet.
        density: fraction of pairs that were active in the last step.

    Example:
        >>> Memory()
        Memory(guess=-1.0, density=0.0)
    """

    guess: float = -1.0
    density: float = 0.0


@dataclass(frozen=True)
class Batch:
    """Input of an architecture's training step.

    Attributes:
        x: (n, d_in) inputs, centred and scaled.
        y: (n, d_out) targets, scaled.
        weights: weights by name.
        config: configuration of the run.
        sparsity: weight of the sparsity loss at this step.
        dead: (width,) mask of dead latents; None if there are none, or if they have no loss.
        half: whether active latents are selected in bfloat16.
        scratch: buffers.
        memory: values of the last step, see `Memory`.
        group: the processes that share the batch, of which x and y are this process's part; None for one process.

    Example:
        >>> x = torch.zeros(3, 2)
        >>> Batch(x, x, {}, Config(width=4, k=1), 0.0, None, False, Scratch()).unit
        0.16666666666666666
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
        """1 / (n d_out), the factor of every loss."""
        return 1.0 / self.y.numel()

    def pre(self, bias: Float[Tensor, " width"], exact: bool = False) -> Float[Tensor, "n width"]:
        """Compute the pre-activations x encoderᵀ + bias in a buffer."""
        return preactivations(self.x, self.weights["encoder"], bias, self.scratch, half=self.half and not exact)

    def active(self, bias: Float[Tensor, " width"]) -> tuple[Support, Values]:
        """Return the pairs with x·encoder + bias > 0.

        Also returns their x·encoder + bias. While many latents fire, all pairs are returned.
        """
        if self.memory.density > DENSE_FROM:
            return Dense(len(self.x), len(bias)), self.pre(bias, exact=True)
        support, rough = above(self.pre(bias), 0.0)
        return support, self.exact(support, rough, bias)

    def exact(self, support: Support, pre: Values, bias: Float[Tensor, " width"]) -> Values:
        """Return the exact pre-activations of the pairs.

        They are recomputed in float32 if `pre` is bfloat16.
        """
        if pre.dtype == self.x.dtype:
            return pre
        return support.at(self.x, self.weights["encoder"]) + support.of_latents(bias)

    def reconstruct(self, support: Support, values: Values) -> Float[Tensor, "n d_out"]:
        """Compute Σ_j v_ij decoder_j + b_dec (+ W_skip x)."""
        out = support.combine(values, self.weights["decoder"]).add_(self.weights["b_dec"])
        return out.addmm_(self.x, self.weights["W_skip"].T) if "W_skip" in self.weights else out

    def gradients(
        self, support: Support, d_pre: Values, code: Support, values: Values, outer: Float[Tensor, "rows d_out"]
    ) -> dict[str, Tensor]:
        """Compute the gradients of encoder, decoder, b_dec and W_skip.

        Args:
            support: pairs of `d_pre`.
            d_pre: gradient of the loss in x·encoder.
            code: pairs of `values`, in the same order; several rows per input for nested prefixes.
            values: the code.
            outer: gradient in the reconstruction of each row of the code; an input's first row counts for b_dec.
        """
        encoder, decoder = self.weights["encoder"], self.weights["decoder"]
        whole = outer.view(len(self.x), -1, outer.shape[1])[:, 0]
        gradients = {
            "encoder": support.spread(d_pre, self.x, self.scratch.get("d_encoder", tuple(encoder.shape), encoder)),
            "decoder": code.spread(values, outer, self.scratch.get("d_decoder", tuple(decoder.shape), decoder)),
            "b_dec": whole.sum(0),
        }
        if "W_skip" in self.weights:
            gradients["W_skip"] = whole.T @ self.x
        return gradients


@dataclass
class StepResult:
    """Result of the forward and backward pass of a step.

    Attributes:
        gradients: gradients of every weight.
        parallel: (width,) decoder_j · gradient of decoder_j, which is removed if decoder rows have length 1.
        fired: (width,) number of inputs on which each latent fired.
        residual: (n, d_out) reconstruction minus target.
        losses: terms of the loss by name, with their weights.

    Example:
        >>> result = StepResult({}, torch.zeros(3), torch.tensor([2.0, 0.0, 1.0]), torch.zeros(3, 2), losses={})
        >>> result.fired.tolist()
        [2.0, 0.0, 1.0]
    """

    gradients: dict[str, Tensor]
    parallel: Float[Tensor, " width"]
    fired: Float[Tensor, " width"]
    residual: Float[Tensor, "n d_out"]
    losses: dict[str, Tensor]


@dataclass(frozen=True)
class Final:
    """Final weights for inference.

    They are W_dec and the weights in `Architecture.latents`, with the settings of the SAE.

    >>> Final({"b_enc": torch.zeros(3)}, {"k": 1}).settings
    {'k': 1}
    """

    tensors: Weights
    settings: dict[str, Any]


class Architecture:
    """Base class of the architectures.

    An architecture defines which latents fire, and how that is trained. It is stateless.

    Attributes:
        latents: names of the parameters with one value per latent that inference needs.
        unit_decoder: whether decoder rows have length 1 in training.
        sparse: whether there is a sparsity loss (otherwise k sets the sparsity).

    Example:
        >>> rule = saes.architectures.architecture("jumprelu")
        >>> rule.latents, rule.sparse
        (('b_enc', 'threshold'), True)
    """

    latents: tuple[str, ...] = ("b_enc",)
    unit_decoder: bool = True
    sparse: bool = False

    def activate(self, z: Float[Tensor, "... width"], final: Final) -> Float[Tensor, "... width"]:
        """Return the latents of z = x W_enc in inference: nowhere negative.

        >>> final = Final({"b_enc": torch.zeros(3)}, {"k": 1})
        >>> saes.architectures.architecture("topk").activate(torch.tensor([[1.0, 3.0, -2.0]]), final).tolist()
        [[0.0, 3.0, 0.0]]
        """
        raise NotImplementedError

    def pairs(self, z: Float[Tensor, "n width"], final: Final) -> tuple[Sparse, Values]:
        """Return the pairs (input, latent) that fire and their values.

        The values are those of `activate`. May overwrite z.

        >>> final = Final({"b_enc": torch.zeros(3)}, {"k": 1})
        >>> support, values = saes.architectures.architecture("topk").pairs(torch.tensor([[1.0, 3.0, -2.0]]), final)
        >>> support.columns.tolist(), values.tolist()
        ([1], [3.0])
        """
        return above(self.activate(z, final), 0.0)

    def fill(self, code: Float[Tensor, "n width"], z: Float[Tensor, "n width"], final: Final) -> None:
        """Write the latents of z into a matrix of zeros.

        The values are those of `activate`; of equal ones at the k-th place another may be chosen.

        Args:
            code: zeros, which receive the values of latents that fire.
            z: x W_enc; may be overwritten.
            final: tensors and settings of the autoencoder.

        >>> code, final = torch.zeros(1, 3), Final({"b_enc": torch.zeros(3)}, {"k": 1})
        >>> saes.architectures.architecture("topk").fill(code, torch.tensor([[1.0, 3.0, -2.0]]), final)
        >>> code.tolist()
        [[0.0, 3.0, 0.0]]
        """
        support, values = self.pairs(z, final)
        support.put(values, code)

    def start(self, quantile: Float[Tensor, " width"]) -> Weights:
        """Return initial values of its own parameters.

        Args:
            quantile: (width,) value that x·encoder exceeds on `start_density` of the inputs.

        Example:
            >>> saes.architectures.architecture("standard").start(torch.tensor([0.5, 1.0]))["b_enc"].tolist()
            [-0.5, -1.0]
        """
        return {"b_enc": torch.zeros_like(quantile)}

    def step(self, batch: Batch) -> StepResult:
        """Run the forward and backward pass of a batch.

        >>> weights = dict(encoder=torch.eye(2), decoder=torch.eye(2), b_enc=torch.zeros(2), b_dec=torch.zeros(2))
        >>> batch = Batch(x := torch.tensor([[3.0, 1]]), x, weights, Config(k=1, width=2), 0.0, None, False, Scratch())
        >>> saes.architectures.architecture("topk").step(batch).residual.tolist()
        [[0.0, -1.0]]
        """
        raise NotImplementedError
