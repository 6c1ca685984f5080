"""What is known of one dictionary of a set without reading its weights."""

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
        reads: the hook whose value it encodes.
        writes: the hooks whose values its reconstruction stands for: the one it reads for an autoencoder, another one
            for a transcoder, those from its layer on for one part of a cross-layer transcoder.
        architecture: such as topk.
        variant: autoencoder, transcoder or crosslayer.
        width: number of latents.
        d_in: values an input.
        d_out: values an output.
        skip: whether it has a linear path W_skip from input to output.
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
        """The block that it reads; -1 for the embedding."""
        return layer_of(self.reads)

    @classmethod
    def of(cls, sae: SAE) -> Entry:
        """Describe `sae`; raise `UsageError` where it names no hook, or reads several."""
        if sae.variant == "crosscoder":
            raise UsageError("A crosscoder reads several hooks at once, so it is not the dictionary of one of them.")
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
    """A dictionary that is read when it is first asked for."""

    entry: Entry
    read: Callable[[], SAE]

    def load(self) -> SAE:
        """Read the weights; raise `DamagedFileError` where they are not those of the entry."""
        sae = self.read()
        found = Entry.of(sae)
        if found != self.entry:
            raise DamagedFileError(
                f"The set lists {self.entry}, but its folder holds {found}: one of them was replaced."
            )
        return sae


def layer_of(hook: str) -> int:
    """Return the block of a hook, -1 for the embedding; raise `UsageError` for a hook of neither.

    >>> layer_of("blocks.3.hook_mlp_out"), layer_of("hook_embed")
    (3, -1)
    """
    found = re.match(r"blocks\.(\d+)\.", hook)
    if found:
        return int(found[1])
    if hook == "hook_embed":
        return EMBEDDING
    raise UsageError(f'"{hook}" is not a hook of a block, such as blocks.3.hook_resid_post.')
