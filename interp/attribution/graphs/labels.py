"""Labels of latents from their own weights: the tokens that a latent's direction raises most."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from interp.attribution.graphs.sources import Sources

if TYPE_CHECKING:
    from interp.attribution.dictionaries.features import Features

RAISED = 3
"""Tokens a label names."""


def raised(mixed: Features, sources: Sources, columns: np.ndarray) -> list[str]:
    """Return a label for each source.

    For a latent, the tokens that its direction raises most.

    The direction's sign is that of the latent's value (in a contrast it may be negative), the final norm's gain is
    applied and its scale, which is common to all tokens, is not.
    """
    labels = [""] * len(columns)
    latents = np.flatnonzero(sources.kind[columns] == "latent")
    for i in np.flatnonzero(sources.kind[columns] == "token"):
        labels[i] = mixed.labels[sources.position[columns[i]]]
    if not len(latents) or not mixed.model.has_tokenizer:
        return labels
    writes = []
    for i in latents:
        dictionary, index = sources.latent(int(columns[i]))
        writes.append(dictionary.total[index])
    W_U, _ = mixed.model.weights.unfolded_unembedding
    gain = mixed.model.weights.ln_final.gain.detach()
    for first in range(0, len(latents), 256):
        logits = torch.stack(writes[first : first + 256]) * gain @ W_U
        for i, top in zip(latents[first : first + 256], logits.topk(RAISED, dim=1).indices, strict=True):
            labels[i] = ", ".join(repr(text) for text in mixed.model.labels(top))
    return labels
