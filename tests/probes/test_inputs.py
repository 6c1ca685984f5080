"""What is of another kind than expected is one sentence, never a raw TypeError, and nothing is silently taken."""

from __future__ import annotations

import numpy as np
import pytest

import probes
from interp.errors import InterpError, UsageError
from tests import models
from tests.probes.protocol.planted import activations, statements


@pytest.fixture(scope="module")
def model():
    return models.load("llama", text=True)


@pytest.fixture(scope="module")
def data():
    return probes.read_statements(
        [{"statement": f"the tower is in {word}", "label": i} for i, word in enumerate(("Paris", "London"))]
    )


ACTS = activations(statements(60))
W = np.ones(24)


def intervene(model, data, **settings):
    return probes.intervene(model, W, data, layers=0, config=probes.InterventionConfig(**settings))


CALLS = {
    "collect data": lambda m, d, wrong: probes.collect(m, wrong),
    "collect layers": lambda m, d, wrong: probes.collect(m, d, layers=wrong),
    "collect batch_size": lambda m, d, wrong: probes.collect(m, d, batch_size=wrong),
    "collect position": lambda m, d, wrong: probes.collect(m, d, position=wrong),
    "collect memory": lambda m, d, wrong: probes.collect(m, d, max_gigabytes=[wrong]),
    "sweep acts": lambda m, d, wrong: probes.sweep(wrong),
    "sweep probe": lambda m, d, wrong: probes.sweep(ACTS, probe=wrong or "none"),
    "sweep seed": lambda m, d, wrong: probes.sweep(ACTS, seed=wrong),
    "sweep sides": lambda m, d, wrong: probes.sweep(ACTS, sides=wrong or "none"),
    "split data": lambda m, d, wrong: probes.split(wrong),
    "split seed": lambda m, d, wrong: probes.split(ACTS.data, seed=wrong),
    "split test": lambda m, d, wrong: probes.split(ACTS.data, test=[wrong]),
    "own split": lambda m, d, wrong: probes.own_split(wrong, [True], [False]),
    "transfer acts": lambda m, d, wrong: probes.transfer(wrong),
    "transfer part": lambda m, d, wrong: probes.transfer([ACTS, wrong]),
    "transfer seed": lambda m, d, wrong: probes.transfer([ACTS, ACTS], seed=wrong),
    "leave out acts": lambda m, d, wrong: probes.leave_one_out(wrong),
    "leave out seed": lambda m, d, wrong: probes.leave_one_out([ACTS, ACTS], seed=wrong),
    "join": lambda m, d, wrong: probes.join(wrong),
    "paired": lambda m, d, wrong: probes.paired(d, wrong),
    "read": lambda m, d, wrong: probes.read_statements(wrong),
    "generate": lambda m, d, wrong: probes.generate(wrong),
    "generate seed": lambda m, d, wrong: probes.generate("cities", seed=wrong),
    "generate templates": lambda m, d, wrong: probes.generate("cities", templates=wrong),
    "at layer": lambda m, d, wrong: ACTS.at(wrong),
    "at position": lambda m, d, wrong: ACTS.at(1, wrong if wrong is not None else "none"),
    "intervene direction": lambda m, d, wrong: probes.intervene(m, wrong, d, layers=0),
    "intervene data": lambda m, d, wrong: probes.intervene(m, W, wrong, layers=0),
    "intervene layers": lambda m, d, wrong: probes.intervene(m, W, d, layers=wrong),
    "intervene positions": lambda m, d, wrong: probes.intervene(
        m, W, d, layers=0, config=probes.InterventionConfig(positions=wrong)
    ),
    "intervene strengths": lambda m, d, wrong: probes.intervene(m, W, d, layers=0, strengths=wrong),
    "intervene random": lambda m, d, wrong: probes.intervene(
        m, W, d, layers=0, config=probes.InterventionConfig(n_controls=wrong)
    ),
    "intervene seed": lambda m, d, wrong: probes.intervene(m, W, d, layers=0, seed=wrong),
    "intervene batch": lambda m, d, wrong: probes.intervene(
        m, W, d, layers=0, config=probes.InterventionConfig(batch_size=wrong)
    ),
    "intervene question": lambda m, d, wrong: probes.InterventionConfig(question=wrong),
    "intervene config": lambda m, d, wrong: probes.intervene(m, W, d, layers=0, config=wrong or 5),
    "target layer": lambda m, d, wrong: probes.as_target(m, probes.MassMean().fit(np.eye(24)[:2], [0, 1]), wrong),
    "target probe": lambda m, d, wrong: probes.as_target(m, wrong, 0),
}


@pytest.mark.parametrize("wrong", [None, 1.5, "text"], ids=["none", "fraction", "text"])
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
def test_another_kind_is_one_sentence(call, wrong, model, data):
    with pytest.raises(InterpError) as raised:
        call(model, data, wrong)
    message = str(raised.value)
    assert message.endswith(".")
    assert "\n" not in message


def test_a_seed_below_zero_is_refused():
    with pytest.raises(UsageError, match="seed must be a whole number of at least 0, not -1"):
        probes.sweep(ACTS, seed=-1)


def test_a_column_named_twice_is_refused(tmp_path):
    file = tmp_path / "twice.csv"
    file.write_text("statement,label,label\nA.,1,0\nB.,0,1\n")
    with pytest.raises(UsageError, match='has two columns named "label"'):
        probes.read_statements(file)
