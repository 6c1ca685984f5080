"""Names that examples in docstrings may use without defining them.

These are the packages, the objects of `OBJECTS`, and in the example of a method what the example of its class defines.
"""

from __future__ import annotations

import ast
import builtins
import doctest
from collections.abc import Callable
from functools import cache
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from typing import Any

import pytest

PACKAGES = "attribution cache circuits coding discovery edit errors masks patching report results steering tasks toy"
MODULES = {"np": "numpy", "torch": "torch", "interp": "interp", "probes": "probes", "saes": "saes"}
MODULES |= {name: f"interp.{name}" for name in PACKAGES.split()}


@cache
def _model() -> Any:
    """Return a small random model with a tokenizer of the words "the tower is in Paris a b London"."""
    from tests import models

    return models.load("llama", text=True)


def _tokens() -> Any:
    """Return the ids of "the tower is in"."""
    return _model().to_tokens("the tower is in")


@cache
def _lm() -> Any:
    """Return a small random model with a tokenizer of the words of all tasks."""
    from tests.tasks import vocabulary

    return vocabulary.model()


@cache
def _task() -> Any:
    """Return a task of two pairs of prompts, such as "the tower is in" and "a tower is in", with an answer each."""
    from interp import tasks

    prompts = [("the tower is in", "a tower is in"), ("tower the is in", "tower a is in")]
    pairs = tuple(tasks.Pair(*both, right=(" Paris",), wrong=(" London",)) for both in prompts)
    return tasks.Pairs("towers", pairs).encode(_model())


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


@cache
def _folders() -> Any:
    return TemporaryDirectory(prefix="interp-examples-")  # deleted when Python ends


def _folder() -> Path:
    """Return the path of an empty folder."""
    return Path(mkdtemp(dir=_folders().name))


OBJECTS: dict[str, Callable[[], Any]] = {
    "model": _model,
    "tokens": _tokens,
    "lm": _lm,
    "task": _task,
    "acts": _acts,
    "data": _data,
    "sae": _sae,
    "folder": _folder,
}


@pytest.fixture(autouse=True)
def names_of_examples(request: pytest.FixtureRequest) -> None:
    """Put the names that an example uses and does not define into its namespace."""
    if isinstance(request.node, pytest.DoctestItem) and request.node.dtest:
        test = request.node.dtest
        supply(test.globs, _code(test.examples), test.name)


def supply(namespace: dict[str, Any], source: str, name: str) -> None:
    """Add the names that code reads, does not define and does not find in its namespace."""
    missing = {one for one in _read(source) if one not in namespace}
    owner = namespace.get(name.removeprefix(f"{namespace['__name__']}.").rpartition(".")[0])
    if isinstance(owner, type) and missing & _stored(_example(owner)):
        namespace.update(_defined(owner))
    for one in missing - set(namespace):
        if one in MODULES:
            namespace[one] = import_module(MODULES[one])
        elif one in OBJECTS:
            namespace[one] = OBJECTS[one]()


@cache
def _defined(owner: type) -> dict[str, Any]:
    """Return the names that the example in the docstring of a class defines."""
    source = _example(owner)
    namespace = dict(vars(import_module(owner.__module__)))
    supply(namespace, source, f"{owner.__module__}.{owner.__name__}")
    exec(source, namespace)
    return {one: namespace[one] for one in _stored(source)}


def _example(owner: type) -> str:
    return _code(doctest.DocTestParser().get_examples(owner.__doc__ or ""))


def _code(examples: list[doctest.Example]) -> str:
    return "".join(one.source for one in examples if not one.options.get(doctest.SKIP))


def _read(source: str) -> set[str]:
    """Return the names that code reads and does not define."""
    nodes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Name)]
    return {node.id for node in nodes if isinstance(node.ctx, ast.Load)} - _stored(source) - {*dir(builtins)}


def _stored(source: str) -> set[str]:
    """Return the names that code assigns or imports."""
    nodes = list(ast.walk(ast.parse(source)))
    aliases = {node.asname or node.name for node in nodes if isinstance(node, ast.alias)}
    return aliases | {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
