"""Configuration of a harvest, in plain values; imports no torch."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from interp.errors import UsageError, nearest

ITEM_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
"""The number formats of a store, and the bytes of one number."""

EXCLUDED = ("first", "padding")
"""What is left out by default: position 0 of every context (the attention sink) and padding."""


@dataclass(frozen=True)
class Config:
    """Settings of a harvest.

    Attributes:
        hooks: transformer_lens names of hooks that hold one vector a position.
        context: tokens a context. Packed text is cut into contexts of exactly this many.
        batch_size: contexts in a forward pass. Values differ by float32 rounding between batch sizes, so a harvest is
            resumed with the one it was started with.
        dtype: of the stored numbers: float32, bfloat16 (three digits) or float16 (three digits, at most 65,504).
            What the model computes in is the model's own.
        exclude: "first" leaves out position 0 of every context, "padding" what fills a context that is shorter.
        pack: join documents and cut them into full contexts; False gives every document a context of its own, padded.
        prepend_bos: None follows the tokenizer's default. See `interp.cache.contexts` for what becomes of documents.
        max_tokens: stop after the last context that fits.
        max_gigabytes: (10^9 bytes) refuse a store that would be larger.
        shard_megabytes: (10^6 bytes) the most a shard takes; about three times that is needed in memory.

    >>> cache.Config(hooks=("blocks.1.hook_resid_post",), context=32, dtype="float16").exclude
    ('first', 'padding')
    """

    hooks: tuple[str, ...]
    context: int = 128
    batch_size: int = 16
    dtype: str = "float32"
    exclude: tuple[str, ...] = EXCLUDED
    pack: bool = True
    prepend_bos: bool | None = None
    max_tokens: int | None = None
    max_gigabytes: float = 20.0
    shard_megabytes: float = 64.0

    def __post_init__(self) -> None:
        if isinstance(self.hooks, str) or not self.hooks:
            raise UsageError('hooks is a tuple of at least one name, such as ("blocks.10.hook_resid_post",).')
        object.__setattr__(self, "hooks", tuple(dict.fromkeys(self.hooks)))
        object.__setattr__(self, "exclude", check_excluded(self.exclude))
        if self.dtype not in ITEM_BYTES:
            hint = nearest(str(self.dtype), ITEM_BYTES)
            raise UsageError(f'A store cannot hold "{self.dtype}"{hint}: choose one of {", ".join(ITEM_BYTES)}.')
        for field in fields(self):
            value = getattr(self, field.name)
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if number and not (math.isfinite(value) and value > 0):
                raise UsageError(f"{field.name} must be above zero, not {value}.")


def check_excluded(exclude: tuple[str, ...]) -> tuple[str, ...]:
    """Return `exclude` in its canonical order; raise `UsageError` for an unknown word."""
    for word in exclude:
        if word not in EXCLUDED:
            known = " and ".join(f'"{name}"' for name in EXCLUDED)
            raise UsageError(f'"{word}" cannot be excluded{nearest(word, EXCLUDED)}: what can be is {known}.')
    return tuple(name for name in EXCLUDED if name in exclude)
