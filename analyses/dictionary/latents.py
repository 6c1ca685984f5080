"""Features of each latent, from its firings and its weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from analyses.dictionary import weights
from analyses.dictionary.examples import choose, texts
from analyses.dictionary.features import Features
from analyses.dictionary.firings import Collected, collect
from analyses.dictionary.passages import Corpus
from analyses.dictionary.result import Config
from analyses.dictionary.topk_buffer import Window
from interp.progress import Progress
from saes.evaluation.geometry import chance_cosine

if TYPE_CHECKING:
    from interp.model import Model
    from saes.autoencoder import SAE

CONTROLS = 4
"""Number of latents drawn at random for each latent, as a control: pairs often fire together less than expected."""
SCALED_ON = 8
"""Number of contexts on which the final norm's typical scale is measured."""
REPEATS = 4
"""Number of examples stored for each one shown, because the same text may occur in many places."""


@torch.no_grad()
def read(
    sae: SAE, corpus: Corpus, model: Model | None, config: Config, *, seed: int = 0, progress: Progress | None = None
) -> Features:
    """Compute the features of every latent.

    These are the examples it fires on, the tokens it raises and lowers, the latents of similar decoder rows and its
    possible inhibitors; see `Features`. Raises `UsageError` for activations that are not finite.
    """
    linked = sae.variant == "autoencoder" and sae.width > 1
    candidates = weights.inhibitors(sae, config.inhibitor_candidates) if linked else weights.no_inhibitors(sae)
    control = weights.random_latents(sae, CONTROLS if linked else 0, seed)
    collected = collect(
        sae,
        corpus,
        others=torch.cat([candidates.index, control], 1),
        window=Window(config.before, config.after),
        top=REPEATS * config.top,
        drawn=config.drawn,
        seed=seed,
        progress=progress,
    )
    if progress is not None:
        progress(1, 1, "what directions say")
    chosen, near = choose(collected, config), weights.similar(sae, 3)
    why = weights.why_no_logits(sae, model)
    raised, logits = _spoken(sae, model, corpus, config) if model is not None and not why else _silent()
    vocabulary, (tokens, raised) = texts(model, chosen.tokens, raised)
    fired, (strength, energy), common = _array(collected.fired), _means(sae, collected), _array(collected.common_rows)
    return Features(
        rows=collected.rows,
        contexts=corpus.contexts,
        before=config.before,
        vocabulary=vocabulary,
        fired=fired,
        strength=strength,
        energy=energy,
        histogram=_array(collected.histogram).astype(np.int32),
        tokens=tokens,
        values=chosen.values,
        band=chosen.band,
        where=chosen.where,
        logit_tokens=raised,
        logit_values=logits,
        no_logits=why,
        nearest=_array(near.index).astype(np.int32),
        nearest_cosine=_array(near.value).astype(np.float32),
        chance_cosine=chance_cosine(sae.width, sae.d_out, torch.Generator().manual_seed(seed), absolute=False),
        inhibitor_candidates=_array(candidates.index).astype(np.int32),
        inhibitor_weight=_array(candidates.value).astype(np.float32),
        common_rows=common[:, : candidates.index.shape[1]],
        controls=_array(control).astype(np.int32),
        control_common_rows=common[:, candidates.index.shape[1] :],
    )


def _spoken(
    sae: SAE, model: Model, corpus: Corpus, config: Config
) -> tuple[Int[np.ndarray, "width 2 token"], Float[np.ndarray, "width 2 token"]]:
    """Return the tokens each latent raises and lowers, with their logits."""
    passage = corpus.read(0, min(SCALED_ON, corpus.contexts))
    scale = weights.final_scale(model, passage.tokens.clamp_min(0))
    up, down = weights.logits(sae, model, scale, min(config.tokens, model.spec.d_vocab))
    tokens, values = torch.stack([up.index, down.index], 1), torch.stack([up.value, down.value], 1)
    return _array(tokens).astype(np.int32), _array(values).astype(np.float32)


def _silent() -> tuple[np.ndarray, np.ndarray]:
    return np.zeros((0, 2, 0), np.int32), np.zeros((0, 2, 0), np.float32)


def _means(sae: SAE, collected: Collected) -> tuple[Float[np.ndarray, " width"], Float[np.ndarray, " width"]]:
    """Return each latent's mean value where it fires, and variance carried."""
    strength = collected.total / collected.fired.clamp_min(1)
    energy = collected.squares / collected.rows * sae.W_dec.detach().double().square().sum(1)
    return _array(strength).astype(np.float32), _array(energy).astype(np.float32)


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().cpu().numpy()
