"""Attributions from one backward sweep: by token, by order, by edge."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from interp.attribution.linearised import (
    Linear,
    Linearised,
    Part,
    Targets,
    bias_write,
    check_linearised,
    start_of,
    straight,
    sweep,
)
from interp.attribution.results import Edges, Orders, Sources, conserved
from interp.errors import CheckFailedError, UsageError, whole


@torch.no_grad()
def sources(linearised: Linearised, target: Targets) -> Sources:
    """Attribute the target to every input token, position embedding and bias.

    Sums over all paths at once:

        contribution(t) = embedding_t · g_t

    with g the target's covector carried back through every component: gradient times input of a map that is linear, so
    that the contributions sum to the target exactly. Of a contrast, what enters is the difference of two tokens, and
    they sum to the difference of the target.

    Raises:
        UsageError: a position outside the prompt.
        CheckFailedError: the sum misses the model's value.

    >>> result = sources(attribution.freeze(model, tokens), attribution.logit(model, " Paris"))
    >>> result.total, result.by_token().round(3)
    (0.596, array([0.194, 0.255, 0.163, 0.109], dtype=float32))
    """
    check_linearised(linearised)
    linearised = linearised.base
    linear, pull = linearised.linear(target), linearised.pull
    biases: dict[str, float] = {}

    def step(part: Part, layer: int, covectors: Tensor) -> Tensor:
        back, constant = pull.attention(layer, covectors) if part == "attention" else pull.mlp(layer, covectors)
        biases[pull.constant_name(part, layer)] = float(constant.sum())
        written = bias_write(linearised, part, layer)
        if written is not None:
            biases[written[0]] = float((covectors * written[1]).sum())
        return back

    covectors = sweep(linearised, linear.visible, start_of(linearised, linear), step)
    embedded = torch.einsum("...tm,c...tm->ct", covectors, linearised.writes[: linearised.layout.n_embed]).cpu().numpy()
    biases["b_U"] = linear.constant
    used = {name: value for name, value in biases.items() if value != 0}
    labels = [f"{name}@{t}" for name in ("embed", "pos_embed")[: len(embedded)] for t in range(linearised.n_token)]
    array = np.concatenate([embedded.flatten(), np.array(list(used.values()), embedded.dtype)])
    total = float(array.sum(dtype=np.float64))
    error = conserved(
        total, linear.value, max(float(np.abs(array).max()), linear.scale), linearised.tolerance, linear.name
    )
    return Sources(
        linear.name, linear.unit, array, (*labels, *used), total, linear.value, error, tokens=linearised.labels
    )


@torch.no_grad()
def orders(
    linearised: Linearised, target: Targets, *, count: Literal["all", "heads"] = "all", max_order: int | None = None
) -> Orders:
    """Attribute the target by how many components its paths traverse.

    Order 0 is what embeddings and output biases write straight into the target; order n the sum over every chain of n
    components. One sweep carries a covector for each order: g_n ← g_n + pull(g_{n−1}). Chains so long that their
    covectors are below the rounding of the largest are not followed further (see `_above_rounding`).

    Args:
        linearised: a frozen input, or a contrast.
        target: what is attributed.
        count: "all" counts heads and MLPs, "heads" lets MLPs pass uncounted.
        max_order: gather this order and all above in one last entry, which is cheaper; exact all the same.

    Returns:
        The contribution of each order, which sum to the target.

    Raises:
        UsageError: an unknown `count` or a `max_order` below 1.
        CheckFailedError: as in `direct`.

    >>> result = orders(attribution.freeze(model, tokens), attribution.logit(model, " Paris"))
    >>> dict(zip(result.labels, result.array.round(3).tolist()))
    {'0': -0.169, '1': -0.084, '2': 0.675, '3': 0.348, '4': -0.107, '5': -0.070, '6': 0.002}
    """
    if count not in ("all", "heads"):
        raise UsageError(f'count must be "all" or "heads", not "{count}".')
    if max_order is not None:
        max_order = whole(max_order, "max_order", 1)
    check_linearised(linearised)
    linearised = linearised.base
    linear, pull = linearised.linear(target), linearised.pull
    longest = linearised.model.spec.n_layer * (2 if count == "all" else 1)
    n = min(longest, max_order or longest) + 1
    constants = torch.zeros(n, dtype=torch.float64)
    constants[0] = linear.constant

    def step(part: Part, layer: int, covectors: Tensor) -> Tensor:
        live = covectors[: _above_rounding(covectors)]
        back, constant = pull.attention(layer, live) if part == "attention" else pull.mlp(layer, live)
        by_order = constant.reshape(len(live), -1).sum(1).double().cpu()
        if part == "attention" or count == "all":
            back, by_order = _one_later(back, n), _one_later(by_order, n)
        constants[: len(by_order)] += by_order
        written = bias_write(linearised, part, layer)
        if written is not None:
            constants[: len(live)] += (live * written[1]).flatten(1).sum(1).double().cpu()
        return back

    covectors = sweep(linearised, linear.visible, start_of(linearised, linear)[None], step, _added)
    embedded = linearised.writes[: linearised.layout.n_embed]
    by_token = torch.einsum("o...tm,c...tm->ot", covectors, embedded).cpu().numpy()
    by_token = np.pad(by_token, ((0, n - len(by_token)), (0, 0)))
    array = by_token.sum(-1) + constants.numpy().astype(by_token.dtype)
    labels = [str(order) for order in range(n)]
    if n - 1 < longest:
        labels[-1] += " and more"
    total = float(array.sum(dtype=np.float64))
    error = conserved(
        total, linear.value, max(float(np.abs(array).max()), linear.scale), linearised.tolerance, linear.name
    )
    return Orders(
        linear.name, linear.unit, array, tuple(labels), total, linear.value, error, by_token, linearised.labels, count
    )


def _above_rounding(covectors: Float[Tensor, "n_order *pair n_token d_model"]) -> int:
    """Return how many orders to carry on.

    Those above have covectors shorter than 1/16 of a rounding of the longest: what they still add is lost in the
    rounding of what lower orders add by the same maps. A NaN is carried on.
    """
    lengths = covectors.flatten(1).norm(dim=1)
    below = lengths <= lengths.max() * torch.finfo(covectors.dtype).eps / 16
    return max(1, len(below) - int(below.flip(0).long().cumprod(0).sum()))


def _one_later(values: Tensor, n: int) -> Tensor:
    """Return the orders' values one row later.

    Row 0 is zero; of `n` rows the last gathers what overflows.
    """
    out = torch.cat([torch.zeros_like(values[:1]), values[: n - 1]])
    if len(values) == n:
        out[-1] += values[-1]
    return out


def _added(first: Tensor, second: Tensor) -> Float[Tensor, "n_order *pair n_token d_model"]:
    """Return the sum of two stacks of orders, whichever is longer."""
    short, long = sorted((first, second), key=len)
    out = long.clone()
    out[: len(short)] += short
    return out


@torch.no_grad()
def edges(linearised: Linearised, target: Targets) -> Edges:
    """Attribute the target to the edges between components.

    The flow of an edge is the sum of all paths that use it:

    flow(w → r) = Σ_t write(w)_t · (target's covector carried back to what r reads)_t, through r alone on the last step.
    What flows out of a component to all its readers is what flowed into it from all its writers and its own bias. A
    contrast's heads read through query, key and value apart ("L5H2.q"), and the three sum to what the head passes on.

    Raises `CheckFailedError` if what reaches the target misses its value, or a component does not conserve the flow.

    >>> result = edges(attribution.freeze(model, tokens), attribution.logit(model, " Paris"))
    >>> result.top(2)
    (("MLP1 → logit of ' Paris'", 1.662), ("L1H1 → logit of ' Paris'", 0.831))
    """
    check_linearised(linearised)
    linear = linearised.linear(target)
    if linearised.base is not linearised:
        from interp.attribution.dictionaries.edges import flows

        names, writers, flow, own = flows(linearised, linear)  # type: ignore[arg-type]
        return _edges(linearised, linear, writers, names, flow, own)
    rows = {linear.name: straight(linearised, linear).double().cpu().numpy()}
    own = {linear.name: linear.constant}

    def record(readers: Readers) -> None:
        flow = readers.flow(linearised).double().cpu().numpy()
        constants = readers.constants.reshape(-1, len(readers.names)).sum(0).tolist()
        for name, row, constant in zip(readers.names, flow, constants, strict=True):
            rows[name] = np.pad(row, (0, linear.visible - readers.visible))
            own[name] = constant

    visit_readers(linearised, linear, record)
    names, writers = tuple(reversed(rows)), linearised.layout.names[: linear.visible]
    flow = np.stack([rows[r] for r in names])
    return _edges(linearised, linear, writers, names, flow, np.array([own[r] for r in names]))


@dataclass(frozen=True)
class Readers:
    """Readers that see the same writers, with covectors on what each reads.

    `visible` is how many components write before them; `constants` are what their own biases add.
    """

    names: tuple[str, ...]
    visible: int
    covectors: Float[Tensor, "*pair n_token n_reader d_model"]
    constants: Float[Tensor, "*pair n_reader"]

    def flow(self, linearised: Linearised) -> Float[Tensor, "n_reader n_visible"]:
        """Compute the flow from every writer to every reader.

        Σ_t write(w)_t · covector(r)_t; of a batch of pairs the mean.
        """
        # As one product of two matrices, which einsum does not make of it.
        return self.covectors.movedim(-2, 0).flatten(1) @ linearised.writes[: self.visible].flatten(1).T


def visit_readers(
    linearised: Linearised, linear: Linear, visit: Callable[[Readers], None], *, grouped: bool = False
) -> None:
    """Call `visit` for every reader but the target, last block first.

    MLP or experts, and attention, of each block.

    One block's covectors are in memory at a time: n_pair · T · n_reader · d_model numbers. What flows straight into the
    target is `straight(linearised, linear)`.

    Args:
        linearised: a frozen input, or a contrast.
        linear: the target, as `linearised.linear(target)` gives it.
        visit: called with the readers of each part.
        grouped: for a contrast, keys and values that several query heads share are one reader ("L5KV0.k"), which is
            all a model with grouped queries has; otherwise each query head reads its key and value ("L5H2.k").

    >>> from interp import attribution
    >>> frozen = attribution.freeze(model, model.to_tokens("The cat"))
    >>> linear = frozen.linear(attribution.logit(model, "a"))
    >>> names = []
    >>> visit_readers(frozen, linear, lambda readers: names.extend(readers.names))
    >>> names[:3]
    ['MLP2', 'L2H0', 'L2H1']
    """
    layout, pull = linearised.layout, linearised.pull

    def step(part: Part, layer: int, covectors: Tensor) -> Tensor:
        if part == "mlp":
            visible = layout.start(layer) if linearised.model.spec.parallel else layout.mlp(layer)
            if linearised.model.spec.n_expert:
                names, apart, constants = pull.experts(layer, covectors)
                visit(Readers(tuple(names), visible, apart, constants))
                return apart.sum(-2)
            back, constant = pull.mlp(layer, covectors)
            visit(Readers((f"MLP{layer}",), visible, back[..., None, :], constant[..., None]))
            return back
        names, apart, constants = pull.readers(layer, covectors, grouped)
        visit(Readers(tuple(names), layout.start(layer), apart, constants))
        return apart.sum(-2)

    sweep(linearised, linear.visible, start_of(linearised, linear), step)


def _edges(
    linearised: Linearised,
    linear: Linear,
    writers: tuple[str, ...],
    readers: tuple[str, ...],
    flow: np.ndarray,
    own: np.ndarray,
) -> Edges:
    total = float(flow[-1].sum() + own[-1])
    error = conserved(
        total, linear.value, max(float(np.abs(flow[-1]).max()), linear.scale), linearised.tolerance, linear.name
    )
    out = dict(zip(writers, flow.sum(0), strict=True))
    inflow: dict[str, float] = {}
    for reader, row, constant in zip(readers[:-1], flow, own, strict=False):
        component = reader if reader in out else reader.rpartition(".")[0]
        inflow[component] = inflow.get(component, 0.0) + float(row.sum() + constant)
    gaps = [0.0, *(abs(out[component] - value) for component, value in inflow.items())]
    scale = np.max([abs(linear.value), np.abs(flow).max(), linear.scale, np.finfo(float).tiny])
    error = float(np.max([error, np.max(gaps) / scale]))
    if not error <= linearised.tolerance:
        raise CheckFailedError(f"The flow to the {linear.name} is not conserved: relative error {error:.2e}.")
    labels = tuple(f"{writer} → {reader}" for reader in readers for writer in writers)
    array = flow.flatten()
    return Edges(
        linear.name, linear.unit, array, labels, total, linear.value, error, readers=readers, writers=writers, own=own
    )
