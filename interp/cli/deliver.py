"""Save a result with its page, list it in the index, and print it."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from interp.cli import console
from interp.errors import DamagedFileError, InterpError, UsageError
from interp.files import writable_folder, write_all

if TYPE_CHECKING:
    from analyses.study import Study
    from interp.results import Result


@contextmanager
def output_folder(path: str | Path) -> Iterator[Path]:
    """Return `path` as a writable folder, checked before any work is done.

    Raises `UsageError` if it cannot. Should the work fail, the folders made here are removed again while empty.
    """
    folder = Path(path)
    made: list[Path] = []
    try:
        with suppress(OSError):  # a name that is too long
            made += [place for place in (folder, *folder.parents) if not place.exists()]
        writable_folder(path)
    except UsageError as error:
        _remove_empty(made)
        raise UsageError(f"--out: {error}") from error
    try:
        yield folder
    except BaseException:
        _remove_empty(made)
        raise


def _remove_empty(folders: list[Path]) -> None:
    for place in folders:
        with suppress(OSError):
            place.rmdir()


def study_of(result: Result) -> Study:
    """Return `result` if it draws a page of itself; raise `UsageError` otherwise."""
    from analyses.study import Study

    if not isinstance(result, Study):
        raise UsageError(f"a {type(result).__name__} has no page: give the result of an analysis")
    return result


def deliver(study: Study, folder: Path, args: Namespace) -> None:
    """Save a study with its page and downloads.

    It is listed, and its place is printed.

    Every file is written before the first is renamed: a folder holds the old result with its page or the new one.
    """
    show(study, folder, save(study, folder, result=True), args)


def save(study: Study, folder: Path, *, result: bool) -> Path:
    """Write the page of a study, and its result if asked.

    Returns the page's path.

    Raises `DamagedFileError` where the values of a loaded result do not fit together, so that no page can be drawn.
    """
    from interp import report

    page = folder / report.NAME
    try:
        drawn = report.render(study.page()).encode()
    except InterpError:
        raise
    except Exception as error:
        if result:
            raise
        what = f"{type(error).__name__}: {error}"
        raise DamagedFileError(
            f"the page of this result cannot be drawn, because its values are not consistent ({what})"
        ) from error
    files = {**study.files(), **study.extra_files()} if result else {}
    write_all({**{folder / name: content for name, content in files.items()}, page: drawn})
    report.write_index(report.home(folder))
    return page


def show(study: Study, folder: Path, page: Path, args: Namespace) -> None:
    """Print the summary of a study and the page's path.

    As text, or one JSON object with `--json`.
    """
    if args.json:
        console.write_json({"report": str(page), "result": str(folder), **study.to_dict()})
        return
    if not args.quiet:
        console.write(study.summary())
    console.write(str(page))
