"""The truth study: its page, its files, its command, and what it says of a real model."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.svm import LinearSVC

import probes
from analyses import truth
from analyses.truth.set_sections import set_sections
from analyses.truth.study import probe_of, statements_of
from interp import results
from interp.cli.main import main
from interp.errors import MissingInputError, UsageError
from interp.report import render, write
from probes.intervention import Question
from tests import models
from tests.probes.protocol.planted import activations, statements
from tests.report import browser as checks

HOSTILE = "<b>set</b>"
WORDS = ("tower", "is", "in", "Paris", "London", "a", "b")


def spoken(data):
    """The statements in words that the small tokenizer knows: three name the entity, one is drawn."""
    rng = np.random.default_rng(0)
    number = [int(row[0].split()[1]) for row in data.groups]
    texts = [
        f"the {WORDS[n % 7]} {WORDS[n // 7 % 7]} {WORDS[n // 49 % 7]} is {WORDS[rng.integers(7)]} in Paris"
        for n in number
    ]
    return replace(data, statements=tuple(texts))


@pytest.fixture(scope="module")
def model():
    return models.load("llama", text=True)


@pytest.fixture(scope="module")
def study(model, tmp_path_factory):
    topics = tuple("ab"[i // 2 % 2] for i in range(160))
    plain = replace(statements(80), name=HOSTILE, topic=topics)
    sets = [spoken(plain), spoken(statements(80, name="denied", polarity=-1))]
    folder = tmp_path_factory.mktemp("probes")
    result = truth.run(
        model, truth.Config(layers=(0, 1, 2), causal=True), data=sets, probes_to=folder, command="interp probe", seed=0
    )
    asked = probes.intervene(
        model,
        result.sweeps[0].direction,
        sets[0],
        layers=1,
        config=probes.InterventionConfig(question=Question("{statement} is", (" a", " b")), n_controls=4),
    )
    return replace(result, intervention=asked), folder


def test_it_holds_every_part(study):
    result, _ = study
    assert [sweep.name for sweep in result.sweeps] == [HOSTILE, "denied"]
    assert result.transfer.names == (HOSTILE, "denied")
    assert [(left.by, left.names) for left in result.left_out] == [("topic", ("a", "b"))]
    assert set(result.planes) == set(result.erasures) == {HOSTILE, "denied"}
    assert result.intervention.data == HOSTILE
    (why,) = result.skipped  # the study asks for " true" or " false", words that the small tokenizer lacks
    assert why.startswith("intervention: The answers ' true' and ' false' are equal")


def test_a_plane_is_the_probes_own_and_an_orthogonal_direction(study):
    result, _ = study
    for sweep in result.sweeps:
        plane = result.planes[sweep.name]
        length = np.linalg.norm(sweep.direction)
        np.testing.assert_allclose(plane.x, sweep.predictions.scores / length, rtol=1e-5, atol=1e-6)
        assert 0 < plane.shares[0] < 1
        assert 0 < plane.shares[1] < 1


def test_it_loads_back_equal_and_draws_the_same_page(study, tmp_path):
    result, _ = study
    result.save(tmp_path)
    again = results.load(tmp_path)
    assert again == result
    assert render(again.page()) == render(result.page())


def test_the_saved_page_is_drawn_without_torch(study, tmp_path):
    study[0].save(tmp_path)
    code = (
        "import sys; from interp import results; from interp.report import render\n"
        f"page = render(results.load({str(tmp_path)!r}).page()); assert len(page) > 1e5\n"
        "assert 'torch' not in sys.modules, 'torch was imported'"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[3])


def test_the_probes_are_saved_with_their_origin(study, model):
    result, folder = study
    for sweep, name in zip(result.sweeps, ("-b-set--b-", "denied"), strict=True):
        probe = probes.load(folder / name)
        np.testing.assert_allclose(probe.direction_, sweep.direction, rtol=1e-6, atol=1e-9)
        assert (probe.origin.layer, probe.origin.split) == (sweep.best.layer, "v1")


def test_a_random_model_is_not_reported_to_know_truth(study):
    """Its labels are drawn by turns: whatever a probe finds is chance, and the page says so."""
    result, _ = study
    for sweep in result.sweeps:
        assert {"nothing", "null", "entities", "no-control", "surface", "inverted"} & {v.kind for v in sweep.verdicts}
        assert sweep.best.auc[1] < 0.65
    reported = (
        "but a control may account for it",
        "is inverted",
        "its answers are inverted",
        "its AUC is not above chance",
    )
    assert any(words in result.finding() for words in reported)
    if "reads" not in {v.kind for v in result.sweeps[0].verdicts}:
        assert "does not tell true from false" in result.finding()


def test_nonlinear_probes_are_mentioned_only_where_they_still_read_the_erased_property(study):
    result, _ = study
    report = result.erasures[HOSTILE]
    for left, reported in ((0.9, True), (0.5, False)):
        last = replace(report.methods[-1], nonlinear_test=left)
        changed = replace(report, methods=(*report.methods[:-1], last))
        text = render(replace(result, erasures={HOSTILE: changed}).page())
        assert ("linear probes can no longer read the property, nonlinear ones can" in text) is reported


def test_without_controls_it_says_that_they_are_missing(model):
    bare = truth.run(model, truth.Config(controls=False), data=[spoken(statements(60))], seed=0)
    assert not bare.erasures
    text = render(bare.page())
    assert "Controls were turned off, so the accuracy cannot be compared with a baseline." in text
    assert bare.to_dict()["sets"][0]["selectivity"] is None
    json.dumps(bare.to_dict(), allow_nan=False)


def test_a_fact_is_on_one_side_in_every_part_of_a_study(model):
    """The first set names a fact that both state, so that sweeps and transfer split alike."""
    plain = replace(spoken(statements(60)), group_kind="fact")
    facts = {row: f"fact {row[0].split()[1]} holds" for row in plain.groups}
    sets = [
        replace(plain, name=name, groups=tuple((text.format(facts[row]),) for row in plain.groups))
        for name, text in (("plain", "{}"), ("denied", "It is false that {}"))
    ]
    assert (probes.split(sets[0]).test != probes.split(sets[1]).test).any()
    result = truth.run(model, truth.Config(controls=False, layers=(1,)), data=sets, seed=0)
    assert result.sweeps[0].n_test == result.sweeps[1].n_test == result.transfer.n_test[1]


def test_a_classifier_without_probabilities_has_its_own_curve_left_out():
    """Its calibration is of the rescaled scores alone, and nothing breaks."""
    acts = activations(statements(80))
    for probe, named in ((probes.MassMean(), {"perfect", "the probe's own", "rescaled"}), (LinearSVC(), None)):
        swept = probes.sweep(acts, probe=probe, controls=False)
        section = set_sections(swept, None, 0, 1)[1]
        assert {trace.name for trace in section.blocks[0].plotly.data} == (named or {"perfect", "rescaled"})
        assert "nan" not in section.claim
        assert ("It gives no probabilities" in section.claim) is (named is None)


def test_one_set_of_both_polarities_is_tested_across_them(model):
    both = probes.join([spoken(statements(60, polarity=sign, name=str(sign))) for sign in (1, -1)], "both")
    result = truth.run(model, truth.Config(controls=False), data=[both], seed=0)
    assert result.transfer.names == ("both, affirmative", "both, negated")
    assert list(result.transfer.polarities) == [1, -1]


def test_a_question_that_a_set_is_too_small_for_is_noted_and_the_rest_answered(model):
    rare = replace(spoken(statements(60)), topic=("a",) * 118 + ("b",) * 2)
    result = truth.run(model, truth.Config(controls=False), data=[rare], seed=0)
    assert result.left_out == ()
    assert "leaving out one topic of planted" in result.skipped[0]
    assert "Not done: leaving out one topic" in render(result.page())


def test_statements_are_a_file_or_a_generated_set(model):
    assert statements_of("neg_capitals", None, 0).name == "neg_capitals"
    assert len(set(statements_of("capitals:2", None, 0).template)) == 2
    with pytest.raises(
        MissingInputError, match='no file "captials", and no generated set of that name; the nearest is'
    ):
        statements_of("captials", None, 0)
    with pytest.raises(UsageError, match='unknown probe "ldaa"; the nearest is "lda"'):
        probe_of("ldaa")
    with pytest.raises(UsageError, match="No statements"):
        truth.run(model, truth.Config())


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["nosuch.csv"], 3, 'no file "nosuch.csv"'),
        (["capitals", "capitals"], 2, 'The set "capitals" is given twice'),
        (["capitals", "--layers", "0-999999999"], 2, "is more than 10000 layers"),
        (["capitals", "--probe", "magic"], 2, 'unknown probe "magic"'),
        (["capitals", "--layers", "x"], 2, "is not a list of layers"),
        (["capitals", "--layers", "20-8"], 2, "is not a list of layers"),
        (["capitals", "--layers", "8-"], 2, "is not a list of layers"),
        (["capitals", "--probe", "ccs"], 2, 'a file with the columns "pair"'),
        ([], 2, "DATA"),
    ],
)
def test_mistakes_are_reported_before_a_model_is_loaded(words, code, message, tmp_path, capsys):
    assert main(["probe", *words, "--out", str(tmp_path / "out")]) == code
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_command_writes_a_report_and_the_probes(model, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("interp.model.load", lambda *_, **__: model)
    code = main(["probe", "capitals", "--layers", "embed,1-2", "--no-controls", "--json", "--out", str(tmp_path)])
    body = json.loads(capsys.readouterr().out)
    assert code == 0
    assert body["sets"][0]["name"] == "capitals"
    assert body["sets"][0]["accuracy"][1] <= body["sets"][0]["accuracy"][0] <= body["sets"][0]["accuracy"][2]
    assert {"report.html", "result.json", "arrays.safetensors"} <= {path.name for path in tmp_path.iterdir()}
    assert probes.load(tmp_path / "probes" / "capitals").origin.layer in (-1, 1, 2)
    assert results.load(tmp_path).config.layers == (-1, 1, 2)


@pytest.mark.browser
def test_the_page_is_whole_in_a_browser(study, tmp_path):
    path = write(study[0].page(), tmp_path)
    with checks.launched() as chromium:
        for scheme in ("light", "dark"):
            checks.check_page(path, scheme, browser=chromium, layout=True, screens=5)
        checks.check_page(path, browser=chromium, width=390, axe=False, layout=True)


@pytest.mark.real
def test_smollm2_reads_an_association_that_turns_round_under_negation(smollm2, test_data):
    """The first 100 cities, so that it is cheap; the bounds allow for that."""
    sets = []
    for name in ("cities", "neg_cities"):
        whole = probes.read_statements(test_data / "truth" / f"{name}.csv")
        sets.append(whole.take(np.arange(200)))
    acts = [probes.collect(smollm2, one, layers=(-1, 13, 19)) for one in sets]
    swept = probes.sweep(acts[0])
    assert swept.best.layer in (13, 19)
    assert swept.best.accuracy[0] > 0.7
    assert swept.controls.embedding_accuracy == (0.5, 0.5, 0.5)
    # From one row of each of 100 cities a probe of 576 dimensions also learns the cities; of all 748 it is +0.22.
    assert swept.controls.selectivity.value > 0
    result = probes.transfer(acts, layer=13)
    assert result.auc[0, 1] < 0.2
    assert [v.kind for v in result.verdicts].count("inverted") == 2
