"""Docstrings as pages show them: an example, `>>> ...` up to the next blank line, becomes a block of code."""

from __future__ import annotations

import re
from typing import Any

from griffe import Extension, Object

EXAMPLE = re.compile(r"^( *)>>> .*(?:\n(?!\s*$).*)*", re.MULTILINE)


def fenced(text: str) -> str:
    r"""Return a docstring with its examples as fenced blocks.

    >>> fenced("Add.\n\n>>> 1 + 1\n2").splitlines()
    ['Add.', '', '```pycon', '>>> 1 + 1', '2', '```']
    >>> fenced("Add.\n\nExample:\n    >>> 1 + 1\n    2").splitlines()
    ['Add.', '', 'Example:', '    ```pycon', '    >>> 1 + 1', '    2', '    ```']
    """
    return EXAMPLE.sub(lambda example: f"{example[1]}```pycon\n{example[0]}\n{example[1]}```", text)


class Examples(Extension):
    """Applies `fenced` to every docstring that is loaded."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        """Change one docstring."""
        if obj.docstring is not None:
            obj.docstring.value = fenced(obj.docstring.value)
