"""A text that every Python installation has: the docstrings of the standard library.

Read from the source files without importing them, one document a module, in the order of the modules' names; about
1.6 million characters. The text depends on the Python version, so what is harvested from it is identified by the
digest of its tokens, like any other text.
"""

from __future__ import annotations

import ast
import sysconfig
import warnings
from collections.abc import Iterator
from pathlib import Path

from interp.errors import MissingInputError

NAME = "python-docs"
LEFT_OUT = frozenset(
    {"test", "tests", "idle_test", "site-packages", "dist-packages", "ensurepip", "idlelib", "lib2to3", "turtledemo"}
)
"""Folders that are not the library, or that not every installation has."""
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def python_docs(library: Path | None = None) -> Iterator[str]:
    """Yield one document for each documented module of the standard library.

    A document holds the module's strings in the order of the source, each under the name of what it documents.

    Args:
        library: the folder of sources; the running installation's by default.

    Raises:
        MissingInputError: there are no sources in it, as in an installation from a zip file.
    """
    root = Path(sysconfig.get_path("stdlib")) if library is None else library
    files = [file for file in root.rglob("*.py") if not LEFT_OUT & set(file.relative_to(root).parts)]
    if not files:
        raise MissingInputError(
            f'"{NAME}" needs the sources of the standard library, but {root} has none: give a file.'
        )
    for file in sorted(files, key=lambda file: file.relative_to(root).parts):
        module = ".".join(file.relative_to(root).with_suffix("").parts).removesuffix(".__init__")
        text = "\n\n".join(_strings(file, module))
        if text:
            yield text + "\n"


def _strings(file: Path, module: str) -> Iterator[str]:
    """Yield the documentation strings of a file, each under its name.

    Yields nothing for a file that is not Python of this version.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of old escapes in string literals of other people's code
            tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError, OSError):
        return
    for node in sorted(ast.walk(tree), key=lambda node: getattr(node, "lineno", 0)):
        if isinstance(node, DOCUMENTED) and (text := ast.get_docstring(node)):
            yield f"{getattr(node, 'name', module)}\n{text}"
