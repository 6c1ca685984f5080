"""Reader of circuit-tracer sets: `config.yaml` and one safetensors file per layer.

    model_kind: transcoder_set          layer_{i}.safetensors: W_enc (width, d), W_dec (width, d), b_enc, b_dec and, if
                                        used, activation_function.threshold, W_skip (d, d)
    model_kind: cross_layer_transcoder  W_enc_{i}.safetensors: W_enc_{i} (width, d), b_enc_{i}, b_dec_{i}, threshold_{i}
                                        W_dec_{i}.safetensors: W_dec_{i} (width, n_layer - i, d)

Latents are relu(x W_encᵀ + b_enc), or that where it exceeds the threshold. A layer may be missing.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from interp.errors import DamagedFileError, MissingInputError, UsageError, nearest
from interp.fields import check_fields
from interp.files import read_text
from saes.interop.files import Stored, check_tensors, need, read_shapes, read_tensors
from saes.sets.entry import Entry

NAME = "config.yaml"
SAME = {"mlp.hook_out": "hook_mlp_out"}
"""Hooks that have another name here. Sets that write the MLP's own output belong to models that add it without a norm;
with a norm (Gemma), sets name hook_mlp_out."""
Unread = tuple[Entry, Callable[[], Stored]]
"""Hooks and sizes of a dictionary, and a function that reads it."""
THRESHOLD = "activation_function.threshold"


@dataclass(frozen=True)
class _Config:
    """Keys that are used from `config.yaml`; the others describe origin and display."""

    model_kind: str
    feature_input_hook: str
    feature_output_hook: str
    model_name: str = ""


def is_set(folder: Path) -> bool:
    """Return whether the folder has this layout."""
    return (folder / NAME).is_file() and bool(_numbered(folder, r"(?:layer|W_enc)_(\d+)\.safetensors"))


def members(folder: Path, dtype: torch.dtype | None = None) -> list[Unread]:
    """Return the dictionaries of the set; only file headers are read.

    Raises:
        MissingInputError: no file of a layer.
        DamagedFileError: a setting of the wrong type, or a missing or misshapen tensor.
        UsageError: an unknown kind of set.
    """
    config = _read_config(folder)
    if config.model_kind == "transcoder_set":
        layers = _numbered(folder, r"layer_(\d+)\.safetensors")
        dictionaries = [_transcoder(config, folder / f"layer_{layer}.safetensors", layer, dtype) for layer in layers]
    elif config.model_kind == "cross_layer_transcoder":
        layers = _numbered(folder, r"W_enc_(\d+)\.safetensors")
        dictionaries = [_cross_layer(config, folder, layer, dtype) for layer in layers]
    else:
        known = ("transcoder_set", "cross_layer_transcoder")
        hint = nearest(config.model_kind, known)
        raise UsageError(
            f'{folder / NAME} has model_kind "{config.model_kind}"{hint}: known are {" and ".join(known)}.'
        )
    if not dictionaries:
        raise MissingInputError(f"{folder} has {NAME} but no file of a layer: download the safetensors files too.")
    return dictionaries


def _read_config(folder: Path) -> _Config:
    import yaml

    path = folder / NAME
    try:
        document = yaml.safe_load(read_text(path))
    except yaml.YAMLError as error:
        raise DamagedFileError(f"{path} is not YAML ({' '.join(str(error).split())}).") from error
    if not isinstance(document, dict):
        raise DamagedFileError(f"{path} holds a {type(document).__name__}, not the settings of a set.")
    for name in ("model_kind", "feature_input_hook", "feature_output_hook"):
        need(document, name, path)
    used = {name: value for name, value in document.items() if name in _Config.__dataclass_fields__}
    return _Config(**check_fields(_Config, used, path))


def _numbered(folder: Path, pattern: str) -> list[int]:
    """Return the numbers in the names of files, in order."""
    matches = (re.fullmatch(pattern, file.name) for file in folder.iterdir()) if folder.is_dir() else ()
    return sorted(int(match[1]) for match in matches if match)


def _hook(layer: int, name: str) -> str:
    return f"blocks.{layer}.{SAME.get(name, name)}"


def _transcoder(config: _Config, file: Path, layer: int, dtype: torch.dtype | None) -> Unread:
    """Return the transcoder of one layer."""
    shapes = read_shapes(file)
    reads, writes = _hook(layer, config.feature_input_hook), _hook(layer, config.feature_output_hook)
    width, d_in = _matrix(shapes, "W_enc", file)
    _, d_out = _matrix(shapes, "W_dec", file)
    architecture = "jumprelu" if THRESHOLD in shapes else "standard"
    entry = Entry(reads, (writes,), architecture, "transcoder", width, d_in, d_out, skip="W_skip" in shapes)
    return entry, partial(_read_transcoder, entry, config.model_name, file, dtype)


def _read_transcoder(entry: Entry, model: str, file: Path, dtype: torch.dtype | None) -> Stored:
    tensors = read_tensors(file)
    width, d_in, d_out = entry.width, entry.d_in, entry.d_out
    shapes: dict[str, tuple[int, ...]] = {"W_enc": (width, d_in), "W_dec": (width, d_out), "b_enc": (width,)}
    shapes |= {"b_dec": (d_out,)} | ({"W_skip": (d_out, d_in)} if entry.skip else {})
    if entry.architecture == "jumprelu":
        tensors[THRESHOLD] = tensors[THRESHOLD].reshape(-1)
        shapes[THRESHOLD] = (width,)
    check_tensors(tensors, shapes, file)
    ours = {name.removeprefix("activation_function."): _as(value, dtype) for name, value in tensors.items()}
    ours["W_enc"] = ours["W_enc"].T.contiguous()
    about = {"model_name": model, "hook_name": entry.reads, "hook_name_out": entry.writes[0]}
    return Stored(entry.architecture, "transcoder", ours, {}, about)


def _cross_layer(config: _Config, folder: Path, layer: int, dtype: torch.dtype | None) -> Unread:
    """Return one layer's part of a cross-layer transcoder."""
    encoder, decoder = folder / f"W_enc_{layer}.safetensors", folder / f"W_dec_{layer}.safetensors"
    shapes = read_shapes(encoder)
    width, d_in = _matrix(shapes, f"W_enc_{layer}", encoder)
    written = read_shapes(decoder).get(f"W_dec_{layer}", ())
    if len(written) != 3:
        raise DamagedFileError(f"{decoder} has W_dec_{layer} of the shape {written}: expected (width, layer, d).")
    reads = _hook(layer, config.feature_input_hook)
    writes = tuple(_hook(layer + at, config.feature_output_hook) for at in range(written[1]))
    architecture = "jumprelu" if f"threshold_{layer}" in shapes else "standard"
    entry = Entry(reads, writes, architecture, "crosslayer", width, d_in, written[2] * len(writes))
    return entry, partial(_read_cross_layer, entry, config.model_name, encoder, decoder, dtype)


def _read_cross_layer(entry: Entry, model: str, encoder: Path, decoder: Path, dtype: torch.dtype | None) -> Stored:
    layer, n, width = entry.layer, len(entry.writes), entry.width
    tensors, d_out = read_tensors(encoder), entry.d_out // n
    latents = ("b_enc", "threshold") if entry.architecture == "jumprelu" else ("b_enc",)
    shapes: dict[str, tuple[int, ...]] = {f"W_enc_{layer}": (width, entry.d_in), f"b_dec_{layer}": (d_out,)}
    if "threshold" in latents:
        tensors[f"threshold_{layer}"] = tensors[f"threshold_{layer}"].reshape(-1)
    check_tensors(tensors, shapes | {f"{name}_{layer}": (width,) for name in latents}, encoder)
    written = read_tensors(decoder)
    check_tensors(written, {f"W_dec_{layer}": (width, n, d_out)}, decoder)
    ours = {name: _as(tensors[f"{name}_{layer}"], dtype) for name in ("W_enc", "b_dec", *latents)}
    ours["W_enc"], ours["W_dec"] = ours["W_enc"].T.contiguous(), _as(written[f"W_dec_{layer}"], dtype)
    return cross_layer(entry, ours, {"model_name": model})


def cross_layer(entry: Entry, tensors: dict[str, Tensor], about: dict[str, Any]) -> Stored:
    """Return one layer's part of a cross-layer transcoder.

    Its b_dec and W_skip affect its own layer only.

    Args:
        entry: hooks and sizes.
        tensors: W_enc (d_in, width), W_dec (width, layer, d), b_dec (d), optionally W_skip (d, d_in), and those with
            one value per latent.
        about: metadata besides the hooks.
    """
    n, d = len(entry.writes), entry.d_out // len(entry.writes)
    ours = dict(tensors) | {"W_dec": tensors["W_dec"].reshape(entry.width, entry.d_out)}
    ours["b_dec"] = torch.cat([tensors["b_dec"], tensors["b_dec"].new_zeros((n - 1) * d)])
    if "W_skip" in tensors:
        ours["W_skip"] = torch.cat([tensors["W_skip"], tensors["W_skip"].new_zeros((n - 1) * d, entry.d_in)])
    hooks = {"hook_name": entry.reads, "hook_names_out": list(entry.writes)}
    return Stored(entry.architecture, "crosslayer", ours, {"layers": n}, about | hooks)


def _matrix(shapes: dict[str, tuple[int, ...]], name: str, file: Path) -> tuple[int, int]:
    """Return the shape of a required tensor with two axes."""
    shape = shapes.get(name, ())
    if len(shape) != 2:
        raise DamagedFileError(f"{file} has no matrix {name}; it holds {', '.join(sorted(shapes)) or 'nothing'}.")
    return shape[0], shape[1]


def _as(tensor: Tensor, dtype: torch.dtype | None) -> Tensor:
    return tensor if dtype is None else tensor.to(dtype)
