"""Names that examples in docstrings may use without defining them.

These are the packages, the objects of `OBJECTS`, and in the example of a method what the example of its class defines.
"""

from __future__ import annotations

import ast
import builtins
import doctest
from functools import cache
from importlib import import_module
from typing import Any

import pytest

PACKAGES = "attribution cache circuits coding discovery edit errors masks patching report results steering tasks toy"
MODULES = {name: name for name in ("torch", "interp", "probes", "saes", "analyses")} | {"np": "numpy"}
MODULES |= {name: f"interp.{name}" for name in PACKAGES.split()}
MODULES |= {"modular": "interp.toy.modular", "sparse": "interp.toy.sparse"}
OBJECTS = (
    *("model", "tokens", "texts", "lm", "task", "transcoders", "acts", "other", "data", "places", "erasure"),
    *("intervention", "page", "sae", "store", "dictionaries", "evaluation", "study", "folder"),
)
"""Made by the functions of these names in `tests/examples.py`."""


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
            namespace[one] = _made(one, namespace["__name__"])


def _made(name: str, module: str) -> Any:
    """Make an object for the examples of a module; `study` is the result of the study in the module's package."""
    from tests import examples

    return examples.study(module.split(".")[1]) if name == "study" else getattr(examples, name)()


@cache
def _defined(owner: type) -> dict[str, Any]:
    """Return the names that the example in the docstring of a class defines."""
    source = _example(owner)
    namespace = dict(vars(import_module(owner.__module__)))
    supply(namespace, source, f"{owner.__module__}.{owner.__name__}")
    exec(source, namespace)
    return {one: namespace[one] for one in _stored(source) if one in namespace}  # not those of comprehensions


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
