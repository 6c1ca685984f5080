"""The study of steering a behaviour, its page, and the command: on a small model, a null, and the real one."""

from __future__ import annotations

import json
from dataclasses import fields

import pytest

from analyses import steering as study
from analyses.steering.study import read_behaviour, spread
from interp import report, results
from interp.cli import options
from interp.cli.main import main
from interp.errors import DamagedFileError, UsageError
from interp.steering import Behaviour, behaviour, names
from tests import models
from tests.report.browser import check_study

OWN = Behaviour(
    "place",
    positive=("the tower is in Paris", "b is in Paris", "a is in Paris", "is in Paris"),
    negative=("the tower is in London", "b is in London", "a is in London", "is in London"),
    prompts=("the tower is", "b is", "a b is", "the is", "in the is"),
    right=(" Paris",),
    wrong=(" London",),
)


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A user's own behaviour, and no other that should stay: the small tokenizer has few words."""
    monkeypatch.setattr("analyses.steering.study.steering.names", lambda: ())
    (tmp_path / "neutral.txt").write_text("the tower is in Paris\n\na b London\n")
    file = tmp_path / "own.json"
    file.write_text(json.dumps({name: getattr(OWN, name) for name in (field.name for field in fields(OWN))}))
    return file


@pytest.fixture
def small(monkeypatch):
    """A small model in the place of the real one."""
    model = models.load("llama", text=True)
    monkeypatch.setattr(options, "load_model", lambda _: model)
    return model


def test_the_command_writes_a_result_and_a_page_that_say_the_same(tmp_path, monkeypatch, capsys, own, small):
    folder = tmp_path / "out"
    words = ["steer", str(own), "--layers", "0,2", "--random", "5", "--strengths=-0.4,0.4", "--out", str(folder)]
    assert main([*words, "--neutral", str(tmp_path / "neutral.txt"), "--json", "-q"]) == 0
    printed = json.loads(capsys.readouterr().out)
    result = results.load(folder)
    assert isinstance(result, study.Steering) and result.finding() == printed["finding"]
    assert printed["layer"] in (0, 2) and set(printed["kl"]) == {"-0.4", "0.0", "0.4"} and printed["kl"]["0.0"] < 1e-6
    text = report.render(result.page())
    for words in ("Which layer?", "Does it work on every prompt?", "What else changes?", "What does the model write?"):
        assert words in text
    assert main(["report", str(folder)]) == 0


@pytest.mark.browser
def test_the_page_in_a_browser(tmp_path, own, small):
    words = [
        "steer",
        str(own),
        "--layers",
        "0,2",
        "--random",
        "3",
        "--strengths=-0.4,0.4",
        "--out",
        str(tmp_path / "out"),
    ]
    assert main([*words, "--neutral", str(tmp_path / "neutral.txt"), "-q"]) == 0
    check_study(results.load(tmp_path / "out"), tmp_path, screens=5)


def test_wrong_requests_are_usage_errors(tmp_path, own, small):
    assert main(["steer", "sentimnt", "--out", str(tmp_path / "no")]) == 2
    assert main(["steer", str(own), "--layers", "2,x", "--out", str(tmp_path / "no")]) == 2
    assert main(["steer", str(own), "--layers", "9", "--out", str(tmp_path / "no")]) == 2
    assert not (tmp_path / "no").exists()
    own.write_text("{}")
    with pytest.raises(DamagedFileError, match="name is missing"):
        read_behaviour(str(own))
    with pytest.raises(UsageError, match='nearest is "sentiment"'):
        read_behaviour("sentimnt")


def test_layers_are_spread_over_any_model():
    assert spread(30) == (5, 10, 15, 20, 25)
    assert spread(3) == (0, 1, 2) and spread(1) == (0,)


@pytest.mark.parametrize("name", names())
def test_answers_are_in_no_pair(name):
    one = behaviour(name)
    assert len(one.positive) == len(one.negative) == 24 == len(set(one.positive)) == len(one.prompts)
    words = set(" ".join((*one.positive, *one.negative)).lower().replace(".", " ").split())
    assert not words & {answer.strip() for answer in (*one.right, *one.wrong)}
    assert not set(one.right) & set(one.wrong)


@pytest.mark.real
def test_sentiment_is_steered_beyond_random_directions_and_shuffled_labels(smollm2):
    """The slope is about 8.5; those of shuffled labels, whose contrast cancels, have both signs and end at 7.2."""
    config = study.Config("sentiment", layers=(15,), strengths=(-0.4, 0.4), n_controls=10, off_target=())
    result = study.run(smollm2, config).response
    assert result.steers and result.wrong_way[0] == 0
    assert (result.shuffled_slopes > 0).any() and (result.shuffled_slopes < 0).any()
    assert abs(result.random_slopes.mean()) < result.slope[0] / 3
