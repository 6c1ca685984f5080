"""Protocols of an input made linear: what was written, and its transposes.

`Frozen` (one run), `Contrast` (the difference of two) and `Features` (either, with dictionaries) are such inputs, and
every attribution takes any of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.attribution.components import Layout
from interp.attribution.results import Target
from interp.errors import UsageError, whole
from interp.model import Model

if TYPE_CHECKING:
    from interp.attribution.expand import Expander

Part = Literal["attention", "mlp"]
NodeKind = Literal["position", "component"]
Targets = Target | Sequence[Target]
"""One target; of a batch of pairs also one for each pair, whose mean is attributed."""


@dataclass(frozen=True)
class Linear:
    """Target of one input: value = x[position] · covector + constant.

    `value` is the model's own.

    `visible` is how many components have written to x, in the order of `Layout`. Of a batch of pairs there is a
    covector for each pair, divided by their number, so that sums over pairs are means. Errors are relative to `scale`
    at least: a difference of two numbers is known no better than the numbers.
    """

    name: str
    unit: str
    position: int
    visible: int
    covector: Float[Tensor, "*pair d_model"]
    constant: float
    value: float
    scale: float = 0.0


class Pull(Protocol):
    """Protocol of the transposed maps of an input's components.

    They carry covectors on what components write to the streams they read. Each also returns a constant: the
    component's own biases, as they reach the target.
    """

    def attention(self, layer: int, covectors: Tensor) -> tuple[Tensor, Tensor]:
        """Take covectors back through all heads of a layer.

        Covectors (…, n_token, d_model) at every position.
        """
        ...

    def mlp(self, layer: int, covectors: Tensor) -> tuple[Tensor, Tensor]:
        """Carry covectors back through the MLP of a layer.

        In a mixture of experts, through all of them.
        """
        ...

    def experts(self, layer: int, covectors: Tensor) -> tuple[list[str], Tensor, Tensor]:
        """Take covectors back through each expert that ran at any position.

        Returns names, covectors and constants as of `readers`.
        """
        ...

    def constant_name(self, part: Part, layer: int) -> str:
        """Return what a part's constant is called."""
        ...

    def readers(self, layer: int, covectors: Tensor, grouped: bool = False) -> tuple[list[str], Tensor, Tensor]:
        """Take covectors back through each reader of a layer's attention.

        Returns names, covectors (…, n_token, n_reader, d_model) and constants.

        A name is that of a head, or of a head and a branch of it such as "L5H2.q"; with `grouped`, branches that
        several heads share are one reader.
        """
        ...


class Layered(Protocol):
    """What a sweep over the layers needs to know of an input."""

    @property
    def model(self) -> Model:
        """The model."""
        ...

    @property
    def layout(self) -> Layout:
        """Its components."""
        ...


class Linearised(Layered, Protocol):
    """An input made linear.

    `writes` are what components write at each position; attributions are products of writes and covectors. A batch
    of inputs has a pair axis before the token axis.
    """

    @property
    def tokens(self) -> Int[Tensor, "*run n_token"]:
        """Its token ids."""
        ...

    @property
    def labels(self) -> tuple[str, ...]:
        """A name for each position."""
        ...

    @property
    def writes(self) -> Float[Tensor, "n_component *pair n_token d_model"]:
        """What each component writes, or by how much that differs."""
        ...

    def logits_at(self, position: int) -> Float[Tensor, "*run d_vocab"]:
        """Return the model's own logits at one position."""
        ...

    @property
    def n_token(self) -> int:
        """Number of positions."""
        ...

    @property
    def tolerance(self) -> float:
        """Relative error above which a decomposition raises."""
        ...

    @property
    def pull(self) -> Pull:
        """The components' transposes."""
        ...

    @property
    def base(self) -> Any:
        """The input without dictionaries, or the input itself if it has none.

        Totals, sources and orders are the same in it.
        """
        ...

    def position(self, position: int) -> int:
        """Return `position` counted from the start."""
        ...

    def linear(self, target: Targets) -> Linear:
        """Return the target as a linear function of the stream it reads."""
        ...

    def score_pairs(self, layer: int, head: int, query: int, key: int) -> tuple[Tensor, float, float]:
        """Return a score's part for each pair of writers.

        With the score and the least scale of its error.
        """
        ...

    def score_writers(self, layer: int, query: int, key: int) -> tuple[str, ...]:
        """Return the names of what writes before a score is computed.

        In the order of `score_pairs`, biases left out.
        """
        ...

    def expander(self, nodes: NodeKind, linear: Linear) -> Expander:
        """Return how the nodes of a path tree are taken back."""
        ...


def checked_position(position: int, n_token: int) -> int:
    """Return `position` counted from the start.

    Raises `UsageError` if the input does not have it.
    """
    position = whole(position, "A position")
    if not -n_token <= position < n_token:
        raise UsageError(f"Position {position} is outside the prompt, which has {n_token} tokens.")
    return position % n_token


def sweep(
    layered: Layered,
    visible: int,
    start: Tensor,
    step: Callable[[Part, int, Tensor], Tensor],
    add: Callable[[Tensor, Tensor], Tensor] = torch.add,
) -> Float[Tensor, "*batch n_token d_model"]:
    """Carry covectors on the residual stream from target to embeddings.

    `step(part, layer, covectors)` is called for the attention and the MLP of every block that is among the first
    `visible` components, last first, with the covectors on what that part writes; what it returns is added for the
    stream the part reads, by `add` of both. The result belongs to the stream before the first block.
    """
    parallel, layout = layered.model.spec.parallel, layered.layout
    covectors = start
    for layer in reversed(range(layered.model.spec.n_layer)):
        after_block = covectors
        if layout.mlp(layer) < visible:
            covectors = add(covectors, step("mlp", layer, after_block))
        if layout.start(layer) < visible:
            covectors = add(covectors, step("attention", layer, after_block if parallel else covectors))
    return covectors


def start_of(linearised: Linearised, linear: Linear) -> Float[Tensor, "*pair n_token d_model"]:
    """Return the target's covector at its position, zero elsewhere."""
    start = torch.zeros_like(linearised.writes[0])
    start[..., linear.position, :] = linear.covector
    return start


def straight(linearised: Linearised, linear: Linear) -> Float[Tensor, " n_visible"]:
    """Return what each component writes straight into the target."""
    writes = linearised.writes[: linear.visible, ..., linear.position, :]
    return torch.einsum("c...m,...m->c", writes, linear.covector)


def bias_write(
    linearised: Linearised, part: Part, layer: int
) -> tuple[str, Float[Tensor, "*pair n_token d_model"]] | None:
    """Return name and write of a part's bias.

    None for a model without.
    """
    spec, layout = linearised.layout.spec, linearised.layout
    if not (spec.output_bias if part == "attention" else spec.mlp_bias):
        return None
    index = layout.bias(part, layer)
    return layout.names[index], linearised.writes[index]


def check_linearised(value: object) -> None:
    """Raise `UsageError` for what neither `freeze` nor `contrast` nor `features` made."""
    if not callable(getattr(value, "linear", None)):
        raise UsageError(f"A linear input is made by freeze, contrast or features, not {type(value).__name__}.")
