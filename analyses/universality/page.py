"""Page of the study: heads, layers and latents of two models.

Heads are compared by behaviour, layers by similarity and latents by correlation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from analyses.universality.result import BEHAVIOURS
from interp.report import Figure, How, Page, Section, Table
from interp.report.blocks import folded
from interp.report.figures import heatmap, histogram, lines

if TYPE_CHECKING:
    from analyses.universality.result import Universality

LIMITATIONS = (
    "A behaviour score describes the attention of a head on one kind of text, not its function.",
    "CKA compares which texts and positions are close to each other. Two layers may agree in this and be used "
    "differently.",
    "The untrained control is one draw of one of the two models: a rough estimate of the similarity that comes from "
    "equal words alone.",
    "The similarity is estimated on few short texts; the intervals show with what uncertainty.",
)
SHOWN = 5


OPEN = {"heads": 1, "layers": 1, "latents": 1}
"""Number of blocks shown open, by section. All others are folded."""


def page(result: Universality) -> Page:
    """Return the page of a study of universality."""
    latents = () if result.matches is None else (_latents(result),)
    return Page(
        title=f"What {result.names[0]} and {result.names[1]} have in common",
        finding=result.finding(),
        status=(
            ("shared text", f"{result.n_text} texts, {result.per_text} positions each"),
            ("chance", f"{len(result.null)} random pairings of texts"),
        ),
        lead=(_best(result),),
        sections=folded((_heads(result), _layers(result), *latents), OPEN),
        limitations=LIMITATIONS,
        provenance=result.provenance,
        downloads=result.downloads(),
        kind="universality",
    )


def _best(result: Universality) -> Figure:
    """Return each layer's similarity to its best partner, with both controls."""
    return lines(
        "best",
        np.arange(len(result.best)),
        {
            "best partner": result.best,
            "second model untrained": result.untrained,
            "texts paired at random, 99th percentile": result.bar,
        },
        caption="Similarity of each layer to the most similar layer of the other model. Band: 95 % jackknife over "
        "texts.",
        alt="Three lines: the similarity by layer, and that of each control.",
        axes=(f"layer of {result.names[0]}", "CKA"),
        bands={"best partner": (result.low, result.high)},
    )


def _heads(result: Universality) -> Section:
    rows = []
    for behaviour in BEHAVIOURS:
        for name, scores in zip(result.names, result.heads, strict=True):
            at = scores.texts.index("repeated"), scores.names.index(behaviour)
            values, low, high = scores.scores[at], scores.low[at], scores.high[at]
            for flat in np.argsort(-values, axis=None, kind="stable")[:SHOWN]:
                head = np.unravel_index(int(flat), values.shape)
                numbers = (values[head], low[head], high[head], scores.chance[at])
                row = (f"L{head[0]}H{head[1]}", *map(float, numbers))
                rows.append((behaviour, name, *row))
    columns = ("behaviour", "model", "head", "attention", "low", "high", "even attention")
    text = "The five heads of each model with the largest scores, with 95 % bootstrap intervals over texts."
    table = Table(columns, tuple(rows), text, dict.fromkeys(columns[3:], ".3f"))
    counts = "; ".join(f"{name}: {a} and {b} heads" for name in BEHAVIOURS for a, b in (result.doing(name),))
    return Section(
        "heads",
        "Heads with the same behaviour",
        f"Heads whose interval lies above {result.config.least:g}: {counts}.",
        (table,),
        How(
            "Attention to the keys that a rule names, on random tokens of the model's own vocabulary, repeated once: "
            "the token before the query (previous), earlier copies of the query's token (duplicate), and the tokens "
            "after those copies (induction).",
            reference="Olsson et al. 2022 (arXiv 2209.11895)",
        ),
    )


def _layers(result: Universality) -> Section:
    first, second = result.cka.shape
    drawn = heatmap(
        "cka",
        result.cka,
        caption="Linear CKA, without bias, of the outputs of each pair of blocks on the same text.",
        alt=f"Heat map of similarity of {first} layers and {second} layers, up to {result.cka.max():.2f}.",
        rows=[f"{at}" for at in range(first)],
        columns=[f"{at}" for at in range(second)],
        axes=(f"layer of {result.names[0]}", f"layer of {result.names[1]}", "CKA"),
        signed=False,
        limits=(0, 1),
    )
    beyond = int(result.alike.sum())
    return Section(
        "layers",
        "Similarity of layers",
        f"{beyond} of {first} layers are more similar to a layer of {result.names[1]} than both controls: texts paired "
        "at random, and an untrained second model.",
        (drawn,),
        How(
            "Streams are divided by their length, as the norm before the next block does. Chance pairs each text with "
            "another at the same positions and takes the best layer too. Untrained: the entries of each weight matrix "
            "of the second model in random order.",
            "CKA = HSIC(K, L) / √(HSIC(K, K) · HSIC(L, L)),   K = X Xᵀ,  L = Y Yᵀ",
            "Kornblith et al. 2019 (arXiv 1905.00414); unbiased: Nguyen et al. 2020 (arXiv 2010.15327)",
        ),
    )


def _latents(result: Universality) -> Section:
    matches = result.matches
    assert matches is not None
    drawn = histogram(
        "latents",
        matches.best,
        caption=f"Largest correlation of each of {len(matches.best)} latents of {matches.first} with any of "
        f"{matches.second}; by chance 1 % exceed {matches.bar:.2f}.",
        alt=f"Histogram of correlations; {matches.share:.0%} exceed the chance level.",
        axes=("correlation", "latents"),
    )
    order = np.argsort(-matches.best, kind="stable")[:20]
    rows = tuple((int(matches.latents[i]), int(matches.partners[i]), float(matches.best[i])) for i in order)
    table = Table(("latent", "partner", "correlation"), rows, "The closest pairs.", {"correlation": ".3f"})
    return Section(
        "latents",
        "Latents that both dictionaries share",
        f"{matches.share:.0%} of the latents have a partner beyond chance (1 %).",
        (drawn, table),
        How(
            f"Latents active at {matches.least_active} or more of the shared positions; chance takes the best partner "
            "too, with texts paired at random.",
        ),
    )
