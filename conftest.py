"""What the examples in docstrings may use without making it: `model`, a small random model with a tokenizer."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.fixture(autouse=True)
def names_of_examples(request: pytest.FixtureRequest) -> None:
    """Put `model` into the namespace of an example, and of nothing else."""
    if isinstance(request.node, pytest.DoctestItem):
        namespace: dict[str, Any] = request.node.dtest.globs if request.node.dtest else {}
        if "model" not in namespace and any("model" in example.source for example in request.node.dtest.examples):
            from tests import models

            namespace["model"] = models.load("llama", text=True)
