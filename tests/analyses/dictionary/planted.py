"""A dictionary with known meanings, and contexts in which every latent fires where it was planted and nowhere else."""

from __future__ import annotations

import torch
from torch import Tensor

from analyses.dictionary import Corpus
from saes import build
from saes.autoencoder import SAE

D, WIDTH, CONTEXTS, LENGTH, WORDS = 24, 8, 120, 16, 50
NEWLINE, TWO = 7, (11, 12)
INHIBITOR, INHIBITED, BYSTANDER, DEAD = 3, 4, 5, 7
FIRES_ON = {0: {NEWLINE}, 1: set(TWO), INHIBITOR: set(range(30, 40)), BYSTANDER: set(range(20, 30))}
"""The tokens each latent fires on. The inhibited one is excited by 30 to 44, but only 40 to 44 are not the other's."""


def directions(seed: int = 1) -> Tensor:
    """(WIDTH, D), orthonormal."""
    return torch.linalg.qr(torch.randn(D, WIDTH, generator=torch.Generator().manual_seed(seed))).Q.T.contiguous()


def corpus(seed: int = 2) -> Corpus:
    """Random tokens; each adds the directions it is planted with, one to three long."""
    draw = torch.Generator().manual_seed(seed)
    tokens = torch.randint(0, WORDS, (CONTEXTS, LENGTH), generator=draw)
    on = torch.zeros(CONTEXTS, LENGTH, WIDTH)
    for latent, words in {**FIRES_ON, INHIBITED: set(range(30, 45))}.items():
        on[..., latent] = torch.isin(tokens, torch.tensor(sorted(words))).float()
    strength = 1 + 2 * torch.rand(on.shape, generator=draw)
    return Corpus.of_tensors((on * strength) @ directions(), tokens)


def sae(*, metadata: dict | None = None) -> SAE:
    """Reads its own directions; the inhibited latent reads less of itself where the inhibitor is on; one is dead."""
    rows = directions()
    W_enc = rows.T.clone()
    W_enc[:, INHIBITED] -= 4 * rows[INHIBITOR]
    b_enc = torch.full((WIDTH,), -0.1)
    b_enc[DEAD] = -1e3
    tensors = {"W_enc": W_enc, "W_dec": rows, "b_enc": b_enc, "b_dec": torch.zeros(D)}
    return build("standard", "autoencoder", tensors, {}, metadata)
