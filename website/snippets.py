"""The code on the pages: found, checked without running it, or run.

    python -m website.snippets docs/howto/*.md      # runs the Python of each page, one page in one namespace

A page is checked as a whole: what one block imports or assigns is known in the next.
"""

from __future__ import annotations

import ast
import inspect
import re
import shlex
import sys
from argparse import Namespace
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

from interp.cli import main
from interp.errors import InterpError

FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\w*)[^\n]*\n(?P<code>.*?)^(?P=indent)```", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`(interp [^`\n]+)`")
SHELL = ("sh", "bash", "shell", "")
ASSUMED = {
    name: f"interp.{name}"
    for name in ("attribution", "cache", "circuits", "discovery", "edit", "patching", "steering", "tasks", "toy")
} | {name: name for name in ("interp", "probes", "saes", "analyses")}
"""Names that a fragment may use without importing them."""
HARMLESS = ("pip", "git", "cd", "PYTHONPATH=...")


def blocks(page: str) -> Iterator[tuple[str, str]]:
    """Yield (language, code) of every fenced block; an unnamed one has the language ""."""
    for match in FENCE.finditer(page):
        indent = len(match["indent"])
        yield match["language"], "".join(line[indent:] for line in match["code"].splitlines(keepends=True))


def python_of(page: str) -> list[str]:
    """Return the Python blocks of a page."""
    return [code for language, code in blocks(page) if language == "python"]


def faults(page: str) -> list[str]:
    """Return what is wrong with the code of a page, a sentence each."""
    return [*_python_faults(python_of(page)), *_shell_faults(page)]


def commands(page: str) -> Iterator[list[str]]:
    """Yield the words of every command in shell blocks; of unnamed blocks those of a known program."""
    for language, code in blocks(page):
        if language not in SHELL:
            continue
        for line in code.replace("\\\n", " ").splitlines():
            if not line.strip() or line.lstrip().startswith("#"):
                continue
            if language or re.match(r"(interp|make|pip) ", line):
                for one in line.split(" && "):
                    yield shlex.split(one, comments=True)


def _python_faults(codes: list[str]) -> Iterator[str]:
    known: dict[str, Any] = {}
    for code in codes:
        try:
            tree = ast.parse(code)
        except SyntaxError as error:
            yield f"not Python: {error.msg} in {error.text!r}"
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Import | ast.ImportFrom):
                yield from _imported(node, known)
        assigned = {
            node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
        }
        known |= dict.fromkeys(assigned - known.keys(), None)
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute):
                yield from _missing(node, known)
            elif isinstance(node, ast.Call):
                yield from _unfit(node, known)


def _imported(node: ast.Import | ast.ImportFrom, known: dict[str, Any]) -> Iterator[str]:
    """Import what a statement imports into `known`, and yield what cannot be."""
    for alias in node.names:
        try:
            if isinstance(node, ast.ImportFrom):
                value = _member(import_module(node.module or ""), alias.name)
            else:
                module = import_module(alias.name)
                value = module if alias.asname else import_module(alias.name.partition(".")[0])
        except (ImportError, AttributeError) as error:
            yield f"{ast.unparse(node)}: {error}"
        else:
            known[alias.asname or alias.name.partition(".")[0]] = value


def _member(module: ModuleType, name: str) -> Any:
    try:
        return getattr(module, name)
    except AttributeError:
        return import_module(f"{module.__name__}.{name}")


def _resolved(node: ast.expr, known: dict[str, Any]) -> Any:
    """Return what a name or a chain of attributes of modules means; None where only a run could tell."""
    if isinstance(node, ast.Name):
        if node.id in known:
            return known[node.id]
        return import_module(ASSUMED[node.id]) if node.id in ASSUMED else None
    if isinstance(node, ast.Attribute):
        owner = _resolved(node.value, known)
        return _member(owner, node.attr) if isinstance(owner, ModuleType) else None
    return None


def _missing(node: ast.Attribute, known: dict[str, Any]) -> Iterator[str]:
    try:
        _resolved(node, known)
    except (AttributeError, ImportError) as error:
        yield f"{ast.unparse(node)}: {error}"


def _unfit(node: ast.Call, known: dict[str, Any]) -> Iterator[str]:
    """Yield why a function does not take the arguments of a call."""
    try:
        function = _resolved(node.func, known)
        signature = inspect.signature(function) if callable(function) else None
    except (AttributeError, ImportError, ValueError, TypeError):  # told elsewhere, or without a signature
        return
    if signature is None or any(isinstance(one, ast.Starred) for one in node.args):
        return
    keywords = {one.arg: None for one in node.keywords if one.arg}
    bind = signature.bind_partial if any(one.arg is None for one in node.keywords) else signature.bind
    try:
        bind(*node.args, **keywords)
    except TypeError as error:
        yield f"{ast.unparse(node)}: {error}"


def _shell_faults(page: str) -> Iterator[str]:
    for words in commands(page):
        fault = _command_fault(words)
        if fault:
            yield f"{shlex.join(words)}: {fault}"
    for line in INLINE.findall(page):
        fault = _mention_fault(line)
        if fault:
            yield f"{line}: {fault}"


def _command_fault(words: list[str]) -> str:
    """Return why a command would be refused before it does anything."""
    if words[0] == "interp":
        return _interp_fault(words[1:])
    if words[0] == "make":
        rules = Path("Makefile").read_text(encoding="utf-8")
        missing = [
            one for one in words[1:] if "=" not in one and not re.search(rf"^{re.escape(one)}:", rules, re.MULTILINE)
        ]
        return f"there is no target {missing[0]}" if missing else ""
    if "python" in words[:2]:
        rest = words[words.index("python") + 1 :]
        there = find_spec(rest[1]) is not None if rest[0] == "-m" else Path(rest[0]).is_file()
        return "" if there else f"there is no {rest[1] if rest[0] == '-m' else rest[0]}"
    return "" if words[0] in HARMLESS else f"{words[0]} is not a program that the documentation uses"


def _interp_fault(words: list[str]) -> str:
    if words[0].startswith("-"):
        return ""
    try:
        name, rest = main.split(words)
        main.parser_of(name)[1].read(rest, Namespace())
    except (InterpError, SystemExit) as error:
        return "" if isinstance(error, SystemExit) and error.code == 0 else str(error)
    return ""


def _mention_fault(line: str) -> str:
    """Return why a command that is mentioned in a sentence, perhaps with placeholders, does not exist."""
    words = re.split(r"[\s|]+", line)[1:]
    names = [name for name in main.COMMANDS if words[0] == name.split()[0]]
    if not names and not words[0].startswith("-"):
        return "there is no such command"
    exact = [name for name in names if name == " ".join(words[:2])] or names
    known = {option for name in exact for option in main.parser_of(name)[1]._option_string_actions}
    unknown = [
        word for word in words if re.match(r"--[a-z]", word) and word.strip("[].,").partition("=")[0] not in known
    ]
    return f"it has no option {unknown[0]}" if unknown and names else ""


def run(page: Path) -> None:
    """Run the Python blocks of a page in one namespace; raises what they raise."""
    namespace: dict[str, Any] = {}
    for number, code in enumerate(python_of(page.read_text(encoding="utf-8")), 1):
        exec(compile(code, f"{page}, block {number}", "exec"), namespace)


if __name__ == "__main__":
    for given in map(Path, sys.argv[1:]):
        sys.stderr.write(f"{given}\n")
        run(given)
