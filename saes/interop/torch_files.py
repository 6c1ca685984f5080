"""Readers of torch files: Qwen Scope, dictionary_learning, Goodfire and DeepSeek-R1.

They use torch's `weights_only` reader, which creates tensors and plain containers and runs no code.

    Qwen Scope           layer{L}.sae.pt in a folder named ...-L0_{k}: W_enc (width, d), W_dec (d, width), b_enc, b_dec
    dictionary_learning  ae.pt and config.json, whose trainer.dict_class is the architecture
    Goodfire             NAME-l{L}.pt or .pth: encoder_linear.weight, decoder_linear.weight, and their biases
    DeepSeek-R1          ...l{L}.pt: encoder.weight, decoder.weight, and their biases
"""

from __future__ import annotations

import pickle
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from interp.errors import DamagedFileError, MissingInputError, UsageError, nearest
from interp.fields import check_fields
from saes.interop.files import Stored, check_tensors, need, read_settings

WEIGHTS, CONFIG = "ae.pt", "config.json"
SUFFIXES = (".pt", ".pth")
CLASSES = {
    "AutoEncoder": "standard",
    "GatedAutoEncoder": "gated",
    "AutoEncoderTopK": "topk",
    "BatchTopKSAE": "jumprelu",
    "MatryoshkaBatchTopKSAE": "jumprelu",
    "JumpReluAutoEncoder": "jumprelu",
}
"""Architectures of dictionary_learning; those of BatchTopK are JumpReLU with one threshold in inference."""
RENAMED = {
    **{"encoder.weight": "W_enc", "encoder.bias": "b_enc", "decoder.weight": "W_dec", "decoder.bias": "b_dec"},
    **{"encoder_linear.weight": "W_enc", "encoder_linear.bias": "b_enc"},
    **{"decoder_linear.weight": "W_dec", "decoder_linear.bias": "b_dec"},
    **{"bias": "b_dec", "decoder_bias": "b_dec", "mag_bias": "b_mag", "gate_bias": "b_gate"},
}
TRANSPOSED = {"encoder.weight", "decoder.weight", "encoder_linear.weight", "decoder_linear.weight"}
LATENTS = {"gated": ("b_gate", "b_mag", "r_mag"), "jumprelu": ("b_enc", "threshold")}


@dataclass(frozen=True)
class _Trainer:
    """Keys that are used from the trainer in `config.json` of dictionary_learning."""

    dict_class: str
    layer: int
    lm_name: str = ""
    k: int = 0


def read(file: Path, dtype: torch.dtype | None = None) -> Stored:
    """Read the dictionary in a torch file; raises the errors of `saes.load`."""
    tensors = _read_tensors(file)
    if file.name == WEIGHTS:
        return _dictionary_learning(file, tensors, dtype)
    if re.fullmatch(r"layer\d+\.sae\.pt", file.name):
        return _qwen_scope(file, tensors, dtype)
    layer = re.search(r"l(\d+)\.\w+$", file.name)
    about: dict[str, Any] = {"prepend_bos": True}
    if layer:
        about["hook_name"] = f"blocks.{layer[1]}.hook_resid_post"
    return _built("standard", _ours(tensors), {"apply_b_dec_to_input": False}, about, file, dtype)


def _read_tensors(file: Path) -> dict[str, Tensor]:
    """Read the tensors of a file without running any code in it."""
    try:
        tensors = torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise MissingInputError(f"There is no file {file}.") from error
    except (RuntimeError, OSError, EOFError, ValueError, pickle.UnpicklingError) as error:
        reason = str(error).splitlines()[0][:120]
        raise DamagedFileError(f"{file} is damaged, or holds more than tensors ({reason}).") from error
    if not isinstance(tensors, dict) or not all(isinstance(value, Tensor) for value in tensors.values()):
        raise DamagedFileError(f"{file} holds something else than named tensors.")
    return tensors


def _ours(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors under the names of this library.

    W_enc is (d_in, width), W_dec (width, d_in).
    """
    return {
        RENAMED.get(name, name): value.T.contiguous() if name in TRANSPOSED else value
        for name, value in tensors.items()
    }


def _qwen_scope(file: Path, tensors: dict[str, Tensor], dtype: torch.dtype | None) -> Stored:
    """Return a Qwen Scope dictionary.

    It is TopK of relu(x W_encᵀ + b_enc), with k in the name of the folder.
    """
    release = re.findall(r"SAE-Res-([^/\\]+?)-W\d+K-L0_(\d+)", str(file.parent))
    if not release:
        raise UsageError(
            f"{file} says neither its model nor its k: put it into a folder named as its release, such as "
            '"SAE-Res-Qwen3-1.7B-Base-W32K-L0_50".'
        )
    ours = {name: value.T.contiguous() if value.ndim == 2 else value for name, value in tensors.items()}
    layer = re.sub(r"\D", "", file.name)
    about = {"model_name": f"Qwen/{release[-1][0]}", "hook_name": f"blocks.{layer}.hook_resid_post"}
    return _built("topk", ours, {"k": int(release[-1][1]), "apply_b_dec_to_input": False}, about, file, dtype)


def _dictionary_learning(file: Path, tensors: dict[str, Tensor], dtype: torch.dtype | None) -> Stored:
    """Return a dictionary of the class in the configuration.

    BatchTopK becomes JumpReLU with its threshold.
    """
    path = file.parent / CONFIG
    document = need(read_settings(path), "trainer", path)
    if not isinstance(document, dict):
        raise DamagedFileError(f"{path} has trainer = {document!r}: expected a table.")
    for name in ("dict_class", "layer"):
        need(document, name, path)
    used = {
        name: value for name, value in document.items() if name in _Trainer.__dataclass_fields__ and value is not None
    }
    trainer = _Trainer(**check_fields(_Trainer, used, path, "trainer"))
    if trainer.dict_class not in CLASSES:
        hint = nearest(trainer.dict_class, CLASSES)
        raise UsageError(f'{path} is of the class "{trainer.dict_class}"{hint}: known are {", ".join(CLASSES)}.')
    architecture, ours = CLASSES[trainer.dict_class], _ours(tensors)
    width = ours["W_enc"].shape[1] if "W_enc" in ours and ours["W_enc"].ndim == 2 else 0
    if architecture == "jumprelu" and "threshold" in ours:
        ours["threshold"] = ours["threshold"].expand(width).clone()
    ours = {
        name: value for name, value in ours.items() if name not in ("k", "threshold") or name in _wanted(architecture)
    }
    settings: dict[str, Any] = {"apply_b_dec_to_input": trainer.dict_class != "JumpReluAutoEncoder"}
    if architecture == "topk":
        settings["k"] = trainer.k
    about = {"hook_name": f"blocks.{trainer.layer}.hook_resid_post", "model_name": trainer.lm_name}
    return _built(architecture, ours, settings, about, file, dtype)


def _wanted(architecture: str) -> tuple[str, ...]:
    return ("W_enc", "W_dec", "b_dec", *LATENTS.get(architecture, ("b_enc",)))


def _built(
    architecture: str,
    tensors: dict[str, Tensor],
    settings: dict[str, Any],
    about: dict[str, Any],
    file: Path,
    dtype: torch.dtype | None,
) -> Stored:
    encoder = tensors.get("W_enc")
    if encoder is None or encoder.ndim != 2:
        raise DamagedFileError(f"{file} has no encoder; it holds {', '.join(sorted(tensors)) or 'nothing'}.")
    d_in, width = encoder.shape
    latents = LATENTS.get(architecture, ("b_enc",))
    shapes: dict[str, tuple[int, ...]] = {"W_enc": (d_in, width), "W_dec": (width, d_in), "b_dec": (d_in,)}
    check_tensors(tensors, shapes | dict.fromkeys(latents, (width,)), file)
    chosen = dtype or encoder.dtype
    return Stored(architecture, "autoencoder", {n: t.to(chosen) for n, t in tensors.items()}, settings, about)
