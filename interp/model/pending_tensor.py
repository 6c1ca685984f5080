"""A tensor that is computed when it is first used, for a run that stopped before its logits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map


def pending(
    compute: Callable[[], Tensor], *, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device
) -> Tensor:
    """Return a tensor of known shape that is computed when first used.

    `compute()` makes it at the first operation on it.

    >>> ones = pending(lambda: torch.ones(2), shape=(2,), dtype=torch.float32, device=torch.device("cpu"))
    >>> ones + 1
    tensor([2., 2.])
    """
    made = Tensor._make_wrapper_subclass(PendingTensor, shape, dtype=dtype, device=device)
    made.compute = compute
    made.computed = None
    return made


class PendingTensor(Tensor):
    """Tensor that is computed when first used, made by `pending`."""

    compute: Callable[[], Tensor]
    computed: Tensor | None

    def value(self) -> Tensor:
        """Return the tensor itself, computed if it has not been."""
        if self.computed is None:
            self.computed = self.compute()
        return self.computed

    def numpy(self, *, force: bool = False) -> Any:
        """Return the values as a numpy array, as `Tensor.numpy`."""
        return self.value().numpy(force=force)

    def tolist(self) -> Any:
        """Return the values as nested lists, as `Tensor.tolist`."""
        return self.value().tolist()

    def __array__(self, dtype: Any = None) -> Any:
        return self.value().__array__(dtype)

    def __repr__(self, *, tensor_contents: Any = None) -> str:
        return repr(self.value())

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        return self.value().clone()

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.value().__reduce_ex__(protocol)

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation on the computed tensor."""

        def computed(item: Any) -> Any:
            return item.value() if isinstance(item, PendingTensor) else item

        return func(*tree_map(computed, args), **tree_map(computed, kwargs or {}))
