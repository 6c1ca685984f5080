"""`load`: whichever format a folder has."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from interp.arguments import checked
from interp.devices import available
from interp.errors import MissingInputError
from saes.autoencoder import SAE, build
from saes.interop import gemma_scope, saelens, sparsify
from saes.interop.files import Stored, dtype_of

EXPECTED = (
    f"{saelens.CONFIG} and {saelens.WEIGHTS} (SAELens, and what sae.save writes), "
    f"{sparsify.CONFIG} and {sparsify.WEIGHTS} (sparsify), or {gemma_scope.NAME} (Gemma Scope)"
)


@checked
def load(
    folder: str | os.PathLike[str], device: str | torch.device = "cpu", dtype: torch.dtype | str | None = None
) -> SAE:
    """The autoencoder in `folder`: one that `sae.save` wrote, SAELens's, sparsify's or Gemma Scope's.

    Its latents and reconstructions are those of the library that wrote it. Nothing is downloaded and nothing stored
    is run.

    Args:
        folder: holds one autoencoder; a `params.npz` may be given itself.
        device: where the weights go.
        dtype: of the weights; None keeps what they were saved in.

    Raises:
        MissingInputError: no autoencoder there.
        DamagedFileError: a missing, unknown, misshapen, truncated or altered tensor, or one that is not finite.
        UsageError: an architecture, a normalisation or a setting that has no equal here, which is named;
            a device that is not there.
    """
    path, place = Path(folder), available(device)
    stored = _read(path, dtype_of(dtype, path) if isinstance(dtype, str) else dtype)
    sae = build(stored.architecture, stored.variant, stored.tensors, stored.settings, stored.metadata)
    sae.history = dict(stored.history)
    return sae.to(place)


def _read(path: Path, dtype: torch.dtype | None) -> Stored:
    """What the folder or file holds, by whichever reader knows its format."""
    if path.name.endswith(".npz") and path.is_file():
        return gemma_scope.read(path, dtype)
    if (path / saelens.WEIGHTS).is_file():
        return saelens.read(path, dtype)
    if (path / sparsify.WEIGHTS).is_file():
        return sparsify.read(path, dtype)
    if (path / gemma_scope.NAME).is_file():
        return gemma_scope.read(path / gemma_scope.NAME, dtype)
    raise MissingInputError(f"No autoencoder in {path}: expected {EXPECTED}.{_inside(path)}")


def _inside(path: Path) -> str:
    """The folders one level further down that do hold one."""
    if not path.is_dir():
        return " There is no such folder."
    names = (saelens.WEIGHTS, sparsify.WEIGHTS, gemma_scope.NAME)
    found = sorted(p.name for p in path.iterdir() if p.is_dir() and any((p / name).is_file() for name in names))
    return f" It holds folders that have one: {', '.join(found[:5])}." if found else ""
