"""Buffer of the entries with the largest keys of every latent.

It is filled from a stream of entries.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from torch import Tensor

from analyses.dictionary.passages import Passage


@dataclass(frozen=True)
class Window:
    """Number of positions stored before and after a firing.

    >>> Window(before=14, after=6)
    Window(before=14, after=6)
    """

    before: int
    after: int

    @property
    def length(self) -> int:
        """Number of positions in all."""
        return self.before + 1 + self.after

    def cut(
        self, passage: Passage, codes: Float[Tensor, "n width"], at: Int[Tensor, "e 2"], latent: Int[Tensor, " e"]
    ) -> tuple[Int[Tensor, "e window"], Float[Tensor, "e window"]]:
        """Return the tokens and the latent's values around each position.

        `at` has (context, position). Entries are -1 and NaN beyond the context or what is stored.
        """
        place = at[:, 1:] + torch.arange(-self.before, self.after + 1, device=at.device)
        length = passage.tokens.shape[1]
        outside = (place < 0) | (place >= length)
        inside = place.clamp(0, length - 1)
        tokens = passage.tokens[at[:, :1], inside].masked_fill(outside, -1)
        row = passage.row[at[:, :1], inside].masked_fill(outside, -1)
        values = codes[row.clamp_min(0), latent[:, None]].masked_fill(row < 0, float("nan"))
        return tokens, values


@dataclass(frozen=True)
class Entries:
    """Firings of latents, in the order of the text.

    Each has its latent, the key that ranks it, and (context, position) in the passage.
    """

    latent: Int[Tensor, " e"]
    key: Float[Tensor, " e"]
    at: Int[Tensor, "e 2"]

    def __getitem__(self, chosen: Tensor) -> Entries:
        return Entries(self.latent[chosen], self.key[chosen], self.at[chosen])


@dataclass
class TopBuffer:
    """Buffer of the `count` entries with the largest keys of each latent.

    The largest comes first; of equal keys the earliest in the text.

    Attributes:
        width: number of latents.
        count: number of entries stored for each latent.
        window: positions stored around an entry.
        key: (width, count), minus infinity where there is none.
        where: (width, count, 2) context and position, -1 where there is none.
        tokens: (width, count, window).
        values: (width, count, window).
    """

    width: int
    count: int
    window: Window
    device: torch.device
    key: Tensor = field(init=False)
    where: Tensor = field(init=False)
    tokens: Tensor = field(init=False)
    values: Tensor = field(init=False)

    def __post_init__(self) -> None:
        shape, length = (self.width, self.count), self.window.length
        self.key = torch.full(shape, -torch.inf, dtype=torch.float64, device=self.device)
        self.where = torch.full((*shape, 2), -1, dtype=torch.int32, device=self.device)
        self.tokens = torch.full((*shape, length), -1, dtype=torch.int32, device=self.device)
        self.values = torch.full((*shape, length), torch.nan, device=self.device)

    def offer(self, entries: Entries, passage: Passage, codes: Float[Tensor, "n width"]) -> None:
        """Replace stored entries by larger ones."""
        entries = entries[entries.key > self.key[entries.latent, -1]]
        if not len(entries.key):
            return
        # By latent, and within one by key: both sorts are stable, so equal keys stay in the order of the text.
        order = entries.key.sort(descending=True, stable=True).indices
        order = order[entries.latent[order].sort(stable=True).indices]
        entries = entries[order]
        latents, owner, counts = entries.latent.unique_consecutive(return_inverse=True, return_counts=True)
        rank = torch.arange(len(owner), device=self.device) - (counts.cumsum(0) - counts)[owner]
        chosen = rank < self.count
        self._merge(latents, owner[chosen], rank[chosen], entries[chosen], passage, codes)

    def _merge(
        self, latents: Tensor, owner: Tensor, rank: Tensor, new: Entries, passage: Passage, codes: Tensor
    ) -> None:
        tokens, values = self.window.cut(passage, codes, new.at, new.latent)
        where = new.at + torch.tensor([passage.first, 0], device=self.device)
        key = torch.full((len(latents), self.count), -torch.inf, dtype=torch.float64, device=self.device)
        key[owner, rank] = new.key
        # Index, among the new entries, of the one at (latent, rank).
        number = torch.zeros_like(key, dtype=torch.long)
        number[owner, rank] = torch.arange(len(owner), device=self.device)
        both, order = torch.cat([self.key[latents], key], 1).sort(dim=1, descending=True, stable=True)
        order = order[:, : self.count]
        self.key[latents] = both[:, : self.count]
        fresh, old = order >= self.count, order.clamp_max(self.count - 1)
        source = number.gather(1, (order - self.count).clamp_min(0))
        for name, given in (("where", where), ("tokens", tokens), ("values", values)):
            state = getattr(self, name)
            before = state[latents[:, None], old]
            state[latents] = torch.where(fresh[..., None], given[source].to(state.dtype), before)


def uniform(latent: Int[Tensor, " e"], place: Int[Tensor, " e"], seed: int) -> Float[Tensor, " e"]:
    """Return a random number in [0, 1) for each firing.

    It depends only on the firing's place, its latent and `seed` (splitmix64). So the firings with the largest numbers
    are a draw without replacement that does not depend on the batches.

    >>> first, second = uniform(torch.tensor([0, 0]), torch.tensor([5, 6]), seed=0).tolist()
    >>> round(first, 3), round(second, 3)
    (0.59, 0.188)
    """
    start = (seed + 1) * 0x9E37_79B9_7F4A_7C15 % 2**64
    x = place * 1_000_003 + latent * 7_919 + (start - 2**64 if start >= 2**63 else start)
    for shift, factor in ((30, -4_658_895_280_553_007_687), (27, -7_723_592_293_110_705_685)):
        x = (x ^ _shifted(x, shift)) * factor
    return _shifted(x ^ _shifted(x, 31), 11).double() * 2.0**-53


def _shifted(x: Tensor, by: int) -> Tensor:
    """Shift right and fill with zeros, as for unsigned numbers."""
    return (x >> by) & ((1 << (64 - by)) - 1)
