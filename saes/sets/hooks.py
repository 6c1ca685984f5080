"""Input and output hooks of a set, from patterns such as `blocks.*.mlp`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from interp.errors import UsageError, nearest, require

PARTS = {
    "mlp": "hook_mlp_out",
    "attn": "hook_attn_out",
    "resid_pre": "hook_resid_pre",
    "resid_mid": "hook_resid_mid",
    "resid_post": "hook_resid_post",
}
"""Short names of a block's hooks; an autoencoder reads and writes the hook."""
READ_BY_MLP = "mlp.hook_in"
BLOCK = re.compile(r"(blocks\.\d+)\.(.+)")


@dataclass(frozen=True)
class Ends:
    """Input and output hook of one dictionary; the same for an autoencoder.

    >>> Ends("blocks.0.mlp.hook_in", "blocks.0.hook_mlp_out").hooks
    ('blocks.0.mlp.hook_in', 'blocks.0.hook_mlp_out')
    """

    reads: str
    writes: str

    @property
    def hooks(self) -> tuple[str, ...]:
        """Hooks of the training activations."""
        return tuple(dict.fromkeys((self.reads, self.writes)))


def resolve(patterns: str | Sequence[str], known: Sequence[str], variant: str) -> tuple[Ends, ...]:
    """Return the hooks of each dictionary of a set.

    They are in the order of `known`.

    Args:
        patterns: patterns of hook names ("blocks.*.hook_resid_post") or of a block's parts ("blocks.*.mlp", also attn,
            resid_pre, resid_mid, resid_post); `*`, `?` and `[0-5]` as in file names.
        known: the available hooks.
        variant: autoencoder; transcoder, from the input of an MLP to its output; or crosslayer, also to later outputs.

    Raises:
        UsageError: a pattern without a match, or a variant without sets.

    Example:
        >>> known = ("blocks.0.mlp.hook_in", "blocks.0.hook_mlp_out")
        >>> resolve("blocks.*.mlp", known, "transcoder")
        (Ends(reads='blocks.0.mlp.hook_in', writes='blocks.0.hook_mlp_out'),)
    """
    require(patterns, (str, list, tuple), "hooks")
    if variant not in ("autoencoder", "transcoder", "crosslayer"):
        raise UsageError(f"A set has autoencoders or transcoders, one for each hook, not a {variant}.")
    candidates = _candidates(known, variant)
    chosen: list[Ends] = []
    for pattern in (patterns,) if isinstance(patterns, str) else patterns:
        require(pattern, str, "each pattern of hooks")
        matched = [ends for name, ends in candidates.items() if fnmatchcase(name, pattern)]
        if not matched:
            available = ", ".join(list(candidates)[:4]) or "no hook that it could read"
            hint = nearest(pattern, candidates)
            raise UsageError(f'No {variant} fits the hooks "{pattern}"{hint}. There are {available}, ...')
        chosen += matched
    order = {hook: i for i, hook in enumerate(known)}
    return tuple(sorted(dict.fromkeys(chosen), key=lambda ends: order[ends.reads]))


def _candidates(known: Sequence[str], variant: str) -> dict[str, Ends]:
    """Return every possible dictionary by its input hook.

    The full and the short name of the hook are keys.
    """
    candidates = {}
    for name in known:
        block = BLOCK.fullmatch(name)
        if variant != "autoencoder":
            written = f"{block[1]}.{PARTS['mlp']}" if block and block[2] == READ_BY_MLP else ""
            if block is not None and written in known:
                candidates |= dict.fromkeys((name, f"{block[1]}.mlp"), Ends(name, written))
            continue
        candidates[name] = Ends(name, name)
        short = [part for part, hook in PARTS.items() if block is not None and block[2] == hook]
        if block is not None and short:
            candidates[f"{block[1]}.{short[0]}"] = Ends(name, name)
    return candidates
