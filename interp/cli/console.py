"""What a person sees: the result on stdout, everything else on stderr."""

from __future__ import annotations

import json
import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from typing import Any

Progress = Callable[[int, int, str], None]
"""Called with (steps done, steps in all, what is being done)."""


def say(text: str) -> None:
    """One piece of the result, on stdout."""
    print(text, file=sys.stdout)


def say_json(body: dict[str, Any]) -> None:
    """The result as one JSON object on stdout. Raises `ValueError` on NaN, which JSON cannot hold."""
    say(json.dumps(body, ensure_ascii=False, allow_nan=False, indent=1))


def complain(text: str) -> None:
    """One `error:` line on stderr; line breaks and control characters of the data are made visible."""
    line = " ".join(text.split())
    shown = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line)
    print(f"error: {shown}", file=sys.stderr)


@contextmanager
def manners(*, quiet: bool, verbose: bool) -> Iterator[None]:
    """How the libraries underneath speak while a command runs; as before when it ends.

    Progress bars only for a person at a terminal, warnings unless quiet, library chatter only when verbose.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    before = dict(os.environ)
    if quiet or not sys.stderr.isatty():
        os.environ.update(TQDM_DISABLE="1", HF_HUB_DISABLE_PROGRESS_BARS="1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "info" if verbose else "error")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO if verbose else logging.ERROR if quiet else logging.WARNING)
    try:
        with warnings.catch_warnings():
            if quiet:
                warnings.simplefilter("ignore")
            yield
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
        os.environ.clear()
        os.environ.update(before)


@contextmanager
def progress(*, quiet: bool) -> Iterator[Progress | None]:
    """A bar on stderr for long work; None when quiet or when nobody is watching."""
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from tqdm import tqdm

    with tqdm(file=sys.stderr, leave=False, bar_format="{desc} {bar} {n_fmt}/{total_fmt}") as bar:

        def show(done: int, total: int, what: str) -> None:
            bar.total = total
            bar.set_description_str(what, refresh=False)
            bar.update(done - bar.n)

        yield show
