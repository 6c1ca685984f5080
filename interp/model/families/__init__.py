"""What each model family calls its parts: the only code that knows the module names of `transformers`.

A family is a small module with `spec(hf) -> Spec`, `parts(hf) -> Parts` and `layer(hf, index) -> Layer`. A model
whose `config.model_type` is in none of them is refused by name: a formula that is nearly right would be worse.
"""

from __future__ import annotations

from types import ModuleType

from interp.errors import UnsupportedModelError
from interp.model.families import experts, gpt2, gpt_neox, llama
from interp.model.families.base import Layer, Parts, RawNorm

__all__ = ["SUPPORTED", "Layer", "Parts", "RawNorm", "of"]

_FAMILIES: dict[str, ModuleType] = {
    **dict.fromkeys(llama.MODEL_TYPES, llama),
    **dict.fromkeys(experts.MODEL_TYPES, experts),
    **dict.fromkeys(gpt2.MODEL_TYPES, gpt2),
    **dict.fromkeys(gpt_neox.MODEL_TYPES, gpt_neox),
}
SUPPORTED = tuple(sorted(_FAMILIES))


def of(model_type: str) -> ModuleType:
    """The module that knows `model_type`; raises `UnsupportedModelError` naming it and those that are known."""
    if model_type not in _FAMILIES:
        raise UnsupportedModelError(
            f'The model family "{model_type}" is not supported: its arithmetic would not be exact. '
            f"Supported families: {', '.join(SUPPORTED)}."
        )
    return _FAMILIES[model_type]
