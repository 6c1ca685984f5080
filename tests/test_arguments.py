"""Arguments of a wrong kind are one sentence each, wherever a model, an input or a tree is expected."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
import torch

import interp
from interp import attribution, circuits, discovery, edit, patching, tasks
from interp.errors import InterpError
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
    found = patching.patch_residual(model, " the tower", " the Paris", attribution.logit(model, 5))  # type: ignore[arg-type]
    assert found.columns[0].startswith(" the")


def test_the_lens_of_a_bfloat16_model_is_that_of_its_weights_up_to_rounding():
    coarse, tokens = models.load("llama", torch.bfloat16), models.tokens()
    found = attribution.logit_lens(coarse, tokens, [3])
    exact = attribution.logit_lens(interp.load(coarse.hf.float(), dtype=torch.float32), tokens, [3])
    scale = abs(exact.logits).max()
    assert abs(found.logits - exact.logits).max() < 0.1 * scale  # 8 bits, three blocks: about 2 % measured
    assert abs(found.logits - exact.logits).max() > 0  # the two really differ in precision
