"""Learning rate and sparsity weight by step."""

from __future__ import annotations

from saes.config import Config


def lr(config: Config, step: int) -> float:
    """Return the learning rate of a step.

    It has a linear warm-up, is constant, and decays linearly to 0.

    >>> lr(Config(lr=1.0, steps=100, lr_warmup=0.1, lr_decay=0.5), 50)
    1.0
    """
    rise = (step + 1) / max(config.lr_warmup * config.steps, 1)
    fall = (config.steps - step) / max(config.lr_decay * config.steps, 1)
    return config.lr * min(rise, fall, 1.0)


def sparsity(config: Config, step: int) -> float:
    """Return the sparsity weight of a step: linear warm-up, then constant.

    >>> sparsity(Config(architecture="standard", sparsity=2.0, steps=100, sparsity_warmup=0.1), 50)
    2.0
    """
    return config.sparsity_weight * min((step + 1) / max(config.sparsity_warmup * config.steps, 1), 1.0)
