"""Models: loading, architecture facts, folded weights and the forward pass written out.

`interp.load` makes a `Model`; `model.spec` has its facts, `model.weights` its folded weights, and
`model.run_with_cache` its activations.

This is the only package that imports `transformers` and `transformer_lens`, and it does so inside functions.
"""

from interp.model.capabilities import Capability, capabilities
from interp.model.capture import Cache
from interp.model.check import Check, check
from interp.model.load import load
from interp.model.model import Model
from interp.model.spec import Rotary, Spec
from interp.model.weights import Attention, Mlp, Weights

__all__ = [
    "Attention",
    "Cache",
    "Capability",
    "Check",
    "Mlp",
    "Model",
    "Rotary",
    "Spec",
    "Weights",
    "capabilities",
    "check",
    "load",
]
