"""Reaching heavy modules by name, so that importing the command line never imports them."""

from __future__ import annotations

from importlib import import_module
from typing import Any


def use(name: str) -> Any:
    """The module called `name`, imported now. Commands call it inside `run`, never while a module loads.

    The import contract follows imports inside functions too; a name in a string is what it allows.
    """
    return import_module(name)
