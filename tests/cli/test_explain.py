"""`interp explain`, `interp report` and `interp demo` over a fake analysis: what reaches it, what is left behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from interp import results
from interp.cli import demo
from interp.errors import (
    CheckFailedError,
    DamagedFileError,
    InterpError,
    MissingInputError,
    UnsupportedModelError,
    UsageError,
)
from tests.cli.conftest import Run
from tests.cli.fakes import TOTAL, Analysis

WORDS = ("explain", "The Eiffel Tower", "--target", " Paris")
FILES = ["arrays.safetensors", "graph.json", "index.html", "report.html", "result.json"]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_options_reach_the_analysis(run: Run, analysis: Analysis, tmp_path: Path) -> None:
    more = ["--versus", " London", "--position", "-2", "--top", "3", "--seed", "7", "--dtype", "float64"]
    ended = run(*WORDS, *more, "--model", "some/model", "--device", "cpu", "--out", str(tmp_path))
    assert ended.code == 0
    config = analysis.asked.pop("config")
    assert (config.prompt, config.target, config.versus) == ("The Eiffel Tower", " Paris", " London")
    assert (config.position, config.top) == (-2, 3)
    assert analysis.asked["model"] == "some/model"
    assert analysis.asked["dtype"] == "float64"
    assert analysis.asked["seed"] == 7
    assert analysis.asked["command"].startswith(
        "interp explain 'The Eiffel Tower' --target ' Paris' --versus ' London'"
    )


def test_the_folder_holds_result_report_and_index(run: Run, analysis: Analysis, tmp_path: Path) -> None:
    out = tmp_path / "new" / "folder"
    ended = run(*WORDS, "--out", str(out))
    assert names(out) == FILES
    assert ended.out == f"total {TOTAL}\n{out / 'report.html'}\n"
    assert ended.err == ""
    assert "report.html" in (out / "index.html").read_text()


def test_json_is_one_object_on_stdout(run: Run, analysis: Analysis, tmp_path: Path) -> None:
    ended = run(*WORDS, "--out", str(tmp_path), "--json")
    assert ended.json == {
        "report": str(tmp_path / "report.html"),
        "result": str(tmp_path),
        "total": TOTAL,
        "prompt": "The Eiffel Tower",
    }


def test_quiet_prints_the_path_alone(run: Run, analysis: Analysis, tmp_path: Path) -> None:
    ended = run(*WORDS, "--out", str(tmp_path), "--quiet")
    assert ended.out == f"{tmp_path / 'report.html'}\n"
    assert ended.err == ""
    assert analysis.asked["progress"] is None


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (InterpError, 1),
        (UsageError, 2),
        (UnsupportedModelError, 2),
        (MissingInputError, 3),
        (DamagedFileError, 3),
        (CheckFailedError, 4),
    ],
)
def test_every_error_kind_has_its_code_and_leaves_nothing(
    run: Run, analysis: Analysis, tmp_path: Path, kind: type[InterpError], code: int
) -> None:
    analysis.failure = kind("one sentence.")
    ended = run(*WORDS, "--out", str(tmp_path / "a" / "b"))
    assert (ended.code, ended.out, ended.err) == (code, "", "error: one sentence.\n")
    assert names(tmp_path) == []


def test_an_unexpected_error_is_one_line_and_a_traceback_only_when_asked(
    run: Run, analysis: Analysis, tmp_path: Path
) -> None:
    analysis.failure = KeyError("lost\nkey")
    ended = run(*WORDS, "--out", str(tmp_path / "a"))
    assert ended.code == 1
    assert ended.err == "error: unexpected KeyError: 'lost\\nkey'; run again with -v for the traceback\n"
    shown = run(*WORDS, "--out", str(tmp_path / "a"), "-v")
    assert shown.code == 1
    assert "Traceback" in shown.err
    assert shown.err.endswith("error: unexpected KeyError: 'lost\\nkey'\n")
    assert names(tmp_path) == []


def test_an_interrupted_run_ends_with_130(run: Run, analysis: Analysis, tmp_path: Path) -> None:
    analysis.failure = KeyboardInterrupt()
    ended = run(*WORDS, "--out", str(tmp_path / "a"))
    assert (ended.code, ended.out) == (130, "")
    assert ended.err.startswith("error: interrupted")
    assert names(tmp_path) == []


def test_an_error_shows_control_characters_instead_of_obeying_them(
    run: Run, analysis: Analysis, tmp_path: Path
) -> None:
    analysis.failure = UsageError("a\x1b[31mred\r\nline")
    assert run(*WORDS, "--out", str(tmp_path)).err == "error: a\\x1b[31mred line\n"


def test_a_folder_that_cannot_be_written_is_an_error_before_the_model_loads(
    run: Run, analysis: Analysis, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("kept")
    ended = run(*WORDS, "--out", str(tmp_path / "file" / "out"))
    assert ended.code == 2
    assert "Cannot write into the folder" in ended.err
    assert analysis.asked == {}
    assert (tmp_path / "file").read_text() == "kept"


def test_a_failed_run_leaves_an_earlier_result_untouched(run: Run, analysis: Analysis, tmp_path: Path) -> None:
    run(*WORDS, "--out", str(tmp_path))
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    analysis.failure = CheckFailedError("the sum is off.")
    assert run(*WORDS, "--out", str(tmp_path)).code == 4
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_report_draws_the_same_page_again(run: Run, analysis: Analysis, tmp_path: Path) -> None:
    run(*WORDS, "--out", str(tmp_path))
    drawn = (tmp_path / "report.html").read_bytes()
    (tmp_path / "report.html").unlink()
    ended = run("report", str(tmp_path))
    assert ended.code == 0
    assert (tmp_path / "report.html").read_bytes() == drawn
    elsewhere = run("report", str(tmp_path / "result.json"), "--out", str(tmp_path / "new"), "--json")
    assert elsewhere.json["report"] == str(tmp_path / "new" / "report.html")
    assert elsewhere.json["result"] == str(tmp_path)
    assert names(tmp_path / "new") == ["report.html"]
    assert "new/report.html" in (tmp_path / "index.html").read_text()  # the folder above is an index already


def test_report_refuses_what_is_not_a_result(run: Run, analysis: Analysis, tmp_path: Path) -> None:
    missing = run("report", str(tmp_path / "none"))
    assert missing.code == 3
    assert "has no result.json" in missing.err
    run(*WORDS, "--out", str(tmp_path / "whole"))
    arrays = tmp_path / "whole" / results.ARRAYS_NAME
    arrays.write_bytes(arrays.read_bytes()[:-5])
    damaged = run("report", str(tmp_path / "whole"), "--out", str(tmp_path / "new"))
    assert damaged.code == 3
    assert "damaged" in damaged.err
    assert not (tmp_path / "new").exists()


def test_the_demo_runs_its_steps_into_folders_of_their_own(run: Run, analysis: Analysis, tmp_path: Path) -> None:
    ended = run("demo", "--out", str(tmp_path))
    assert ended.code == 0
    assert ended.out.splitlines()[-1] == str(tmp_path / "index.html")
    assert names(tmp_path / "explain") == FILES
    assert "explain/report.html" in (tmp_path / "index.html").read_text()
    config = analysis.asked["config"]
    assert (config.target, config.versus) == (" Paris", " London")
    as_json = run("demo", "--out", str(tmp_path), "--json").json
    assert as_json["index"] == str(tmp_path / "index.html")
    assert [step["total"] for step in as_json["steps"]] == [TOTAL] * len(demo.STEPS)
    assert run("demo", "--out", str(tmp_path), "--quiet").out == f"{tmp_path / 'index.html'}\n"


def test_a_failed_step_fails_the_demo(run: Run, analysis: Analysis, tmp_path: Path) -> None:
    analysis.failure = MissingInputError("the model is offline.")
    ended = run("demo", "--out", str(tmp_path / "new"))
    assert (ended.code, ended.err) == (3, "error: the model is offline.\n")
    assert names(tmp_path) == []
