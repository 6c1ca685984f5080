"""Sources of text and tokens: files, folders, standard input, data sets, Python's docs.

What is one document: a text file, or a piece of about 1 MiB of a longer one, cut behind a line end; the "text" of one
line of a `.jsonl` file; one row of a `.csv` or `.parquet` file or of a data set; standard input as if it were a file.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import IO, Any

import numpy as np

from interp.cache import pythondocs, tables
from interp.errors import DamagedFileError, MissingInputError, UsageError

TEXT_SUFFIXES = (".txt", ".md", ".rst", ".jsonl", ".parquet")
"""What is read in a folder; a file given by its own name may have any suffix."""
TOKEN_SUFFIXES = (".npy", ".safetensors")
"""Files of token ids."""
PIECE = 1 << 20
"""Characters after which a long text is cut behind the next line end."""
DATASET = "hf:"
COLUMN = "text"
"""Where rows have their text."""


def documents(*sources: str | Path, column: str = COLUMN) -> Iterator[str]:
    """Yield every document of every source, in order, without empty ones.

    Args:
        *sources: a file, a folder (searched downwards in the order of names), "-" for standard input, "python-docs" for
            the documentation strings of the standard library, a folder that `datasets` saved with `save_to_disk`, or
            "hf:NAME[:SPLIT[:CONFIG]]" for a Hugging Face data set, streamed (split "train" by default).
        column: where rows have their text: the key of `.jsonl` lines, the column of `.csv` and `.parquet` files and of
            data sets.

    Raises:
        MissingInputError: a source that is not there, a folder without text, no such column, or a data set that cannot
            be reached.
        DamagedFileError: text that is not UTF-8, a line of a `.jsonl` file without a text, or a file that is not of
            the kind its name gives.

    >>> _ = (folder / "corpus.jsonl").write_text('{"text": "The tower is in Paris."}')
    >>> list(documents(folder / "corpus.jsonl"))
    ['The tower is in Paris.']
    """
    if not sources:
        raise UsageError('No text given: name a file, a folder, "-" for standard input or hf:NAME for a data set.')
    for source in sources:
        yield from (text for text in _documents(source, column) if text)


def token_rows(*files: str | Path, context: int = 128) -> Iterator[np.ndarray]:
    """Yield contexts of token ids from saved arrays.

    They are `.npy` files, or `.safetensors` with a tensor "tokens". A one-dimensional array is one long text, cut into
    full contexts; of a two-dimensional one each row is a context. `.npy` is read through a memory map. Raises
    `MissingInputError` or `DamagedFileError`, naming the file.

    >>> np.save(folder / "ids.npy", np.arange(10))
    >>> list(token_rows(folder / "ids.npy", context=4))
    [memmap([0, 1, 2, 3]), memmap([4, 5, 6, 7])]
    """
    for file in map(Path, files):
        tokens = _token_file(file)
        if tokens.dtype.kind not in "iu" or tokens.ndim not in (1, 2):
            shape = f"{tokens.ndim}-dimensional {tokens.dtype}"
            raise DamagedFileError(f"{file} must hold integer token ids in one or two dimensions, not {shape}.")
        yield from cut(tokens, context) if tokens.ndim == 1 else tokens


def cut(tokens: np.ndarray, context: int) -> Iterator[np.ndarray]:
    """Return one long row of ids as full contexts.

    The remainder is dropped.
    """
    return (tokens[at : at + context] for at in range(0, len(tokens) - context + 1, context))


def is_token_file(source: str | Path) -> bool:
    """Return whether a source is read by `token_rows`."""
    return Path(source).suffix in TOKEN_SUFFIXES


def _documents(source: str | Path, column: str) -> Iterator[str]:
    if str(source) == "-":
        return _pieces(sys.stdin, "standard input")
    if str(source) == pythondocs.NAME:
        return pythondocs.python_docs()
    if str(source).startswith(DATASET):
        return _dataset(str(source)[len(DATASET) :], column)
    path = Path(source)
    if path.is_dir():
        return tables.column_of(path, column) if tables.is_saved(path) else _folder(path, column)
    if not path.is_file():
        raise MissingInputError(f'There is no file or folder "{source}" (a Hugging Face data set is written hf:NAME).')
    return _file(path, column)


def _folder(folder: Path, column: str) -> Iterator[str]:
    files = sorted(file for file in folder.rglob("*") if file.suffix in TEXT_SUFFIXES and file.is_file())
    if not files:
        raise MissingInputError(f"The folder {folder} holds no text: looked for {', '.join(TEXT_SUFFIXES)} files.")
    for file in files:
        yield from _file(file, column)


def _file(file: Path, column: str) -> Iterator[str]:
    if file.suffix in tables.SUFFIXES:
        yield from tables.column_of(file, column)
        return
    try:
        with file.open(encoding="utf-8", newline="") as stream:  # line ends are not translated
            yield from _lines(stream, file, column) if file.suffix == ".jsonl" else _pieces(stream, str(file))
    except OSError as error:
        raise MissingInputError(f"{file} cannot be read: {error.strerror or error}.") from error


def _pieces(stream: IO[str], name: str) -> Iterator[str]:
    try:
        while piece := stream.read(PIECE):
            yield piece + stream.readline(PIECE)  # bounded, for a text without line ends
    except UnicodeDecodeError as error:
        raise DamagedFileError(f"{name} is not UTF-8 text ({error.reason}): convert it first.") from error


def _lines(stream: IO[str], file: Path, column: str) -> Iterator[str]:
    try:
        for number, line in enumerate(stream, 1):
            if not line.strip():
                continue
            row = _row(line)
            if not isinstance(row.get(column), str):
                hint = f" (it has: {', '.join(row)}): name the text with column=" if row else ""
                raise DamagedFileError(f'Line {number} of {file} is not a JSON object with a string "{column}"{hint}.')
            yield row[column]
    except UnicodeDecodeError as error:
        raise DamagedFileError(f"{file} is not UTF-8 text ({error.reason}): convert it first.") from error


def _row(line: str) -> dict[str, Any]:
    """Return a line's object; empty if it is not one."""
    try:
        row = json.loads(line)
    except (json.JSONDecodeError, RecursionError):
        return {}
    return row if isinstance(row, dict) else {}


def _dataset(name: str, column: str) -> Iterator[str]:
    name, _, rest = name.partition(":")
    split, _, config = rest.partition(":")
    try:
        import datasets

        rows = iter(datasets.load_dataset(name, config or None, split=split or "train", streaming=True))
        first = next(rows, None)
    except Exception as error:  # the client raises a dozen kinds; what a user can do is the same for all
        raise MissingInputError(
            f'The Hugging Face data set "{name}" cannot be read here ({type(error).__name__}): check its name, '
            "split and configuration (hf:NAME:SPLIT:CONFIG) and the network, or give a file."
        ) from error
    if first is None:
        raise MissingInputError(f'The data set "{name}" has no rows to read.')
    yield from tables.texts_in(chain([first], rows), column, f'The data set "{name}"')


def _token_file(file: Path) -> np.ndarray:
    if file.suffix not in TOKEN_SUFFIXES:
        raise UsageError(f"{file} is not a file of tokens: expected {' or '.join(TOKEN_SUFFIXES)}.")
    if not file.is_file():
        raise MissingInputError(f'There is no file "{file}".')
    try:
        if file.suffix == ".npy":
            return np.load(file, mmap_mode="r", allow_pickle=False)
        from safetensors.numpy import load_file

        return load_file(file)["tokens"]
    except KeyError as error:
        raise DamagedFileError(f'{file} holds no tensor called "tokens".') from error
    except Exception as error:  # truncated, another kind of file, pickled: numpy and safetensors raise many kinds
        raise DamagedFileError(f"{file} is not a readable {file.suffix} file: {error}.") from error
