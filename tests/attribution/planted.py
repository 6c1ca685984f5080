"""Models whose weights are written by hand, so that what they compute is known before anything is measured."""

from __future__ import annotations

from typing import Any

import torch
import transformers
from torch import Tensor

import interp
from interp.model import Model

N_TOKEN, N_POSITION = 8, 8
TOKEN, POSITION, BEFORE, OUT, OTHER = (slice(8 * i, 8 * i + 8) for i in range(5))
"""The residual stream's five slots of eight: token, position, token before, answer, and one that is never read."""
D_HEAD = 20


def _gpt2(n_layer: int, **options: Any) -> Any:
    """Two heads in five slots of eight, attention without dropout, every parameter zero but the norms' gains."""
    config = transformers.GPT2Config(
        bos_token_id=1,
        eos_token_id=1,
        vocab_size=N_TOKEN,
        n_embd=40,
        n_layer=n_layer,
        n_head=2,
        n_positions=N_POSITION,
        n_inner=16,
        tie_word_embeddings=False,
        attn_implementation="eager",
        **options,
    )
    hf = transformers.GPT2LMHeadModel(config).eval()
    for name, value in hf.named_parameters():
        value.data.fill_(1.0 if value.ndim == 1 and "ln_" in name and name.endswith("weight") else 0.0)
    return hf


def _write_head(block: Any, head: int, query: tuple[slice, Tensor], key: slice, value: slice, out: slice) -> None:
    """One head: `query` reads a slot through a matrix, `key` and `value` read a slot, `out` is the slot written to."""
    weight, eye = block.attn.c_attn.weight, torch.eye(8)
    slot, matrix = query
    columns = [slice(40 * i + D_HEAD * head, 40 * i + D_HEAD * head + 8) for i in range(3)]
    weight[slot, columns[0]] = matrix
    weight[key, columns[1]] = eye
    weight[value, columns[2]] = eye
    block.attn.c_proj.weight[D_HEAD * head : D_HEAD * head + 8, out] = eye


@torch.no_grad()
def induction() -> Model:
    """Layer 0: head 0 writes the token before into BEFORE, head 1 copies its own token into the unused slot.

    Layer 1: head 0 looks for its own token in BEFORE and answers with what stands there, which is induction; head 1,
    the control, looks for its own token in TOKEN, so that its key owes nothing to any head. MLPs write nothing.
    """
    hf = _gpt2(2)
    sharp = 10.0 * torch.eye(8)
    hf.transformer.wte.weight[:, TOKEN] = torch.eye(N_TOKEN)
    hf.transformer.wpe.weight[:, POSITION] = torch.eye(N_POSITION)
    first, second = hf.transformer.h
    _write_head(first, 0, (POSITION, sharp.roll(-1, 1)), POSITION, TOKEN, BEFORE)
    _write_head(first, 1, (POSITION, sharp), POSITION, TOKEN, OTHER)
    _write_head(second, 0, (TOKEN, sharp), BEFORE, TOKEN, OUT)
    _write_head(second, 1, (TOKEN, sharp), TOKEN, TOKEN, OTHER)
    hf.lm_head.weight[:, OUT] = torch.eye(N_TOKEN)
    return interp.load(hf, dtype=torch.float64)


@torch.no_grad()
def inert() -> Model:
    """A model that is linear however it is disturbed: uniform attention, norms of constant scale, gates always open.

    A norm's eps of 1e14 drowns what its input could change, and gains of 1e7 undo the division; a relu far above 0 is
    the identity; without query weights every pattern is uniform. All other weights are random.
    """
    hf = _gpt2(2, layer_norm_epsilon=1e14, activation_function="relu")
    generator = torch.Generator().manual_seed(0)
    for name, value in hf.named_parameters():
        if "ln_" in name and name.endswith("weight"):
            value.fill_(1e7)
        elif value.ndim == 2:
            value.normal_(generator=generator).mul_(0.01 if "mlp.c_proj" in name else 0.2)
        elif name.endswith("c_fc.bias"):
            value.fill_(100.0)
        if name.endswith("c_attn.weight"):
            value[:, :40] = 0
    return interp.load(hf, dtype=torch.float64)


@torch.no_grad()
def two_features() -> Model:
    """Token 3 makes feature A in OTHER and token 5 feature B; the head of layer 1 moves both on; A alone is answered.

    MLP 0: neuron 0 reads token 3 and writes OTHER[0], neuron 1 reads token 5 and writes OTHER[1]. Layer 1: a head that
    looks everywhere alike copies OTHER into BEFORE, and neuron 0 reads BEFORE[0] and writes OUT[7], which is token 7's
    logit. Pre-activations lie far from 0, where GELU is a ReLU.
    """
    hf = _gpt2(2)
    first, second = hf.transformer.h
    hf.transformer.wte.weight[:, TOKEN] = torch.eye(8)
    for neuron, token in enumerate((3, 5)):
        first.mlp.c_fc.weight[TOKEN.start + token, neuron] = 10.0
        first.mlp.c_fc.bias[neuron] = -10.0
        first.mlp.c_proj.weight[neuron, OTHER.start + neuron] = 0.1
    _write_head(second, 0, (TOKEN, torch.zeros(8, 8)), TOKEN, OTHER, BEFORE)
    second.mlp.c_fc.weight[BEFORE.start, 0] = 20.0
    second.mlp.c_fc.bias[0] = -5.0
    second.mlp.c_proj.weight[0, OUT.start + 7] = 0.1
    hf.lm_head.weight[:, OUT] = torch.eye(8)
    return interp.load(hf)
