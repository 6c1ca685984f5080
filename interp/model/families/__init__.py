"""Model families: the only code that knows the module names of `transformers`.

A family is a small module with `spec(hf) -> Spec`, `parts(hf) -> Parts` and `layer(hf, index) -> Layer`. A model
whose `config.model_type` is in none of them is only observed: a formula that is nearly right would be worse.
"""

from __future__ import annotations

from types import ModuleType

from interp.errors import UnsupportedModelError
from interp.model.families import cohere, experts, gpt2, gpt_neox, granite, llama, olmo, plain
from interp.model.families.base import Layer, Parts, RawNorm

__all__ = ["SUPPORTED", "Layer", "Parts", "RawNorm", "of"]

_FAMILIES: dict[str, ModuleType] = {
    model_type: family
    for family in (llama, cohere, granite, olmo, experts, gpt2, gpt_neox, plain)
    for model_type in family.MODEL_TYPES
}
SUPPORTED = tuple(sorted(_FAMILIES))


def known(model_type: str) -> ModuleType | None:
    """Return the module for `model_type`, None if there is none."""
    return _FAMILIES.get(model_type)


def of(model_type: str) -> ModuleType:
    """Return the module for `model_type`.

    Raises `UnsupportedModelError` naming it and those that are known.
    """
    if model_type not in _FAMILIES:
        raise UnsupportedModelError(
            f'The model family "{model_type}" is not supported: its arithmetic would not be exact. '
            f'Supported families: {", ".join(SUPPORTED)}. To run it without: level="observed".'
        )
    return _FAMILIES[model_type]
