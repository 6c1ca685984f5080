"""Examples of what each latent fires on.

They are its strongest firings with distinct texts, and one from each quarter of strength.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, Int

from analyses.dictionary.features import QUARTERS
from analyses.dictionary.firings import Collected
from analyses.dictionary.result import Config

if TYPE_CHECKING:
    from interp.model import Model


@dataclass(frozen=True)
class Chosen:
    """Chosen examples of every latent.

    The strongest come first, then one from each quarter of strength. See `Features` for the fields.
    """

    tokens: Int[np.ndarray, "width example window"]
    values: Float[np.ndarray, "width example window"]
    band: Int[np.ndarray, "width example"]
    where: Int[np.ndarray, "width example 2"]


def choose(collected: Collected, config: Config) -> Chosen:
    """Choose the examples of every latent.

    These are the strongest firings whose texts differ, and the middle one of each quarter of the firings drawn at
    random. The same sentence may occur in many places of a text: it is shown once, so that other examples fit too.
    """
    width, shown = collected.top.width, config.top + len(QUARTERS) - 1
    window = collected.top.window.length
    chosen = Chosen(
        np.full((width, shown, window), -1, np.int32),
        np.full((width, shown, window), np.nan, np.float32),
        np.full((width, shown), -1, np.int8),
        np.full((width, shown, 2), -1, np.int32),
    )
    best = _arrays(collected.top)
    drawn = _arrays(collected.drawn)
    for latent in np.flatnonzero(collected.fired.cpu().numpy()).tolist():
        texts_seen: set[bytes] = set()
        number = 0
        for at in np.flatnonzero(best.where[latent, :, 0] >= 0).tolist():
            text = best.tokens[latent, at].tobytes()
            if text not in texts_seen and number < config.top:
                texts_seen.add(text)
                _take(chosen, best, latent, at, number, 0)
                number += 1
        for quarter, at in _quarters(drawn, latent, config.before):
            if drawn.tokens[latent, at].tobytes() not in texts_seen:
                _take(chosen, drawn, latent, at, config.top + quarter - 1, quarter)
    return chosen


def texts(
    model: Model | None, *ids: Int[np.ndarray, " ..."]
) -> tuple[tuple[str, ...], tuple[Int[np.ndarray, " ..."], ...]]:
    """Return the texts of the tokens that occur, and each array renumbered.

    In the renumbered arrays an id is replaced by its index among the texts; -1 stays -1.
    """
    known = np.unique(np.concatenate([array.ravel() for array in ids]))
    known = known[known >= 0]
    if model is not None and model.has_tokenizer:
        words = tuple(model.to_str_tokens(torch.from_numpy(known)))
    else:
        words = tuple(f"#{token}" for token in known)
    numbers = [np.where(array < 0, -1, np.searchsorted(known, array)).astype(np.int32) for array in ids]
    return words, tuple(numbers)


def _quarters(drawn: Chosen, latent: int, before: int) -> list[tuple[int, int]]:
    """Return (quarter, index of its middle firing) for each quarter of strength.

    Quarters are counted from 1. Empty for a latent with fewer drawn firings than quarters.
    """
    there = np.flatnonzero(drawn.where[latent, :, 0] >= 0)
    order = there[np.argsort(drawn.values[latent, there, before], kind="stable")]
    if len(order) < len(QUARTERS) - 1:
        return []
    parts = np.array_split(order, len(QUARTERS) - 1)
    return [(quarter, int(part[len(part) // 2])) for quarter, part in enumerate(parts, 1)]


def _take(chosen: Chosen, source: Chosen, latent: int, at: int, place: int, band: int) -> None:
    chosen.tokens[latent, place] = source.tokens[latent, at]
    chosen.values[latent, place] = source.values[latent, at]
    chosen.where[latent, place] = source.where[latent, at]
    chosen.band[latent, place] = band


def _arrays(entries: object) -> Chosen:
    tokens, values, where = (getattr(entries, name).cpu().numpy() for name in ("tokens", "values", "where"))
    return Chosen(tokens, values, np.zeros(0), where)
