"""Small transformers whose weights are matrices (instances, out, in): a weight is an edge.

No norms and no biases but the MLPs': what a matrix reads is a sum of what earlier matrices wrote. Names:
"embed", "position", "0.q", "0.k", "0.v", "0.o", "0.in", "0.bias", "0.out", "1.q", …, "unembed".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.errors import UsageError
from interp.toy.modular.wires import Wires
from interp.toy.networks import Weights, draw

NEGATIVE = -1e9
"""Score of a key that may not be attended to."""


@dataclass(frozen=True)
class Shape:
    """Sizes of a small transformer.

    Inputs are tokens if `tokens`, else vectors of `inputs` numbers.
    """

    inputs: int
    outputs: int
    length: int
    width: int = 32
    heads: int = 4
    mlp: int = 64
    layers: int = 1
    tokens: bool = True

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise UsageError(f"width is {self.width}; it must be a multiple of the {self.heads} heads.")


@dataclass
class Ablation:
    """Weights that are cut, and the values that replace their inputs.

    A cut edge carries its mean over the data.
    """

    masks: Weights
    means: dict[str, Float[Tensor, "instances length inputs"]] = field(default_factory=dict)


def transformer(shape: Shape, seeds: Sequence[int]) -> Weights:
    """Return normal weights of deviation 1 / sqrt(inputs of the matrix).

    Those that write to the residual stream are damped.
    """
    d, damp = shape.width, (2 * shape.layers) ** -0.5
    shapes: dict[str, tuple[tuple[int, ...], float]] = {
        "embed": ((d, shape.inputs), 0.5 if shape.tokens else shape.inputs**-0.5),
        "position": ((d, shape.length), 0.3),
    }
    for layer in range(shape.layers):
        for name in ("q", "k", "v"):
            shapes[f"{layer}.{name}"] = ((d, d), d**-0.5)
        shapes[f"{layer}.o"] = ((d, d), damp * d**-0.5)
        if shape.mlp:
            shapes[f"{layer}.in"] = ((shape.mlp, d), (2 / d) ** 0.5)
            shapes[f"{layer}.bias"] = ((shape.mlp,), 0.0)
            shapes[f"{layer}.out"] = ((d, shape.mlp), damp * shape.mlp**-0.5)
    shapes["unembed"] = ((shape.outputs, d), d**-0.5)
    return draw(shapes, seeds)


def transformer_wires(shape: Shape) -> tuple[Wires, ...]:
    """Return the wires between the layers of a transformer.

    Layers are "inputs", "residual", each block's "qk", "v" and "mlp", and "outputs".

    A dimension of queries and its partner of keys are one neuron, as are one of values and what the head writes from.
    """
    wires = [Wires("embed", "inputs", "residual")]
    for layer in range(shape.layers):
        wires += [Wires(f"{layer}.{name}", "residual", f"{layer}.qk") for name in ("q", "k")]
        wires += [Wires(f"{layer}.v", "residual", f"{layer}.v"), Wires(f"{layer}.o", f"{layer}.v", "residual")]
        if shape.mlp:
            wires += [
                Wires(f"{layer}.in", "residual", f"{layer}.mlp"),
                Wires(f"{layer}.out", f"{layer}.mlp", "residual"),
            ]
    return (*wires, Wires("unembed", "residual", "outputs"))


def run_transformer(
    weights: Weights,
    x: Int[Tensor, "batch length"] | Float[Tensor, "instances batch length inputs"],
    shape: Shape,
    *,
    ablation: Ablation | None = None,
    reads: dict[str, Tensor] | None = None,
    writes: dict[str, Tensor] | None = None,
) -> Float[Tensor, "instances batch length outputs"]:
    """Return the outputs at every position, under a causal mask.

    Args:
        weights: As `transformer` makes them.
        x: Token ids, the same for all instances, or vectors.
        shape: Sizes.
        ablation: y = (M ∘ W) x + ((1 − M) ∘ W) x̄ in place of y = W x, for the masks and means given.
        reads: Filled with what every matrix reads, (instances, batch, length, inputs).
        writes: Filled with what every head writes, "0.heads": (instances, batch, length, heads, width).
    """

    def linear(name: str, value: Tensor) -> Tensor:
        if reads is not None:
            reads[name] = value.detach()
        matrix, (count, batch, length, _) = weights[name], value.shape
        if ablation is None or name not in ablation.masks:
            return torch.bmm(value.reshape(count, batch * length, -1), matrix.transpose(1, 2)).view(
                count, batch, length, -1
            )
        mask, mean = ablation.masks[name], ablation.means[name]
        result = torch.bmm(value.reshape(count, batch * length, -1), (mask * matrix).transpose(1, 2))
        cut = torch.bmm(mean, ((1 - mask) * matrix).transpose(1, 2))
        return result.view(count, batch, length, -1) + cut.unsqueeze(1)

    residual = linear("embed", _inputs(x, shape, len(weights["embed"]))) + _positions(weights, x)
    for layer in range(shape.layers):
        q, k, v = (linear(f"{layer}.{name}", residual) for name in ("q", "k", "v"))
        mixed = _attend(q, k, v, shape.heads)
        if writes is not None:
            writes[f"{layer}.heads"] = _head_writes(mixed, weights[f"{layer}.o"], shape.heads)
        residual = residual + linear(f"{layer}.o", mixed)
        if shape.mlp:
            hidden = linear(f"{layer}.in", residual) + weights[f"{layer}.bias"][:, None, None]
            residual = residual + linear(f"{layer}.out", hidden.relu())
    return linear("unembed", residual)


def _inputs(x: Tensor, shape: Shape, count: int) -> Float[Tensor, "instances batch length inputs"]:
    if not shape.tokens:
        return x.expand(count, -1, -1, -1)
    return torch.nn.functional.one_hot(x, shape.inputs).float().expand(count, -1, -1, -1)


def _positions(weights: Weights, x: Tensor) -> Float[Tensor, "instances 1 length width"]:
    """Return the position embedding, the same for all inputs.

    As a bias, it does not change with a cut.
    """
    length = x.shape[1] if x.ndim == 2 else x.shape[-2]
    return weights["position"][:, :, :length].transpose(1, 2).unsqueeze(1)


def _attend(q: Tensor, k: Tensor, v: Tensor, heads: int) -> Float[Tensor, "instances batch length width"]:
    count, batch, length, width = q.shape
    split = [t.view(count * batch, length, heads, width // heads).transpose(1, 2) for t in (q, k, v)]
    mixed = torch.nn.functional.scaled_dot_product_attention(split[0], split[1], split[2], is_causal=True)
    return mixed.transpose(1, 2).reshape(count, batch, length, width)


def _head_writes(mixed: Tensor, o: Tensor, heads: int) -> Float[Tensor, "instances batch length heads width"]:
    count, batch, length, width = mixed.shape
    return torch.einsum(
        "ibthk,iwhk->ibthw", mixed.view(count, batch, length, heads, -1), o.view(count, width, heads, -1)
    )
