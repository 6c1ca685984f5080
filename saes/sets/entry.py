"""Description of one dictionary of a set, known without loading its weights."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from interp.errors import DamagedFileError, UsageError

if TYPE_CHECKING:
    from saes.autoencoder import SAE

EMBEDDING = -1


@dataclass(frozen=True)
class Entry:
    """Hooks and sizes of a dictionary.

    Attributes:
        reads: hook whose value it encodes.
        writes: hooks whose values it reconstructs: the input hook for an autoencoder, another one for a transcoder,
            those of its own and later layers for a part of a cross-layer transcoder.
        architecture: architecture, such as topk.
        variant: autoencoder, transcoder or crosslayer.
        width: number of latents.
        d_in: width of the input.
        d_out: width of the output.
        skip: whether it has a linear path W_skip from input to output.

    Example:
        >>> hook = "blocks.5.hook_resid_post"
        >>> Entry(hook, (hook,), "topk", "autoencoder", width=64, d_in=16, d_out=16).layer
        5
    """

    reads: str
    writes: tuple[str, ...]
    architecture: str
    variant: str
    width: int
    d_in: int
    d_out: int
    skip: bool = False

    @property
    def layer(self) -> int:
        """Block of the input hook; -1 for the embedding."""
        return layer_of(self.reads)

    @classmethod
    def of(cls, sae: SAE) -> Entry:
        """Return the description of `sae`.

        Raises `UsageError` if it names no hook or reads several.
        """
        if sae.variant == "crosscoder":
            raise UsageError("A crosscoder reads several hooks, so it cannot be the dictionary of one hook in a set.")
        for named, what, key in ((sae.reads, "reads", "hook_name"), (sae.writes, "writes", "hook_name_out")):
            if not named:
                fix = f'set sae.metadata["{key}"]'
                raise UsageError(f"A dictionary of a set must name the hook that it {what}: {fix}.")
        assert sae.reads is not None
        facts = (
            sae.architecture,
            sae.variant,
            sae.width,
            sae.d_in,
            sae.d_out,
            "W_skip" in dict(sae.named_parameters()),
        )
        return cls(sae.reads, sae.writes, *facts)


@dataclass(frozen=True, eq=False)
class Member:
    """Dictionary of a set that is loaded on first use.

    >>> from saes.sets.entry import Entry
    >>> Member(Entry("a", ("a",), "topk", "autoencoder", 8, 4, 4), read=lambda: sae).read()
    SAE(topk autoencoder, 8 latents of 4)
    """

    entry: Entry
    read: Callable[[], SAE]

    def load(self) -> SAE:
        """Load the weights; raise `DamagedFileError` if they do not match the entry."""
        sae = self.read()
        entry = Entry.of(sae)
        if entry != self.entry:
            raise DamagedFileError(f"The set lists {self.entry}, but its folder has {entry}: one of them was replaced.")
        return sae


def layer_of(hook: str) -> int:
    """Return the block of a hook, -1 for the embedding.

    Raises `UsageError` for other hooks.

    >>> layer_of("blocks.3.hook_mlp_out"), layer_of("hook_embed")
    (3, -1)
    """
    match = re.match(r"blocks\.(\d+)\.", hook)
    if match:
        return int(match[1])
    if hook == "hook_embed":
        return EMBEDDING
    raise UsageError(f'"{hook}" is not a hook of a block, such as blocks.3.hook_resid_post.')
