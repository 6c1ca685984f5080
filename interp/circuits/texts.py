"""Texts of known structure: random tokens twice, and plain prose."""

from __future__ import annotations

import torch
from jaxtyping import Int
from torch import Tensor

from interp.errors import UsageError, require
from interp.model import Model

PROSE = (
    "The ferry left the harbour before sunrise, and by the time the fog had lifted the town was a thin line behind it. "
    "Two of the passengers stood at the rail and talked about the price of fish, which had gone up again that week.",
    "To make the soup, cut the onions and the carrots into small pieces and cook them slowly in butter. Add the stock "
    "when the onions are soft, then the potatoes, and let the soup stand for an hour before you taste it.",
    "A prime number has no divisors except one and itself. There is no largest prime number: if there were, the "
    "product of all the prime numbers plus one would have a prime divisor that is not among them.",
    "The committee met on Tuesday to discuss the budget for the new library. Several members of the committee said "
    "that the cost of the building was too high, and asked for a second estimate before the next meeting.",
    "When the river rose, the people of the lower village carried their furniture up the hill. The water stopped a few "
    "steps below the church, stayed there for a night, and was gone from the streets by the end of the week.",
    "Iron rusts because it reacts with oxygen and water. Paint keeps the water away from the iron, and zinc protects "
    "it in another way, since the zinc reacts with the oxygen first and the iron is left alone.",
    "My grandmother kept her letters in a box under the bed. After she died we found that the letters were from a man "
    "none of us had heard of, and that the last of the letters had never been opened.",
    "The train to the coast leaves from platform four at ten past nine. If you miss the train, there is a bus from the "
    "square every hour, but the bus takes twice as long and stops in every village.",
)
"""Written for this purpose; each begins a new subject, so that what their attention shares is not their content."""

N_PROSE_TOKENS = 40


def repeated(model: Model, n_text: int, length: int, seed: int) -> Int[Tensor, "n_text two_length"]:
    """Return rows of `length` random tokens, all different, twice in a row.

    Raises `UsageError` if the model's context or vocabulary is too small for it.
    """
    require(model, Model, "model")
    spec = model.spec
    if not 2 <= length <= min(spec.n_ctx // 2, spec.d_vocab):
        raise UsageError(
            f"Repeated text needs between 2 and {min(spec.n_ctx // 2, spec.d_vocab)} tokens a half for this model, "
            f"not {length}."
        )
    generator = torch.Generator().manual_seed(seed)
    rows = [torch.randperm(spec.d_vocab, generator=generator)[:length] for _ in range(n_text)]
    return torch.stack(rows).repeat(1, 2).to(model.device)


def natural(model: Model) -> Int[Tensor, "n_text n_token"] | None:
    """Return the beginnings of the pieces of `PROSE` as tokens.

    All have one length. None for a model without a tokenizer.
    """
    if not model.has_tokenizer:
        return None
    rows = [model.to_tokens(text)[0] for text in PROSE]
    length = min(N_PROSE_TOKENS, model.spec.n_ctx, *map(len, rows))
    return torch.stack([row[:length] for row in rows])
