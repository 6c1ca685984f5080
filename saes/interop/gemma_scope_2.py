"""Reader of Gemma Scope 2 (Gemma 3, 270M to 27B).

It reads `params.safetensors` in folders named by part and layer.

    resid_post/layer_9_width_16k_l0_medium/      w_enc (d_in, width), w_dec (width, d_out), b_enc, b_dec, threshold
    mlp_out, attn_out, transcoder                the same; affine_skip_connection (d_in, d_out) in those called affine
    clt/width_262k_l0_big/params_layer_9.safetensors      w_dec (width, n_layer, d)

JumpReLU: relu(x w_enc + b_enc) where it exceeds the threshold. The hooks are those of the published `config.json`:
residual streams after a block, the MLP's output after its norm, the heads' outputs before the output projection, and
for transcoders the input of the MLP after its norm and gain (`blocks.L.mlp.hook_in`).
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from interp.errors import DamagedFileError, UsageError
from saes.interop.circuit_tracer import Unread, cross_layer
from saes.interop.files import Stored, check_tensors, read_settings, read_shapes, read_tensors
from saes.sets.entry import Entry

WEIGHTS, CONFIG = "params.safetensors", "config.json"
CROSS_LAYER = re.compile(r"params_layer_(\d+)\.safetensors")
ARCHITECTURE = "jump_relu"
PARTS: dict[str, dict[str, str]] = {
    "resid_post": {"hook_name": "hook_resid_post"},
    "attn_out": {"hook_name": "attn.hook_z"},
    "mlp_out": {"hook_name": "hook_mlp_out"},
    "transcoder": {"hook_name": "mlp.hook_in", "hook_name_out": "hook_mlp_out"},
}
NAMES = {"w_enc": "W_enc", "w_dec": "W_dec", "affine_skip_connection": "W_skip"}


def read(file: Path, dtype: torch.dtype | None = None) -> Stored:
    """Read the autoencoder, transcoder or cross-layer part in one file.

    Raises the errors of `saes.load`.
    """
    if CROSS_LAYER.fullmatch(file.name):
        return next(stored() for entry, stored in members(file.parent, dtype) if entry.layer == _layer(file.name))
    about = _about(file)
    shapes = read_shapes(file)
    d_in, width, d_out = _sizes(shapes, file)
    tensors = _tensors(file, {"w_dec": (width, d_out), "w_enc": (d_in, width)}, "affine_skip_connection" in shapes)
    variant = "transcoder" if "hook_name_out" in about or d_in != d_out else "autoencoder"
    ours = {name: value if dtype is None else value.to(dtype) for name, value in tensors.items()}
    return Stored("jumprelu", variant, ours, {"apply_b_dec_to_input": False}, about)


def members(folder: Path, dtype: torch.dtype | None = None) -> list[Unread]:
    """Return the layers of a cross-layer transcoder; only file headers are read."""
    files = sorted((_layer(file.name), file) for file in folder.iterdir() if CROSS_LAYER.fullmatch(file.name))
    return [_member(layer, file, dtype) for layer, file in files]


def is_cross_layer(folder: Path) -> bool:
    """Return whether the folder has a cross-layer transcoder of this release."""
    return folder.is_dir() and any(CROSS_LAYER.fullmatch(file.name) for file in folder.iterdir())


def _member(layer: int, file: Path, dtype: torch.dtype | None) -> Unread:
    shapes = read_shapes(file)
    decoder = shapes.get("w_dec", ())
    if len(decoder) != 3 or not layer < decoder[1]:
        raise DamagedFileError(
            f"{file} has w_dec of the shape {decoder}: expected (width, n_layer, d) of layer {layer}."
        )
    width, n_layer, d = decoder
    d_in = shapes.get("w_enc", (0,))[0]
    writes = tuple(f"blocks.{at}.hook_mlp_out" for at in range(layer, n_layer))
    skip = "affine_skip_connection" in shapes
    entry = Entry(
        f"blocks.{layer}.mlp.hook_in", writes, "jumprelu", "crosslayer", width, d_in, d * len(writes), skip=skip
    )
    return entry, partial(_read_cross_layer, entry, file, (width, n_layer, d), dtype)


def _read_cross_layer(entry: Entry, file: Path, decoder: tuple[int, int, int], dtype: torch.dtype | None) -> Stored:
    tensors = _tensors(file, {"w_dec": decoder, "w_enc": (entry.d_in, entry.width)}, entry.skip)
    tensors["W_dec"] = tensors["W_dec"][:, entry.layer :].contiguous()  # values stored for earlier layers are not used
    ours = {name: value if dtype is None else value.to(dtype) for name, value in tensors.items()}
    return cross_layer(entry, ours, _origin(file))


def _tensors(file: Path, matrices: dict[str, tuple[int, ...]], skip: bool) -> dict[str, Tensor]:
    """Read and check the tensors.

    They are returned under the names of this library.
    """
    tensors = read_tensors(file)
    d_in, width = matrices["w_enc"]
    d_out = matrices["w_dec"][-1]
    shapes = matrices | {"b_enc": (width,), "b_dec": (d_out,), "threshold": (width,)}
    check_tensors(tensors, shapes | ({"affine_skip_connection": (d_in, d_out)} if skip else {}), file)
    renamed = {NAMES.get(name, name): value for name, value in tensors.items()}
    if skip:
        renamed["W_skip"] = renamed["W_skip"].T.contiguous()
    return renamed


def _sizes(shapes: dict[str, tuple[int, ...]], file: Path) -> tuple[int, int, int]:
    encoder, decoder = shapes.get("w_enc", ()), shapes.get("w_dec", ())
    if len(encoder) != 2 or len(decoder) != 2:
        names = ", ".join(sorted(shapes)) or "nothing"
        raise DamagedFileError(f"{file} has no matrices w_enc and w_dec; it holds {names}.")
    return encoder[0], encoder[1], decoder[1]


def _about(file: Path) -> dict[str, Any]:
    """Return model and hooks from the names of the folders and `config.json`."""
    metadata = _origin(file)
    place = "/".join(file.parent.parts[-2:])
    part = next((part for part in PARTS if part in place), None)
    if part is None and "hf_hook_name_out" in metadata:
        part = "transcoder"
    layer = re.search(r"layer_(\d+)", place)
    if part is not None and layer:
        metadata |= {key: f"blocks.{layer[1]}.{hook}" for key, hook in PARTS[part].items()}
        metadata |= {"reshape_activations": "hook_z"} if part == "attn_out" else {}
    return metadata


def _origin(file: Path) -> dict[str, Any]:
    metadata: dict[str, Any] = {"gemma_scope_2": "/".join(file.parts[-3:]), "prepend_bos": True}
    size = re.findall(r"gemma-scope-2-(\d+[mb])-(pt|it)", str(file.parent))
    if size:
        metadata["model_name"] = f"google/gemma-3-{size[-1][0]}-{size[-1][1]}".replace("270m-pt", "270m")
    path = file.parent / CONFIG
    if path.is_file():
        config = read_settings(path)
        if config.get("architecture", ARCHITECTURE) != ARCHITECTURE:
            raise UsageError(
                f"{path} is of the architecture {config['architecture']!r}: only {ARCHITECTURE} can be loaded."
            )
        for ours, theirs in (("hf_hook_name", "hf_hook_point_in"), ("hf_hook_name_out", "hf_hook_point_out")):
            if isinstance(config.get(theirs), str):
                metadata[ours] = config[theirs]
        if isinstance(config.get("model_name"), str):
            metadata.setdefault("model_name", config["model_name"])
    return metadata


def _layer(name: str) -> int:
    match = CROSS_LAYER.fullmatch(name)
    return int(match[1]) if match else -1
