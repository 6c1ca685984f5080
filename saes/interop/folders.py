"""`load`: whichever format a folder has."""

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
"""By the file that a folder has: how it is read, and whether the reader takes the folder or that file."""
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
    """Return the autoencoder in `folder`, or the published one of that name.

    Read are those of SAELens (what `sae.save` writes), sparsify, Gemma Scope 1 and 2, Llama Scope, Qwen Scope,
    circuit-tracer, dictionary_learning, Goodfire and DeepSeek-R1. Latents and reconstructions are those of the library
    that wrote it. Nothing stored is run. Only a name that is no folder or file is looked up in SAELens' registry and on
    the hub ("gemma-scope-2-270m-pt-res/layer_12_width_16k_l0_small"), which needs a network unless it is there already.

    Args:
        folder: holds one autoencoder; or the file of one that is a file; or a published name.
        device: where the weights go.
        dtype: of the weights; None keeps what they were saved in.

    Raises:
        MissingInputError: no autoencoder there, or no network.
        DamagedFileError: a missing, unknown, misshapen, truncated or altered tensor, or one that is not finite.
        UsageError: an architecture, a normalisation or a setting that has no equal here, which is named;
            a device that is not there.
    """
    path, place = Path(folder), available(device)
    chosen = dtype_of(dtype, path) if isinstance(dtype, str) else dtype
    found = read(path, chosen)
    if found is None and not path.exists():
        published = registry.find(os.fspath(folder))
        if published is not None:
            found = _published(published, chosen)
    if found is None:
        raise MissingInputError(f"No autoencoder in {path}: expected {EXPECTED}.{_inside(path)}")
    return made(found).to(place)


def made(stored: Stored) -> SAE:
    """Return the autoencoder of what a reader found, checked."""
    sae = build(stored.architecture, stored.variant, stored.tensors, stored.settings, stored.metadata)
    sae.history = dict(stored.history)
    return sae


def read(path: Path, dtype: torch.dtype | None) -> Stored | None:
    """Return what a folder or file holds, by whichever reader knows its format; None if none does."""
    if path.is_file():
        return _read_file(path, dtype)
    for name, reader, whole in FORMATS:
        if (path / name).is_file():
            return reader(path if whole else path / name, dtype)
    return None


def _read_file(path: Path, dtype: torch.dtype | None) -> Stored | None:
    """The autoencoder that is, or is named by, one file."""
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
    """Downloaded, then read."""
    found = registry.download(published)
    if published.kind == "mntss_clt_layer_transcoder":
        return read(found / f"W_enc_{published.path}.safetensors", dtype)
    if found.is_dir() and not (found / published.path).exists() and found.name != Path(published.path).name:
        return read(found / f"{published.path}.safetensors", dtype)
    return read(found, dtype)


def _inside(path: Path) -> str:
    """The folders one level further down that do hold one."""
    if not path.is_dir():
        return " There is no such folder."
    names = [name for name, _, _ in FORMATS]
    found = sorted(p.name for p in path.iterdir() if p.is_dir() and any((p / name).is_file() for name in names))
    return f" It holds folders that have one: {', '.join(found[:5])}." if found else ""
