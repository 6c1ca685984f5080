from __future__ import annotations

import base64
import gzip
import hashlib
import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import plotly.graph_objects as go
import pytest

from interp.errors import MissingInputError, UsageError
from interp.report import Figure, Section, figures, home, render, write, write_index
from interp.report.thumbnail import thumbnail
from tests.report import samples
from tests.report.browser import BUDGET


def _embedded(text: str) -> dict:
    result = re.search(r'<script type="application/json" id="interp-data">(.*?)</script>', text, re.S)
    assert result
    return json.loads(result[1])


def test_importing_the_package_loads_neither_plotly_nor_torch():
    code = "import sys, interp.report; print([m for m in ('plotly', 'torch', 'transformers') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("plotlyjs", ["inline", "directory"])
@pytest.mark.parametrize("make", [samples.gallery, samples.hostile])
def test_the_same_page_gives_the_same_bytes_within_the_budget(make, plotlyjs):
    text = render(make(), plotlyjs=plotlyjs)
    assert text == render(make(), plotlyjs=plotlyjs)
    assert len(text.encode()) <= BUDGET[plotlyjs]


def test_another_value_gives_another_page():
    one, other = (samples.page(Section("s", "S", "C.", ()), finding=words) for words in ("One.", "Other."))
    assert render(one) != render(other)


def test_the_bytes_do_not_depend_on_the_process():
    code = "import hashlib; from interp.report import render; from tests.report import samples;"
    code += "print(hashlib.sha256(render(samples.gallery()).encode()).hexdigest())"
    here = hashlib.sha256(render(samples.gallery()).encode()).hexdigest()
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.strip() == here


def test_one_large_heatmap_stays_within_the_budget():
    values = np.random.default_rng(0).normal(size=(300, 256))
    page = samples.page(Section("s", "S", "C.", (figures.heatmap("h", values, caption="c", alt="a"),)))
    assert len(render(page).encode()) <= BUDGET["inline"]
    assert len(render(page, plotlyjs="directory").encode()) <= BUDGET["directory"]


def test_a_page_without_figures_carries_no_library():
    assert len(render(samples.page(Section("s", "S", "C.", ()))).encode()) < 50_000


def test_the_policy_admits_exactly_our_scripts():
    text = render(samples.gallery())
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)
    assert policy
    hashes = re.findall(r"'sha256-([^']*)'", policy[1])
    script = re.findall(r"<script>(.*?)</script>", text, re.S)
    packed = re.search(r'id="plotly-gzip">([^<]*)<', text)
    assert len(script) == 1
    assert packed
    library = gzip.decompress(base64.b64decode(packed[1]))
    expected = [base64.b64encode(hashlib.sha256(body).digest()).decode() for body in (script[0].encode(), library)]
    assert hashes == expected
    assert "unsafe-eval" not in policy[1]
    assert policy[1].startswith("default-src 'none'; ")


def test_no_address_outside_the_page_is_in_it():
    text = re.sub(r'id="plotly-gzip">[^<]*', "", render(samples.gallery()))
    assert not re.findall(r"https?://|//[a-z]+\.[a-z]+", text)


class _Outline(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.anchors: list[str] = []

    def handle_starttag(self, tag, attrs):
        result = dict(attrs)
        self.tags.append(tag)
        self.ids += [result["id"]] if result.get("id") else []
        self.anchors += [result["href"][1:]] if tag == "a" else []


def test_the_page_is_one_document_whose_anchors_lead_somewhere():
    outline = _Outline()
    outline.feed(render(samples.gallery()))
    assert [outline.tags.count(tag) for tag in ("html", "main", "h1", "nav", "img", "link")] == [1, 1, 1, 1, 0, 0]
    assert len(outline.ids) == len(set(outline.ids))
    assert outline.anchors
    assert set(outline.anchors) <= set(outline.ids)


def test_hostile_strings_add_no_element():
    outline, plain = _Outline(), _Outline()
    outline.feed(render(samples.hostile()))
    plain.feed(render(samples.gallery()))
    assert set(outline.tags) - set(plain.tags) <= {"dt", "dd", "pre"}
    assert outline.tags.count("script") == plain.tags.count("script") == 3


def test_downloads_hold_their_content():
    data = _embedded(render(samples.gallery()))
    files = {file["name"]: gzip.decompress(base64.b64decode(file["gzip"])) for file in data["files"]}
    assert json.loads(files["result.json"]) == {"value": 1.5}
    assert files["line.csv"].decode().splitlines()[1] == '0,"The",0.5'
    assert len(files) == len(data["files"])


def test_provenance_is_shown():
    text = render(samples.page(Section("s", "S", "C.", ())))
    for fact in ("tiny", "ab" * 32, "0123456789abcdef", "python 3.11.7", "interp explain &#x27;The city of&#x27;"):
        assert fact in text
    assert "with uncommitted changes" not in text


def test_write_makes_the_folder_and_leaves_one_file(tmp_path):
    path = write(samples.gallery(), tmp_path / "a" / "b")
    assert path == tmp_path / "a" / "b" / "report.html"
    assert path.read_text(encoding="utf-8") == render(samples.gallery())
    assert [file.name for file in path.parent.iterdir()] == ["report.html"]
    write(samples.gallery(), tmp_path / "c", "other.html", "directory")
    assert sorted(file.name for file in (tmp_path / "c").iterdir()) == ["other.html", "plotly.min.js"]


def test_a_folder_that_cannot_be_written_is_one_sentence_and_nothing_half_written(tmp_path):
    (tmp_path / "file").write_text("kept")
    for target in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(UsageError, match="Cannot write into the folder"):
            write(samples.gallery(), target)
    with pytest.raises(MissingInputError, match="There is no folder"):
        write_index(tmp_path / "file")
    assert [file.name for file in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_text() == "kept"


def test_a_page_that_cannot_be_rendered_leaves_what_was_there(tmp_path):
    path = write(samples.gallery(), tmp_path)
    before = path.read_bytes()
    pie = Figure("pie", go.Figure(go.Pie(values=[1])), "c", "a", samples.bars().table)
    with pytest.raises(UsageError, match='A page cannot draw a plotly "pie" trace: use one of bar, heatmap'):
        write(samples.page(Section("s", "S", "C.", (pie,))), tmp_path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]


@pytest.mark.parametrize("name", ["../report.html", "report.txt", "a/b.html"])
def test_a_page_is_written_only_as_a_file_of_its_folder(name, tmp_path):
    with pytest.raises(UsageError, match="A page is written as a file of the folder"):
        write(samples.gallery(), tmp_path, name)


def test_an_unknown_way_to_carry_the_library_is_refused():
    with pytest.raises(UsageError, match='plotlyjs is "cdn"; it must be "inline" or "directory"'):
        render(samples.gallery(), plotlyjs="cdn")


def test_the_index_lists_what_is_below_the_newest_first(tmp_path):
    from dataclasses import replace

    section = Section("s", "S", "C.", ())
    old = samples.page(section, title="Old <b>one</b>", finding="It was & is.")
    late = replace(samples.PROVENANCE, started="2026-05-06T07:08:09+00:00", model="larger")
    new = replace(samples.page(section, title="New one", kind="circuits"), provenance=late)
    write(old, tmp_path / "a & b" / "deep")
    write(new, tmp_path)
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "report.html").write_text("<title>Not ours</title>")
    write(replace(old, title="Curves", kind="training"), tmp_path / "sae", "training.html")
    (tmp_path / "training.html").mkdir()
    text = write_index(tmp_path).read_text(encoding="utf-8")
    assert text.index("New one") < text.index("Old &lt;b&gt;one")
    assert "3 reports in" in text
    assert 'href="sae/training.html"' in text
    assert "Not ours" not in text
    assert 'href="a%20%26%20b/deep/report.html"' in text
    assert "It was &amp; is." in text
    assert "circuits · larger · 2026-05-06 07:08 UTC" in text
    assert "<script" not in text
    assert write_index(tmp_path).read_text(encoding="utf-8") == text


def test_the_index_of_an_empty_folder_says_so(tmp_path):
    assert "No report has been written here yet." in write_index(tmp_path).read_text(encoding="utf-8")


def test_the_index_shows_each_page_as_a_small_picture_and_takes_no_markup_for_one(tmp_path):
    drawn = samples.page(Section("s", "S", "C.", (samples.bars(),)))
    path = write(drawn, tmp_path / "a")
    assert thumbnail(drawn).keys() == {"line", "curve", "positive", "negative"}
    assert thumbnail(samples.page(Section("s", "S", "C.", ()))) == {}
    text = write_index(tmp_path).read_text(encoding="utf-8")
    assert f'<path class="positive" d="{thumbnail(drawn)["positive"]}"/>' in text
    assert text.count("<svg") == 2  # in the list and above it
    hostile = path.read_text(encoding="utf-8").replace(
        '"interp-drawn-positive" content="M', '"interp-drawn-positive" content="M&quot;&gt;&lt;b&gt;'
    )
    path.write_text(hostile, encoding="utf-8")
    text = write_index(tmp_path).read_text(encoding="utf-8")
    assert "<b>" not in text
    assert 'class="positive"' not in text


def test_every_kind_of_block_that_draws_has_a_picture(tmp_path):
    for block in samples.gallery().sections[1].blocks:
        if isinstance(block, Figure) and block.id != "tree":
            assert any(thumbnail(samples.page(Section("s", "S", "C.", (block,)))).values()), block.id


def test_a_study_is_listed_in_the_folder_made_for_studies(tmp_path):
    assert home("out/explain") == Path("out")
    assert home("mine") == Path("mine")
    assert home("../out/explain") == Path("../out/explain")
    assert home(tmp_path / "a") == tmp_path / "a"
    (tmp_path / "index.html").write_text("<title>a page of someone else</title>")
    assert home(tmp_path / "a") == tmp_path / "a"
    write_index(tmp_path)
    assert home(tmp_path / "a") == tmp_path
