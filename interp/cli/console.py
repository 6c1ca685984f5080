"""What a person sees: the result on stdout, everything else on stderr."""

from __future__ import annotations

import json
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from typing import Any

from interp.progress import Progress

PACKAGES = ("interp", "probes", "saes", "analyses")


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

    Progress bars only for a person at a terminal. Warnings of our own packages unless quiet; those of others, who
    repeat what our errors say in one sentence, only when verbose.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    with _environment(quiet=quiet, verbose=verbose), _logging(quiet=quiet, verbose=verbose), warnings.catch_warnings():
        if not verbose:
            warnings.simplefilter("ignore")
        if not quiet:
            warnings.filterwarnings("default", module=rf"({'|'.join(PACKAGES)})\b")
        yield


@contextmanager
def _environment(*, quiet: bool, verbose: bool) -> Iterator[None]:
    """What libraries read from the environment when they are imported, which is after this."""
    before = dict(os.environ)
    if quiet or not sys.stderr.isatty():
        os.environ.update(TQDM_DISABLE="1", HF_HUB_DISABLE_PROGRESS_BARS="1")
    if not verbose:
        os.environ.update(TRANSFORMERS_VERBOSITY="error", HF_HUB_VERBOSITY="error")
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextmanager
def _logging(*, quiet: bool, verbose: bool) -> Iterator[None]:
    """Log records as lines on stderr: ours from warnings up, others' errors, and all from INFO up when verbose."""

    def wanted(record: logging.LogRecord) -> bool:
        ours = record.name.split(".")[0] in PACKAGES and not quiet
        return verbose or ours or record.levelno >= logging.ERROR

    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
    handler.addFilter(wanted)
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO if verbose else logging.WARNING)
    try:
        yield
    finally:
        root.removeHandler(handler)
        root.setLevel(level)


@contextmanager
def progress(*, quiet: bool) -> Iterator[Progress | None]:
    """A bar on stderr for long work; None when quiet or when nobody is watching."""
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from tqdm import tqdm

    with tqdm(file=sys.stderr, leave=False, bar_format="{desc} {bar} {n_fmt}/{total_fmt}") as bar:

        def show(done: int, total: int, what: str) -> None:
            bar.n, bar.total, bar.desc = done, total, what
            bar.refresh()

        yield show
