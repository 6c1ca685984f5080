"""Studies save, load and draw themselves without torch; untrained networks fail the checks; pages are right."""

import subprocess
import sys

import numpy as np
import pytest

from analyses.bydesign import STUDIES, study
from analyses.bydesign.masks import METHODS
from analyses.bydesign.summary import HEAD
from analyses.superposition import STUDIES as OTHERS
from analyses.superposition.summary import tables
from interp import report, results
from interp.cli.main import main
from interp.errors import UsageError
from tests.bydesign import tiny
from tests.limits import SECONDS
from tests.report.conftest import browser, page_check  # noqa: F401  (fixtures)

DRAW = """
import sys
from interp import report, results
for folder in sys.argv[1:]:
    report.render(results.load(folder).page(), plotlyjs="directory")
sys.exit("torch" in sys.modules)
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """All studies' results, saved in folders of their names."""
    folder = tmp_path_factory.mktemp("studies")
    outcome = {name: tiny.run(name) for name in STUDIES}
    for name, result in outcome.items():
        result.save(folder / name)
    return folder, outcome


@pytest.mark.parametrize("name", list(STUDIES))
def test_a_study_loads_equal_and_an_untrained_one_fails_its_checks(made, name):
    folder, outcome = made
    result = outcome[name]
    assert results.load(folder / name) == result
    assert not result.passed
    assert result.to_dict()["finding"] == result.finding()
    page = report.render(result.page(), plotlyjs="directory")
    assert all(check.claim in result.summary() for check in result.checks)
    assert result.title in page


def test_results_are_drawn_without_torch(made):
    folders = [str(made[0] / name) for name in STUDIES]
    assert subprocess.run([sys.executable, "-c", DRAW, *folders], timeout=SECONDS, check=False).returncode == 0


def test_the_committed_table_has_every_check(made):
    folder, outcome = made
    text = tables(folder, tuple(STUDIES), HEAD)
    for name, result in outcome.items():
        assert f"## {name}\n" in text
        assert text.count("**FAIL**") >= 1
        assert all(check.claim.replace("|", "\\|") in text for check in result.checks)


def test_conservation_and_equal_starts_hold_at_any_size(made):
    """What is a theorem, or true by construction, is so in untrained networks too."""
    _, result = made
    assert result["masks"].conservation.max() < 1e-9
    assert result["masks"].neuron_conservation.max() < 1e-9
    assert result["masks"].snip_conservation.min() > 0.01
    tickets = result["tickets"].loss
    assert (tickets[:, 0] == tickets[0, 0]).all()
    # A method meets its density whether it prunes before, while or after training.
    # Movement rounds up in each of the three layers, the others once.
    more = result["masks"].left.sum(-1) - result["masks"].left.sum(-1)[:1, :, :1]
    assert ((more >= 0) & (more <= 2)).all()
    assert (np.delete(more, METHODS.index("movement"), axis=0) == 0).all()
    assert result["addition"].fourier.sum(-1) == pytest.approx(1)


def test_the_command_finds_studies_of_both_packages_and_their_names_differ(tmp_path, capsys):
    assert not set(STUDIES) & set(OTHERS)
    small = [word for key in ("seeds=2", "rounds=1", "width=16", "steps=5") for word in ("--set", key)]
    assert main(["toy", "tickets", *small, "--out", str(tmp_path / "out"), "--quiet"]) == 4
    assert (tmp_path / "out" / "report.html").is_file()
    assert main(["toy", "ticket", "--out", str(tmp_path / "none")]) == 2
    assert 'nearest is "tickets"' in capsys.readouterr().err
    with pytest.raises(UsageError, match='nearest is "modular"'):
        study("modulr")


@pytest.mark.parametrize("name", [*STUDIES, "all"])
def test_a_device_other_than_the_processor_is_refused_before_anything_is_trained(name, tmp_path, capsys):
    assert main(["toy", name, "--device", "cuda:0", "--out", str(tmp_path / "out")]) == 2
    assert 'device is "cuda:0"' in capsys.readouterr().err
    assert not (tmp_path / "out" / "result.json").exists()


@pytest.mark.browser
@pytest.mark.parametrize("name", ["modular", "sparse"])
def test_a_page_is_right_in_light_in_dark_and_narrow(name, made, tmp_path, page_check):  # noqa: F811
    page_check(report.write(made[1][name].page(), tmp_path))
