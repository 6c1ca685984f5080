"""Output: the result on stdout, everything else on stderr."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from io import TextIOWrapper
from typing import Any

from interp.errors import InterpError
from interp.progress import Progress

PACKAGES = ("interp", "probes", "saes", "analyses")


def write(text: str) -> None:
    """Print one piece of the result on stdout.

    Raises `InterpError` where stdout cannot be written to.
    """
    with _writable():
        print(text, file=sys.stdout)


def flush() -> None:
    """Write out what `write` has printed; errors as there."""
    with _writable():
        sys.stdout.flush()


@contextmanager
def _writable() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:  # such as a full disk behind a redirection
        drop_output()
        why = error.strerror or error
        raise InterpError(
            f"standard output cannot be written to ({why}); files that were saved before are complete"
        ) from error


def drop_output() -> None:
    """Discard what is printed from here on.

    So the end of the process does not fail on it.
    """
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextmanager
def open_streams() -> Iterator[None]:
    """Open the standard streams that the process was started without.

    Printing goes nowhere, and there is nothing to read.
    """
    missing = [name for name in ("stdin", "stdout", "stderr") if getattr(sys, name) is None]
    with ExitStack() as stack:
        for name in missing:
            stream = stack.enter_context(open(os.devnull, "r" if name == "stdin" else "w", encoding="utf-8"))
            setattr(sys, name, stream)
        yield
        for name in missing:
            setattr(sys, name, None)


@contextmanager
def terminated_like_interrupted() -> Iterator[None]:
    """Make SIGTERM raise `KeyboardInterrupt`, in the main thread, where signals arrive."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def write_json(body: dict[str, Any]) -> None:
    """Print the result as one JSON object on stdout.

    Raises `ValueError` on NaN, which JSON cannot hold.
    """
    write(json.dumps(body, ensure_ascii=False, allow_nan=False, indent=1))


def write_error(text: str) -> None:
    """Print one `error:` line on stderr.

    Line breaks and control characters of the data are made visible.
    """
    line = " ".join(text.split())
    shown = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line)
    print(f"error: {shown}", file=sys.stderr)


@contextmanager
def output_policy(*, quiet: bool, verbose: bool) -> Iterator[None]:
    """Set how libraries print and log while a command runs.

    It is restored afterwards.

    Progress bars only for a person at a terminal. Warnings of our own packages unless quiet; those of others, who
    repeat what our errors say in one sentence, only when verbose.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    if isinstance(sys.stdin, TextIOWrapper):
        sys.stdin.reconfigure(encoding="utf-8", errors="strict")
    with _environment(quiet=quiet, verbose=verbose), _logging(quiet=quiet, verbose=verbose), warnings.catch_warnings():
        if not verbose:
            warnings.simplefilter("ignore")
        if not quiet:
            warnings.filterwarnings("default", module=rf"({'|'.join(PACKAGES)})\b")
        yield


@contextmanager
def _environment(*, quiet: bool, verbose: bool) -> Iterator[None]:
    """Set what libraries read from the environment when they are imported."""
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
    """Print log records as lines on stderr.

    Ours from warnings up, errors of others, and all from INFO up when verbose.
    """

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


EVERY = 30.0
"""Seconds between two lines of progress if stderr is not a terminal."""


@contextmanager
def progress(*, quiet: bool) -> Iterator[Progress | None]:
    """Show the progress of long work on stderr.

    A bar on a terminal, else a line every half minute; None when quiet.
    """
    if quiet:
        yield None
        return
    if not sys.stderr.isatty():
        yield _lines_of_progress()
        return
    from tqdm import tqdm

    with tqdm(file=sys.stderr, leave=False, bar_format="{desc} {bar} {n_fmt}/{total_fmt}") as bar:

        def show(done: int, total: int, what: str) -> None:
            bar.n, bar.total, bar.desc = done, total, what
            bar.refresh()

        yield show


def _lines_of_progress() -> Progress:
    """Return a callback that prints lines of progress.

    At most one line in `EVERY` seconds, the first after as many.
    """
    last = [time.monotonic()]

    def show(done: int, total: int, what: str) -> None:
        now = time.monotonic()
        if now - last[0] >= EVERY:
            last[0] = now
            print(f"{time.strftime('%H:%M:%S')}  {done:,} of {total:,}  {what}", file=sys.stderr, flush=True)

    return show
