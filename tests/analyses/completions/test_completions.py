"""Completions side by side: an edit that does nothing changes nothing, and one that does is shown."""

from __future__ import annotations

import pytest

from analyses import completions
from interp import edit, report
from interp.errors import UsageError
from interp.results import load
from tests import models
from tests.report.browser import check_study


@pytest.fixture(scope="module")
def result():
    model = models.load("gpt2", text=True)
    sets = {
        "nothing": [edit.add("blocks.1.hook_resid_post", [0.0] * 24)],
        "cut": [edit.zero("blocks.1.hook_resid_post")],
    }
    return completions.run(model, ["the tower is", "Paris </script><b>"], sets, max_tokens=6)


def test_an_edit_of_nothing_changes_nothing_and_another_does(result):
    assert (result.changed("nothing"), result.changed("cut")) == (0, 2)
    assert result.finding() == 'Of 2 completions by gpt2 object, "nothing" changes 0, "cut" changes 2.'
    assert result.agreement[0][:2] == (1.0, 1.0) and result.agreement[0][2] < 1
    model = models.load("gpt2", text=True)
    assert result.texts[0][0] == model.generate("the tower is", 6)


def test_saved_and_drawn(result, tmp_path):
    result.save(tmp_path)
    assert load(tmp_path) == result
    text = report.render(result.page())
    assert "texts changed" in text and "<b>" not in text.split("<main")[1].split("</main")[0].replace("<b>Finding", "")


@pytest.mark.parametrize(
    ("prompts", "edits"), [([], {"a": [1]}), ("text", {"a": [1]}), (["a"], {}), (["a"], {"unedited": [1]})]
)
def test_what_cannot_be_compared_is_refused(prompts, edits):
    with pytest.raises(UsageError, match=r"^Give |must be a sequence of texts"):
        completions.run(models.load("gpt2", text=True), prompts, edits)


@pytest.mark.browser
def test_the_page_in_a_browser(result, tmp_path):
    check_study(result, tmp_path, screens=4)
