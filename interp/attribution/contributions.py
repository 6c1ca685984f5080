"""Direct contributions: what each component writes straight into a target, with nothing in between."""

from __future__ import annotations

import numpy as np
import torch

from interp.attribution.frozen import Frozen
from interp.attribution.linearised import Linearised, Targets, check_linearised, straight
from interp.attribution.results import Attribution, Direct, Target, conserved
from interp.errors import UsageError, require


@torch.no_grad()
def direct(linearised: Linearised, target: Targets) -> Direct:
    """Compute what each component writes along the target's direction.

    contribution(c) = write(c) · covector, at the target's position: for a logit, write(c) · W_U[:, token] / s, with the
    final norm's scale s fixed at this input. Embedding, every head, every MLP and every bias term are apart, and the
    sum is the target's value. A direct contribution says nothing of what a component does through others: see
    `path_tree`, `orders`, `edges`.

    Raises:
        UsageError: a position outside the prompt.
        CheckFailedError: the sum misses the model's own value by more than the input's tolerance.

    >>> frozen = attribution.freeze(model, tokens)
    >>> result = direct(frozen, attribution.logit(model, " Paris"))
    >>> result.total, result.top(2)
    (0.596, (('MLP1', 1.662), ('L1H1', 0.831)))
    """
    check_linearised(linearised)
    linear = linearised.linear(target)
    seen, components = linearised.layout.listed(linear.visible, linear.position)
    values = straight(linearised, linear).cpu().numpy()[seen]
    labels = [component.name for component in components]
    kinds: list[str] = [component.kind for component in components]
    layers, heads = [component.layer for component in components], [component.head for component in components]
    if linear.constant != 0:
        values = np.append(values, np.asarray(linear.constant, values.dtype))
        labels, kinds, layers, heads = [*labels, "b_U"], [*kinds, "constant"], [*layers, -1], [*heads, -1]
    total = float(values.sum(dtype=np.float64))
    largest = max(float(np.abs(values).max()), linear.scale)
    error = conserved(total, linear.value, largest, linearised.tolerance, linear.name)
    return Direct(
        target=linear.name,
        unit=linear.unit,
        array=values,
        labels=tuple(labels),
        total=total,
        value=linear.value,
        error=error,
        kinds=tuple(kinds),
        layers=tuple(layers),
        heads=tuple(heads),
    )


@torch.no_grad()
def by_source(frozen: Frozen, target: Target, layer: int, head: int) -> Attribution:
    """Split one head's direct contribution over the positions it attends to.

    The parts sum to the head's entry in `direct`.

    contribution(s) = pattern[t, s] · (x_s W_V / s_norm + b_V) W_O · covector, t the target's position: what the head
    takes from position s, which is not how much it looks there.

    Args:
        frozen: a frozen input.
        target: what is attributed.
        layer: the layer of the head.
        head: the head.

    Returns:
        One number for each position, with the token of each as its label.

    Raises:
        UsageError: a contrast, or a head that does not exist or does not write before the target.

    >>> frozen = attribution.freeze(model, tokens)
    >>> result = by_source(frozen, attribution.logit(model, " Paris"), layer=1, head=0)
    >>> dict(zip(result.labels, result.array.round(3).tolist()))
    {'the': 0.0010000000474974513, ' tower': -0.2150000035762787, ' is': -0.003000000026077032, ' in': -0.0}
    """
    require(frozen, Frozen, "frozen")
    frozen.model.weights.W_O(layer, head)  # refuses a layer or head that is not there
    linear = frozen.linear(target)
    block, start = frozen.blocks[layer], frozen.layout.start(layer)
    index = start + head
    if index >= linear.visible:
        raise UsageError(f"L{layer}H{head} writes after the {linear.name} is read: it contributes nothing.")
    at, position = torch.tensor([head]), torch.tensor([linear.position])
    back, constant = frozen.pull.heads_at(layer, at, position, linear.covector[None])
    whole = block.pattern[head, linear.position].sum()  # less than one with a sink, which has no value
    read = frozen.writes[:start].sum(0) @ back[0] / block.attn_scale + constant / whole
    array = (block.pattern[head, linear.position] * read).cpu().numpy()
    total, value = float(array.sum(dtype=np.float64)), float(frozen.writes[index, linear.position] @ linear.covector)
    what = f"contribution of L{layer}H{head} to the {linear.name}"
    error = conserved(total, value, float(np.abs(array).max()), frozen.tolerance, what)
    return Attribution(what, linear.unit, array, frozen.labels, total, value, error)
