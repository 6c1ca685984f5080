"""Cards of the dictionary page, one for each latent."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from analyses.dictionary.features import BINS, LOWEST, PER_OCTAVE, RARE
from interp.report.cards import Card, Cards, Histogram, Links, Ranking, Strip
from saes.evaluation.result import DENSE

if TYPE_CHECKING:
    from analyses.dictionary.features import Features

MAX_CHARACTERS = 280_000
"""Largest number of characters that the cards may take on a page."""
LISTED = 6000
"""Largest number of latents on a page, in the order of interest: more names would leave no space for examples."""
MOST = 1000
"""Largest number of cards with examples: a page has no space for more."""
COLUMNS = ("fires %", "largest", "mean", "variance %")
INHIBITORS = 3
CAPTION = (
    "One card a latent. The title has the tokens it fires most strongly on, how often it fires, its largest value, its "
    "mean value where it fires, and its share of the variance that all latents carry. In the examples the underlined "
    "token is the one in question and the depth of blue is the latent's value there, relative to the largest of the "
    "line; hatched tokens are those whose activation was not stored. In titles blanks are shown as ·, line ends as ↵. "
    "Search finds tokens in titles, examples and raised tokens, and latents by number. Keys: / to search, "
    "arrows between cards."
)


def deck(features: Features, asked: tuple[int, ...] = ()) -> Cards:
    """Return one card for each latent shown.

    Shown are the latents in `asked`, or the first `LISTED` in the order of interest. The first `MOST` have examples.

    >>> len(deck(study.features).cards)  # study = dictionary.run(sae, store, model=model)
    48
    """
    share = 100 * features.energy / max(float(features.energy.sum()), 1e-30)
    shown = asked or features.ranked()[:LISTED].tolist()
    cards = tuple(_card(features, i, float(share[i]), full=n < MOST) for n, i in enumerate(shown))
    return Cards(
        id="cards",
        cards=cards,
        columns=COLUMNS,
        caption=CAPTION,
        order="as requested" if asked else "interest",
        elsewhere="The examples of this latent are not on this page, which would be too large. They are in "
        "features.jsonl in the same folder, and interp sae features --latent draws a page of chosen latents.",
        what="latents",
        max_characters=MAX_CHARACTERS,
    )


def _card(features: Features, latent: int, share: float, *, full: bool) -> Card:
    fired, rows = int(features.fired[latent]), features.rows
    values = (100 * fired / rows, float(features.maximum[latent]), float(features.strength[latent]), share)
    name = f"latent {latent}"
    if not fired:
        bound = f"with 95 % confidence it fires on fewer than {300 / rows:.2g} % of such rows"
        return Card(name, (), values, (f"Dead: it fired on none of {rows:,} rows; {bound}.",))
    if not full:
        return Card(name, features.words(latent), values)
    return Card(
        name=name,
        words=features.words(latent),
        values=values,
        notes=_notes(fired, rows),
        strips=_strips(features, latent),
        rankings=_rankings(features, latent),
        links=_links(features, latent),
        histogram=_histogram(features, latent),
    )


def _notes(fired: int, rows: int) -> tuple[str, ...]:
    often = f"Fired on {fired:,} of {rows:,} rows."
    if fired > DENSE * rows:
        return (f"{often} Dense: on more than {DENSE:.0%} of them, so its examples hardly say what it stands for.",)
    if fired < RARE:
        return (f"{often} So few examples say little.",)
    return (often,)


def _strips(features: Features, latent: int) -> tuple[Strip, ...]:
    strips = []
    strongest_first = sorted(np.flatnonzero(features.band[latent] >= 0), key=lambda i: features.band[latent, i] > 0)
    for i in strongest_first:
        there = features.tokens[latent, i] >= 0
        tokens = tuple(features.vocabulary[token] for token in features.tokens[latent, i, there])
        label = features.quarter(latent, i)
        label = f"Drawn from the {label} of its firings" if label else "Strongest examples"
        values = tuple(features.values[latent, i, there].tolist())
        strips.append(Strip(label, tokens, values, int(there[: features.before].sum())))
    return tuple(strips)


def _rankings(features: Features, latent: int) -> tuple[Ranking, ...]:
    if features.no_logits:
        return ()
    mean = float(features.strength[latent])
    sides = (("Raises (logits at its mean)", 0), ("Lowers (logits at its mean)", 1))
    rankings = []
    for label, side in sides:
        tokens, values = zip(*features.promoted(latent, side), strict=True)
        rankings.append(Ranking(label, tokens, tuple(mean * value for value in values)))
    return tuple(rankings)


def _links(features: Features, latent: int) -> tuple[Links, ...]:
    near = tuple(
        (f"latent {other}", f"cosine {cosine:.2f}")
        for other, cosine in zip(
            features.nearest[latent].tolist(), features.nearest_cosine[latent].tolist(), strict=True
        )
    )
    links = [Links(f"Nearest decoder rows (chance {features.chance_cosine:.2f})", near)] if near else []
    if features.inhibitor_candidates.shape[1]:
        pushed = tuple(
            (f"latent {other}", f"{weight:+.2f}, {both} of {expected:.0f}".replace("-", "−"))
            for other, weight, both, expected in features.inhibitors(latent)[:INHIBITORS]
        )
        links += [Links("Inhibited by (weight, shared rows of expected)", pushed)] if pushed else []
    return tuple(links)


def _histogram(features: Features, latent: int) -> Histogram:
    """Return the histogram of a latent's values.

    Bins are a quarter of an octave wide, from the first to the last that is not empty.
    """
    counts = features.histogram[latent]
    low, high = np.flatnonzero(counts)[[0, -1]]
    edges = tuple(math.ldexp(1.0, LOWEST) * 2 ** (i / PER_OCTAVE) for i in (low, min(high + 1, BINS)))
    return Histogram("Its values (log scale), rows", edges, tuple(counts[low : high + 1].tolist()))
