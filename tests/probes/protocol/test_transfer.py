"""What carries over from set to set, and what turns round."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import probes
from interp import results
from interp.errors import UsageError
from tests.probes.protocol.planted import activations, renamed, statements


@pytest.fixture(scope="module")
def three():
    plain = activations(statements(name="plain"))
    other = activations(statements(name="other"), seed=1)
    denied = activations(statements(name="denied", polarity=-1), sign=-1, seed=2)
    moved = other.values.clone()
    moved[..., 0] += 8.0
    return [plain, replace(other, values=moved), denied]


@pytest.fixture(scope="module")
def result(three):
    return probes.transfer(three, probe=probes.MassMean())


def test_a_shared_direction_carries_over_and_its_threshold_only_when_centred(result):
    assert result.names == ("plain", "other", "denied")
    assert result.layer in (1, 2)
    assert result.auc[0, 1] > 0.85
    assert result.accuracy[0, 1] == pytest.approx(0.5, abs=0.1)  # everything is moved to one side of the threshold
    assert result.accuracy_centred[0, 1] > 0.75
    assert (np.diag(result.auc) > 0.85).all()


def test_inversion_under_negation_is_reported_and_not_corrected(result):
    assert result.auc[0, 2] < 0.15
    assert result.accuracy_centred[0, 2] < 0.25
    inverted = [v.text for v in result.verdicts if v.kind == "inverted"]
    assert any(text.startswith("Trained on plain and tested on denied") for text in inverted)
    assert all("inverts under negation" in text for text in inverted)
    assert len(inverted) == 4


def test_without_an_inversion_none_is_reported(three):
    good = probes.transfer(three[:2], probe=probes.MassMean())
    assert not [v for v in good.verdicts if v.kind == "inverted"]
    shared = next(v for v in good.verdicts if v.kind == "shared")
    assert good.joint_auc[:, 0].min() > 0.8
    assert "ranks true above false in each" in shared.text


def test_entities_are_disjoint_across_sets(three):
    sides = probes.split([one.data for one in three])
    trained = {
        e for one, s in zip(three, sides, strict=True) for i in np.flatnonzero(s.train) for e in one.data.groups[i]
    }
    tested = {
        e for one, s in zip(three, sides, strict=True) for i in np.flatnonzero(s.test) for e in one.data.groups[i]
    }
    assert not trained & tested


def test_it_saves_and_draws(result, tmp_path):
    result.save(tmp_path)
    assert results.load(tmp_path) == result
    assert len(result.table().rows) == 9 + 3
    drawn = result.figure()
    assert drawn.table.rows[0][1] == pytest.approx(result.auc[0, 0])
    (cells,) = drawn.plotly.data
    assert cells.texttemplate == "%{z:.2f}" and cells.z[0][2] == pytest.approx(result.auc[0, 2])


def test_sets_that_cannot_be_compared_are_refused(three):
    with pytest.raises(UsageError, match="needs at least two sets of activations, not 1"):
        probes.transfer(three[:1])
    with pytest.raises(UsageError, match='Two sets are named "plain"'):
        probes.transfer([three[0], three[0]])
    alien = replace(three[1], identity=three[1].identity | {"prepend_bos": True})
    with pytest.raises(UsageError, match="different BOS setting"):
        probes.transfer([three[0], alien])
    short = replace(three[1], layers=(-1, 0), values=three[1].values[:, :2])
    with pytest.raises(UsageError, match="has other layers or positions than plain"):
        probes.transfer([three[0], short])


def test_leaving_a_set_out_tests_new_entities_of_a_new_set(three):
    left = probes.leave_one_out([*three[:2], renamed_acts(three[0], "third", 5)], probe=probes.MassMean(), layer=1)
    assert left.names == ("plain", "other", "third")
    assert (left.auc[:, 0] > 0.85).all()
    assert (left.n_train == 2 * probes.split(three[0].data).train.sum()).all()
    assert left.accuracy_centred[1, 0] > left.accuracy[1, 0]


def test_a_denied_set_left_out_is_read_the_wrong_way_round(three):
    left = probes.leave_one_out(three, probe=probes.MassMean())
    assert left.auc[2, 0] < 0.15
    assert len(left.table().rows) == 3


def test_topics_and_templates_of_one_set_are_left_out():
    data = statements(160)
    topics = tuple("ab"[i // 2 % 2] for i in range(len(data)))
    acts = activations(replace(data, topic=topics, template=topics))
    for by in ("topic", "template"):
        left = probes.leave_one_out(acts, by=by, probe=probes.MassMean())
        assert left.names == ("a", "b")
        assert (left.auc[:, 0] > 0.85).all()


def test_what_cannot_be_left_out_is_refused(three):
    with pytest.raises(UsageError, match="plain has no topic for its statements"):
        probes.leave_one_out(three[0], by="topic")
    with pytest.raises(UsageError, match=r"All statements have one topic \(a\)"):
        probes.leave_one_out(replace(three[0], data=replace(three[0].data, topic=("a",) * 240)), by="topic")
    with pytest.raises(UsageError, match='by must be "topic" or "template" or "set", not "colour"'):
        probes.leave_one_out(three, by="colour")  # pyright: ignore[reportArgumentType]
    rare = replace(three[0].data, topic=("a",) * 238 + ("b",) * 2)
    with pytest.raises(UsageError, match=r'"b" has [02] rows on the (train|test) side'):
        probes.leave_one_out(replace(three[0], data=rare), by="topic")


def renamed_acts(acts, name: str, seed: int):
    return activations(renamed(acts.data, name), seed=seed)


def test_entities_under_other_names_are_refused():
    """Their sides would differ: an entity learned in one set would be tested in the other."""
    first, second = statements(), renamed(statements(), "long")
    long = replace(second, groups=tuple((f"The {row[0]}",) for row in second.groups))
    with pytest.raises(UsageError, match='long calls "The thing 0" what planted calls "thing 0"'):
        probes.transfer([activations(first), activations(long)], probe=probes.MassMean())
