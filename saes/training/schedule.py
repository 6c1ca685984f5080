"""Learning rate and sparsity weight by step."""

from __future__ import annotations

from saes.config import Config


def lr(config: Config, step: int) -> float:
    """Linear rise over the first `lr_warmup` of the steps, linear fall to 0 over the last `lr_decay`."""
    rise = (step + 1) / max(config.lr_warmup * config.steps, 1)
    fall = (config.steps - step) / max(config.lr_decay * config.steps, 1)
    return config.lr * min(rise, fall, 1.0)


def sparsity(config: Config, step: int) -> float:
    """Linear rise over the first `sparsity_warmup` of the steps, then constant."""
    return config.sparsity_weight * min((step + 1) / max(config.sparsity_warmup * config.steps, 1), 1.0)
