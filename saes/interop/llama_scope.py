"""Reader of Llama Scope (arXiv 2410.20526): `hyperparams.json` and `checkpoints/final.safetensors`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from interp.errors import DamagedFileError
from interp.fields import check_fields
from saes.interop.files import Stored, check_tensors, need, read_settings, read_tensors
from saes.interop.folding import fold_scale

CONFIG, WEIGHTS = "hyperparams.json", Path("checkpoints") / "final.safetensors"
NEEDED = ("d_model", "d_sae", "hook_point_in", "jump_relu_threshold", "dataset_average_activation_norm")


@dataclass(frozen=True)
class _Config:
    """Keys that are used from `hyperparams.json`."""

    d_model: int
    d_sae: int
    hook_point_in: str
    jump_relu_threshold: float
    dataset_average_activation_norm: dict[str, float]


def read(folder: Path, dtype: torch.dtype | None = None) -> Stored:
    """Read a JumpReLU autoencoder with one threshold for all latents.

    Its inputs are scaled to mean norm sqrt(d); the scale is folded in. The threshold is scaled like the inputs, as in
    SAELens. Raises the errors of `saes.load`.
    """
    path, weights = folder / CONFIG, folder / WEIGHTS
    document = read_settings(path)
    values = {name: need(document, name, path) for name in NEEDED}
    config = _Config(**check_fields(_Config, values, path))
    norm = config.dataset_average_activation_norm.get("in")
    if norm is None or not norm > 0 or config.d_model < 1 or config.d_sae < 1:
        raise DamagedFileError(f"{path} must have sizes of at least 1 and a mean input norm above zero.")
    d, width = config.d_model, config.d_sae
    tensors = read_tensors(weights)
    shapes = {
        "encoder.weight": (width, d),
        "decoder.weight": (d, width),
        "encoder.bias": (width,),
        "decoder.bias": (d,),
    }
    check_tensors(tensors, shapes, weights)
    scale = d**0.5 / norm
    chosen = dtype or tensors["encoder.weight"].dtype
    ours = {
        "W_enc": tensors["encoder.weight"].T.contiguous().to(chosen),
        "W_dec": tensors["decoder.weight"].T.contiguous().to(chosen),
        "b_enc": tensors["encoder.bias"].to(chosen),
        "b_dec": tensors["decoder.bias"].to(chosen),
        "threshold": torch.full((width,), config.jump_relu_threshold * scale).to(chosen),
    }
    ours = fold_scale(ours, scale, threshold_is_of_output=False)
    about = {"model_name": "meta-llama/Llama-3.1-8B", "hook_name": config.hook_point_in, "prepend_bos": True}
    return Stored("jumprelu", "autoencoder", ours, {"apply_b_dec_to_input": False}, about)
