"""Results of studies are saved, read and drawn without torch, and their pages are right in a browser."""

import subprocess
import sys

import pytest

from analyses.superposition import STUDIES
from interp import report, results
from tests.analyses.superposition import tiny
from tests.limits import SECONDS
from tests.report.conftest import browser, page_check  # noqa: F401  (fixtures)

DRAW = """
import sys
from interp import report, results
result = results.load(sys.argv[1])
report.write(result.page(), sys.argv[2])
sys.exit("torch" in sys.modules)
"""


@pytest.fixture(scope="module", params=list(STUDIES))
def made(request, tmp_path_factory):
    """A study's result and the folder it is saved in."""
    result = tiny.run(request.param)
    return result, result.save(tmp_path_factory.mktemp(request.param))


def test_a_result_loads_equal_and_has_a_summary(made):
    result, folder = made
    assert results.load(folder) == result
    output = result.to_dict()
    assert output["finding"] == result.finding()
    assert len(output["checks"]) == len(result.checks)
    assert all(check.claim in result.summary() for check in result.checks)


def test_a_page_states_every_check(made):
    result, _ = made
    page = report.render(result.page(), plotlyjs="directory")
    rows = next(one for one in result.page().sections if one.id == "checks").blocks[0].rows
    assert [row[0] for row in rows] == [check.claim for check in result.checks]
    assert [row[-1] == "pass" for row in rows] == [check.passed for check in result.checks]
    assert result.title in page


@pytest.mark.parametrize("name", ["geometry", "ladder"])
def test_a_saved_result_is_drawn_without_torch(name, tmp_path):
    folder = tiny.run(name).save(tmp_path / "result")
    ended = subprocess.run(
        [sys.executable, "-c", DRAW, str(folder), str(tmp_path / "page")], timeout=SECONDS, check=False
    )
    assert ended.returncode == 0
    assert (tmp_path / "page" / "report.html").is_file()


@pytest.mark.browser
@pytest.mark.parametrize("name", ["geometry", "phases", "ladder", "memorisation"])
def test_a_page_is_right_in_light_in_dark_and_narrow(name, tmp_path, page_check):  # noqa: F811
    page_check(report.write(tiny.run(name).page(), tmp_path))
