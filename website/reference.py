"""The API reference: one page for every public package, with each name that the package exports.

Pages name packages and their exports, never the modules behind them, so that a module can be renamed freely.
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import walk_packages
from types import ModuleType

FOLDER = "reference"
ROOTS = ("interp", "probes", "saes", "analyses")
MODULES = ("interp.edit", "interp.errors", "interp.results")
"""Public modules that are not packages."""
PRIVATE = ("interp.cli",)


def public_modules() -> list[str]:
    """Return the names of all packages that export something, and of the public modules."""
    packages = [name for root in ROOTS for name in (root, *_packages(import_module(root)))]
    return sorted({name for name in packages if exports(name)} | set(MODULES))


def exports(name: str) -> list[str]:
    """Return what a package exports, subpackages left out: they have pages of their own."""
    module = import_module(name)
    declared = getattr(module, "__exports__", {})
    return [one for one in getattr(module, "__all__", ()) if declared.get(one) != name]


def page(name: str) -> str:
    """Return the Markdown of one page: the package's own docstring, then every export."""
    members = "".join(f"\n::: {name}.{one}\n" for one in exports(name))
    if name in MODULES and not exports(name):
        return f"# {name}\n\n::: {name}\n    options:\n      show_root_heading: false\n      show_root_toc_entry: false\n"
    options = "    options:\n      show_root_heading: false\n      show_root_toc_entry: false\n      members: false\n"
    return f"# {name}\n\n::: {name}\n{options}{members}"


def _packages(root: ModuleType) -> list[str]:
    found = walk_packages(root.__path__, f"{root.__name__}.")
    return [one.name for one in found if one.ispkg and not one.name.startswith(PRIVATE)]
