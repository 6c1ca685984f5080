"""Reading and checking of JSON settings and tensors of other libraries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import Tensor

from interp.cache.tensors import all_finite
from interp.errors import DamagedFileError, MissingInputError, UsageError, nearest
from interp.fields import check_fields
from interp.files import read_json

DTYPES = {"float32": torch.float32, "float64": torch.float64, "float16": torch.float16, "bfloat16": torch.bfloat16}


class Stored(NamedTuple):
    """Contents of an autoencoder folder: arguments of `saes.build`, and the training history.

    >>> Stored("topk", "autoencoder", {}, {"k": 2}, {}).settings
    {'k': 2}
    """

    architecture: str
    variant: str
    tensors: dict[str, Tensor]
    settings: dict[str, Any]
    metadata: dict[str, Any]
    history: Mapping[str, Any] = MappingProxyType({})


def read_settings(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file; raise `MissingInputError` or `DamagedFileError` otherwise."""
    settings = read_json(path, f"{path.parent} has no {path.name}: it is not a whole autoencoder folder.")
    if not isinstance(settings, dict):
        raise DamagedFileError(f"{path} holds a {type(settings).__name__}, not the settings of an autoencoder.")
    return settings


def check_kinds(kind: type, config: dict[str, Any], path: Path) -> None:
    """Check that the settings have the types of a dataclass.

    Raises `DamagedFileError` for a setting whose type differs from that in the dataclass `kind`.
    """
    declared = {field.name for field in fields(kind)}
    check_fields(kind, {name: value for name, value in config.items() if name in declared}, path)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read all tensors of a safetensors file on the CPU."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except FileNotFoundError as error:
        raise MissingInputError(f"{path.parent} has no {path.name}: it is not a whole autoencoder folder.") from error
    except (SafetensorError, OSError) as error:
        raise DamagedFileError(f"{path} is damaged or truncated ({error}).") from error


def read_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Return the shape of every tensor of a safetensors file.

    Only the header of the file is read.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as content:
            return {name: tuple(content.get_slice(name).get_shape()) for name in content.keys()}  # noqa: SIM118
    except FileNotFoundError as error:
        raise MissingInputError(f"{path.parent} has no {path.name}: it is not a whole folder.") from error
    except (SafetensorError, OSError) as error:
        raise DamagedFileError(f"{path} is damaged or truncated ({error}).") from error


def need(config: dict[str, Any], name: str, path: Path) -> Any:
    """Return the value of a required key.

    Raises `DamagedFileError` if the key is missing.

    >>> need({"k": 2}, "k", Path("cfg.json"))
    2
    """
    if name not in config:
        raise DamagedFileError(f'{path} has no "{name}": it does not say what the weights mean.')
    return config[name]


def count(config: dict[str, Any], name: str, path: Path) -> int:
    """Return a required whole number of at least 1.

    >>> count({"k": 2}, "k", Path("cfg.json"))
    2
    """
    value = need(config, name, path)
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise DamagedFileError(f"{path} has {name} = {value!r}: expected a whole number of at least 1.")
    return value


def dtype_of(name: Any, path: Path) -> torch.dtype:
    """Return a dtype by name, with or without "torch.".

    >>> dtype_of("torch.bfloat16", Path("cfg.json"))
    torch.bfloat16
    """
    short = str(name).removeprefix("torch.")
    if short not in DTYPES:
        raise UsageError(f'{path} says dtype "{name}"{nearest(short, DTYPES)}: known are {", ".join(DTYPES)}.')
    return DTYPES[short]


def check_tensors(tensors: dict[str, Tensor], shapes: dict[str, tuple[int, ...]], path: Path) -> None:
    """Check the names, shapes and values of a file's tensors.

    Raises `DamagedFileError` unless the file has exactly these tensors, with these shapes, all finite.

    >>> check_tensors({"b_dec": torch.zeros(4)}, {"b_dec": (4,)}, Path("sae_weights.safetensors"))
    """
    missing, unknown = [n for n in shapes if n not in tensors], [n for n in tensors if n not in shapes]
    if missing:
        raise DamagedFileError(
            f"{path} has no {', '.join(missing)}; it holds {', '.join(sorted(tensors)) or 'nothing'}."
        )
    if unknown:
        hint = nearest(unknown[0], shapes)
        raise DamagedFileError(f'{path} holds "{unknown[0]}", which is not known{hint}: leaving it out could be wrong.')
    for name, shape in shapes.items():
        if tuple(tensors[name].shape) != shape:
            raise DamagedFileError(f"{path}: {name} is {tuple(tensors[name].shape)}, but its settings say {shape}.")
        if not tensors[name].is_floating_point():
            raise DamagedFileError(f"{path}: {name} holds {tensors[name].dtype} numbers, which are not weights.")
        if not all_finite(tensors[name]):
            raise DamagedFileError(f"{path}: {name} holds NaN or infinite values.")


def check_known(config: dict[str, Any], known: set[str], path: Path) -> None:
    """Raise `UsageError` for an unknown key.

    Ignoring the key could change the meaning of the weights.

    >>> check_known({"k": 2}, {"k", "d_in"}, Path("cfg.json"))
    """
    for name in config:
        if name not in known:
            raise UsageError(f'{path} has the key "{name}", whose meaning is not known here{nearest(name, known)}.')
