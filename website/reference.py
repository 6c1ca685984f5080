"""The API reference: one page for every public package, with each name that the package exports.

Pages name packages and their exports, never the modules behind them, so that a module can be renamed freely.
"""

from __future__ import annotations

import ast
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from pkgutil import walk_packages
from types import ModuleType

FOLDER = "reference"
ROOTS = ("interp", "probes", "saes", "analyses")
MODULES = ("interp.edit", "interp.errors", "interp.results")
"""Public modules that are not packages."""
OPTIONS = "    options:\n      show_root_heading: false\n      show_root_toc_entry: false\n"
EXAMPLES = Path(__file__).parents[1] / "tests/examples.py"
ABOUT = """# Names in examples

Every example of these pages runs in the tests of the toolkit. Packages need no import in them: `attribution` is
`interp.attribution`, and `np` is numpy. The example of a method may use what the example of its class defines.
Other names are small objects, so that an example takes no more than a moment; `study`, in a package of `analyses`, is
the result of its `run`:
"""
LINK = "Examples use some names without making them: see [names in examples](examples.md)."
PRIVATE = ("interp.cli", "interp.model.families")
"""Packages that users do not import from."""


def public_modules() -> list[str]:
    """Return the names of all packages that export something, and of the public modules."""
    packages = [name for root in ROOTS for name in (root, *_packages(import_module(root)))]
    known = {name for name in packages if exports(name)} | set(MODULES)
    return sorted(known, key=lambda name: (ROOTS.index(name.partition(".")[0]), name))


def exports(name: str) -> list[str]:
    """Return what a package exports, subpackages left out: they have pages of their own."""
    module = import_module(name)
    declared = getattr(module, "__exports__", {})
    names = [one for one in getattr(module, "__all__", ()) if declared.get(one) != name]
    return [one for one in names if not isinstance(getattr(module, one), ModuleType)]


def page(name: str) -> str:
    """Return the Markdown of one page: the package's own docstring, then every export."""
    members = "".join(f"\n::: {_place(name, one)}\n" for one in exports(name))
    options = OPTIONS + ("      members: false\n" if members else "")
    return f"# {name}\n\n::: {name}\n{options}\n{LINK}\n{members}"


def examples() -> str:
    """Return the Markdown of the page about the names that examples use without making them."""
    nodes = ast.parse(EXAMPLES.read_text(encoding="utf-8")).body
    functions = [node for node in nodes if isinstance(node, ast.FunctionDef)]
    public = [node for node in functions if not node.name.startswith("_") and not node.args.args]
    return "\n".join([ABOUT, *(f"- `{one.name}`: {_what(one)}" for one in public), ""])


def _what(function: ast.FunctionDef) -> str:
    """Return the first sentence of a docstring, without its verb."""
    return (ast.get_docstring(function) or "").partition("\n")[0].removeprefix("Return ")


def _place(package: str, name: str) -> str:
    """Return where an export is documented: in its module, where the package has a module of the same name too."""
    if package in MODULES or find_spec(f"{package}.{name}") is None:
        return f"{package}.{name}"
    return f"{getattr(import_module(package), name).__module__}.{name}"


def _packages(root: ModuleType) -> list[str]:
    packages = walk_packages(root.__path__, f"{root.__name__}.")
    return [one.name for one in packages if one.ispkg and not one.name.startswith(PRIVATE)]
