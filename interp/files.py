"""Write files atomically, and read them with a clear error for every defect."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import stat
import tempfile
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from interp.errors import DamagedFileError, MissingInputError, UsageError

if TYPE_CHECKING:
    import numpy as np

SPARE = 50_000_000
"""Bytes that must stay free on a disk after a run has written its files."""


def write_atomic(path: Path, content: bytes) -> None:
    """Write a file so that it is either complete or unchanged.

    The content is written to a temporary file in the same folder, which is then renamed. Raises `UsageError` when the
    folder cannot be written to (permissions, full disk).

    >>> write_atomic(folder / "note.txt", b"one line")
    >>> (folder / "note.txt").read_bytes()
    b'one line'
    """
    write_all({path: content})


def write_between(file: Path, name: str, text: str) -> None:
    """Replace the text between two marks of a Markdown page.

    The marks are `<!-- name: begin -->` and `<!-- name: end -->`. Raises `UsageError` where the page does not have both
    marks, in this order.
    """
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    page = file.read_text(encoding="utf-8")
    before, result, rest = page.partition(begin)
    _, closed, after = rest.partition(end)
    if not (result and closed):
        raise UsageError(f"{file} has no place for the table: it must have the lines {begin} and {end}.")
    write_atomic(file, f"{before}{begin}\n{text.strip()}\n{end}{after}".encode())


def write_all(contents: dict[Path, bytes]) -> None:
    """Write several files: all of them, then rename them in order.

    Each is written as `write_atomic` does.

    Raises `UsageError`, with every file as it was, when one cannot be written or its name is that of a folder, a pipe
    or a device.

    >>> write_all({folder / "a.txt": b"first", folder / "b.txt": b"second"})
    >>> sorted(path.name for path in folder.iterdir())
    ['a.txt', 'b.txt']
    """
    written: dict[Path, Path] = {}
    path = Path()
    try:
        for path in contents:
            _check_replaceable(path)
        for path, content in contents.items():
            handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:100]}.")
            written[path] = Path(temporary)
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        for path, temporary in written.items():
            temporary.chmod(0o644)
            os.replace(temporary, path)
    except OSError as error:
        raise UsageError(
            f"Cannot write {short(path, 120)}: {error.strerror or error}. Choose another folder or free some space."
        ) from error
    finally:
        for temporary in written.values():
            temporary.unlink(missing_ok=True)


def _check_replaceable(path: Path) -> None:
    """Raise `UsageError` unless `path` is a regular file or not there."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISREG(mode):
        kind = "a folder" if stat.S_ISDIR(mode) else "a pipe or a device"
        raise UsageError(f"Cannot write {path}: it is {kind}, not a file. Remove it, or choose another folder.")


def writable_folder(folder: str | os.PathLike[str]) -> Path:
    """Return a folder to write into, created if missing.

    Raises `UsageError` if it is not writable.

    >>> writable_folder(folder / "new").name
    'new'
    """
    if not os.fspath(folder):
        raise UsageError("The folder to write into has no name: give one, or . for the current folder.")
    path = Path(folder)
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            return path
    except (OSError, ValueError) as error:  # a name may not hold a null character
        why = getattr(error, "strerror", None) or error
        raise UsageError(f"Cannot write into the folder {short(path, 120)}: {why}. Choose another folder.") from error


def check_space(folder: Path, needed: int, what: str) -> None:
    """Raise `UsageError` unless the disk has `needed` bytes and `SPARE` free.

    `what` is the subject of the message.
    """
    free = shutil.disk_usage(folder).free
    if needed and needed + SPARE > free:
        raise UsageError(
            f"{what} needs {(needed + SPARE) / 1e9:.2f} GB, but {folder} has {free / 1e9:.2f} GB free: free some "
            "space, or choose another folder."
        )


def short(value: Any, length: int = 60) -> str:
    """Return a value as a message shows it.

    Text stands in quotes; all is cut to `length` characters.

    >>> short("abc"), short(None), short("x" * 99, 8)
    ('"abc"', 'nothing', '"xxxx...')
    """
    text = "nothing" if value is None else f'"{value}"' if isinstance(value, str) else str(value)
    return text if len(text) <= length else f"{text[: length - 3]}..."


def check_same(subject: str, theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> None:
    """Raise `UsageError` naming the first setting in which two tables differ.

    `subject` is the subject of the sentence, such as "The run in out/sae"; `theirs` are its settings, `ours` those now
    given. Long values are shown from where they begin to differ.
    """
    result = _difference(theirs, ours, "")
    if result is None:
        return
    name, was, now = result
    was, now = (short(value, 10**6) for value in (was, now))
    if max(len(was), len(now)) > 60:
        common = takewhile(lambda pair: pair[0] == pair[1], zip(was, now, strict=False))
        same = max(len(list(common)) - 20, 0)
        was, now = (f"{'...' if same else ''}{_cut(value[same:])}" for value in (was, now))
    raise UsageError(
        f"{subject} was started with {name} = {was}, but this one has {now}: resume with the same value, or choose "
        "another folder."
    )


def _cut(text: str, length: int = 60) -> str:
    return text if len(text) <= length else f"{text[: length - 3]}..."


def _difference(theirs: Any, ours: Any, at: str) -> tuple[str, Any, Any] | None:
    """Return the first difference as (path, their value, our value).

    None without any.
    """
    if isinstance(theirs, Mapping) and isinstance(ours, Mapping):
        for name in [*ours, *(name for name in theirs if name not in ours)]:
            result = _difference(theirs.get(name), ours.get(name), f"{at}.{name}" if at else str(name))
            if result is not None:
                return result
        return None
    return None if theirs == ours else (at, theirs, ours)


LOCK = ".interp.lock"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lock a folder while a run writes into it.

    Raises `UsageError` if another process has the lock.

    The lock is the operating system's: it ends with the process, however that ends. Where there are no such locks
    (Windows), nothing is locked.
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    file = writable_folder(folder) / LOCK
    handle = _open_lock(file, fcntl)
    try:
        os.ftruncate(handle, 0)
        os.write(handle, f"process {os.getpid()} on {socket.gethostname()}".encode())
        yield
    finally:
        file.unlink(missing_ok=True)
        os.close(handle)


@contextmanager
def waiting(file: Path) -> Iterator[None]:
    """Lock a file during work, and wait for other processes first.

    The file is made if missing. Another process may be doing the same work.

    Without a lock where the system has none or the file cannot be written: the work is then done by each.
    """
    try:
        import fcntl

        file.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(file, os.O_RDWR | os.O_CREAT, 0o644)
    except (ImportError, OSError):
        yield
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _open_lock(file: Path, fcntl: Any) -> int:
    """Return a locked handle of the file.

    Tries again where its last owner has just removed it.
    """
    while True:
        handle = os.open(file, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.read(handle, 200).decode(errors="replace") or "another process"
            os.close(handle)
            raise UsageError(
                f"{file.parent} is in use by {holder}: wait until it has ended, or choose another folder."
            ) from error
        if file.exists() and os.fstat(handle).st_ino == file.stat().st_ino:
            return handle
        os.close(handle)


def digest(*parts: bytes | str) -> str:
    """Compute the SHA-256 of the parts, one after the other.

    As hexadecimal text.
    """
    result = hashlib.sha256()
    for part in parts:
        result.update(part.encode() if isinstance(part, str) else part)
    return result.hexdigest()


def digest_arrays(arrays: dict[str, np.ndarray]) -> str:
    """Compute the SHA-256 of named arrays.

    It covers names, dtypes, shapes and values, in the order of names.
    """
    result = hashlib.sha256()
    for name in sorted(arrays):
        result.update(f"{name} {arrays[name].dtype} {arrays[name].shape};".encode())
        result.update(arrays[name].tobytes())
    return result.hexdigest()


def read_text(file: Path, missing: str = "") -> str:
    """Return the text of a UTF-8 file.

    Raises `MissingInputError`, with the sentence `missing` if given, where there is none; `DamagedFileError` where it
    is not a regular file, not UTF-8 or cannot be read.
    """
    try:
        if file.exists() and not file.is_file():  # opening a pipe would wait for a writer
            raise DamagedFileError(f"{file} is not a file.")
        return file.read_text(encoding="utf-8")
    except DamagedFileError:
        raise
    except FileNotFoundError as error:
        raise MissingInputError(missing or f"There is no file {short(file, 120)}.") from error
    except UnicodeDecodeError as error:
        raise DamagedFileError(f"{file} is damaged: it is not UTF-8 text (byte {error.start:,}).") from error
    except (OSError, ValueError) as error:
        raise DamagedFileError(f"{short(file, 120)} cannot be read: {getattr(error, 'strerror', error)}.") from error


def read_json(file: Path, missing: str = "") -> Any:
    """Return the content of a JSON file.

    Raises the errors of `read_text`, and `DamagedFileError` where the file is not JSON.
    """
    return parse_json(read_text(file, missing), file)


def parse_json(text: str, file: Path) -> Any:
    """Parse a JSON text.

    `file` names its origin in errors.

    Raises `DamagedFileError` where it is not JSON. NaN and infinities are not JSON. Nesting deeper than Python's own
    limit and numbers of thousands of digits are refused in the same way.
    """

    def refuse(constant: str) -> NoReturn:
        raise ValueError(f"{constant} is not a number in JSON")

    try:
        return json.loads(text, parse_constant=refuse)
    except json.JSONDecodeError as error:
        raise DamagedFileError(f"{file} is damaged: it is not JSON (line {error.lineno}).") from error
    except RecursionError as error:
        raise DamagedFileError(f"{file} is damaged: it is nested too deeply.") from error
    except ValueError as error:
        raise DamagedFileError(f"{file} is damaged: {error}.") from error


def read_toml(file: Path, missing: str = "") -> dict[str, Any]:
    """Return the tables of a TOML file.

    Raises the errors of `read_text`, and `UsageError` where the file is not TOML.
    """
    text = read_text(file, missing)
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{file} is not TOML: {error}.") from error
    except RecursionError as error:
        raise UsageError(f"{file} is not usable TOML: it is nested too deeply.") from error
    except ValueError as error:  # an integer of thousands of digits
        raise UsageError(f"{file} is not usable TOML: {error}.") from error
