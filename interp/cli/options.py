"""The parser every command uses, and the options they share."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, NoReturn

from interp.cli import collector
from interp.errors import UsageError, nearest
from interp.files import short

if TYPE_CHECKING:
    from interp.model import Model


class Parser(argparse.ArgumentParser):
    """An argparse parser that raises `UsageError` and names the nearest known option."""

    synonyms: Mapping[str, str] = MappingProxyType({})
    """Names of options in other libraries, with the names here; a command may set its own."""

    def __init__(self, prog: str, *, description: str, example: str) -> None:
        super().__init__(
            prog=prog,
            description=description,
            epilog=f"example:\n  {example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )

    def read(self, words: list[str], namespace: argparse.Namespace) -> argparse.Namespace:
        """Parse `words` into `namespace`.

        Unknown options are reported before anything that is missing.
        """
        for word in words:
            if word == "--":
                break
            name = word.split("=")[0]
            if name.startswith("--") and " " not in name and name not in self._option_string_actions:
                same = self.synonyms.get(name)
                hint = f'; here it is "{same}"' if same else nearest(name, self._option_string_actions)
                raise UsageError(f'unknown option "{name}"{hint} ({self._see()})')
        return self.parse_args(words, namespace)

    def error(self, message: str) -> NoReturn:
        """Raise `UsageError` instead of printing the usage and exiting.

        So `main` reports every error in one way.
        """
        if "expected one argument" in message:
            message += "; write a value that begins with a dash as --option=VALUE"
        raise UsageError(f"{message} ({self._see()})")

    def _see(self) -> str:
        return f"see: {self.prog} --help"


def positive(text: str) -> int:
    """Return a whole number above zero; an argparse type."""
    return _whole(text, 1, "a whole number above zero")


def natural(text: str) -> int:
    """Return a whole number from zero up; an argparse type."""
    return _whole(text, 0, "a whole number from zero up")


def integer(text: str) -> int:
    """Return a whole number; an argparse type."""
    return _whole(text, -(2**63), "a whole number")


def _whole(text: str, least: int, wanted: str) -> int:
    digits = text.removeprefix("-")
    if digits.isdecimal() and len(digits) <= 19:
        number = int(text)
        if least <= number < 2**63:
            return number
    beyond = " of at most 64 bits" if digits.isdecimal() and len(digits) >= 19 else ""
    raise argparse.ArgumentTypeError(f"{short(text)} is not {wanted}{beyond}")


def add_out(parser: argparse.ArgumentParser, default: str | None, text: str) -> None:
    """Add `--out DIR`; `text` says what is written there."""
    shown = f" (default: {default})" if default else ""
    parser.add_argument("--out", metavar="DIR", default=default, help=text + shown)


def add_column(parser: argparse.ArgumentParser, default: str | None = "text") -> None:
    """Add `--column`, the column of texts in tables.

    Where rows of `.jsonl`, `.csv`, `.parquet` and data sets have their text.
    """
    text = 'key or column of the text in .jsonl, .csv and .parquet files and in data sets (default: "text")'
    parser.add_argument("--column", metavar="NAME", default=default, help=text)


MODEL = "smollm2"


def add_model(parser: argparse.ArgumentParser, default: str | None = MODEL) -> None:
    """Add `--model`, `--dtype` and `--device`, for commands that load a model."""
    group = parser.add_argument_group("model")
    text = 'a Hugging Face name, a local folder, "smollm2" or "gemma3-270m", which need no network (default: smollm2)'
    group.add_argument("--model", metavar="NAME", default=default, help=text)
    add_numbers(group)


def add_numbers(group: argparse._ActionsContainer) -> None:
    """Add `--dtype` and `--device`.

    For commands that name the model in another way.
    """
    kinds = ("float32", "float64", "bfloat16")
    group.add_argument("--dtype", choices=kinds, default="float32", help="number format (default: float32)")
    group.add_argument("--device", default="cpu", help='device, such as "cpu" or "cuda:0" (default: cpu)')


def load_model(args: argparse.Namespace) -> Model:
    """Load the model that the options of `add_model` name."""
    with collector.paused():
        from interp.model import load

        return load(args.model, dtype=args.dtype, device=args.device)


def add_seed(parser: argparse.ArgumentParser) -> None:
    """Add `--seed`, the only source of randomness of a command."""
    parser.add_argument("--seed", type=natural, default=0, metavar="N", help="seed of all random numbers (default: 0)")


def add_common(parser: argparse.ArgumentParser) -> None:
    """Add the options of every command: `--json`, `--quiet` and `--verbose`."""
    group = parser.add_argument_group("output")
    group.add_argument("--json", action="store_true", help="print one JSON object instead of text")
    group.add_argument("-q", "--quiet", action="store_true", help="print no progress and no messages except errors")
    group.add_argument("-v", "--verbose", action="store_true", help="print log messages, and a traceback on failure")
