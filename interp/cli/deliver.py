"""From a result to its folder: saved, drawn, listed, and told on stdout."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from interp.cli import console
from interp.errors import UsageError


@contextmanager
def output_folder(path: str | Path) -> Iterator[Path]:
    """`path` as a folder that can be written to, found out before any work is done.

    Raises `UsageError` if it cannot. Should the work fail, the folders made here are removed again while empty.
    """
    from interp.results import writable_folder

    folder = Path(path)
    made = [place for place in (folder, *folder.parents) if not place.exists()]
    try:
        yield writable_folder(folder)
    except BaseException:
        for place in made:
            with suppress(OSError):
                place.rmdir()
        raise


def page_of(result: Any) -> Any:
    """The page a result draws of itself; raises `UsageError` if it is of a kind that has none."""
    if not hasattr(result, "page"):
        raise UsageError(f"a {type(result).__name__} has no page of its own: give a result that an analysis wrote")
    return result.page()


def write_report(result: Any, folder: Path) -> Path:
    """Draw `result` into `folder` and list it in the folder's index; returns the page's path."""
    from interp import report

    path = report.write(page_of(result), folder)
    report.write_index(folder)
    return Path(path)


def deliver(result: Any, folder: Path, args: Namespace, beside: Mapping[str, bytes] | None = None) -> None:
    """Save `result`, draw its report and tell where it is: text, or one JSON object with `--json`.

    `beside` are further files for the folder, by name.
    """
    from interp.results import write_atomic

    page_of(result)  # a result that cannot be drawn leaves nothing behind
    result.save(folder)
    for name, content in (beside or {}).items():
        write_atomic(folder / name, content)
    tell(result, folder, write_report(result, folder), args)


def tell(result: Any, folder: Path, report: Path, args: Namespace) -> None:
    """The finding and the report's path on stdout."""
    if args.json:
        body = result.to_dict() if hasattr(result, "to_dict") else {}
        console.say_json({"report": str(report), "result": str(folder), **body})
        return
    if not args.quiet and hasattr(result, "summary"):
        console.say(result.summary())
    console.say(str(report))
