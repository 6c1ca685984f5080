"""Lazy packages: each public name is imported on first use.

A package declares its public names once, as imports that type checkers and editors follow:

    from interp.lazy import attach

    if TYPE_CHECKING:
        from interp.attribution.frozen import Frozen as Frozen, freeze as freeze

    attach(__name__)
"""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Iterator
from importlib import import_module
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any


class LazyPackage(ModuleType):
    """Package that imports each public name on first use.

    It imports from the module in `__exports__`.
    """

    __exports__: dict[str, str]

    def __getattr__(self, name: str) -> Any:
        module = self.__exports__.get(name)
        if module is None:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        if module == self.__name__:
            return import_module(f"{module}.{name}")
        return getattr(import_module(module), name)

    def __setattr__(self, name: str, value: Any) -> None:
        # Importing a submodule binds it in its package. Where a public name is also that of the module which defines
        # it (`attribution.contrast` in contrast.py), the public name must keep the declared meaning.
        if isinstance(value, ModuleType) and self.__exports__.get(name, self.__name__) != self.__name__:
            return
        super().__setattr__(name, value)

    def __dir__(self) -> list[str]:
        return sorted(self.__exports__)


def attach(package: str) -> None:
    """Make a package import its public names on first use.

    These are the names that `package` imports under `if TYPE_CHECKING:`.

    Only names written as re-exports, `from module import name as name`, become public; `__all__` and `dir()` list
    them. A name imported from the package itself is a subpackage or a module of it. Call it last in `__init__.py`.

    Raises:
        ImportError: the package comes without its source, so that its declaration cannot be read.
    """
    module = sys.modules[package]
    exports = _declared(_source(module.__spec__))
    module.__dict__.update(__exports__=exports, __all__=[*exports])
    module.__class__ = LazyPackage


def type_checking_imports(module: ModuleType) -> dict[str, str]:
    """Return the module of every name imported under `if TYPE_CHECKING:` without renaming.

    Returns an empty dictionary for a module without source.
    """
    try:
        source = inspect.getsource(module)
    except (OSError, TypeError):
        return {}
    return {alias.name: source for source, alias in _imports(source) if alias.asname is None}


def _declared(source: str) -> dict[str, str]:
    """Return the module of every re-exported name of an `__init__.py`."""
    return {alias.name: module for module, alias in _imports(source) if alias.asname == alias.name}


def _imports(source: str) -> Iterator[tuple[str, ast.alias]]:
    """Yield (module, name) of the imports under `if TYPE_CHECKING:`."""
    blocks = (node for node in ast.parse(source).body if isinstance(node, ast.If))
    for block in blocks:
        if ast.unparse(block.test) == "TYPE_CHECKING":
            for statement in block.body:
                if isinstance(statement, ast.ImportFrom) and statement.module:
                    yield from ((statement.module, alias) for alias in statement.names)


def _source(spec: ModuleSpec | None) -> str:
    read = getattr(spec.loader, "get_source", None) if spec else None
    source = read(spec.name) if read and spec else None
    if source is None:
        raise ImportError(f"{spec.name if spec else 'a package'} cannot be imported without its source file.")
    return source
