"""Page of a study of heads.

It shows their attention, what removing them costs, how they compose, and single heads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from analyses.circuits.graph import explorer, table
from analyses.circuits.result import TextPatterns
from interp.report import Attention, AttentionText, Figure, HeadPattern, How, Page, Section, Table, visible
from interp.report.blocks import Block, folded
from interp.report.figures import bars, heatmap, lines

if TYPE_CHECKING:
    from analyses.circuits.result import Circuits, HeadView

MAPS = (
    ("induction", "repeated"),
    ("previous", "natural"),
    ("duplicate", "repeated"),
    ("positional", "repeated"),
)
"""Scores that are drawn, each on the text that shows it best; the download has every score on every text."""
LISTED = 12
LIMITATIONS = (
    "Scores describe where heads look on these texts. Only the ablation measures what the model loses without a head, "
    "and only on repeated text.",
    "Query-key and output-value maps leave out the scale of the norm before them: it is a positive number for each "
    "token and changes no ranking of tokens.",
    "Composition compares weights alone. A pair may compose strongly and never be used, because the output of the "
    "writer is small compared with the rest of the stream.",
    "Spectra and composition leave out the rotation unless they say otherwise; the check and the profiles include it.",
)


LEAD = ("induction", "repeated")
"""Score whose map is above all sections, and its text."""
SHOWN = {"scores": 1, "ablation": 1, "wiring": 1}
"""Number of blocks that are open in each section; all others are one click away."""


def page(result: Circuits) -> Page:
    """Return the whole report."""
    return Page(
        title=f"The heads of {result.provenance.model}",
        finding=result.finding(),
        status=_status(result),
        lead=(result.scores.figure(*LEAD),),
        sections=folded(
            (
                _scores(result),
                _ablation(result),
                _spectra(result),
                _wiring(result),
                _ends(result),
                *_heads(result),
            ),
            SHOWN,
        ),
        limitations=LIMITATIONS,
        provenance=result.provenance,
        downloads=result.downloads(),
        kind="circuits",
    )


def _status(result: Circuits) -> tuple[tuple[str, str], ...]:
    return (
        ("heads", str(result.scores.copying.size)),
        ("attention patterns", f"largest error {float(result.check.pattern.max()):.1e}"),
        ("residual writes", f"relative error {float(result.check.writes.max()):.1e}"),
        ("precision", result.provenance.dtype),
    )


def _scores(result: Circuits) -> Section:
    scores = result.scores
    maps = [scores.figure(name, text) for name, text in MAPS if text in scores.texts and (name, text) != LEAD]
    rows = [
        (head, name, text, *numbers)
        for name, text in MAPS
        if text in scores.texts
        for head, *numbers in scores.named(name, text)[:LISTED]
    ]
    table = Table(
        ("head", "score", "text", "mean", "low", "high"),
        tuple(rows),
        f"Heads whose whole 95 % interval lies above 0.3, at most {LISTED} of each score, strongest first.",
        dict.fromkeys(("mean", "low", "high"), ".3f"),
    )
    copying = heatmap(
        "copying",
        scores.copying,
        caption="Eigenvalue copying score of every head: Σ Re λ / Σ |λ| of the token-to-token output-value circuit. "
        "Near 1 attending to a token raises it, near −1 it lowers it; random weights give about 0.",
        alt="Layers by heads, between −1 and 1.",
        rows=[str(i) for i in range(scores.copying.shape[0])],
        columns=[str(i) for i in range(scores.copying.shape[1])],
        axes=("layer", "head", "score"),
        limits=(-1.0, 1.0),
    )
    named = scores.named("induction")
    claim = (
        f"Induction heads: {', '.join(head[0] for head in named)}."
        if named
        else "No head puts more than 0.3 of its attention on what followed earlier copies of a token."
    )
    how = How(
        "Attention as it leaves the model's own softmax, summed over the keys a rule names and averaged over the "
        "queries for which it names any: the token before (previous), earlier copies of the token (duplicate), what "
        "followed them (induction), the first token (first). Positional is the similarity of the patterns on two "
        "unrelated texts. Intervals are 95 % percentile bootstraps over texts.",
        "positional = 2⟨P−U, P'−U⟩ / (‖P−U‖² + ‖P'−U‖²), U uniform",
        "Olsson et al., In-context learning and induction heads (2022), arXiv 2209.11895",
    )
    return Section("scores", "What heads attend to", claim, (_viewer(result), table, *maps, copying), how)


def _ablation(result: Circuits) -> Section:
    cut = result.ablation
    labels = ["strongest induction heads", *(f"random set {i}" for i in range(len(cut.control)))]
    drawn = bars(
        "ablation-effects",
        labels,
        [cut.effect, *cut.control.tolist()],
        caption=f"Rise of the loss on the second half of repeated text when {len(cut.heads)} heads are set to "
        f"{cut.method}, in nats a token; with every head it is {cut.baseline:.2f}. No error bars: each bar is one set.",
        alt="The first bar against the random sets.",
        axes=("heads removed", "rise in loss (nats)"),
    )
    claim = (
        f"Without {', '.join(cut.heads)} the loss changes by {cut.effect:+.2f} nats, {cut.ratio:.1f} times the median "
        f"magnitude of {len(cut.control)} random sets of other heads of the same layers."
    )
    how = How(
        "The outputs of the heads before their output weights are set to zero while the model runs; the texts are new. "
        "A random set has as many heads in each layer as the chosen set."
    )
    return Section("ablation", "Loss without the induction heads", claim, (drawn, cut.table()), how)


def _spectra(result: Circuits) -> Section:
    spectra = result.definiteness
    shapes = sorted({(int(p), int(n)) for p, n in zip(spectra.positive.ravel(), spectra.negative.ravel(), strict=True)})
    one = f"every head has signature {shapes[0]}" if len(shapes) == 1 else f"heads have signatures {shapes}"
    claim = f"No head's query-key map is a metric: {one}."
    if any(negative == 0 for _, negative in shapes):
        claim = f"Some query-key maps are semidefinite: {one}."
    how = How(
        "Eigenvalues of the symmetric part of W_Q W_Kᵀ with gains folded and without the rotation, computed from "
        "matrices of twice the head's size. They are compared with random weights of the same shape.",
        "S = (M + Mᵀ)/2;  fraction = ‖S‖² / ‖M‖²;  share = Σ λ⁺ / Σ |λ|",
    )
    return Section("spectra", "Symmetry of the query-key maps", claim, (spectra.figure(),), how)


def _wiring(result: Circuits) -> Section:
    drawn = explorer(result)
    blocks: tuple[Block, ...] = (*((drawn,) if drawn else ()), table(result), _spread(result))
    best = max((pair for one in result.compositions for pair in one.pairs), key=lambda pair: pair[2])
    claim = f"The strongest pair is {best[0]} → {best[1]} with a score of {best[2]:.3f}."
    how = How(
        "Overlap of the writer's output space with the space that the reader's query (Q), key (K) or value (V) reads, "
        "relative to the two norms. The null rotates the writer's output space at random, which preserves the spectra "
        "of both maps: it is the composition expected from their spectra alone. Real heads share directions of the "
        "residual stream, so that many pairs lie far above or below the null: compare pairs by their order.",
        "score = ‖W_V W_O M‖ / (‖W_V W_O‖ ‖M‖);  random rotations: mean square 1/d_model",
        "Elhage et al., A Mathematical Framework for Transformer Circuits (2021)",
    )
    return Section("wiring", "Composition of heads", claim, blocks, how)


def _spread(result: Circuits) -> Figure:
    mean, spread = result.compositions[0].baseline
    return lines(
        "composition-quantiles",
        np.arange(101),
        {one.kind: one.quantiles for one in result.compositions},
        caption="Composition scores of all pairs with the writer in an earlier layer, n = "
        f"{result.compositions[0].n_possible} of each kind: percentiles of the score. "
        f"Randomly rotated, the same heads score {mean:.4f} ± {spread:.4f} (Q; standard deviation).",
        alt="Three rising lines of scores over the share of pairs.",
        axes=("pairs below (%)", "score"),
    )


def _ends(result: Circuits) -> Section:
    both = result.comparison
    kind = "one matrix" if both.tied else f"two, with mean cosine {both.cosine:.3f}"
    claim = f"Embedding and unembedding are {kind}; {both.overlap:.0%} of nearest tokens are shared."
    drawn = (both.figure(), both.table(), result.collapse.figure(), result.collapse.table())
    return Section("ends", "Embedding space", claim, drawn)


def _heads(result: Circuits) -> tuple[Section, ...]:
    return tuple(_one_head(view) for view in result.heads)


def _one_head(view: HeadView) -> Section:
    name = view.name.lower()
    profile = lines(
        f"{name}-profile",
        view.offsets,
        {"mean score": view.profile},
        caption="Mean score over all pairs of residual streams of the prose, by the distance of the key before the "
        "query, before softmax and softcap: the effect of distance alone.",
        alt="One line over the offsets.",
        axes=("offset (tokens)", "mean score"),
    )
    spectrum = lines(
        f"{name}-spectrum",
        np.arange(len(view.spectrum)),
        {"eigenvalue": view.spectrum},
        caption="Eigenvalues of the symmetric part of the query-key map, largest first.",
        alt="A line that falls from positive to negative.",
        axes=("rank", "eigenvalue"),
    )
    claim = (
        f"{view.name}: {view.shown_for}. Copying score {view.copying:+.2f}, stable rank {view.stable_rank:.1f} and "
        f"participation rank {view.participation_rank:.1f} of {len(view.singular_values)}."
    )
    blocks = (_directions(view), profile, spectrum)
    return Section(f"head-{name}", f"Head {view.name}", claim, blocks)


def _directions(view: HeadView) -> Table:
    """Return the table of tokens at both ends of each singular direction."""
    rows = tuple(
        (i, float(view.singular_values[i]), _words(one.promoted), _words(one.suppressed))
        for i, one in enumerate(view.tokens)
    )
    return Table(
        ("direction", "singular value", "writes towards", "or away from"),
        rows,
        f"Strongest singular directions of the output-value map of {view.name}, as the tokens whose unembedding is "
        f"{'nearest to what is written by cosine' if view.tokens[0].unit == 'cosine' else 'raised most'}. The sign of "
        "a direction is arbitrary: its two ends may be exchanged.",
        {"singular value": ".3f"},
    )


def _words(tokens: tuple[str, ...]) -> str:
    return "  ".join(map(visible, tokens))


def _viewer(result: Circuits) -> Attention:
    """Return the attention of the heads with the largest scores.

    It is shown on repeated text and on prose.
    """
    notes = {view.name: view.shown_for for view in result.heads}
    for name, text in reversed(MAPS[:3]):
        if text in result.scores.texts:
            notes |= {head: f"{name} {score:.2f}" for head, score, *_ in result.scores.named(name, text)}
    texts = tuple(
        AttentionText(
            one.tokens,
            tuple(
                HeadPattern(head, at, (), notes.get(head, "")) for head, at in zip(one.heads, one.patterns, strict=True)
            ),
            title=one.title,
        )
        for one in result.texts or (_untitled(result),)
    )
    return Attention(
        "attention",
        texts,
        "Attention of the heads with the largest scores, in shares from 0 to 1, from one token of the text to each. "
        "On repeated random tokens an induction head looks from a token to the one that followed its first occurrence.",
    )


def _untitled(result: Circuits) -> TextPatterns:
    """Return the patterns of a result that was saved without texts.

    They are those of the heads shown, with numbers in place of tokens.
    """
    patterns = np.stack([view.pattern for view in result.heads])
    tokens = tuple(map(str, range(patterns.shape[-1])))
    return TextPatterns("random tokens, repeated", tokens, tuple(view.name for view in result.heads), patterns)
