"""Study of all heads of a model.

It checks the factors, scores every head, ablates the best and looks closely at a few.
"""

from __future__ import annotations

import re

import numpy as np
import torch

from analyses.circuits.result import Circuits, Config, HeadView, Reading, TextPatterns
from interp import circuits
from interp.arguments import checked
from interp.circuits import embedding
from interp.circuits.attention_hooks import stacked_patterns
from interp.circuits.embedding import Streams
from interp.circuits.head_results import HeadScores
from interp.circuits.results import Composition, head_name
from interp.circuits.texts import natural, repeated
from interp.errors import UsageError
from interp.model import Model
from interp.progress import Progress, stages
from interp.provenance import Stopwatch

STEPS = (
    "the check",
    "head scores",
    "ablation",
    "query-key spectra",
    "composition",
    "embedding",
    "single heads",
    "done",
)
PAIRS = 40
N_OFFSET = 49
SHOWN = 8
"""Number of tokens in each half of the repeated text whose pattern is drawn."""
PROSE = 24
"""Number of tokens of the prose whose pattern is drawn."""
LISTED = 4
"""Largest number of heads of each score whose attention is shown."""
LOOKED_AT = (("induction", "repeated"), ("previous", "natural"), ("duplicate", "repeated"))
"""Scores, each with its text, whose strongest heads are shown."""


@checked
def run(
    model: Model,
    config: Config | None = None,
    *,
    command: str | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Circuits:
    """Compute the scores, composition and ablation of every head of a model.

    It takes a minute or two for SmolLM2 on two cores, mostly for the ablation's runs.

    Args:
        model: the model.
        config: settings of the study; `Config()` by default.
        command: the command that the user typed, for the provenance.
        seed: seed of the random texts and of the random sets of heads.
        progress: called with (steps done, steps in all, what is done).

    Returns:
        `Circuits` with the scores of all heads, their factors, and the effect of removing the strongest.

    Raises:
        UsageError: heads that do not exist, or texts that the model is too small for.
        UnsupportedModelError: a feature of the family that the formulas do not cover.
        CheckFailedError: heads rebuilt from their factors differ from the model's own.

    Example:
        >>> from analyses import circuits
        >>> study = circuits.run(model, circuits.Config(n_text=4, length=8, n_controls=2, ablated=1))
        >>> study.scores.copying.shape, study.ablation.heads
        ((3, 4), ('L1H1',))
    """
    config = Config() if config is None else config
    watch, step = Stopwatch(), stages(progress, STEPS)
    model = model.with_cached_weights()
    wanted = [_head(model, name) for name in config.heads]
    step(0)
    check = circuits.check(model)
    step(1)
    scores = circuits.head_scores(model, n_text=config.n_text, length=config.length, seed=seed)
    step(2)
    ablation = circuits.ablate_induction(
        model, scores, k=config.ablated, n_controls=config.n_controls, length=config.length, seed=seed + 1
    )
    step(3)
    definiteness = circuits.definiteness(model, seed=seed)
    step(4)
    compositions = tuple(map(_reading, circuits.compositions(model)))
    step(5)
    streams = embedding.streams(model)
    comparison = embedding.compare(model, streams, seed=seed, neighbours=_neighbours(model))
    collapse = embedding.collapse(model, streams)
    step(6)
    shown = {head: "asked for" for head in wanted} or _remarkable(scores)
    tokens = repeated(model, 2, min(SHOWN, config.length), seed)
    heads = _views(model, shown, scores, tokens, streams)
    listed = _listed(scores, shown)
    step(7)
    return Circuits(
        config=config,
        provenance=watch.provenance(command=command, seed=seed, **model.identity()),
        check=check,
        scores=scores,
        ablation=ablation,
        definiteness=definiteness,
        compositions=compositions,
        comparison=comparison,
        collapse=collapse,
        heads=heads,
        texts=_texts(model, tokens[:1], listed),
    )


def _reading(composition: Composition) -> Reading:
    scores = composition.array[composition.possible]
    quantiles = np.quantile(scores, np.linspace(0, 1, 101)).astype(np.float32)
    places = {name: i for i, name in enumerate(composition.labels)}
    top, z = composition.top(PAIRS), composition.z
    standard = tuple(float(z[places[writer], places[reader]]) for writer, reader, _ in top)
    return Reading(composition.kind, composition.offset, top, standard, quantiles, composition.baseline, len(scores))


def _remarkable(scores: HeadScores) -> dict[tuple[int, int], str]:
    """Return the most remarkable heads, each with the reason.

    They are the strongest induction and previous-token heads, and the extremes of copying.
    """
    reasons: dict[tuple[int, int], list[str]] = {}
    for name in ("induction", "previous"):
        reasons.setdefault(_at(scores.of(name), 1), []).append(f"strongest {name} score")
    reasons.setdefault(_at(scores.copying, 1), []).append("strongest copying")
    reasons.setdefault(_at(scores.copying, -1), []).append("strongest anti-copying")
    return {head: ", ".join(words) for head, words in reasons.items()}


def _at(values: np.ndarray, sign: int) -> tuple[int, int]:
    layer, head = np.unravel_index((sign * values).argmax(), values.shape)
    return int(layer), int(head)


def _listed(scores: HeadScores, shown: dict[tuple[int, int], str]) -> tuple[str, ...]:
    """Return the heads shown and those with the largest scores, each once."""
    strongest = [
        head for name, text in LOOKED_AT if text in scores.texts for head, *_ in scores.named(name, text)[:LISTED]
    ]
    return tuple(dict.fromkeys((*(head_name(*place) for place in shown), *strongest)))


def _texts(model: Model, repeated_text: torch.Tensor, heads: tuple[str, ...]) -> tuple[TextPatterns, ...]:
    """Return the attention of `heads` on repeated random text and on prose.

    Prose needs a tokenizer.
    """
    prose = natural(model)
    texts = {"random tokens, repeated": repeated_text} | ({} if prose is None else {"prose": prose[:1, :PROSE]})
    places = tuple(zip(*(_head(model, name) for name in heads), strict=True))
    return tuple(
        TextPatterns(
            title=title,
            tokens=model.labels(tokens[0]),
            heads=heads,
            patterns=stacked_patterns(model, tokens)[places[0], 0, places[1]].half().cpu().numpy(),
        )
        for title, tokens in texts.items()
    )


@torch.no_grad()
def _views(
    model: Model, shown: dict[tuple[int, int], str], scores: HeadScores, tokens: torch.Tensor, streams: Streams
) -> tuple[HeadView, ...]:
    patterns = stacked_patterns(model, tokens)[:, 0]
    return tuple(
        _view(model, (layer, head), why, scores, streams.vectors[layer], patterns[layer, head])
        for (layer, head), why in shown.items()
    )


def _view(
    model: Model, at: tuple[int, int], why: str, scores: HeadScores, stream: torch.Tensor, pattern: torch.Tensor
) -> HeadView:
    layer, head = at
    looks, moves = circuits.qk(model, layer, head), circuits.ov(model, layer, head)
    directions = moves.svd()
    offsets = torch.arange(min(N_OFFSET, model.spec.n_ctx), dtype=stream.dtype, device=stream.device)
    tokens = [moves.top_tokens(direction=i, k=8) for i in range(min(3, len(directions.values)))]
    return HeadView(
        name=head_name(layer, head),
        shown_for=why,
        spectrum=looks.spectrum.float().cpu().numpy(),
        singular_values=directions.values.astype(np.float32),
        stable_rank=directions.stable_rank,
        participation_rank=directions.participation_rank,
        copying=float(scores.copying[at]),
        pattern=pattern.float().cpu().numpy().round(4),
        offsets=offsets.cpu().numpy(),
        profile=circuits.positional_profile(looks, stream, offsets).float().cpu().numpy(),
        tokens=tuple(tokens),
    )


def _head(model: Model, name: str) -> tuple[int, int]:
    match = re.fullmatch(r"L(\d+)H(\d+)", name)
    if match is None:
        raise UsageError(f'"{name}" names no head: write layer and head as L5H2.')
    layer, head = int(match[1]), int(match[2])
    model.weights.W_Q(layer, head)  # raises an error with the valid layers and heads if these do not exist
    return layer, head


def _neighbours(model: Model) -> int:
    return min(10, model.spec.d_vocab - 1)
