"""What one backward sweep over a frozen input tells: contributions by input token, by number of components, by edge."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from interp.attribution.frozen import Frozen
from interp.attribution.pull import Part, Pull, bias_write, start_of, sweep
from interp.attribution.results import Edges, Orders, Sources, Target, conserved
from interp.attribution.targets import Linear, resolve
from interp.errors import CheckFailedError, UsageError


@torch.no_grad()
def sources(frozen: Frozen, target: Target) -> Sources:
    """The target by where it comes from: every input token, position embedding and bias, over all paths at once.

    contribution(t) = embedding_t · g_t, with g the target's covector carried back through every frozen component:
    gradient times input of the frozen map, which is linear, so that the contributions sum to the target exactly.

    Raises `UsageError` for a position outside the prompt, `CheckFailedError` if the sum misses the model's value.
    """
    linear, pull = resolve(frozen, target), Pull(frozen)
    biases: dict[str, float] = {}

    def step(part: Part, layer: int, covectors: Tensor) -> Tensor:
        back, constant = pull.attention(layer, covectors) if part == "attention" else pull.mlp(layer, covectors)
        biases[f"L{layer}.b_V" if part == "attention" else f"MLP{layer}.b_in"] = float(constant)
        written = bias_write(frozen, part, layer)
        if written is not None:
            biases[written[0]] = float((covectors * written[1]).sum())
        return back

    covectors = sweep(frozen, linear, start_of(frozen, linear), step)
    embedded = (covectors * frozen.writes[: frozen.layout.n_embed]).sum(-1).cpu().numpy()
    biases["b_U"] = linear.constant
    used = {name: value for name, value in biases.items() if value != 0}
    labels = [f"{name}@{t}" for name in ("embed", "pos_embed")[: len(embedded)] for t in range(frozen.n_token)]
    array = np.concatenate([embedded.flatten(), np.array(list(used.values()), embedded.dtype)])
    total = float(array.sum(dtype=np.float64))
    error = conserved(total, linear.value, float(np.abs(array).max()), frozen.tolerance, linear.name)
    return Sources(linear.name, linear.unit, array, (*labels, *used), total, linear.value, error, tokens=frozen.labels)


@torch.no_grad()
def orders(
    frozen: Frozen, target: Target, *, count: Literal["all", "heads"] = "all", max_order: int | None = None
) -> Orders:
    """The target by how many components its paths traverse, all orders at once.

    Order 0 is what embeddings and output biases write straight into the target; order n the sum over every chain of n
    components. One sweep carries a covector for each order: g_n ← g_n + pull(g_{n−1}).

    Args:
        frozen: the frozen input.
        target: what is attributed.
        count: "all" counts heads and MLPs, "heads" lets MLPs pass uncounted.
        max_order: gather this order and all above in one last entry, which is cheaper; exact all the same.

    Raises `UsageError` for an unknown `count` or a `max_order` below 1, `CheckFailedError` as in `direct`.
    """
    if count not in ("all", "heads"):
        raise UsageError(f'count must be "all" or "heads", not "{count}".')
    if max_order is not None and max_order < 1:
        raise UsageError(f"max_order must be at least 1, not {max_order}.")
    linear, pull = resolve(frozen, target), Pull(frozen)
    longest = frozen.model.spec.n_layer * (2 if count == "all" else 1)
    n = min(longest, max_order or longest) + 1
    constants = torch.zeros(n, dtype=torch.float64)
    constants[0] = linear.constant
    reached = 0

    def step(part: Part, layer: int, covectors: Tensor) -> Tensor:
        nonlocal reached
        live = covectors[: reached + 1]
        back, constant = pull.attention(layer, live) if part == "attention" else pull.mlp(layer, live)
        counts = part == "attention" or count == "all"
        reached = min(reached + counts, n - 1)
        constants.add_(_shifted(constant.double().cpu(), n, counts))
        written = bias_write(frozen, part, layer)
        if written is not None:
            constants[: len(live)] += (live * written[1]).sum((-1, -2)).double().cpu()
        return _shifted(back, n, counts)

    start = start_of(frozen, linear)
    start = torch.cat([start[None], start.new_zeros(n - 1, *start.shape)])
    covectors = sweep(frozen, linear, start, step)
    by_token = (covectors[:, None] * frozen.writes[: frozen.layout.n_embed]).sum((1, -1)).cpu().numpy()
    array = by_token.sum(-1) + constants.numpy().astype(by_token.dtype)
    labels = [str(order) for order in range(n)]
    if n - 1 < longest:
        labels[-1] += " and more"
    total = float(array.sum(dtype=np.float64))
    error = conserved(total, linear.value, float(np.abs(array).max()), frozen.tolerance, linear.name)
    return Orders(
        linear.name, linear.unit, array, tuple(labels), total, linear.value, error, by_token, frozen.labels, count
    )


def _shifted(values: Tensor, n: int, by_one: bool) -> Tensor:
    """The orders' values in `n` rows, each one row later if the part counts; the last row gathers what overflows."""
    out = values.new_zeros(n, *values.shape[1:])
    if not by_one:
        out[: len(values)] = values
        return out
    fits = min(len(values), n - 1)
    out[1 : fits + 1] = values[:fits]
    if len(values) > fits:
        out[-1] += values[-1]
    return out


@torch.no_grad()
def edges(frozen: Frozen, target: Target) -> Edges:
    """The flow between components: for every writer and reader, the sum of all paths that use the edge between them.

    flow(w → r) = Σ_t write(w)_t · (target's covector carried back to what r reads)_t, through r alone on the last step.
    What flows out of a component to all its readers is what flowed into it from all its writers and its own bias.

    Raises `CheckFailedError` if what reaches the target misses its value, or a component does not conserve the flow.
    """
    linear, pull, layout = resolve(frozen, target), Pull(frozen), frozen.layout
    rows: dict[str, np.ndarray] = {}
    own: dict[str, float] = {}

    def record(names: list[str], visible: int, back: Tensor, constants: Tensor) -> None:
        flow = torch.einsum("ctm,trm->rc", frozen.writes[:visible], back).double().cpu().numpy()
        for name, row, constant in zip(names, flow, constants.tolist(), strict=True):
            rows[name] = np.pad(row, (0, linear.visible - visible))
            own[name] = constant

    def step(part: Part, layer: int, covectors: Tensor) -> Tensor:
        if part == "mlp":
            back, constant = pull.mlp(layer, covectors)
            visible = layout.start(layer) if frozen.model.spec.parallel else layout.mlp(layer)
            record([f"MLP{layer}"], visible, back[:, None], constant[None])
            return back
        apart, constants = pull.heads(layer, covectors)
        names = [f"L{layer}H{head}" for head in range(frozen.model.spec.n_head)]
        record(names, layout.start(layer), apart, constants)
        return apart.sum(-2)

    to_target = frozen.writes[: linear.visible, linear.position] @ linear.covector
    rows[linear.name], own[linear.name] = to_target.double().cpu().numpy(), linear.constant
    sweep(frozen, linear, start_of(frozen, linear), step)
    names = tuple(reversed(rows))
    return _edges(frozen, linear, names, np.stack([rows[r] for r in names]), np.array([own[r] for r in names]))


def _edges(frozen: Frozen, linear: Linear, readers: tuple[str, ...], flow: np.ndarray, own: np.ndarray) -> Edges:
    writers = frozen.layout.names[: linear.visible]
    total = float(flow[-1].sum() + own[-1])
    error = conserved(total, linear.value, float(np.abs(flow[-1]).max()), frozen.tolerance, linear.name)
    out = dict(zip(writers, flow.sum(0), strict=True))
    gaps = [0.0, *(abs(out[r] - flow[i].sum() - own[i]) for i, r in enumerate(readers[:-1]))]
    scale = np.max([abs(linear.value), np.abs(flow).max(), np.finfo(float).tiny])
    error = float(np.max([error, np.max(gaps) / scale]))
    if not error <= frozen.tolerance:
        raise CheckFailedError(f"The flow to the {linear.name} is not conserved: relative error {error:.2e}.")
    labels = tuple(f"{writer} → {reader}" for reader in readers for writer in writers)
    array = flow.flatten()
    return Edges(
        linear.name, linear.unit, array, labels, total, linear.value, error, readers=readers, writers=writers, own=own
    )
