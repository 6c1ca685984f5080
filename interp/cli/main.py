"""`interp COMMAND ...`: run a command, and return its exit code.

Exit codes: 0 done, 1 the run failed, 2 usage or configuration, 3 missing input or model offline, 4 a check failed,
130 interrupted.
"""

from __future__ import annotations

import re
import shlex
import sys
import traceback
from argparse import Namespace
from importlib import import_module
from types import ModuleType

from interp.cli import collector, console
from interp.cli.options import Parser, add_common
from interp.errors import InterpError, UsageError, nearest

COMMANDS = {
    "demo": "interp.cli.demo",
    "explain": "interp.cli.explain",
    "circuits": "interp.cli.circuits",
    "discover": "interp.cli.discover",
    "graph": "interp.cli.graph",
    "steer": "interp.cli.steer",
    "lens": "interp.cli.lens",
    "universality": "interp.cli.universality",
    "attention": "interp.cli.attention",
    "examples": "interp.cli.examples",
    "probe": "interp.cli.probe",
    "toy": "interp.cli.toy",
    "sae train": "interp.cli.sae_train",
    "sae evaluate": "interp.cli.sae_evaluate",
    "sae features": "interp.cli.sae_features",
    "sae push": "interp.cli.sae_push",
    "cache run": "interp.cli.cache",
    "cache info": "interp.cli.cache_info",
    "cache verify": "interp.cli.cache_verify",
    "report": "interp.cli.report",
    "doctor": "interp.cli.doctor",
}
"""A command is a module with HELP, EXAMPLE, add_arguments(parser) and run(args) -> int; a name has 1 or 2 words."""

INTERRUPTED = 130


def main(words: list[str] | None = None) -> int:
    """Run one command line and return its exit code.

    It never raises, and prints at most one `error:` line.

    SIGTERM ends a command as Ctrl-C does: with one sentence, and nothing half made.
    """
    words = sys.argv[1:] if words is None else words
    verbose = "-v" in words or "--verbose" in words
    try:
        with console.open_streams(), console.terminated_like_interrupted(), collector.resumed():
            return _ended(words, verbose)
    except BrokenPipeError:
        # The reader, such as `head`, has what it wanted, and files are written before anything is printed.
        console.drop_output()
        return 0


def _ended(words: list[str], verbose: bool) -> int:
    """Run one command line and return its exit code; raises only `BrokenPipeError`."""
    try:
        code = _execute_or_leave(words)
        console.flush()
    except BrokenPipeError:
        raise
    except KeyboardInterrupt:
        console.write_error("interrupted; files that were saved before are complete")
        return INTERRUPTED
    except InterpError as error:
        _trace(verbose)
        console.write_error(str(error))
        return error.exit_code
    except Exception as error:
        _trace(verbose)
        hint = "" if verbose else "; run again with -v for the traceback"
        console.write_error(f"unexpected {type(error).__name__}: {error}{hint}")
        return InterpError.exit_code
    return code


def execute(words: list[str]) -> int:
    """Run one command line and return its exit code.

    Raises what the command raises.
    """
    for word in words:
        if not _is_text(word):
            raise UsageError(f"the argument {word!a} is not valid UTF-8 text")
    if not words or words[0] in {"-h", "--help"}:
        return _overview(words)
    if words[0] == "--version":
        return _version()
    if len(words) == 2 and words[1] in {"-h", "--help"} and _below(words[0]):
        return _overview_of(words[0])
    name, rest = split(words)
    module, parser = parser_of(name)
    args = parser.read(rest, Namespace(command=shlex.join(["interp", *words])))
    with console.output_policy(quiet=args.quiet, verbose=args.verbose):
        try:
            return module.run(args)
        except InterpError as error:
            error.args = (_with_options(str(error), args),)
            raise


def parser_of(name: str) -> tuple[ModuleType, Parser]:
    """Return the module of a command and the parser of its options."""
    module = import_module(COMMANDS[name])
    parser = Parser(f"interp {name}", description=module.HELP, example=module.EXAMPLE)
    module.add_arguments(parser)
    add_common(parser)
    return module, parser


def _with_options(message: str, args: Namespace) -> str:
    """Return a message with the options that set the arguments it names ("give store=")."""

    def option(match: re.Match[str]) -> str:
        return f"--{match[1].replace('_', '-')}" if hasattr(args, match[1]) else match[0]

    return re.sub(r"\b([a-z_]+)=(?=[\s.,;:)]|$)", option, message)


def _execute_or_leave(words: list[str]) -> int:
    """Run `execute`, with argparse's exit after `--help` turned into a code."""
    try:
        return execute(words)
    except SystemExit as leaving:
        return leaving.code if isinstance(leaving.code, int) else 0


def split(words: list[str]) -> tuple[str, list[str]]:
    """Split words into the command's name and the rest.

    The name has two words or one.
    """
    for count in (2, 1):
        name = " ".join(words[:count])
        if name in COMMANDS and len(words) >= count:
            return name, words[count:]
    first = words[0]
    if first.startswith("-"):
        raise UsageError(f"options come after the command: interp COMMAND {first} (see: interp --help)")
    if below := _below(first):
        raise UsageError(f'"{first}" needs one more word: {", ".join(below)} (see: interp {first} --help)')
    raise UsageError(f'unknown command "{first}"{nearest(first, COMMANDS)} (see: interp --help)')


def _below(group: str) -> list[str]:
    """Return the commands of two words that begin with `group`."""
    return [name for name in COMMANDS if name.startswith(f"{group} ")]


def _overview_of(group: str) -> int:
    """Print every command of a group in a line, with one example."""
    modules: dict[str, ModuleType] = {name: import_module(COMMANDS[name]) for name in _below(group)}
    console.write(f"usage: interp {group} COMMAND [options]\n")
    for name, module in modules.items():
        console.write(f"  {name:<14}{module.HELP}")
    console.write(f"\nEach has --help. For example:\n  {next(iter(modules.values())).EXAMPLE}")
    return 0


def _overview(words: list[str]) -> int:
    """Print every command in a line.

    Asked for, it is the result; without any command it is a usage error.
    """
    if not words:
        raise UsageError(f"no command given: choose one of {', '.join(COMMANDS)} (see: interp --help)")
    modules: dict[str, ModuleType] = {name: import_module(module) for name, module in COMMANDS.items()}
    console.write(
        "usage: interp COMMAND [options]\n\n"
        "Mechanistic interpretability of transformers, with a check for every number.\n"
    )
    for name, module in modules.items():
        console.write(f"  {name:<14}{module.HELP}")
    console.write(f"\nEach has --help with an example. Start with:\n  {modules['demo'].EXAMPLE}")
    return 0


def _version() -> int:
    from importlib.metadata import version

    console.write(f"interp {version('interp')}")
    return 0


def _is_text(word: str) -> bool:
    try:
        word.encode()
    except UnicodeEncodeError:
        return False
    return True


def _trace(verbose: bool) -> None:
    if verbose:
        traceback.print_exc(file=sys.stderr)
