"""Devices for the parameters of models and autoencoders."""

from __future__ import annotations

import torch

from interp.errors import UsageError


def available(device: str | torch.device) -> torch.device:
    """Return the device with this name.

    Raises `UsageError` where this machine does not have it, or where it holds no values ("meta").

    >>> available("cpu")
    device(type='cpu')
    """
    try:
        place = torch.device(device)
        torch.empty(0, device=place)
    except (RuntimeError, AssertionError, TypeError) as error:
        raise UsageError(f'The device "{device}" is not available here; "cpu" always is.') from error
    if place.type == "meta":
        raise UsageError('The device "meta" holds no values, only shapes; "cpu" is always available.')
    return place
