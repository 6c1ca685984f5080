"""Streams that are closed, full or not text, signals, unexpected names and numbers: one sentence each."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from interp import results
from interp.cli import software
from interp.errors import UsageError
from tests.cli.conftest import Run
from tests.cli.fakes import Analysis, Finding
from tests.limits import SECONDS

ROOT = Path(__file__).parents[2]
WORDS = ("explain", "The Eiffel Tower", "--target", " Paris")
DOCTOR = [sys.executable, "-m", "interp", "doctor"]


def test_a_full_disk_behind_stdout_is_one_sentence() -> None:
    with open("/dev/full", "w") as full:
        ended = subprocess.run(DOCTOR, stdout=full, stderr=subprocess.PIPE, text=True, cwd=ROOT, check=False)
    assert ended.returncode == 1
    assert ended.stderr == (
        "error: standard output cannot be written to (No space left on device); "
        "files that were saved before are complete\n"
    )


def test_a_closed_stdout_is_not_an_error() -> None:
    words = ["sh", "-c", f"{sys.executable} -m interp doctor >&-"]
    ended = subprocess.run(words, stderr=subprocess.PIPE, text=True, cwd=ROOT, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_sigterm_ends_as_ctrl_c_does(run: Run, analysis: Analysis, tmp_path: Path) -> None:
    def stopped(*_: object, **__: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        signal.sigtimedwait([], SECONDS)  # the handler runs before this returns

    before = signal.getsignal(signal.SIGTERM)
    analysis.during = stopped
    ended = run(*WORDS, "--out", str(tmp_path / "a"))
    assert (ended.code, ended.out) == (130, "")
    assert ended.err == "error: interrupted; files that were saved before are complete\n"
    assert list(tmp_path.iterdir()) == []
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.parametrize("option", ["--seed", "--top", "--position"])
@pytest.mark.parametrize("number", [2**64, 10**5000], ids=["65 bits", "5,000 digits"])
def test_a_number_beyond_64_bits_is_refused(
    run: Run, analysis: Analysis, option: str, number: int, tmp_path: Path
) -> None:
    sys.set_int_max_str_digits(0)
    ended = run(*WORDS, option, str(number), "--out", str(tmp_path))
    sys.set_int_max_str_digits(4300)
    assert ended.code == 2
    assert "of at most 64 bits" in ended.err
    assert len(ended.err) < 300
    assert analysis.asked == {}


@pytest.mark.parametrize("name", ["", "x" * 300, "a/" + "y" * 300])
def test_an_invalid_folder_is_an_error_before_the_model_loads(run: Run, analysis: Analysis, name: str) -> None:
    ended = run(*WORDS, "--out", name)
    assert ended.code == 2
    assert ended.err.startswith("error: --out: ")
    assert len(ended.err) < 300
    assert analysis.asked == {}


@pytest.mark.parametrize("kind", ["folder", "pipe"])
def test_a_page_whose_name_is_taken_leaves_the_old_result(
    run: Run, analysis: Analysis, kind: str, tmp_path: Path
) -> None:
    """A pipe called report.html would be waited for without end."""
    if kind == "folder":
        (tmp_path / "report.html").mkdir()
    else:
        os.mkfifo(tmp_path / "report.html")
    ended = run(*WORDS, "--out", str(tmp_path))
    assert ended.code == 2
    assert "report.html: it is a" in ended.err
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_a_disk_that_fills_leaves_the_old_result_with_its_old_page(
    run: Run, analysis: Analysis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(*WORDS, "--out", str(tmp_path))
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    count = len(before) - 1  # all but index.html, which is drawn from the pages
    syncs: list[int] = []

    def full(handle: int) -> None:
        syncs.append(handle)
        if len(syncs) == count:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    ended = run("explain", "Another prompt", *WORDS[2:], "--out", str(tmp_path))
    assert ended.code == 2
    assert "No space left on device" in ended.err
    assert len(syncs) == count
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_result_with_inconsistent_values_is_one_sentence(
    run: Run, analysis: Analysis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(*WORDS, "--out", str(tmp_path))
    monkeypatch.setattr(Finding, "page", lambda self: self.values[99])
    ended = run("report", str(tmp_path))
    assert ended.code == 3
    assert "the page of this result cannot be drawn, because its values are not consistent (IndexError" in ended.err


def test_report_names_what_it_was_given(run: Run, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / results.JSON_NAME)
    for given in (tmp_path, tmp_path / results.JSON_NAME, "x" * 300):
        ended = run("report", str(given))
        assert ended.code == 3
        assert "No result in" in ended.err
        assert len(ended.err) < 400


def test_two_different_models_are_refused(run: Run, tmp_path: Path) -> None:
    ended = run("circuits", "some/model", "--model", "other/model", "--out", str(tmp_path))
    assert ended.code == 2
    assert 'two models are named, "some/model" and --model "other/model"' in ended.err


def test_the_doctor_survives_without_the_package_that_compares_versions(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = software._version
    monkeypatch.setitem(sys.modules, "packaging.requirements", None)
    monkeypatch.setattr(software, "_version", lambda name: "" if name == "packaging" else known(name))
    ended = run("doctor", "--json")
    assert ended.code == 1
    result = {check["name"]: check for check in ended.json["checks"]}
    assert result["packaging"]["remedy"] == "pip install packaging"
    assert result["torch"]["state"] == "ok"
    assert {"numpy", "plotly", "einops"} <= result.keys()
    assert not {"ruff", "playwright==1"} & result.keys()


def test_the_library_names_arguments_and_the_command_line_its_options(
    run: Run, analysis: Analysis, tmp_path: Path
) -> None:
    analysis.failure = UsageError("Too many: lower max_expansions= or top=, not nothing= or C=0.1.")
    ended = run(*WORDS, "--out", str(tmp_path))
    assert ended.err == "error: Too many: lower --max-expansions or --top, not nothing= or C=0.1.\n"


def test_no_message_outside_the_command_line_names_an_option() -> None:
    option = re.compile(r"""["'][^"'\n]*\s--(out|resume|store|text|model|hook|head)\b""")
    places = [path for package in ("interp", "probes", "saes", "analyses") for path in (ROOT / package).rglob("*.py")]
    sources = {path: path.read_text() for path in places if "cli" not in path.parts}
    raised = {path: re.findall(r"raise \w+\((?:[^()]|\([^()]*\))*\)", text) for path, text in sources.items()}
    assert {
        str(path.relative_to(ROOT)): result for path, many in raised.items() for result in many if option.search(result)
    } == {}
