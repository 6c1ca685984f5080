"""Text in columns: CSV and parquet files, and folders that `datasets` saved; read a part at a time."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from interp.errors import DamagedFileError, InterpError, MissingInputError

SUFFIXES = (".csv", ".parquet")
ONE, SEVERAL = "state.json", "dataset_dict.json"
"""What `datasets` writes into the folder of a saved data set, and of a set of splits."""
ROWS = 1024
"""Rows of a parquet file that are in memory at a time."""


def is_saved(folder: Path) -> bool:
    """Return whether a folder was written by `save_to_disk` of `datasets`."""
    return (folder / ONE).is_file() or (folder / SEVERAL).is_file()


def column_of(source: Path, column: str) -> Iterator[str]:
    """Yield the texts of a column of a table on disk.

    The table is a `.csv` or `.parquet` file, or a folder that `datasets` saved.

    A folder with splits is read at "train".

    Raises:
        MissingInputError: no such column or split; the ones that there are are named.
        DamagedFileError: a file that cannot be read, or values that are not text.
    """
    if source.is_dir():
        return _saved(source, column)
    return _csv(source, column) if source.suffix == ".csv" else _parquet(source, column)


def texts_in(rows: Iterable[Any], column: str, source: object) -> Iterator[str]:
    """Yield the texts of a column of rows given as dictionaries.

    None is an empty text. Errors as in `column_of`.
    """
    rows = iter(rows)
    first = next(rows, None)
    if first is None:
        return
    _check_column(first, column, source)
    for row in chain([first], rows):
        value = row[column]
        if value is not None and not isinstance(value, str):
            raise DamagedFileError(f'The column "{column}" of {source} holds {type(value).__name__}, not text.')
        yield value or ""


def _check_column(known: Iterable[str], column: str, source: object) -> None:
    names = list(known)
    if column not in names:
        columns = ", ".join(str(name) for name in names)
        raise MissingInputError(f'{source} has no column "{column}" (it has: {columns}): name the text with column=.')


def _csv(file: Path, column: str) -> Iterator[str]:
    csv.field_size_limit(2**31 - 1)  # its default, 128 KiB, is less than a long document
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            rows = csv.DictReader(stream, strict=True)
            _check_column(rows.fieldnames or (), column, file)
            yield from (row[column] or "" for row in rows)
    except UnicodeDecodeError as error:
        raise DamagedFileError(f"{file} is not UTF-8 text ({error.reason}): convert it first.") from error
    except csv.Error as error:
        raise DamagedFileError(f"{file} is not a readable CSV file ({error}).") from error
    except OSError as error:
        raise MissingInputError(f"{file} cannot be read: {error.strerror or error}.") from error


def _parquet(file: Path, column: str) -> Iterator[str]:
    import pyarrow
    from pyarrow.parquet import ParquetFile

    try:
        with ParquetFile(file) as table:
            _check_column(table.schema_arrow.names, column, file)
            for batch in table.iter_batches(ROWS, columns=[column]):
                yield from texts_in(batch.to_pylist(), column, file)
    except (pyarrow.ArrowException, OSError) as error:
        raise DamagedFileError(f"{file} is not a readable parquet file ({error}).") from error


def _saved(folder: Path, column: str) -> Iterator[str]:
    import datasets

    try:
        dataset: Any = datasets.load_from_disk(str(folder))
    except Exception as error:  # of datasets, of pyarrow and of the system: what can be done is the same
        raise DamagedFileError(f"{folder} cannot be read as a saved data set ({error}).") from error
    if isinstance(dataset, datasets.DatasetDict):
        if "train" not in dataset:
            splits = ", ".join(f"{folder}/{name}" for name in dataset)
            raise MissingInputError(f'{folder} has no split "train": name one of its folders, {splits}.')
        dataset = dataset["train"]
    _check_column(dataset.column_names, column, folder)
    try:
        yield from texts_in(dataset, column, folder)
    except InterpError:
        raise
    except Exception as error:  # a truncated file is detected only when its rows are read
        raise DamagedFileError(f"{folder} cannot be read as a saved data set ({error}).") from error
