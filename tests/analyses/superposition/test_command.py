"""`interp toy`: what it writes, and one clear answer for each thing that cannot be run."""

import json

import pytest

from interp import results
from interp.cli.main import main

SMALL = ("--set", "density=0.5,0.05", "--set", "starts=1", "--set", "steps=20")


def test_a_study_is_saved_and_drawn_and_a_number_out_of_its_band_is_exit_code_4(tmp_path, capsys):
    code = main(["toy", "geometry", *SMALL, "--out", str(tmp_path), "--seed", "3", "--json"])
    output = capsys.readouterr()
    result = results.load(tmp_path)
    body = json.loads(output.out)
    assert code == 4
    assert "outside its band" in output.err
    assert body["passed"] is False
    assert result.config.seed == 3
    assert result.config.density == (0.5, 0.05)
    assert (tmp_path / "report.html").is_file()
    assert (tmp_path / "index.html").is_file()


def test_a_study_in_its_bands_is_exit_code_0(tmp_path, capsys):
    assert main(["toy", "closedforms", "--out", str(tmp_path), "--quiet"]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "report.html")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["geometri"], 'no study "geometri"; the nearest is "geometry"'),
        (["geometry", "--set", "densty=1"], 'the nearest is "density"'),
        (["geometry", "--set", "density"], "names no setting"),
        (["geometry", "--set", "steps=many"], '--set steps must be a whole number, not "many"'),
        (["geometry", "--set", "density=half"], '--set density must be a number or a list of such, not "half"'),
        (["geometry", "--set", "density=0"], "at a sparsity of 1 no feature is ever active"),
        (["dimensions", "--set", "sparsity=1"], "at a sparsity of 1 no feature is ever active"),
        (["dimensions", "--set", "hidden=50"], "hidden is 50 for 40 features"),
        (["all", "--set", "steps=3"], "name that study"),
    ],
)
def test_what_cannot_be_run_is_one_sentence_and_leaves_nothing(words, message, tmp_path, capsys):
    assert main(["toy", *words, "--out", str(tmp_path / "out")]) == 2
    output = capsys.readouterr()
    assert output.err.count("\n") == 1
    assert message in output.err
    assert not (tmp_path / "out").exists()
