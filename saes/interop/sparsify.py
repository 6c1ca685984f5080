"""Reader of sparsify folders (`eai-sparsify`): `cfg.json` and `sae.safetensors` of TopK dictionaries."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from interp.errors import UsageError
from saes.interop.files import Stored, check_kinds, check_known, check_tensors, count, read_settings, read_tensors

CONFIG, WEIGHTS = "cfg.json", "sae.safetensors"
KNOWN = {
    *("activation", "expansion_factor", "normalize_decoder", "num_latents", "k", "multi_topk", "skip_connection"),
    *("transcode", "d_in", "signed", "embed_skip", "gram_lookup", "lookup_max_order", "gram_table_hash"),
}
REFUSED = {
    "signed": "latents with signs",
    "embed_skip": "a path from the embeddings",
    "gram_lookup": "a table of n-grams",
}


@dataclass(frozen=True)
class _Kinds:
    """Types of sparsify settings."""

    activation: str = ""
    normalize_decoder: bool | None = None
    multi_topk: bool | None = None
    skip_connection: bool | None = None
    transcode: bool | None = None
    signed: bool | None = None
    embed_skip: bool | None = None
    gram_lookup: bool | None = None


def read(folder: Path, dtype: torch.dtype | None = None) -> Stored:
    """Read the TopK dictionary of one hook.

    It computes the top k of relu((x − b_dec) Wᵀ + b). A transcoder does not subtract b_dec. An autoencoder with a skip
    path becomes a transcoder of its own space, with the subtraction folded into the encoder bias. Raises the errors of
    `saes.load`.
    """
    path = folder / CONFIG
    config, tensors = read_settings(path), read_tensors(folder / WEIGHTS)
    check_known(config, KNOWN, path)
    check_kinds(_Kinds, config, path)
    for name, what in REFUSED.items():
        if config.get(name):
            raise UsageError(f"{path} has {name}: {what} cannot be loaded.")
    if config.get("activation", "topk") != "topk":
        raise UsageError(f'{path} has the activation "{config["activation"]}": only topk can be loaded.')
    d_in = count(config, "d_in", path)
    width = (
        count(config, "num_latents", path)
        if config.get("num_latents")
        else d_in * count(config, "expansion_factor", path)
    )
    skip, transcoder = bool(config.get("skip_connection")), bool(config.get("transcode"))
    shapes = {"encoder.weight": (width, d_in), "encoder.bias": (width,), "W_dec": (width, d_in), "b_dec": (d_in,)}
    check_tensors(tensors, shapes | ({"W_skip": (d_in, d_in)} if skip else {}), folder / WEIGHTS)
    weights = _ours(tensors, subtract=skip and not transcoder)
    settings = {"k": count(config, "k", path), "apply_b_dec_to_input": not (transcoder or skip)}
    variant = "transcoder" if transcoder or skip else "autoencoder"
    chosen = dtype or tensors["encoder.weight"].dtype
    metadata = {"sparsify": config} | _hook(folder.name)
    return Stored("topk", variant, {n: t.to(chosen) for n, t in weights.items()}, settings, metadata)


def _ours(tensors: dict[str, Tensor], *, subtract: bool) -> dict[str, Tensor]:
    b_enc = tensors["encoder.bias"]
    if subtract:
        b_enc = b_enc - tensors["encoder.weight"] @ tensors["b_dec"]
    encoder = {"W_enc": tensors["encoder.weight"].T.contiguous(), "b_enc": b_enc}
    return encoder | {name: tensors[name] for name in ("W_dec", "b_dec", "W_skip") if name in tensors}


def _hook(name: str) -> dict[str, Any]:
    """Return the hook of the folder's name.

    It is empty if the folder's name is not that of the output of a layer.
    """
    layer = re.fullmatch(r"layers[._](\d+)", name)
    if layer:
        return {"hook_name": f"blocks.{layer[1]}.hook_resid_post"}
    mlp = re.fullmatch(r"layers[._](\d+)[._]mlp", name)
    return {"hook_name": f"blocks.{mlp[1]}.hook_mlp_out"} if mlp else {}
