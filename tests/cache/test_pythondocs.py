"""The documentation strings of the standard library as a named source of text."""

from __future__ import annotations

from itertools import islice

import pytest

from interp import cache
from interp.cache.pythondocs import python_docs
from interp.errors import MissingInputError


def test_strings_come_in_the_order_of_the_source_under_their_names(tmp_path):
    package = tmp_path / "box"
    package.mkdir()
    lid = 'class Lid:\n    """A lid."""\n    def shut(self):\n        """Shut it."""\n'
    (package / "__init__.py").write_text('"""About the box."""\n' + lid + "def f(): pass\n")
    (tmp_path / "a.py").write_text('def g():\n    """About g."""\n')
    (tmp_path / "broken.py").write_text("def (:\n")
    (tmp_path / "silent.py").write_text("x = 1\n")
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / "test_a.py").write_text('"""Not the library."""\n')
    assert list(python_docs(tmp_path)) == [
        "g\nAbout g.\n",
        "box\nAbout the box.\n\nLid\nA lid.\n\nshut\nShut it.\n",
    ]


def test_this_installation_has_them_and_gives_them_twice_alike():
    first, again = (list(islice(cache.documents("python-docs"), 20)) for _ in range(2))
    assert first == again and sum(map(len, first)) > 10_000
    assert any("subprocess" in text for text in first)


def test_without_sources_it_says_so(tmp_path):
    with pytest.raises(MissingInputError, match='"python-docs" needs the sources of the standard library'):
        next(python_docs(tmp_path))
