"""SAELens folders: `cfg.json` and `sae_weights.safetensors` in the format of version 6.

Names written for SAELens, by architecture and variant:

    autoencoder   standard, gated and topk under the same names; batchtopk, jumprelu and matryoshka as "jumprelu",
                  their form in inference, as SAELens itself saves them
    transcoder    standard as "transcoder", the jumprelu family as "jumprelu_transcoder" ("skip_" with a skip path)

SAELens has no crosscoder and no gated or topk transcoder. These are written in the same two files under other names
("topk_crosscoder"), which SAELens refuses, and their metadata say so.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from interp.errors import UsageError, nearest
from interp.results import writable_folder, write_all
from saes.interop import sidecar
from saes.interop.files import (
    Stored,
    check_kinds,
    check_known,
    check_tensors,
    count,
    dtype_of,
    need,
    read_settings,
    read_tensors,
)
from saes.interop.folding import fold_decoder_norm, fold_scale
from saes.interop.legacy import from_before_6, is_before_6
from saes.settings import ACROSS

if TYPE_CHECKING:
    from saes.autoencoder import SAE

CONFIG, WEIGHTS, SCALER = "cfg.json", "sae_weights.safetensors", "activation_scaler.json"
VERSION = "6.54.12"
"""Version of the format. Without a version of 6 or later, SAELens drops the metadata."""
JUMPRELU = ("batchtopk", "jumprelu", "matryoshka")
UNKNOWN_THERE = "SAELens has no such architecture; load this folder with saes.load"
COMMON = {
    *("architecture", "d_in", "d_sae", "dtype", "device", "apply_b_dec_to_input", "normalize_activations"),
    *("reshape_activations", "metadata", "sae_lens_version"),
}
INFERENCE = {"k", "rescale_acts_by_decoder_norm", "d_out", "finetuning_scaling_factor"}
TRAINING = {
    *("decoder_init_norm", "l1_coefficient", "lp_norm", "l1_warm_up_steps", "use_sparse_activations"),
    *("aux_loss_coefficient", "topk_threshold_lr", "matryoshka_widths", "use_matryoshka_aux_loss"),
    *("jumprelu_init_threshold", "jumprelu_bandwidth", "jumprelu_sparsity_loss_mode", "jumprelu_tanh_scale"),
    *("jumprelu_ste_to_input", "l0_coefficient", "l0_warm_up_steps", "pre_act_loss_coefficient", "target_l0"),
}
TRANSCODERS = {
    "transcoder": ("standard", False),
    "skip_transcoder": ("standard", True),
    "jumprelu_transcoder": ("jumprelu", False),
    "jumprelu_skip_transcoder": ("jumprelu", True),
}
OURS = {name: name for name in ("standard", "gated", "topk", "jumprelu", "batchtopk")}
OURS["matryoshka_batchtopk"] = "matryoshka"
REFUSED = {
    "abstopk": "its latents have signs",
    "matching_pursuit": "it codes by a loop, not by an encoder",
    "temporal": "its latents depend on earlier positions",
}
NORMALISED = {
    "layer_norm": "every input is normalised by itself, which no weights can express",
    "constant_norm_rescale": "every input is rescaled by itself, which no weights can express",
    "covariance_whitening": "fold the whitening in SAELens first (sae.fold_activation_whitening) and save again",
}


@dataclass(frozen=True)
class _Kinds:
    """Types of SAELens settings."""

    architecture: str = ""
    dtype: str = ""
    apply_b_dec_to_input: bool | None = None
    normalize_activations: str | None = None
    reshape_activations: str | None = None
    metadata: dict[str, Any] | None = None
    rescale_acts_by_decoder_norm: bool | None = None
    finetuning_scaling_factor: bool | None = None
    matryoshka_widths: tuple[int, ...] | None = None
    training_architecture_details: dict[str, Any] | None = None


def write(sae: SAE, folder: str | os.PathLike[str]) -> Path:
    """Save an SAE in the format of SAELens and `saes.load`.

    Returns the folder. All files are written under temporary names before the first is renamed. Raises `UsageError` if
    the folder cannot be written to, or if settings or metadata cannot be converted to JSON.

    >>> sorted(file.name for file in write(sae, folder).iterdir())  # folder = "out/sae"
    ['cfg.json', 'interp.json', 'sae_weights.safetensors']
    """
    from safetensors.torch import save

    config = json.dumps(configuration(sae), indent=1).encode()
    tensors = {name: value.detach().cpu().contiguous() for name, value in sae.named_parameters()}
    files = {WEIGHTS: save(tensors), CONFIG: config}
    files |= sidecar.files(sae, files)
    target = writable_folder(folder)
    write_all({target / name: content for name, content in files.items()})
    if not sae.history:
        (target / sidecar.HISTORY).unlink(missing_ok=True)
    return target


def configuration(sae: SAE) -> dict[str, Any]:
    """Return the contents of `cfg.json`.

    >>> configuration(sae)["architecture"], configuration(sae)["d_sae"]  # sae = saes.load("folder")
    ('topk', 8)
    """
    name = architecture_there(sae)
    metadata = sidecar.plain(sae.metadata, "metadata")
    reshape = metadata.pop("reshape_activations", "none")
    training, details = _training(sae)
    metadata.setdefault("training_architecture", training)
    metadata.setdefault("training_architecture_details", details)
    metadata.setdefault("sae_lens_training_version", None)
    metadata["sae_lens_version"] = VERSION
    if not known_there(sae):
        metadata["note"] = UNKNOWN_THERE
    config = {
        "architecture": name,
        "d_in": sae.d_in,
        "d_sae": sae.width,
        "dtype": str(sae.W_enc.dtype).removeprefix("torch."),
        "device": "cpu",
        "apply_b_dec_to_input": bool(sae.settings["apply_b_dec_to_input"]),
        "normalize_activations": "none",
        "reshape_activations": reshape,
        "metadata": metadata,
    }
    if sae.architecture == "topk":
        config["k"] = sae.settings["k"]
        config["rescale_acts_by_decoder_norm"] = bool(sae.settings.get("rescale_acts_by_decoder_norm", False))
    return config | ({"d_out": sae.d_out} if sae.variant in ACROSS else {})


def architecture_there(sae: SAE) -> str:
    """Return SAELens' name of the architecture.

    If SAELens has none, another name is returned.

    >>> architecture_there(sae)  # sae = saes.load("folder")
    'topk'
    """
    same = "jumprelu" if sae.architecture in JUMPRELU else sae.architecture
    if sae.variant == "autoencoder":
        return same
    skip = "skip_" if "W_skip" in dict(sae.named_parameters()) else ""
    if sae.variant == "transcoder" and same in ("standard", "jumprelu"):
        return f"{'' if same == 'standard' else 'jumprelu_'}{skip}transcoder"
    return f"{sae.architecture}_{skip}{sae.variant}"


def known_there(sae: SAE) -> bool:
    """Return whether SAELens can load the autoencoder.

    >>> known_there(sae)  # sae = saes.load("folder")
    True
    """
    return sae.variant == "autoencoder" or architecture_there(sae) in TRANSCODERS


def _training(sae: SAE) -> tuple[str, dict[str, Any]]:
    """Return SAELens' name of the training architecture.

    Also returns its settings that inference does not need.
    """
    if sae.architecture == "matryoshka":
        return "matryoshka_batchtopk", {"matryoshka_widths": list(sae.settings.get("groups") or [])}
    return sae.architecture, {}


def read(folder: Path, dtype: torch.dtype | None = None) -> Stored:
    """Read the autoencoder in a SAELens folder.

    The folder was saved for inference or is a training checkpoint. The scaling of a checkpoint is folded in.
    `fold_W_dec_norm`, the batchtopk threshold and `apply_b_dec_to_input` have the same meaning as in SAELens, with the
    same latents and reconstructions. Raises the errors of `saes.load`.
    """
    own = sidecar.read(folder)
    path = folder / CONFIG
    config, tensors = read_settings(path), read_tensors(folder / WEIGHTS)
    if own is not None:
        chosen = dtype or dtype_of(need(config, "dtype", path), path)
        check_tensors(tensors, {name: tuple(value.shape) for name, value in tensors.items()}, folder / WEIGHTS)
        tensors = {name: value.to(chosen) for name, value in tensors.items()}
        return Stored(tensors=tensors, **own)
    if is_before_6(config):
        config = from_before_6(config)
    check_kinds(_Kinds, config, path)
    architecture, variant = _architecture(str(need(config, "architecture", path)), path)
    check_known(config, COMMON | INFERENCE | TRAINING, path)
    tensors = _renamed(tensors)
    check_tensors(tensors, _shapes(config, architecture, path), folder / WEIGHTS)
    settings = _settings(config, architecture, variant, path)
    tensors = _folded(config, architecture, tensors, folder)
    chosen = dtype or dtype_of(need(config, "dtype", path), path)
    tensors = {name: value.to(chosen) for name, value in tensors.items()}
    return Stored(architecture, variant, tensors, settings, _metadata(config))


def _architecture(name: str, path: Path) -> tuple[str, str]:
    """Return architecture and variant for a SAELens name."""
    if name in TRANSCODERS:
        return TRANSCODERS[name][0], "transcoder"
    if name in REFUSED:
        raise UsageError(f'{path} is a "{name}" autoencoder, which cannot be loaded: {REFUSED[name]}.')
    if name not in OURS:
        raise UsageError(f'{path} is of the unknown architecture "{name}"{nearest(name, [*OURS, *TRANSCODERS])}.')
    return OURS[name], "autoencoder"


def _renamed(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Convert tensors of earlier versions.

    These stored log thresholds and a scale of ones.
    """
    renamed = dict(tensors)
    if "log_threshold" in renamed:
        renamed["threshold"] = renamed.pop("log_threshold").exp()
    if "scaling_factor" in renamed:
        scale = renamed.pop("scaling_factor")
        if not torch.allclose(scale.float(), torch.ones(())):
            renamed["W_dec"] = renamed["W_dec"] * scale[:, None]  # it multiplied latents on their way into the decoder
    return renamed


def _shapes(config: dict[str, Any], architecture: str, path: Path) -> dict[str, tuple[int, ...]]:
    d_in, width = count(config, "d_in", path), count(config, "d_sae", path)
    name = config["architecture"]
    d_out = count(config, "d_out", path) if name in TRANSCODERS else d_in
    shapes: dict[str, tuple[int, ...]] = {"W_enc": (d_in, width), "W_dec": (width, d_out), "b_dec": (d_out,)}
    latents = {"gated": ("b_gate", "b_mag", "r_mag"), "jumprelu": ("b_enc", "threshold")}
    shapes |= dict.fromkeys(latents.get(architecture, ("b_enc",)), (width,))
    if architecture in ("batchtopk", "matryoshka"):
        shapes["topk_threshold"] = ()
    if name in TRANSCODERS and TRANSCODERS[name][1]:
        shapes["W_skip"] = (d_out, d_in)
    return shapes


def _settings(config: dict[str, Any], architecture: str, variant: str, path: Path) -> dict[str, Any]:
    # Missing keys have SAELens' defaults; a transcoder never subtracts its decoder bias.
    settings: dict[str, Any] = {
        "apply_b_dec_to_input": variant != "transcoder" and bool(config.get("apply_b_dec_to_input", True))
    }
    if architecture == "topk":
        settings["k"] = count(config, "k", path)
        settings["rescale_acts_by_decoder_norm"] = bool(config.get("rescale_acts_by_decoder_norm", False))
    if architecture == "matryoshka":
        settings["groups"] = tuple(config.get("matryoshka_widths") or ())
    return settings


def _folded(config: dict[str, Any], architecture: str, tensors: dict[str, Tensor], folder: Path) -> dict[str, Tensor]:
    """Return weights that read raw activations.

    They include the batchtopk threshold for every latent.
    """
    batch = architecture in ("batchtopk", "matryoshka")
    by_norm = bool(config.get("rescale_acts_by_decoder_norm", batch))
    scale = _scale(config, folder)
    tensors = fold_scale(tensors, scale, threshold_is_of_output=batch and by_norm)
    if not batch:
        return tensors
    threshold = tensors.pop("topk_threshold").double()
    if by_norm:
        tensors = fold_decoder_norm(tensors)
    return tensors | {"threshold": threshold.expand(tensors["b_enc"].shape).clone().to(tensors["b_enc"].dtype)}


def _scale(config: dict[str, Any], folder: Path) -> float:
    """Return the factor of the inputs in training.

    It is 1 if the factor is already folded into the weights.
    """
    kind = config.get("normalize_activations") or "none"
    if kind == "none":
        return 1.0
    if kind in NORMALISED:
        raise UsageError(f'{folder / CONFIG} has normalize_activations "{kind}": {NORMALISED[kind]}.')
    if kind != "expected_average_only_in":
        raise UsageError(f'{folder / CONFIG} has normalize_activations "{kind}", whose meaning is not known here.')
    path = folder / SCALER
    factor = read_settings(path).get("scaling_factor") if path.is_file() else None
    if isinstance(factor, bool) or not isinstance(factor, int | float) or not 0 < factor < float("inf"):
        raise UsageError(
            f"{folder / CONFIG} says that inputs are scaled (expected_average_only_in), but no {SCALER} next to it "
            f"says by how much: copy that file from the checkpoint, or save the finished autoencoder from SAELens."
        )
    return float(factor)


def _metadata(config: dict[str, Any]) -> dict[str, Any]:
    metadata = dict(config.get("metadata") or {})
    if config.get("reshape_activations", "none") != "none":
        metadata["reshape_activations"] = config["reshape_activations"]
    details = {name: config[name] for name in TRAINING if name in config}
    if details:
        metadata["training_architecture_details"] = details | dict(metadata.get("training_architecture_details") or {})
    return metadata
