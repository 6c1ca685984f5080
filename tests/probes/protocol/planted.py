"""Activations with a known answer: a truth direction from some layer on, and a vector that names each entity."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from probes import Activations, Statements

D = 16
LAYERS = (-1, 0, 1, 2)
IDENTITY = {
    "model": "planted",
    "weights_sha256": "0" * 64,
    "tokenizer": "",
    "dtype": "float32",
    "device": "cpu",
    "prepend_bos": False,
}


def statements(n_entity: int = 120, rows: int = 2, name: str = "planted", polarity: int = 1) -> Statements:
    """`rows` statements about each entity, true and false by turns."""
    n = n_entity * rows
    word = "is" if polarity == 1 else "is not"
    return Statements(
        name=name,
        statements=tuple(f"Thing {i // rows} {word} kind {i * 7919 % 1000}." for i in range(n)),
        labels=np.array([i % 2 for i in range(n)], np.int8),
        groups=tuple((f"thing {i // rows}",) for i in range(n)),
        grouped_by="the test",
        polarity=np.full(n, polarity, np.int8),
    )


def activations(
    data: Statements, *, strength: float = 1.6, entity: float = 1.0, sign: int = 1, seed: int = 0, d: int = D
) -> Activations:
    """Noise, a vector of length `entity` * sqrt(d) for each entity, and from layer 1 on ±`strength` along axis 0.

    The embedding (layer -1) is one vector for all; `sign` -1 plants the direction the wrong way round.
    """
    rng = np.random.default_rng(seed)
    names = sorted({e for row in data.groups for e in row})
    vectors = dict(zip(names, entity * np.random.default_rng(7).normal(size=(len(names), d)), strict=True))
    values = rng.normal(size=(1, len(LAYERS), len(data), d))
    values += np.array([np.mean([vectors[e] for e in row], axis=0) for row in data.groups])
    values[:, 0] = 1.0
    values[:, 2:, :, 0] += sign * strength * (2.0 * data.labels - 1)
    whole = torch.from_numpy(values).float()
    return Activations(data, LAYERS, ("last",), whole, torch.full((len(data),), 5), dict(IDENTITY))


def renamed(data: Statements, name: str) -> Statements:
    """The same statements under another name."""
    return replace(data, name=name)
