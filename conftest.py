"""Names that examples in docstrings may use without defining them: `model`, `acts`, `data`, `sae` and the packages."""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib import import_module
from typing import Any

import pytest

MODULES = {"np": "numpy", "torch": "torch", "interp": "interp", "probes": "probes", "saes": "saes"}


def _model() -> Any:
    """Return a small random model with a tokenizer of the words "the tower is in Paris a b London"."""
    from tests import models

    return models.load("llama", text=True)


def _acts() -> Any:
    """Return activations (80 statements, 4 layers, width 16) with a truth direction from layer 1 on."""
    from tests.probes.protocol import planted

    return planted.activations(planted.statements(40))


def _data() -> Any:
    return _acts().data


def _sae() -> Any:
    """Return a top-2 autoencoder of 4 inputs whose 8 latents read and write the positive and negative axes."""
    import torch

    import saes

    axes = torch.cat([torch.eye(4), -torch.eye(4)])
    weights = {"W_enc": axes.T.clone(), "W_dec": axes, "b_enc": torch.zeros(8), "b_dec": torch.zeros(4)}
    return saes.build("topk", "autoencoder", weights, {"k": 2})


FIXTURES: dict[str, Callable[[], Any]] = {"model": _model, "acts": _acts, "data": _data, "sae": _sae}


@pytest.fixture(autouse=True)
def names_of_examples(request: pytest.FixtureRequest) -> None:
    """Put the names that an example uses and does not define into its namespace."""
    if not isinstance(request.node, pytest.DoctestItem):
        return
    namespace: dict[str, Any] = request.node.dtest.globs if request.node.dtest else {}
    source = "".join(example.source for example in request.node.dtest.examples) if request.node.dtest else ""
    source = re.sub(r"  # .*", "", source)  # comments say how a user gets these objects
    makers = {name: lambda module=module: import_module(module) for name, module in MODULES.items()} | FIXTURES
    for name, make in makers.items():
        if name not in namespace and re.search(rf"\b{name}\b", source) and not re.search(rf"\b{name} = ", source):
            namespace[name] = make()
