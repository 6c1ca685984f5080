"""Components that write to the residual stream, in writing order."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from jaxtyping import Bool

from interp.model import Spec

ModelKind = Literal["embed", "pos_embed", "head", "attn_bias", "mlp", "expert", "mlp_bias"]
DictionaryKind = Literal["latent", "error", "skip", "dictionary_bias"]
Kind = ModelKind | DictionaryKind


@dataclass(frozen=True)
class Component:
    """One writer.

    `layer` is -1 for embeddings, `head` for all but heads, `expert` for all but experts.

    Parts of a dictionary (`interp.attribution.dictionaries`) have a `site`, the name of what it takes apart, and a
    latent its number `index`. What a cross-layer latent writes in a layer after the one that it reads has the latter
    as its `origin`.
    """

    kind: Kind
    layer: int = -1
    head: int = -1
    site: str = ""
    index: int = -1
    expert: int = -1
    origin: int = -1

    @property
    def name(self) -> str:
        """Such as "embed", "L5H2", "MLP5", "L5E12", "L5.b_O", "MLP5.b_out", "MLP5.f123", "MLP5.f123→MLP7"."""
        reader = self.site if self.origin < 0 else f"MLP{self.origin}"
        names = {
            "head": f"L{self.layer}H{self.head}",
            "mlp": f"MLP{self.layer}",
            "expert": f"L{self.layer}E{self.expert}",
            "attn_bias": f"L{self.layer}.b_O",
            "mlp_bias": f"MLP{self.layer}.b_out",
            "latent": f"{reader}.f{self.index}" + (f"→{self.site}" if reader != self.site else ""),
            "dictionary_bias": f"{self.site}.b_dec",
        }
        return names.get(self.kind, f"{self.site}.{self.kind}" if self.site else self.kind)

    @property
    def reads(self) -> bool:
        """Whether its output depends on what other components wrote.

        Embeddings and biases do not.
        """
        return self.kind in ("head", "mlp", "expert", "latent", "error", "skip")


@dataclass(frozen=True)
class Layout:
    """All components of a model in writing order.

    What a reader can see is a prefix of the list.
    """

    spec: Spec

    @cached_property
    def components(self) -> tuple[Component, ...]:
        """All components in the order they write.

        Embeddings, then per block its heads, attention bias, MLP or experts, and MLP bias; absent ones left out.
        """
        parts = [Component("embed")]
        if self.spec.positional == "learned":
            parts.append(Component("pos_embed"))
        for layer in range(self.spec.n_layer):
            parts += [Component("head", layer, head) for head in range(self.spec.n_head)]
            parts += [Component("attn_bias", layer)] if self.spec.output_bias else []
            parts += [Component("expert", layer, expert=expert) for expert in range(self.spec.n_expert)]
            parts += [] if self.spec.n_expert else [Component("mlp", layer)]
            parts += [Component("mlp_bias", layer)] if self.spec.mlp_bias else []
        return tuple(parts)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Every component's name."""
        return tuple(component.name for component in self.components)

    @cached_property
    def reads(self) -> Bool[np.ndarray, " n_component"]:
        """Which components read the residual stream."""
        return np.array([component.reads for component in self.components])

    @cached_property
    def n_embed(self) -> int:
        """How many components precede the first block."""
        return 2 if self.spec.positional == "learned" else 1

    @cached_property
    def per_block(self) -> int:
        """How many components a block has."""
        return self.spec.n_head + self.n_mlp + self.spec.output_bias + self.spec.mlp_bias

    @property
    def n_mlp(self) -> int:
        """How many components stand for a block's MLP: itself, or its experts."""
        return max(1, self.spec.n_expert)

    def start(self, layer: int) -> int:
        """Return the index of the first component of a block.

        It is also how many write before it.
        """
        return self.n_embed + layer * self.per_block

    def mlp(self, layer: int) -> int:
        """Return the index of the MLP of a block.

        In a mixture of experts, that of its first expert.
        """
        return self.start(layer) + self.spec.n_head + self.spec.output_bias

    def bias(self, part: Literal["attention", "mlp"], layer: int) -> int:
        """Return the index of the output bias of attention or MLP."""
        return self.mlp(layer) + (-1 if part == "attention" else self.n_mlp)

    def visible(self, component: Component) -> int:
        """Return how many components a reader can see.

        Those before its block and, for a sequential MLP, its attention.
        """
        if component.kind in ("mlp", "expert") and not self.spec.parallel:
            return self.mlp(component.layer)
        return self.start(component.layer)

    def listed(self, visible: int, position: int) -> tuple[np.ndarray, tuple[Component, ...]]:  # noqa: ARG002
        """Return indices and components of what a reader at a position sees.

        `visible` components have written.
        """
        return np.arange(visible), self.components[:visible]
