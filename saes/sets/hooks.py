"""Which hooks a set reads and writes, from patterns such as `blocks.*.mlp`."""

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
"""Short names of what a block's hooks hold: of an autoencoder, what it reads and writes."""
READ_BY_MLP = "mlp.hook_in"
BLOCK = re.compile(r"(blocks\.\d+)\.(.+)")


@dataclass(frozen=True)
class Ends:
    """What one dictionary reads and what it writes: one hook for an autoencoder, two for a transcoder."""

    reads: str
    writes: str

    @property
    def hooks(self) -> tuple[str, ...]:
        """The hooks whose activations it is trained on."""
        return tuple(dict.fromkeys((self.reads, self.writes)))


def resolve(patterns: str | Sequence[str], known: Sequence[str], variant: str) -> tuple[Ends, ...]:
    """Return what each dictionary of a set reads and writes, in the order of `known`.

    Args:
        patterns: of hook names ("blocks.*.hook_resid_post"), or of a block's parts ("blocks.*.mlp", and attn,
            resid_pre, resid_mid, resid_post); `*`, `?` and `[0-5]` as in file names.
        known: the hooks there are.
        variant: autoencoder; transcoder: from the input of an MLP to its output; or crosslayer: likewise, and to later
            ones.

    Raises:
        UsageError: a pattern that matches nothing, or a variant that has no set.

    Example:
        >>> known = ("blocks.0.mlp.hook_in", "blocks.0.hook_mlp_out")
        >>> resolve("blocks.*.mlp", known, "transcoder")
        (Ends(reads='blocks.0.mlp.hook_in', writes='blocks.0.hook_mlp_out'),)
    """
    require(patterns, (str, list, tuple), "hooks")
    if variant not in ("autoencoder", "transcoder", "crosslayer"):
        raise UsageError(f"A set is of autoencoders or transcoders, one for each hook, not of a {variant}.")
    candidates = _candidates(known, variant)
    found: list[Ends] = []
    for pattern in (patterns,) if isinstance(patterns, str) else patterns:
        require(pattern, str, "each pattern of hooks")
        matched = [ends for name, ends in candidates.items() if fnmatchcase(name, pattern)]
        if not matched:
            held = ", ".join(list(candidates)[:4]) or "no hook that it could read"
            hint = nearest(pattern, candidates)
            raise UsageError(f'No {variant} fits the hooks "{pattern}"{hint}. There are {held}, ...')
        found += matched
    order = {hook: i for i, hook in enumerate(known)}
    return tuple(sorted(dict.fromkeys(found), key=lambda ends: order[ends.reads]))


def _candidates(known: Sequence[str], variant: str) -> dict[str, Ends]:
    """Every dictionary that could be trained, by the full name of what it reads and by the short name."""
    found = {}
    for name in known:
        block = BLOCK.fullmatch(name)
        if variant != "autoencoder":
            written = f"{block[1]}.{PARTS['mlp']}" if block and block[2] == READ_BY_MLP else ""
            if block is not None and written in known:
                found |= dict.fromkeys((name, f"{block[1]}.mlp"), Ends(name, written))
            continue
        found[name] = Ends(name, name)
        short = [part for part, hook in PARTS.items() if block is not None and block[2] == hook]
        if block is not None and short:
            found[f"{block[1]}.{short[0]}"] = Ends(name, name)
    return found
