"""Where the parameters of a model or an autoencoder may be."""

from __future__ import annotations

import torch

from interp.errors import UsageError


def available(device: str | torch.device) -> torch.device:
    """Return the device of that name; `UsageError` where this machine has none, or it holds no values ("meta")."""
    try:
        place = torch.device(device)
        torch.empty(0, device=place)
    except (RuntimeError, AssertionError, TypeError) as error:
        raise UsageError(f'The device "{device}" is not available here; "cpu" always is.') from error
    if place.type == "meta":
        raise UsageError('The device "meta" holds no values, only shapes; "cpu" is always available.')
    return place
