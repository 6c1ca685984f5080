"""The front door itself: finding commands, its messages, and what it does not import."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import warnings
from argparse import ArgumentParser
from importlib import import_module

import pytest

from interp.cli.main import COMMANDS, main
from tests.cli.conftest import Run
from tests.limits import SECONDS

HEAVY = ("torch", "numpy", "plotly", "transformers", "transformer_lens", "sae_lens", "tqdm")


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, timeout=SECONDS, check=False)


@pytest.mark.parametrize("words", [["--help"], *([*name.split(), "--help"] for name in COMMANDS)], ids=" ".join)
def test_help_imports_nothing_heavy(words: list[str]) -> None:
    code = (
        f"import sys; from interp.cli.main import main; code = main({words!r});"
        f"loaded = [name for name in {HEAVY!r} if name in sys.modules]; sys.exit(str(loaded) if loaded else code)"
    )
    ended = python("-c", code)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "usage: interp" in ended.stdout


def test_a_heavy_import_would_be_seen() -> None:
    ended = python("-c", "import sys, numpy; sys.exit('loaded' if 'numpy' in sys.modules else 0)")
    assert ended.returncode == 1


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_an_example_that_parses_and_the_common_options(run: Run, name: str) -> None:
    module = import_module(COMMANDS[name])
    ended = run(*name.split(), "--help")
    assert ended.code == 0
    assert module.EXAMPLE.startswith(f"interp {name}")
    assert f"example:\n  {module.EXAMPLE}" in ended.out
    for option in ("--json", "--quiet", "--verbose"):
        assert option in ended.out


def test_the_overview_lists_every_command(run: Run) -> None:
    ended = run("--help")
    assert ended.code == 0
    for name, module in COMMANDS.items():
        assert f"  {name} " in ended.out
        assert import_module(module).HELP in ended.out


def test_python_m_interp_is_interp(run: Run) -> None:
    asked = python("-m", "interp", "--version")
    assert (asked.returncode, asked.stdout) == (0, run("--version").out)
    wrong = python("-m", "interp", "explian")
    assert (wrong.returncode, wrong.stderr) == (2, run("explian").err)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], f"no command given: choose one of {', '.join(COMMANDS)} (see: interp --help)"),
        (["explian"], 'unknown command "explian"; the nearest is "explain" (see: interp --help)'),
        (["zzz"], 'unknown command "zzz" (see: interp --help)'),
        (["--quiet", "doctor"], "options come after the command: interp COMMAND --quiet (see: interp --help)"),
        (
            ["explain", "hi", "--targte", "x"],
            'unknown option "--targte"; the nearest is "--target" (see: interp explain --help)',
        ),
        (["explain", "hi", "--xyzzy=3"], 'unknown option "--xyzzy" (see: interp explain --help)'),
        (["explain"], "the following arguments are required: PROMPT (see: interp explain --help)"),
        (["doctor", "a", "more"], "unrecognized arguments: more (see: interp doctor --help)"),
        (
            ["explain", "hi", "--target", "x", "--top", "0"],
            'argument --top: "0" is not a whole number above zero (see: interp explain --help)',
        ),
        (
            ["explain", "hi", "--target", "x", "--seed", "-1"],
            'argument --seed: "-1" is not a whole number from zero up (see: interp explain --help)',
        ),
        (
            ["explain", "hi", "--target", "-x"],
            "argument --target: expected one argument; write a value that begins with a dash as --option=VALUE"
            " (see: interp explain --help)",
        ),
        (["explain", "caf\udce9"], "the argument 'caf\\udce9' is not valid UTF-8 text"),
    ],
)
def test_usage_errors_are_one_sentence(run: Run, words: list[str], message: str) -> None:
    ended = run(*words)
    assert (ended.code, ended.out, ended.err) == (2, "", f"error: {message}\n")


def test_a_command_of_two_words_runs(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(COMMANDS, "sae train", "interp.cli.doctor")
    assert run("sae", "train", "--help").code == 0
    assert run("sae").err.endswith("sae train, sae evaluate, sae features, sae push (see: interp sae --help)\n")
    assert run("sae", "trian").code == 2


def test_a_closed_pipe_is_not_an_error() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as closed:
        ended = subprocess.run(
            [sys.executable, "-m", "interp", "doctor"], stdout=closed, stderr=subprocess.PIPE, text=True, check=False
        )
    assert (ended.returncode, ended.stderr) == (0, "")


def test_a_terminal_that_lacks_a_character_shows_its_escape() -> None:
    code = (
        "from interp.cli import console\n"
        "with console.output_policy(quiet=False, verbose=False): console.write('caf\\xe9 ↵')"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONIOENCODING": "ascii"}, capture_output=True, check=True
    )
    assert ended.stdout == b"caf\\xe9 \\u21b5\n"


def test_our_warnings_are_printed_others_only_when_verbose(
    run: Run, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    class Chatty:
        HELP, EXAMPLE = "speaks", "interp chatty"

        def add_arguments(self, parser: ArgumentParser) -> None: ...

        def run(self, args: object) -> int:
            logging.getLogger("interp.saes").info("detail")
            logging.getLogger("interp.saes").warning("mind this")
            logging.getLogger("hub").warning("retrying")
            warnings.warn_explicit("old name", DeprecationWarning, "x.py", 1, module="interp.old")
            warnings.warn_explicit("their name", DeprecationWarning, "y.py", 1, module="other.old")
            return 0

    monkeypatch.setitem(sys.modules, "chatty", Chatty())  # type: ignore[arg-type]
    monkeypatch.setitem(COMMANDS, "chatty", "chatty")
    before = dict(os.environ)

    def warnings_of(*options: str) -> tuple[str, list[str]]:
        recwarn.clear()
        return run("chatty", *options).err, [str(caught.message) for caught in recwarn]

    assert warnings_of() == ("WARNING interp.saes: mind this\n", ["old name"])
    assert warnings_of("--quiet") == ("", [])
    lines, warned = warnings_of("-v")
    assert all(words in lines for words in ("INFO interp.saes: detail", "mind this", "WARNING hub: retrying"))
    assert "old name" in warned
    assert dict(os.environ) == before


@pytest.mark.parametrize("group", ["sae", "cache"])
@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_a_group_of_commands_has_help(capsys, group, flag):
    assert main([group, flag]) == 0
    out, err = capsys.readouterr()
    names = [name for name in COMMANDS if name.startswith(f"{group} ")]
    assert not err and all(name in out for name in names) and "toy" not in out
    assert main([group]) == 2
