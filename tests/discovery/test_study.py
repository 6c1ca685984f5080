"""The study of a task, its page, and the command: on a planted model whose circuit is known."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from analyses import discovery as study
from analyses.discovery.circuit_map import explorer, lines_of
from interp import discovery, report, results
from interp.cli import options
from interp.cli.main import main
from interp.errors import UsageError
from tests import models
from tests.discovery import planted
from tests.report.browser import check_study


@pytest.fixture(scope="module")
def planted_study():
    """Induction on a planted model, whose task replaces the random tokens of the catalogue."""
    case = planted.induction()
    patch = pytest.MonkeyPatch()
    patch.setattr("analyses.discovery.study._task", lambda *_: case.task)
    try:
        return case, study.run(case.model, study.Config("induction", methods=("secant", "eap"), n_controls=5))
    finally:
        patch.undo()


def test_the_study_finds_the_planted_circuit_and_saves(tmp_path, planted_study):
    case, result = planted_study
    assert set(result.circuit.edges) == case.wiring
    assert result.ability.able and "carry" in result.finding()
    assert {view.name for view in result.heads} == {"L0H0", "L1H0"}
    looks = next(view for view in result.heads if view.name == "L1H0").attention
    assert looks[:2].sum() == pytest.approx(1.0, abs=1e-4) and looks[1] > 0.4  # the first token has no previous one
    assert np.allclose(result.by_position.sum(1), result.circuit.scores[result.circuit.included], atol=1e-5)
    again = results.load(result.save(tmp_path))
    assert again == result
    again.page()


def test_a_line_into_a_key_stands_where_the_key_is(planted_study):
    _, result = planted_study
    lines = {line.name: line for line in reversed(lines_of(result))}  # of each edge the position where it is strongest
    into_key = lines["L0H0 → L1H0.k"]
    # of the two keys that are exchanged, either may matter more
    assert into_key.start in (("L0H0", 1), ("L0H0", 3)) and into_key.stop == ("L1H0", 5)
    assert lines["L1H0 → logits"].start == ("L1H0", 5)


def test_the_page_has_every_part(planted_study):
    _, result = planted_study
    text = report.render(result.page())
    for words in ("Can the model do it?", "How many edges are needed?", "Is it a circuit?", "L0H0 → L1H0.k", "CPR"):
        assert words in text
    assert "pairs are fewer than 100" in text and "do not explain an ability" not in text


def test_the_strongest_edges_are_run_for_real(planted_study):
    case, result = planted_study
    check = result.check
    wired = [edge in case.wiring for edge in check.edges]
    assert all(wired[: len(case.wiring)]) and not any(wired[len(case.wiring) :])
    first, _ = case.task.split(seed=0)
    for way, measured in (("noise", check.noise), ("denoise", check.denoise)):
        exact = discovery.score(case.model, first, "exact", direction=way).edges
        np.testing.assert_allclose(measured, [exact[edge] for edge in check.edges], atol=1e-4)  # float32 logits
    assert check.pearson > 0.9
    assert np.abs(check.measured[len(case.wiring) :]).max() < 1e-6  # edges that are not wired do nothing


def test_the_strongest_nodes_are_run_for_real(planted_study):
    _, result = planted_study
    assert result.nodes.edges[0] in ("embed", "L0H0", "L1H0") and result.nodes.pearson > 0.9
    assert "strongest nodes" in report.render(result.page())
    without = replace(result, nodes=None)
    assert without.to_dict()["nodes_pearson"] is None and "strongest nodes of" not in report.render(without.page())


def test_the_explorer_leads_from_the_embedding_to_the_logits(planted_study):
    _, result = planted_study
    drawn = explorer(result)
    ids = {node.id: node for node in drawn.nodes}
    assert {node.kind for node in drawn.nodes} == {"embed", "head", "target"}
    assert all(ids[edge.source].layer < ids[edge.target].layer for edge in drawn.edges)
    into_logits = sum(edge.value for edge in drawn.edges if edge.target.startswith("logits"))
    # what flows into the logits is the change of the measure, with the sign of support
    assert into_logits == pytest.approx(-(result.curves[0].corrupted - result.curves[0].clean).mean(), rel=0.5)
    assert explorer(replace(result, by_position=result.by_position[:, :0])) is None


def test_a_model_that_cannot_do_the_task_is_reported_as_unable(tmp_path, monkeypatch, capsys):
    model = models.load("qwen2", dtype=torch.float64)
    monkeypatch.setattr(options, "load_model", lambda _: model)
    folder = tmp_path / "out"
    words = ["discover", "induction", "--pairs", "6", "--method", "secant", "--controls", "3", "--out", str(folder)]
    assert main([*words, "--json", "-q"]) == 0
    output = json.loads(capsys.readouterr().out)
    assert not output["able"] and "cannot do" in output["finding"]
    page = (folder / "report.html").read_text()
    assert page.count("do not explain an ability") >= 6  # the finding and every section after the first
    read = discovery.Circuit.read(folder / "circuit.json")
    assert read.size == output["edges"] and (folder / "report.html").is_file()
    assert main(["report", str(folder)]) == 0


def test_wrong_requests_are_usage_errors(tmp_path, monkeypatch):
    model = models.load("qwen2")
    with pytest.raises(UsageError, match="Unknown task"):
        study.run(model, study.Config("indction"))
    with pytest.raises(UsageError, match="Unknown method"):
        study.run(model, study.Config("induction", pairs=4, methods=("best",)))
    monkeypatch.setattr(options, "load_model", lambda _: model)
    assert main(["discover", "induction", "--share", "2", "--out", str(tmp_path / "no")]) == 2
    assert not (tmp_path / "no").exists()


@pytest.mark.browser
def test_the_page_in_a_browser(planted_study, tmp_path):
    check_study(planted_study[1], tmp_path, screens=5)
