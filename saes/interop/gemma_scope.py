"""Reader of Gemma Scope (arXiv 2408.05147).

It reads `params.npz` with W_enc, W_dec, b_enc, b_dec and threshold.
"""

from __future__ import annotations

import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from interp.errors import DamagedFileError
from saes.interop.files import Stored, check_tensors

NAME = "params.npz"


def read(file: Path, dtype: torch.dtype | None = None) -> Stored:
    """Read a JumpReLU autoencoder; b_dec is not subtracted from the input.

    The file has no hook name; it follows from the names of the folders ("gemma-scope-2b-pt-res/layer_5/..."). Otherwise
    set `metadata["hook_name"]` to splice the autoencoder into a model. Raises the errors of `saes.load`.
    """
    try:
        with np.load(file, allow_pickle=False) as content:
            tensors = {_name(name): torch.from_numpy(np.ascontiguousarray(content[name])) for name in content.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DamagedFileError(f"{file} is damaged, or no archive of plain arrays ({error}).") from error
    if "W_enc" not in tensors or tensors["W_enc"].ndim != 2:
        raise DamagedFileError(f"{file} has no W_enc (d_in, width); it holds {', '.join(tensors) or 'nothing'}.")
    d_in, width = tensors["W_enc"].shape
    decoder = tensors.get("W_dec", torch.zeros(width, d_in))
    d_out = decoder.shape[-1]
    shapes = {"W_enc": (d_in, width), "W_dec": (width, d_out), "b_enc": (width,), "b_dec": (d_out,)}
    check_tensors(tensors, shapes | {"threshold": (width,)}, file)
    variant = "transcoder" if d_in != d_out or "transcoder" in str(file.parent) else "autoencoder"
    chosen = {name: value.to(dtype or torch.float32) for name, value in tensors.items()}
    about = _metadata(file)
    if about.get("hook_name") == "hook_embed":  # trained on embeddings that the model multiplies by sqrt(d)
        chosen |= {"W_enc": chosen["W_enc"] / d_in**0.5, "W_dec": chosen["W_dec"] * d_in**0.5}
    return Stored("jumprelu", variant, chosen, {"apply_b_dec_to_input": False}, about)


def _name(name: str) -> str:
    """Return W_enc for w_enc, which a few files use."""
    return f"W_{name[2:]}" if name.startswith("w_") else name


def _metadata(file: Path) -> dict[str, Any]:
    metadata: dict[str, Any] = {"gemma_scope": "/".join(file.parent.parts[-3:])}
    for name, pattern in (("layer", r"layer_(\d+)"), ("average_l0", r"average_l0_(\d+)")):
        match = re.search(pattern, metadata["gemma_scope"])
        if match:
            metadata[name] = int(match[1])
    release = re.findall(r"gemma-scope-(\d+b)-(pt|it)-(res|mlp|att|transcoders)", str(file.parent))
    if release:
        size, kind, part = release[-1]
        metadata |= {"model_name": f"gemma-2-{size}{'-it' if kind == 'it' else ''}"} | _hooks(part, metadata)
    return metadata | {"prepend_bos": True}


def _hooks(part: str, about: dict[str, Any]) -> dict[str, Any]:
    """Return the hooks of a release, as SAELens defines them."""
    if part == "res" and "embedding" in about["gemma_scope"]:
        return {"hook_name": "hook_embed"}
    if "layer" not in about:
        return {}
    block = f"blocks.{about['layer']}"
    return {
        "res": {"hook_name": f"{block}.hook_resid_post"},
        "mlp": {"hook_name": f"{block}.hook_mlp_out"},
        "att": {"hook_name": f"{block}.attn.hook_z", "reshape_activations": "hook_z"},
        "transcoders": {"hook_name": f"{block}.ln2.hook_normalized", "hook_name_out": f"{block}.hook_mlp_out"},
    }[part]
