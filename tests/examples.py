"""Objects that examples in docstrings use without making them; see `conftest.py`. Each is made once in a process.

The examples say in a comment how a user gets the same kind of object. All are small: one second or less to make.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch

import probes
import saes
from interp import tasks
from interp.cache import Config, harvest
from interp.steering import Behaviour
from tests import models
from tests.discovery import planted as planted_circuits
from tests.probes.protocol import planted as planted_truth

PROMPT = "the tower is in"
HOOKS = tuple(f"blocks.{layer}.hook_resid_post" for layer in range(3))
TEXTS = (
    "the tower is in Paris a b the London is",
    "b a the is tower in London Paris the a",
    "in the London tower is a Paris b is the",
    "a is the b tower Paris London in the is",
    "London the in is Paris b a tower is b",
)
"""Of the words of the small tokenizer."""


@cache
def _temporary() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="examples-")  # removed when the process ends


def folder() -> Path:
    """Return a new empty folder."""
    return Path(tempfile.mkdtemp(dir=_temporary().name))


@cache
def model() -> Any:
    """Return a small random model with a tokenizer of the words "the tower is in Paris a b London"."""
    return models.load("llama", text=True)


def tokens() -> Any:
    """Return the ids of "the tower is in"."""
    return model().to_tokens(PROMPT)


def texts() -> Any:
    """Return the ids of 32 random texts of 32 tokens."""
    return torch.randint(models.D_VOCAB, (32, 32), generator=torch.Generator().manual_seed(0))


@cache
def transcoders() -> Any:
    """Return a random transcoder for every layer of `model`, by the hook that it reads."""
    from tests.attribution.dictionaries import samples

    return samples.transcoders(model(), 24)


@cache
def lm() -> Any:
    """Return a small random model with a tokenizer of the words of all tasks."""
    from tests.tasks import vocabulary

    return vocabulary.model()


@cache
def task() -> Any:
    """Return a task of two pairs of prompts, such as "the tower is in" and "a tower is in", with an answer each."""
    prompts = [("the tower is in", "a tower is in"), ("tower the is in", "tower a is in")]
    pairs = tuple(tasks.Pair(*both, right=(" Paris",), wrong=(" London",)) for both in prompts)
    return tasks.Pairs("towers", pairs).encode(model())


@cache
def page() -> Any:
    """Return a report of one section, with the provenance that every result of a run has."""
    from interp import report
    from interp.provenance import Stopwatch

    note = report.Note("This is a page of one paragraph.")
    section = report.Section("first", "First section", "Reports are made of sections.", (note,))
    provenance = Stopwatch().provenance(command="example", seed=0)
    return report.Page("Example", "A page needs no network.", (("model", "none"),), (section,), (), provenance)


@cache
def acts() -> Any:
    """Return activations (80 statements, 4 layers, width 16) with a truth direction from layer 1 on."""
    return planted_truth.activations(planted_truth.statements(40))


@cache
def other() -> Any:
    """Return activations of a second set, with the same truth direction."""
    return planted_truth.activations(planted_truth.statements(40, name="negated", polarity=-1), seed=1)


def data() -> Any:
    """Return the 80 statements of `acts`."""
    return acts().data


@cache
def places() -> Any:
    """Return 72 statements of the words that the tokenizer of the small model knows; those about Paris are true."""
    words = ("tower", "a", "b", "in", "is", "the")
    rows = [
        {"statement": f"the {a} {b} is in {city}", "label": city == "Paris", "group": f"{a} {b}"}
        for a in words
        for b in words
        for city in ("Paris", "London")
    ]
    return probes.read_statements(rows, name="places")


@cache
def sae() -> Any:
    """Return a top-2 autoencoder of 4 inputs whose 8 latents read and write the positive and negative axes."""
    axes = torch.cat([torch.eye(4), -torch.eye(4)])
    weights = {"W_enc": axes.T.clone(), "W_dec": axes, "b_enc": torch.zeros(8), "b_dec": torch.zeros(4)}
    return saes.build("topk", "autoencoder", weights, {"k": 2})


@cache
def store() -> Any:
    """Return a store of the residual stream after each of the three blocks, on 40 contexts of 10 words."""
    words = model().to_tokens("the tower is in Paris a b London", prepend_bos=False)[0]
    drawn = torch.randint(len(words), (40, 10), generator=torch.Generator().manual_seed(0))
    return harvest(model(), words[drawn], Config(HOOKS, context=10), folder() / "store")


def dictionary(hook: str, k: int = 8, seed: int = 0) -> Any:
    """Return an autoencoder of 48 latents, the positive and negative axes of a random rotation, k of them active."""
    axes = torch.linalg.qr(torch.randn(24, 24, generator=torch.Generator().manual_seed(seed))).Q.T
    rows = torch.cat([axes, -axes])
    weights = {"W_enc": rows.T.clone(), "W_dec": rows, "b_enc": torch.zeros(48), "b_dec": torch.zeros(24)}
    return saes.build("topk", "autoencoder", weights, {"k": k}, {"hook_name": hook})


@cache
def dictionaries() -> Any:
    """Return a set of one autoencoder for each block of the model."""
    return saes.DictionarySet([dictionary(hook, seed=i) for i, hook in enumerate(HOOKS)])


@cache
def erasure() -> Any:
    """Return the report of an erasure at layer 1 of `acts`."""
    test = probes.split(acts().data).test
    return probes.erasure_report(acts().at(1).numpy(), acts().data.labels, acts().data.groups, test=test)


@cache
def intervention() -> Any:
    """Return the effect of a direction on the small model's answers " a" or " b"."""
    rows = [{"statement": text.rpartition(" ")[0], "label": i % 2} for i, text in enumerate(TEXTS)]
    question = probes.Question("{statement}", (" a", " b"))
    config = probes.InterventionConfig(question=question, n_controls=19)
    data = probes.read_statements(rows, name="places")
    return probes.intervene(model(), np.eye(24)[0], data, layers=1, strengths=(-8, 8), config=config)


@cache
def evaluation() -> Any:
    """Return the evaluation of `sae` on 256 sums of few axes, which are given as its known features."""
    x = torch.randn(256, 4, generator=torch.Generator().manual_seed(0))
    x = torch.where(x.abs() > 1, x, 0.0)
    return saes.evaluate(sae(), x, truth=saes.Truth(np.eye(4), x))


def study(package: str) -> Any:
    """Return the result of the study `analyses.<package>` on the small model."""
    return STUDIES[package]()


@cache
def _attention() -> Any:
    from analyses import attention

    return attention.run(model(), [PROMPT], ["L1H0", "L2H3"])


@cache
def _circuits() -> Any:
    from analyses import circuits

    return circuits.run(model(), circuits.Config(n_text=4, length=8, n_controls=3, ablated=2))


@cache
def _completions() -> Any:
    from analyses import completions
    from interp import edit

    steered = [edit.add("blocks.1.hook_resid_post", np.eye(24)[1], scale=-20.0)]
    return completions.run(model(), ["London tower"], {"steered": steered}, max_tokens=4)


@cache
def _dictionary() -> Any:
    from analyses import dictionary as package

    config = package.Config(top=3, drawn=8, before=3, after=2, tokens=4, inhibitor_candidates=4)
    others = {"wider": dictionary(HOOKS[1], k=16)}
    return package.run(dictionary(HOOKS[1]), store(), model=model(), config=config, others=others)


@cache
def _discovery() -> Any:
    from analyses import discovery

    case = planted_circuits.induction()
    with patch("analyses.discovery.study._task", lambda *_: case.task):
        return discovery.run(case.model, discovery.Config("induction", methods=("secant", "eap"), n_controls=5))


@cache
def _examples() -> Any:
    from analyses import examples

    return examples.run(model(), store(), {"first axis": np.eye(24)[0]}, k=3, hook=HOOKS[1])


@cache
def _explain() -> Any:
    from analyses import explain

    return explain.run(model(), explain.Config(PROMPT, " Paris", " London", top=3, max_expansions=20))


@cache
def _faithful() -> Any:
    from analyses import faithful

    case = planted_circuits.induction()
    config = faithful.Config(("induction",), ("secant", "eap-ig-inputs", "random"), 8, ("induction",))
    with patch("analyses.faithful.study.tasks.make", lambda *_, **__: case.task):
        return faithful.run(case.model, config)


@cache
def _graph() -> Any:
    from analyses import graph

    return graph.run(model(), graph.Config(PROMPT, answer=" Paris", versus=" London", expansions=100, changed=4))


@cache
def _lens() -> Any:
    from analyses import lens

    rng, words = np.random.default_rng(0), PROMPT.split()
    file = folder() / "text.jsonl"
    file.write_text("\n".join(json.dumps({"text": " ".join(rng.choice(words, 9))}) for _ in range(60)))
    config = lens.Config((str(file),), contexts=20, held_out=4, context=8, kinds=("bias",), steps=5, batch_size=64)
    return lens.run(model(), lens.fit(model(), config), config)


@cache
def _steering() -> Any:
    from analyses import steering

    places = ("the tower is in {}", "b is in {}", "a is in {}", "is in {}")
    positive, negative = (tuple(text.format(city) for text in places) for city in ("Paris", "London"))
    own = Behaviour("place", positive, negative, ("the tower is", "b is", "the is"), (" Paris",), (" London",))
    file = folder() / "place.json"
    file.write_text(json.dumps(vars(own)))
    config = steering.Config(str(file), layers=(1,), strengths=(-0.4, 0.4), n_controls=5, off_target=(), neutral=TEXTS)
    return steering.run(model(), config)


@cache
def _truth() -> Any:
    from analyses import truth

    return truth.run(model(), truth.Config(probe="mass-mean", layers=(0, 1)), data=[places()])


@cache
def _universality() -> Any:
    from analyses import universality

    config = universality.Config(texts=TEXTS, draws=40, length=8)
    return universality.run(model(), models.load("gpt2", text=True, seed=3), config)


STUDIES: dict[str, Callable[[], Any]] = {
    "study": _attention,  # for the base class of all results
    "attention": _attention,
    "circuits": _circuits,
    "completions": _completions,
    "dictionary": _dictionary,
    "discovery": _discovery,
    "examples": _examples,
    "explain": _explain,
    "faithful": _faithful,
    "graph": _graph,
    "lens": _lens,
    "steering": _steering,
    "truth": _truth,
    "universality": _universality,
}
"""Name of a package of `analyses` -> how its result is made."""
