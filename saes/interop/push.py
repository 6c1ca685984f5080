"""Publishing on Hugging Face.

Writes the model card, and uploads only if requested.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from interp.arguments import checked
from interp.errors import InterpError, UsageError
from interp.results import write_atomic
from saes.interop import saelens, sidecar
from saes.interop.card import card
from saes.interop.folders import load

if TYPE_CHECKING:
    from saes.evaluation.result import Evaluation

CARD = "README.md"
FILES = (CARD, saelens.CONFIG, saelens.WEIGHTS, sidecar.NAME, sidecar.HISTORY)
"""The only files that are uploaded."""


@dataclass(frozen=True)
class Upload:
    """Files of an upload, done or not: (name, bytes) of each file.

    >>> Upload(Path("out/sae"), "owner/name", (("cfg.json", 310),), uploaded=False).files
    (('cfg.json', 310),)
    """

    folder: Path
    repo: str
    files: tuple[tuple[str, int], ...]
    uploaded: bool

    def __str__(self) -> str:
        size = sum(count for _, count in self.files)
        names = ", ".join(name for name, _ in self.files)
        verb = "Uploaded" if self.uploaded else "Nothing was sent; an upload would send these"
        return f"{verb} to {self.repo}: {names} ({size / 1e6:.1f} MB)"


@checked
def push(
    folder: str | os.PathLike[str],
    repo: str,
    *,
    upload: bool = False,
    evaluation: Evaluation | None = None,
    private: bool = True,
) -> Upload:
    """Write the model card and optionally upload to Hugging Face.

    With `upload=True` the card and the autoencoder are uploaded.

    Args:
        folder: folder that `sae.save` wrote.
        repo: "owner/name"; created if it does not exist.
        upload: whether to upload. Needs a token for `huggingface_hub` (HF_TOKEN, or `hf auth login`).
        evaluation: evaluation to include in the card.
        private: whether a new repository is private.

    Returns:
        `Upload` with the names and sizes of the files.

    Raises:
        UsageError: an invalid repository name.
        MissingInputError: no autoencoder in the folder; see `saes.load` for one that is damaged.
        InterpError: the upload failed; the folder is complete, with its card.

    Example:
        >>> _ = sae.save(folder)  # folder = "out/sae"
        >>> [name for name, size in saes.push(folder, "owner/name").files]
        ['README.md', 'cfg.json', 'sae_weights.safetensors', 'interp.json']
    """
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repo):
        raise UsageError(f'"{repo}" is not a repository name: give "owner/name".')
    path = Path(folder)
    write_atomic(path / CARD, card(load(path), evaluation, repo).encode())
    files = tuple((name, (path / name).stat().st_size) for name in FILES if (path / name).is_file())
    if upload:
        _upload(path, repo, [name for name, _ in files], private)
    return Upload(path, repo, files, upload)


def _upload(path: Path, repo: str, names: list[str], private: bool) -> None:
    from huggingface_hub import HfApi

    try:
        api = HfApi()
        api.create_repo(repo, private=private, exist_ok=True)
        api.upload_folder(folder_path=path, repo_id=repo, allow_patterns=names, commit_message="Autoencoder and card")
    except Exception as error:  # a network has many ways to fail, and each library version its own classes for them
        raise InterpError(f"Could not upload to {repo}: {error}. The folder {path} is complete: try again.") from error
