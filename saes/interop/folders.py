"""`load`: read an autoencoder folder of any supported format."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import torch

from interp.arguments import checked
from interp.devices import available
from interp.errors import MissingInputError
from saes.autoencoder import SAE, build
from saes.interop import (
    circuit_tracer,
    gemma_scope,
    gemma_scope_2,
    llama_scope,
    registry,
    saelens,
    sparsify,
    torch_files,
)
from saes.interop.files import Stored, dtype_of

Reader = Callable[[Path, torch.dtype | None], Stored]
FORMATS: tuple[tuple[str | Path, Reader, bool], ...] = (
    (saelens.WEIGHTS, saelens.read, True),
    (sparsify.WEIGHTS, sparsify.read, True),
    (gemma_scope.NAME, gemma_scope.read, False),
    (gemma_scope_2.WEIGHTS, gemma_scope_2.read, False),
    (llama_scope.WEIGHTS, llama_scope.read, True),
    (torch_files.WEIGHTS, torch_files.read, False),
)
"""File name that identifies a format, its reader, and whether the reader takes the folder or the file."""
EXPECTED = (
    f"{saelens.CONFIG} and {saelens.WEIGHTS} (SAELens, and what sae.save writes), "
    f"{sparsify.CONFIG} and {sparsify.WEIGHTS} (sparsify), {gemma_scope.NAME} (Gemma Scope), "
    f"{gemma_scope_2.WEIGHTS} (Gemma Scope 2), {llama_scope.CONFIG} (Llama Scope) or {torch_files.WEIGHTS} "
    "(dictionary_learning)"
)


@checked
def load(
    folder: str | os.PathLike[str], device: str | torch.device = "cpu", dtype: torch.dtype | str | None = None
) -> SAE:
    """Load an autoencoder from a folder, file or published name.

    Supported formats: SAELens (which `sae.save` writes), sparsify, Gemma Scope 1 and 2, Llama Scope, Qwen Scope,
    circuit-tracer, dictionary_learning, Goodfire and DeepSeek-R1. Latents and reconstructions equal those of the
    library that wrote the files. No stored code is run. A name that is not a folder or file is looked up in SAELens'
    registry and on the hub ("gemma-scope-2-270m-pt-res/layer_12_width_16k_l0_small"), which needs a network unless it
    is cached.

    Args:
        folder: folder or file of one autoencoder, or a published name.
        device: device of the weights.
        dtype: dtype of the weights; None for the saved one.

    Returns:
        The `SAE`.

    Raises:
        MissingInputError: no autoencoder, or no network.
        DamagedFileError: a missing, unknown, misshapen, truncated, altered or not finite tensor.
        UsageError: an architecture, normalisation or setting that is not supported; a device that does not exist.

    Example:
        >>> _ = sae.save(folder)  # folder = "out/sae"
        >>> saes.load(folder)
        SAE(topk autoencoder, 8 latents of 4)
    """
    path, place = Path(folder), available(device)
    chosen = dtype_of(dtype, path) if isinstance(dtype, str) else dtype
    stored = read(path, chosen)
    if stored is None and not path.exists():
        published = registry.find(os.fspath(folder))
        if published is not None:
            stored = _published(published, chosen)
    if stored is None:
        raise MissingInputError(f"No autoencoder in {path}: expected {EXPECTED}.{_inside(path)}")
    return made(stored).to(place)


def made(stored: Stored) -> SAE:
    """Build and check the autoencoder from the contents of a folder.

    >>> made(read(sae.save(folder), None))  # folder = "out/sae"
    SAE(topk autoencoder, 8 latents of 4)
    """
    sae = build(stored.architecture, stored.variant, stored.tensors, stored.settings, stored.metadata)
    sae.history = dict(stored.history)
    return sae


def read(path: Path, dtype: torch.dtype | None) -> Stored | None:
    """Read a folder or file with the reader of its format.

    Returns None if the format is unknown.

    >>> read(sae.save(folder), None).settings["k"]  # folder = "out/sae"
    2
    """
    if path.is_file():
        return _read_file(path, dtype)
    for name, reader, whole in FORMATS:
        if (path / name).is_file():
            return reader(path if whole else path / name, dtype)
    return None


def _read_file(path: Path, dtype: torch.dtype | None) -> Stored | None:
    """Read the autoencoder that a file contains or belongs to."""
    if path.suffix == ".npz":
        return gemma_scope.read(path, dtype)
    if path.suffix in torch_files.SUFFIXES:
        return torch_files.read(path, dtype)
    if path.name == gemma_scope_2.WEIGHTS or gemma_scope_2.CROSS_LAYER.fullmatch(path.name):
        return gemma_scope_2.read(path, dtype)
    layer = re.fullmatch(r"(?:layer|W_enc)_(\d+)\.safetensors", path.name)
    if layer and circuit_tracer.is_set(path.parent):
        members = circuit_tracer.members(path.parent, dtype)
        return next(stored() for entry, stored in members if entry.layer == int(layer[1]))
    return None


def _published(published: registry.Published, dtype: torch.dtype | None) -> Stored | None:
    """Download a published autoencoder and read it."""
    local = registry.download(published)
    if published.kind == "mntss_clt_layer_transcoder":
        return read(local / f"W_enc_{published.path}.safetensors", dtype)
    if local.is_dir() and not (local / published.path).exists() and local.name != Path(published.path).name:
        return read(local / f"{published.path}.safetensors", dtype)
    return read(local, dtype)


def _inside(path: Path) -> str:
    """Return a hint with the subfolders that have an autoencoder."""
    if not path.is_dir():
        return " There is no such folder."
    names = [name for name, _, _ in FORMATS]
    names_inside = sorted(p.name for p in path.iterdir() if p.is_dir() and any((p / name).is_file() for name in names))
    return f" It holds folders that have one: {', '.join(names_inside[:5])}." if names_inside else ""
