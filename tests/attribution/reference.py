"""The frozen map once more, written slowly from the folded weights: the judge of the fast one.

`transposes` takes one covector back through one component, position by position; `grad_times_input` runs the frozen
map forward on embeddings and biases of its own and lets autograd do the rest. Neither shares code with the package's.
"""

from __future__ import annotations

import torch
from torch import Tensor

from interp.attribution.frozen import Frozen
from interp.attribution.results import Target
from interp.attribution.targets import resolve

Place = tuple[int, int]
"""A component's index and a position."""


def back_through(frozen: Frozen, index: int, position: int, covector: Tensor) -> tuple[dict[int, Tensor], float]:
    """(covector on the stream at each position read, the component's own constant)."""
    component, weights = frozen.layout.components[index], frozen.model.weights
    block, layer = frozen.blocks[component.layer], component.layer
    if component.kind == "head":
        head, gain = component.head, weights.attention(layer).post_gain
        if gain is not None:
            covector = covector * gain / block.attn_write_scale[position]
        values = weights.W_O(layer, head) @ covector
        read = {
            s: block.pattern[head, position, s] / block.attn_scale[s] * (weights.W_V(layer, head) @ values)
            for s in range(position + 1)
        }
        return read, float(weights.b_V(layer, head) @ values)
    mlp = weights.mlp(layer)
    if mlp.post_gain is not None:
        covector = covector * mlp.post_gain / block.mlp_write_scale[position]
    hidden = block.multiplier[position] * (mlp.W_out @ covector)
    return {position: mlp.W_in @ hidden / block.mlp_scale[position]}, float(mlp.b_in @ hidden)


def children(frozen: Frozen, index: int, position: int, covector: Tensor) -> tuple[dict[Place, float], float]:
    """(value of every component and position that wrote what this one read, its own constant)."""
    read, constant = back_through(frozen, index, position, covector)
    seen = frozen.layout.visible(frozen.layout.components[index])
    return {(c, s): float(frozen.writes[c, s] @ w) for s, w in read.items() for c in range(seen)}, constant


def paths(frozen: Frozen, target: Target) -> dict[tuple[Place | str, ...], float]:
    """Every complete path and its value, by brute force; a chain ends at an embedding, a bias or the word "bias"."""
    linear, components = resolve(frozen, target), frozen.layout.components
    values: dict[tuple[Place | str, ...], float] = {("bias",): linear.constant}

    def follow(chain: tuple[Place, ...], covector: Tensor) -> None:
        index, position = chain[-1]
        if not components[index].reads:
            values[chain] = float(frozen.writes[index, position] @ covector)
            return
        if not frozen.writes[index, position].any():
            return  # a component that writes nothing carries nothing
        read, constant = back_through(frozen, index, position, covector)
        values[(*chain, "bias")] = constant
        for s, w in read.items():
            for c in range(frozen.layout.visible(components[index])):
                follow((*chain, (c, s)), w)

    for c in range(linear.visible):
        follow(((c, linear.position),), linear.covector)
    return values


def grad_times_input(frozen: Frozen, target: Target) -> tuple[Tensor, dict[str, float]]:
    """(contribution of each embedding (n_embed, n_token), of each bias by name) by autograd through the frozen map."""
    model, spec, linear = frozen.model, frozen.model.spec, resolve(frozen, target)
    weights = model.weights
    embedded = frozen.writes[: frozen.layout.n_embed].clone().requires_grad_()
    biases: dict[str, Tensor] = {}

    def bias(name: str, value: Tensor) -> Tensor:
        biases[name] = value.clone().requires_grad_()
        return biases[name]

    x = embedded.sum(0)
    for layer in range(spec.n_layer):
        block, attention, mlp = frozen.blocks[layer], weights.attention(layer), weights.mlp(layer)
        write = bias(f"L{layer}.b_O", attention.b_O)
        b_V = bias(f"L{layer}.b_V", torch.stack([weights.b_V(layer, h) for h in range(spec.n_head)]))
        for head in range(spec.n_head):
            value = x / block.attn_scale[:, None] @ weights.W_V(layer, head) + b_V[head]
            write = write + block.pattern[head] @ value @ attention.W_O[head]
        if attention.post_gain is not None:
            write = write / block.attn_write_scale[:, None] * attention.post_gain
        middle = x + write
        if _target_reads(frozen, linear.visible, frozen.layout.mlp(layer)):
            x = middle
            break
        read = (x if spec.parallel else middle) / block.mlp_scale[:, None]
        hidden = (read @ mlp.W_in + bias(f"MLP{layer}.b_in", mlp.b_in)) * block.multiplier
        write = hidden @ mlp.W_out + bias(f"MLP{layer}.b_out", mlp.b_out)
        if mlp.post_gain is not None:
            write = write / block.mlp_write_scale[:, None] * mlp.post_gain
        x = middle + write
        if linear.visible == frozen.layout.start(layer + 1):
            break
    (x[linear.position] @ linear.covector).backward()
    assert embedded.grad is not None
    result = {name: float((b.grad * b.detach()).sum()) for name, b in biases.items() if b.grad is not None}
    return (embedded.grad * embedded).sum(-1).detach(), result | {"b_U": linear.constant}


def _target_reads(frozen: Frozen, visible: int, index: int) -> bool:
    return visible == index and not frozen.model.spec.parallel
