"""Gemma Scope (arXiv 2408.05147): a `params.npz` with W_enc, W_dec, b_enc, b_dec and threshold."""

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
    """JumpReLU: relu(x W_enc + b_enc) where it exceeds the threshold; b_dec is not subtracted from the input.

    The file names no hook. What folder names tell (layer, L0, whether it is a transcoder) goes into the metadata; the
    hook depends on the release, so set `metadata["hook_name"]` to splice it into a model. Raises as `saes.load`.
    """
    try:
        with np.load(file, allow_pickle=False) as opened:
            tensors = {name: torch.from_numpy(np.ascontiguousarray(opened[name])) for name in opened.files}
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
    return Stored("jumprelu", variant, chosen, {"apply_b_dec_to_input": False}, _metadata(file))


def _metadata(file: Path) -> dict[str, Any]:
    found: dict[str, Any] = {"gemma_scope": "/".join(file.parent.parts[-3:])}
    for name, pattern in (("layer", r"layer_(\d+)"), ("average_l0", r"average_l0_(\d+)")):
        told = re.search(pattern, found["gemma_scope"])
        if told:
            found[name] = int(told[1])
    return found | {"prepend_bos": True}
