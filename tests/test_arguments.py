"""Arguments of a wrong kind are one sentence each, wherever a model, an input or a tree is expected."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pytest
import torch
from jaxtyping import Float
from torch import Tensor

import interp
import probes
import saes
from analyses import circuits as circuit_study, dictionary, explain, truth
from interp import attribution, circuits, discovery, edit, patching, tasks, toy
from interp.arguments import checked, fits
from interp.errors import InterpError, UsageError
from tests import models

WRONG = (None, 1.5, -1, "text", [])
FUNCTIONS = [
    *(
        getattr(attribution, name)
        for name in ("contrast", "direct", "sources", "orders", "edges", "path_tree", "score")
    ),
    *(getattr(attribution, name) for name in ("verify", "freeze", "logit_lens", "by_source", "logit", "direction")),
    *(getattr(attribution, name) for name in ("paired", "swapped", "shuffled_names", "from_task")),
    *(getattr(circuits, name) for name in ("qk", "ov", "check", "definiteness", "head_scores", "frequency_energy")),
    *(getattr(discovery, name) for name in ("score", "faithfulness", "circuit", "evaluate", "minimal_heads")),
    *(patching.patch, patching.patch_residual, patching.patch_heads, tasks.ioi, tasks.induction, tasks.make),
    *(tasks.read, tasks.log_odds, edit.zero, edit.project_out, interp.check),
]


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: f"{function.__module__}.{function.__name__}")
@pytest.mark.parametrize("wrong", WRONG, ids=repr)
def test_a_first_argument_of_a_wrong_kind_is_one_sentence(function, wrong):
    needed = [p.name for p in inspect.signature(function).parameters.values() if p.default is p.empty]
    arguments: dict[str, Any] = {name: wrong for name in needed if name != "options"}
    if isinstance(wrong, str) and set(arguments) <= {"path", "hook", "direction"}:
        arguments[next(iter(arguments))] = None  # a text is right there
    with pytest.raises(InterpError):
        function(**arguments)


@pytest.mark.parametrize("wrong", (1.5, "text", []), ids=repr)
def test_optional_arguments_of_a_wrong_kind_are_one_sentence(wrong):
    model, tokens = models.load("llama"), models.tokens()
    frozen = attribution.freeze(model, tokens)
    tree = attribution.path_tree(frozen, attribution.logit(model, 5), max_expansions=10)
    calls = [
        lambda: attribution.logit_lens(model, tokens, lens=wrong),
        lambda: attribution.logit_lens(model, tokens, tracked=None),  # type: ignore[arg-type]
        lambda: attribution.verify(model, tree, frozen=wrong),
        lambda: attribution.verify(model, tree, seed=wrong),
        lambda: attribution.neuronpedia_graph(tree, slug=None, scan="x"),  # type: ignore[arg-type]
        lambda: circuits.ov(model, 0, 0).svd(wrong),
        lambda: circuits.embedding.analogy(model, wrong),
        lambda: circuits.embedding.sparse_code(model, wrong),
    ]
    for call in calls:
        with pytest.raises(InterpError):
            call()


def test_patching_labels_prompts_given_as_text():
    model = models.load("llama", text=True)
    result = patching.patch_residual(model, " the tower", " the Paris", attribution.logit(model, 5))  # type: ignore[arg-type]
    assert result.columns[0].startswith(" the")


def test_the_lens_of_a_bfloat16_model_is_that_of_its_weights_up_to_rounding():
    coarse, tokens = models.load("llama", torch.bfloat16), models.tokens()
    result, untracked = attribution.logit_lens(coarse, tokens, [3]), attribution.logit_lens(coarse, tokens)
    assert untracked.ranks.shape == (4, 9, 0) and untracked.top_tokens == result.top_tokens
    exact = attribution.logit_lens(interp.load(coarse.hf.float(), dtype=torch.float32), tokens, [3])
    scale = abs(exact.logits).max()
    assert abs(result.logits - exact.logits).max() < 0.05 * scale  # 8 bits, three blocks: 0.9 % measured
    assert abs(result.logits - exact.logits).max() > 0  # the two really differ in precision


Rows = Float[np.ndarray, "*grid features hidden"]


@pytest.mark.parametrize(
    ("kind", "right", "wrong"),
    [
        (int, (3, np.int64(3)), (True, 1.0, "3", None, np.zeros(3), np.bool_(1))),
        (float, (1.5, 2, np.float32(1)), (True, "1.5", None, np.zeros(2))),
        (bool, (True, np.bool_(0)), (1, "yes", None, np.zeros(3))),
        (str | None, ("a", None), (b"a", 1, ["a"])),
        (Literal["a", "b"], ("a",), ("c", None, np.zeros(3), ["a"])),
        (Sequence[int], ([1, 2], (), np.arange(3), range(3)), ("12", 3, [1.5], {1: 2}, [True])),
        (tuple[str, int], (("a", 1),), (("a",), ("a", "b"), None)),
        (tuple[float, ...], ((), (1, 2.5)), (("a",), 1.0)),
        (Mapping[str, Any], ({"a": 1},), ([("a", 1)], None)),
        (Iterable[int], ([1], (i for i in range(3))), (3, None)),
        (Callable[[int], None], (print,), ("print", None, 3)),
        (Rows, (np.zeros((2, 3)), np.zeros((4, 2, 3)), [[1, 2], [3, 4]]), ([1, 2], [[1], [1, 2]], None, "ab", [["a"]])),
        (Float[Tensor, "n d"], (torch.zeros(2, 3),), (torch.zeros(3), np.zeros((2, 3)), [[1.0]])),
        (Any, (None, 1, "a"), ()),
    ],
    ids=lambda value: None if isinstance(value, tuple) else str(value),
)
def test_values_fit_their_declared_kind_and_no_other(kind, right, wrong):
    assert all(fits(kind, value) for value in right)
    assert not any(fits(kind, value) for value in wrong)


def test_a_checked_function_has_its_name_its_defaults_and_the_errors_of_python():
    @checked
    def scaled(x: Float[np.ndarray, " n"], by: float = 2.0, *, note: str | None = None) -> float:
        return float(np.sum(x) * by) if note is None else 0.0

    assert scaled.__name__ == "scaled" and scaled(np.ones(2), by=3, note="a") == 0
    assert scaled([1.0, 2.0]) == 6.0  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"^The argument by must be a number, not \"3\".$"):
        scaled(np.ones(2), "3")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"an array of numbers of shape \(n\), not ndarray of float64 and"):
        scaled(np.ones((2, 2)))
    with pytest.raises(UsageError, match="note must be text or None, not 5"):
        scaled(np.ones(2), note=5)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'x'"):
        scaled()  # type: ignore[call-arg]


def _right_calls(tmp_path) -> list[tuple[Callable[..., Any], dict[str, Any]]]:
    """Calls that work, of every package; each of their arguments is then given as another kind."""
    grid = toy.Config(features=3, hidden=2, steps=2, batch_size=16)
    trained, x = toy.train(grid), torch.randn(64, 8, generator=torch.Generator().manual_seed(0))
    config = saes.Config(width=16, k=2, steps=2, batch_size=8)
    sae = saes.train(config, x)
    sae.save(tmp_path / "sae")
    model, file = models.load("llama", text=True), tmp_path / "facts.csv"
    file.write_text("statement,label,group\n" + "".join(f" the tower {i},{i % 2},g{i // 2}\n" for i in range(24)))
    data = probes.read_statements(file, group="group")
    acts = probes.collect(model, data)
    probe = probes.MassMean().fit(acts.at(0), data.labels)
    probe.save(tmp_path / "probe", acts, 0)
    w, density = trained.best().features[0], np.array([0.3, 0.2])
    frozen = attribution.freeze(model, models.tokens())
    return [
        (toy.Config, {"features": 3, "hidden": 2, "lr": 0.1, "steps": 2, "batch_size": 16, "data": "independent"}),
        (toy.train, {"config": grid, "device": "cpu", "progress": None}),
        (toy.sample, {"kind": "independent", "density": torch.ones(1, 4), "count": 5, "generator": torch.Generator()}),
        (toy.zipf, {"features": 5, "mean": 0.1, "exponent": 1.0}),
        (toy.gaps, {"w": w, "above": 0.5}),
        (toy.tegum_factors, {"w": w, "above": 0.5, "touching": 0.1}),
        (toy.exact_loss, {"trained": trained, "points": 16}),
        (toy.sampled_loss, {"trained": trained, "count": 16, "seed": 1}),
        (toy.candidates, {"features": 3, "hidden": 2}),
        (toy.theory_loss, {"density": density, "importance": np.ones(2), "hidden": 1}),
        (saes.Config, {"architecture": "topk", "width": 16, "k": 2, "lr": 0.001, "skip": False}),
        (saes.train, {"config": config, "activations": x, "metadata": None, "folder": None, "progress": None}),
        (saes.Trainer, {"config": config, "source": x, "group": None}),
        (saes.load, {"folder": tmp_path / "sae", "device": "cpu", "dtype": "float32"}),
        (saes.card, {"sae": sae, "evaluation": None, "name": "a/b"}),
        (saes.push, {"folder": tmp_path / "sae", "repo": "a/b", "upload": False, "evaluation": None}),
        (saes.evaluate, {"sae": sae, "activations": x, "config": saes.evaluation.Config(rows=64, baselines=False)}),
        (sae.decode, {"code": sae.encode(x)}),
        (probes.log_probs, {"model": model, "data": data, "batch_size": 16}),
        (probes.load, {"folder": tmp_path / "probe"}),
        (probes.collect, {"model": model, "data": data, "layers": "all", "store": None, "progress": None}),
        (probes.load(tmp_path / "probe").apply, {"acts": acts}),
        (attribution.path_tree, {"linearised": frozen, "target": attribution.logit(model, 5), "max_expansions": 3}),
        (attribution.path_tree, {"linearised": frozen, "target": attribution.logit(model, 5), "progress": None}),
        (dictionary.Config, {"top": 3, "before": 2}),
        (explain.run, {"model": model, "config": explain.Config(prompt=" the tower", max_expansions=3)}),
    ]


def test_the_geometry_of_what_is_not_a_dictionary_is_one_sentence():
    from saes.evaluation.geometry import chance_cosine, geometry

    draw = torch.Generator()
    geometry(torch.eye(3), seed=0), chance_cosine(3, 2, draw, absolute=True)
    for wrong in (None, "text", torch.zeros(2), torch.zeros(2, 2, dtype=torch.long), torch.zeros(0, 3)):
        with pytest.raises(UsageError, match=r"must be a tensor of numbers|matrix of floating-point numbers"):
            geometry(wrong, seed=0)  # type: ignore[arg-type]
    for atoms, d in ((-1, 2), (0, 2), (3, -1), ("3", 2), (3, None)):
        with pytest.raises(UsageError, match=r"must be a whole number|must be at least 1"):
            chance_cosine(atoms, d, draw, absolute=True)  # type: ignore[arg-type]


STRANGE = (1.5, -1, "text", [5], {"a": 1}, b"x", object(), np.zeros(3))


def test_each_argument_of_another_kind_is_one_sentence_in_every_package(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # "text" is a folder where one is written
    refused = 0
    for function, right in _right_calls(tmp_path):
        function(**right)
        for name in right:
            for strange in STRANGE:
                try:
                    function(**{**right, name: strange})
                except InterpError:
                    refused += 1
    assert refused > 400  # of 500: the others are right there too, as 1.5 is where a number is


@pytest.mark.parametrize("study", (truth, circuit_study, explain), ids=lambda study: study.__name__)
def test_a_study_refuses_a_config_of_another_kind(study):
    with pytest.raises(UsageError, match="The argument config must be a Config"):
        study.run(models.load("llama", text=True), 5)


def test_the_truth_study_refuses_what_is_not_a_set_of_statements():
    with pytest.raises(UsageError, match="The argument data must be a sequence"):
        truth.run(models.load("llama", text=True), data=[5])  # type: ignore[list-item]
