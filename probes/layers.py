"""Layer numbers.

Layer l is the output of block l, and layer -1 the embedding.
"""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import Any, ClassVar

from interp.errors import UsageError
from interp.results import Result

EMBEDDING = -1
EMBED = "embed"
"""The other name of layer -1."""


def hook_of(layer: int) -> str:
    """Return the hook name of a layer.

    >>> hook_of(3), hook_of(-1)
    ('blocks.3.hook_resid_post', 'blocks.0.hook_resid_pre')
    """
    return "blocks.0.hook_resid_pre" if layer == EMBEDDING else f"blocks.{layer}.hook_resid_post"


def read_layer(layer: Any, n_layer: int) -> int:
    """Check a layer of a model and return its number.

    The model has `n_layer` blocks. Valid are -1 (the embedding, also "embed") to `n_layer - 1`. Raises `UsageError` for
    anything else.

    >>> read_layer("embed", n_layer=4)
    -1
    """
    if layer == EMBED:
        return EMBEDDING
    if isinstance(layer, bool) or not isinstance(layer, Integral) or not EMBEDDING <= int(layer) < n_layer:
        raise UsageError(
            f"Layer {layer!r} does not exist: layers are numbered from 0 to {n_layer - 1}, like the blocks, and the "
            'embedding is -1 or "embed".'
        )
    return int(layer)


def read_layers(layers: Any, n_layer: int) -> tuple[int, ...]:
    """Return the layer numbers of "all", one layer or several, without repetition.

    Raises `UsageError` for a layer that does not exist and for an empty list.

    >>> read_layers("all", n_layer=2)
    (-1, 0, 1)
    """
    if isinstance(layers, str) and layers == "all":
        return tuple(range(EMBEDDING, n_layer))
    several = layers if isinstance(layers, Sequence | range) and not isinstance(layers, str) else (layers,)
    if not several:
        raise UsageError(f'layers={layers!r} is empty: give "all", one layer or several.')
    return tuple(dict.fromkeys(read_layer(layer, n_layer) for layer in several))


class Layered(Result):
    """Base of results with layer numbers.

    In layout 1, layer 0 was the embedding and layer l the output of block l - 1.
    """

    layout: ClassVar[int] = 2

    @classmethod
    def upgrade(cls, values: dict[str, Any], layout: int) -> dict[str, Any]:
        """Return the fields of a file of layout 1, layers renumbered.

        >>> Layered.upgrade({"layers": (0, 1, 2)}, layout=1)
        {'layers': (-1, 0, 1)}
        """
        if layout != 1:
            return super().upgrade(values, layout)
        renumbered = {name: _one_less(values[name]) for name in ("layer", "layers") if name in values}
        return values | renumbered


def _one_less(layers: Any) -> Any:
    return tuple(layer - 1 for layer in layers) if isinstance(layers, tuple) else layers - 1
