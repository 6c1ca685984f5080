"""The study of an attribution graph, its page and the command, on a small model and on the real one."""

from __future__ import annotations

import json

import numpy as np
import pytest

from analyses import graph as study
from interp import report, results
from interp.attribution.graphs.result import Graph
from interp.cli import options
from interp.cli.main import main
from interp.errors import UsageError
from interp.report import Download, Section
from tests import models
from tests.attribution.dictionaries.samples import transcoders
from tests.report.browser import BUDGET, check_study
from tests.report.samples import page

PROMPT = "the tower is in Paris a b"


@pytest.fixture(scope="module")
def model():
    return models.load("llama", text=True)


@pytest.fixture(scope="module")
def traced(model):
    config = study.Config(PROMPT, expansions=200, changed=6)
    return study.run(model, config, dictionaries=transcoders(model))


def test_everything_is_there_and_saves(traced, tmp_path):
    assert results.load(traced.save(tmp_path)) == traced
    assert abs(traced.total - traced.value) < 1e-5 * traced.mass
    assert len(traced.checks) == 2
    assert traced.checks[1].correlation[0] > 0.9
    assert list(traced.shares) == ["MLP0", "MLP1", "MLP2"]
    assert traced.graph.queries
    for text in (traced.finding(), traced.summary(), json.dumps(traced.to_dict())):
        assert "nan" not in text.lower()


def test_the_page_shows_hostile_words_as_text(traced):
    """The small tokenizer's vocabulary has markup in it, and labels name what latents raise."""
    drawn = report.render(traced.page())
    assert "</script><b>" not in drawn
    assert "graph.json" in drawn
    for word in ("replacement", "Measured effects of latents", "Attention scores of the heads in the graph"):
        assert word in drawn


def test_neurons_stand_for_latents_without_dictionaries(model):
    result = study.run(model, study.Config(PROMPT, neurons=6, expansions=50, changed=5))
    assert any(name.startswith("MLP0") for name in result.graph.name)
    assert abs(result.total - result.value) < 1e-5 * result.mass


def test_the_command_writes_its_folder(monkeypatch, model, tmp_path, capsys):
    monkeypatch.setattr(options, "load_model", lambda args: model)
    out = tmp_path / "out"
    words = ["graph", PROMPT, "--neurons", "6", "--expansions", "50", "--changed", "5", "--out", str(out), "--json"]
    assert main(words) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["nodes"] > 10
    names = {path.name for path in out.iterdir()}
    assert names >= {"result.json", "arrays.safetensors", "graph.json", "report.html"}
    written = json.loads((out / "graph.json").read_text())
    assert len(written["nodes"]) == printed["nodes"]
    for wrong, code in (
        (["--node-share", "2"], 2),
        (["--answer", "no such word"], 2),
        (["--dictionaries", "nowhere"], 3),
    ):
        assert main([*words, *wrong]) == code
    capsys.readouterr()


def test_a_single_token_is_refused(model):
    with pytest.raises(UsageError, match="at least two"):
        study.run(model, study.Config("the"))


@pytest.mark.real
def test_smollm2_neurons_in_one_graph():
    """Paris over London through neurons: nothing is lost, and predictions are near measured effects."""
    import interp

    config = study.Config("The Eiffel Tower is located in the city of", max_latents=300, expansions=300, changed=8)
    result = study.run(interp.load("smollm2"), config)
    assert abs(result.total - result.value) < 1e-5 * result.mass
    assert result.graph.error < 1e-4
    assert " Paris" in result.difference
    assert np.isfinite(result.checks[1].correlation[0])
    assert len(report.render(result.page()).encode()) < BUDGET["inline"]


def large(n: int = 500, n_edge: int = 12_000) -> Graph:
    """A made-up graph of n nodes with hostile labels: as many edges as SmolLM2's graphs of that size have."""
    draw = np.random.default_rng(0)
    layer = np.sort(draw.integers(0, 30, n - 12))
    layer = np.concatenate([layer, np.full(10, -1), [30, 30]])
    source, target = draw.integers(0, n - 2, n_edge), draw.integers(0, n, n_edge)
    up = layer[source] < layer[target]
    kinds = ("latent",) * (n - 12) + ("token",) * 10 + ("target",) * 2
    ends = np.unique(np.stack([source[up], target[up]]), axis=1)
    column = draw.random(n)
    return Graph(
        **dict(model="made up", tokens=tuple(f" word{i}" for i in range(10)), token_ids=np.arange(10), n_layer=30),
        **dict(unit="logits", kind=kinds, layer=layer, position=draw.integers(0, 10, n), feature=np.arange(n)),
        **dict(name=tuple(f"MLP{i}" for i in layer.tolist()), label=("</script><b>bold",) * n, value=column),
        **dict(influence=column, cumulative=column, pruned=column, bias=column, source=ends[0], target=ends[1]),
        **dict(weight=draw.normal(size=ends.shape[1]), probabilities=(0.6, 0.3), replacement=0.5, completeness=0.5),
        **dict(error_share=0.5, node_share=0.8, edge_share=0.98, error=0.0, n_active=9600, n_rows=4000),
        **dict(supernodes={}, queries={}, examples={}),
    )


def test_a_graph_of_500_nodes_fits_a_page():
    """With its edges, downloads and the plotting library, hostile labels as text."""
    graph = large()
    section = Section("graph", "The graph", graph.summary(), (graph.explorer(), graph.figure(), graph.table(30)))
    content = json.dumps(graph.to_neuronpedia()).encode()
    drawn = report.render(page(section, downloads=(Download("graph.json", content, "application/json"),)))
    assert len(graph.nodes) == 500
    assert len(drawn.encode()) < BUDGET["inline"]
    assert "</script><b>bold" not in drawn


@pytest.mark.browser
def test_the_page_in_a_browser(traced, tmp_path):
    check_study(traced, tmp_path, screens=5)
