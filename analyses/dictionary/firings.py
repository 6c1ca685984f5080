"""One pass over the text that records the firings of latents.

It records where, how strongly and how often latents fire, and on how many rows two of them both fire.

Memory does not grow with the text. Nothing depends on how the text is cut into batches.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor

from analyses.dictionary.features import BINS, LOWEST, PER_OCTAVE
from analyses.dictionary.passages import Corpus, Passage
from analyses.dictionary.topk_buffer import Entries, TopBuffer, Window, uniform
from interp.cache.tensors import check_finite
from interp.progress import Progress

if TYPE_CHECKING:
    from saes.autoencoder import SAE

CODES = 2**24
"""Largest number of latent values in memory at once."""


@dataclass(frozen=True)
class Collected:
    """Counts and examples collected in one pass over the text.

    See `Features` for the fields that both have.

    Attributes:
        rows: number of activations read.
        total: Σ value.
        squares: Σ value².
        top: the strongest firings.
        drawn: firings drawn at random.
        common_rows: number of rows on which a latent and each of `others` in its row both fire.

    Example:
        >>> corpus = Corpus.of_tensors(torch.eye(4)[None], torch.arange(4)[None])  # one context of four tokens
        >>> others = torch.zeros(8, 1, dtype=torch.long)
        >>> collect(sae, corpus, others=others, window=Window(1, 1), top=2, drawn=2).rows
        4
    """

    rows: int
    fired: Int[Tensor, " width"]
    total: Float[Tensor, " width"]
    squares: Float[Tensor, " width"]
    histogram: Int[Tensor, "width bin"]
    top: TopBuffer
    drawn: TopBuffer
    common_rows: Int[Tensor, "width other"]


@torch.no_grad()
def collect(  # noqa: PLR0913
    sae: SAE,
    corpus: Corpus,
    *,
    others: Int[Tensor, "width other"],
    window: Window,
    top: int,
    drawn: int,
    seed: int = 0,
    rows: int | None = None,
    progress: Progress | None = None,
) -> Collected:
    """Encode the corpus once and collect counts and examples of every latent.

    Args:
        sae: the autoencoder.
        corpus: contexts with activations.
        others: for each latent, the other latents whose common firings with it are counted.
        window: positions stored around an example.
        top: number of strongest firings stored for each latent.
        drawn: number of firings drawn at random from each latent.
        seed: seed of the random draw.
        rows: number of activations encoded at a time; it does not change the result.
        progress: called with (contexts done, contexts in all, what is done).

    Returns:
        `Collected` with a count, sums and stored examples for each latent.

    Raises:
        NotFiniteError: activations that are not finite.

    Example:
        >>> corpus = Corpus.of_tensors(torch.eye(4)[None], torch.arange(4)[None])  # one context of four tokens
        >>> others = torch.zeros(8, 1, dtype=torch.long)  # sae = saes.load("folder"), which has 8 latents
        >>> collect(sae, corpus, others=others, window=Window(1, 1), top=2, drawn=2).fired.tolist()
        [1, 1, 1, 1, 0, 0, 0, 0]
    """
    device, width = sae.W_dec.device, sae.width
    size = max(1, CODES // width) if rows is None else rows
    best, sample = (TopBuffer(width, count, window, device) for count in (top, drawn))
    fired, count = torch.zeros(width, dtype=torch.long, device=device), 0
    total, squares = (torch.zeros(width, dtype=torch.float64, device=device) for _ in range(2))
    histogram = torch.zeros(width * BINS, dtype=torch.long, device=device)
    common_rows = torch.zeros_like(others)
    scratch = torch.zeros(0, width, device=device)
    for passage in (_moved(piece, device) for piece in corpus.passages(size)):
        check_finite(passage.x, f"activations of contexts from {passage.first} on")
        sparse = sae.sparse_codes(passage.x)
        if len(sparse) > len(scratch):
            scratch = torch.zeros(len(sparse), width, device=device)
        row, latent, value = sparse.rows, sparse.latents, sparse.values.float()
        codes = scratch[: len(sparse)]
        codes[row, latent] = value
        at = (passage.row >= 0).nonzero()[row]
        fired += latent.bincount(minlength=width)
        total += latent.bincount(value.double(), minlength=width)
        squares += latent.bincount(value.double().square(), minlength=width)
        histogram += (latent * BINS + _bin(value)).bincount(minlength=width * BINS)
        best.offer(Entries(latent, value.double(), at), passage, codes)
        place = (at[:, 0] + passage.first) * corpus.length + at[:, 1]
        sample.offer(Entries(latent, uniform(latent, place, seed), at), passage, codes)
        common_rows.index_add_(0, latent, (codes[row[:, None], others[latent]] > 0).long())
        codes[row, latent] = 0.0  # all other entries are still 0
        count += len(codes)
        if progress is not None:
            progress(passage.first + len(passage.tokens), corpus.contexts, "reading what latents fire on")
    return Collected(count, fired, total, squares, histogram.view(width, BINS), best, sample, common_rows)


def _bin(value: Float[Tensor, " e"]) -> Int[Tensor, " e"]:
    """Return the histogram bin of each value.

    There are `PER_OCTAVE` bins for each factor of two, from 2 ** LOWEST up.
    """
    return ((value.double().log2() - LOWEST) * PER_OCTAVE).floor().long().clamp(0, BINS - 1)


def _moved(passage: Passage, device: torch.device) -> Passage:
    return Passage(passage.first, passage.tokens.to(device), passage.row.to(device), passage.x.to(device))
