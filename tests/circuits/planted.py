"""A model built by hand, two layers of four heads, each head with one known job.

The residual stream holds the token, its position and the previous token as one-hot vectors, each with its negative,
so that the mean that LayerNorm subtracts is always zero:

    L0H0  previous token: looks one back and writes what it finds into the third part
    L0H1  copying         L0H2  anti-copying        L0H3  similarity: attends to copies of its token
    L1H0  induction: looks where the third part holds its own token
    L1H1  first token     L1H2  bigram: writes the token that follows in `SUCCESSOR`       L1H3  nothing
"""

from __future__ import annotations

import torch
import transformers

import interp
from interp.model import Model

V, P = 12, 24
TOKEN, POSITION, PREVIOUS = 0, V, V + P
HALF = 2 * V + P
D_HEAD = 2 * HALF // 4
SUCCESSOR = [(5 * t + 1) % V for t in range(V)]
SHARP = 400.0


def load(dtype: torch.dtype = torch.float64) -> Model:
    """The planted model."""
    config = transformers.GPT2Config(
        vocab_size=V, n_embd=2 * HALF, n_layer=2, n_head=4, n_positions=P, bos_token_id=0, eos_token_id=0,
        attn_implementation="eager", tie_word_embeddings=True,
    )  # fmt: skip
    hf = transformers.GPT2LMHeadModel(config).eval()
    with torch.no_grad():
        for name, value in hf.named_parameters():
            value.fill_(1.0 if ".ln_" in name and name.endswith("weight") else 0.0)
        hf.transformer.wte.weight.copy_(both(torch.eye(HALF)[TOKEN : TOKEN + V]))
        hf.transformer.wpe.weight.copy_(both(torch.eye(HALF)[POSITION : POSITION + P]))
        for (layer, head), parts in _heads().items():
            _set(hf.transformer.h[layer].attn, head, *parts)
    return interp.load(hf, dtype=dtype)


def both(rows: torch.Tensor) -> torch.Tensor:
    """(n, HALF) -> (n, 2·HALF): each row followed by its negative."""
    return torch.cat([rows, -rows], dim=1)


def _heads() -> dict[tuple[int, int], tuple[torch.Tensor, ...]]:
    """For each head (reads for queries, reads for keys, reads for values, writes), each (d_model, D_HEAD)."""
    nothing = torch.zeros(2 * HALF, D_HEAD)
    back = {POSITION + i: i for i in range(P)}, {POSITION + i: i + 1 for i in range(P - 1)}
    token, previous = {TOKEN + t: t for t in range(V)}, {PREVIOUS + t: t for t in range(V)}
    rest = {TOKEN + t: 0 for t in range(V)}
    strengths = [1 + 0.1 * t for t in range(V)]
    follow = _part({TOKEN + SUCCESSOR[t]: t for t in range(V)}) * torch.tensor([*strengths, *[0.0] * (D_HEAD - V)])
    return {
        (0, 0): (_part(back[0], SHARP), _part(back[1]), _part(token), _part(previous)),
        (0, 1): (nothing, nothing, _part(token), _part(token, 0.05)),
        (0, 2): (nothing, nothing, _part(token), _part(token, -0.05)),
        (0, 3): (_part(token, 2.0), _part(token, 2.0), nothing, nothing),
        (1, 0): (_part(token, SHARP), _part(previous), nothing, nothing),
        (1, 1): (_part(rest, SHARP), _part({POSITION: 0}), nothing, nothing),
        (1, 2): (nothing, nothing, _part(token), follow * 0.05),
    }


def _part(entries: dict[int, int], size: float = 1.0) -> torch.Tensor:
    """(2·HALF, D_HEAD): residual coordinate -> head coordinate, its negative half with the opposite sign."""
    result = torch.zeros(HALF, D_HEAD)
    for row, column in entries.items():
        result[row, column] = size
    return torch.cat([result, -result])


def _set(attention, head, query, key, value, write) -> None:
    columns = slice(head * D_HEAD, (head + 1) * D_HEAD)
    for i, weight in enumerate((query, key, value)):
        attention.c_attn.weight[:, 2 * HALF * i :][:, columns] = weight
    attention.c_proj.weight[columns] = write.T
