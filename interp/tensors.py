"""Arrays of results as tensors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor


def as_tensor(array: np.ndarray) -> Tensor:
    """Return an array as a torch tensor that shares its memory.

    torch is imported here and not with the module: results are loaded and drawn without it.

    >>> as_tensor(np.ones(2)).tolist()
    [1.0, 1.0]
    """
    import torch

    return torch.from_numpy(array)
