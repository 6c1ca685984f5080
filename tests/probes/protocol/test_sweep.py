"""A planted direction is recovered, shuffled labels give chance, and the controls detect what they should."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression as TheirLogistic

import probes
from interp import results
from interp.errors import UsageError
from probes.protocol.controls import null, selectivity
from probes.protocol.labelings import per_group, rows_by_group, scores_by_labels, shuffled
from probes.protocol.verdicts import inverts
from tests.probes.protocol.planted import activations, statements


@pytest.fixture(scope="module")
def result():
    return probes.sweep(activations(statements()), probe=probes.LogisticRegression())


def kinds(result) -> set[str]:
    return {verdict.kind for verdict in result.verdicts}


def test_the_planted_layer_and_direction_are_recovered(result):
    assert result.best.layer in (1, 2)
    assert result.best.accuracy[1] > 0.75
    assert abs(result.direction[0]) / np.linalg.norm(result.direction) > 0.8
    np.testing.assert_array_equal(result.accuracy[0, 0], [0.5, 0.5, 0.5])  # the embedding is the same for all
    # Layer 0 holds noise and entities: chance is within its interval.
    assert result.accuracy[0, 1, 1] <= 0.5 <= result.accuracy[0, 1, 2]
    assert kinds(result) == {"reads"}


def test_layer_and_strength_do_not_depend_on_the_test_side(result):
    acts = activations(statements())
    test = torch.from_numpy(probes.split(acts.data).test)
    changed = acts.values.clone()
    changed[:, :, test] = changed[:, :, test].flip(0, 1) * -3
    other = probes.sweep(replace(acts, values=changed), controls=False)
    assert (other.best.layer, other.best.strength) == (result.best.layer, result.best.strength)
    np.testing.assert_array_equal(other.cv_accuracy, result.cv_accuracy)
    np.testing.assert_allclose(other.direction, result.direction)
    assert other.best.accuracy[0] != result.best.accuracy[0]


def test_shuffled_labels_find_nothing():
    data = statements(150)
    labels = shuffled(data.labels, data.groups, n=1, seed=3)[0].astype(np.int8)
    nothing = probes.sweep(activations(replace(data, labels=labels), strength=0.0))
    assert nothing.best.auc[1] <= 0.5 <= nothing.best.auc[2]
    assert {"nothing", "null"} <= kinds(nothing)
    assert nothing.controls.null.p > 0.05


def test_an_inverted_test_side_is_reported_as_such():
    acts = activations(statements())
    test = torch.from_numpy(probes.split(acts.data).test)
    values = acts.values.clone()
    values[:, :, test, 0] *= -1
    turned = probes.sweep(replace(acts, values=values), controls=False)
    assert inverts(turned.best.auc)
    assert turned.best.accuracy[0] < 0.3
    assert kinds(turned) == {"inverted"}
    assert not inverts((0.45, 0.38, 0.52))


def test_the_same_sweep_twice_is_equal_and_saves(result, tmp_path):
    again = probes.sweep(activations(statements()), probe=probes.LogisticRegression())
    assert again == result
    result.save(tmp_path)
    assert results.load(tmp_path) == result
    assert len(result.table().rows) == 4
    assert [row[-1] for row in result.table().rows].count("chosen") == 1
    assert len(result.figure().table.rows) == 4


def test_refit_is_the_probe_that_was_chosen(result):
    acts = activations(statements())
    probe = result.refit(acts)
    np.testing.assert_allclose(probe.direction_, result.direction, rtol=1e-6)
    rows = acts.at(result.best.layer)[torch.from_numpy(result.predictions.rows)]
    np.testing.assert_allclose(probe.decision_function(rows), result.predictions.scores, rtol=1e-6, atol=1e-9)
    with pytest.raises(UsageError, match="The sweep used planted, not these"):
        result.refit(activations(statements(30)))


@pytest.mark.parametrize("name", ["MassMean", "LDA", "Ridge", "LogisticRegression"])
def test_every_probe_reads_the_planted_direction(name):
    swept = probes.sweep(activations(statements()), probe=getattr(probes, name)())
    assert swept.best.layer in (1, 2)
    assert swept.best.accuracy[1] > 0.7
    assert swept.controls.null.refitted
    assert swept.controls.null.p == pytest.approx(1 / 201)


def test_a_slow_probe_is_compared_with_shuffled_test_labels():
    swept = probes.sweep(activations(statements(60)), probe=probes.SAPLMA(epochs=2))
    assert not swept.controls.null.refitted
    assert not len(swept.direction)


def test_memorised_entities_are_distinguished_from_truth():
    data = statements(150, rows=4)
    remembers = activations(data, strength=0.3, entity=4.0, d=64)
    probe = probes.LogisticRegression(C=1.0)
    some = selectivity(probe, remembers.at(1).numpy(), data, seed=0)
    assert some.value < 0.05
    swept = probes.sweep(remembers, probe=probes.LDA())
    assert "entities" in kinds(swept)
    assert "near zero or below" in next(v.text for v in swept.verdicts if v.kind == "entities")
    reads = activations(data, strength=2.0, entity=0.0)
    assert selectivity(probe, reads.at(1).numpy(), data, seed=0).value > 0.3


def test_too_few_groups_of_two_rows_make_no_control_task():
    swept = probes.sweep(activations(statements(200, rows=1)))
    some = swept.controls.selectivity
    assert np.isnan(some.value)
    assert some.note == "only 0 groups have at least two statements, but a control task needs 30"
    assert "no-control" in kinds(swept)


def test_few_test_groups_are_reported():
    assert "few-groups" in kinds(probes.sweep(activations(statements(40, rows=6)), controls=False))


def test_a_leak_in_the_embedding_is_detected():
    acts = activations(statements())
    values = acts.values.clone()
    values[:, 0, :, 1] += torch.from_numpy(acts.data.labels).float()
    assert "leak" in kinds(probes.sweep(replace(acts, values=values)))


def test_a_majority_is_not_a_leak():
    """Where seven in ten statements are true, a constant embedding answers with accuracy above 0.5 and AUC 0.5."""
    data = statements()
    labels = (np.arange(len(data)) % 10 < 7).astype(np.int8)
    swept = probes.sweep(activations(replace(data, labels=labels)))
    assert swept.controls.embedding_accuracy[1] > 0.5
    assert swept.controls.embedding_auc == (0.5, 0.5, 0.5)
    assert "leak" not in kinds(swept)


def test_words_below_chance_are_explained_by_balance():
    """Each answer is once true and once false, so what the train side says of it is wrong on the test side."""
    data = statements()
    kind = np.arange(len(data)) % 40
    rng = np.random.default_rng(0)
    sides = probes.split(data)
    labels = np.where(sides.train == (kind < 20), 1, 0).astype(np.int8)
    texts = tuple(f"Thing is of kind {k} {rng.integers(9)}." for k in kind)
    turned = replace(data, labels=labels, statements=texts)
    swept = probes.sweep(activations(turned))
    (verdict,) = [v for v in swept.verdicts if v.kind == "balanced"]
    assert "words (TF-IDF) alone is below chance" in verdict.text
    assert not verdict.warning
    assert "below chance, as expected in balanced sets" in str(swept.controls)


def test_a_probe_of_pairs_is_swept_with_controls_and_asks_for_pairs():
    both = [statements(60, name=str(sign), polarity=sign) for sign in (1, -1)]
    both[1] = replace(both[1], labels=1 - both[0].labels)
    pair = tuple(str(i) for i in range(120))
    data = replace(probes.join(both, "both"), pair=(*pair, *pair))
    swept = probes.sweep(activations(data, strength=2.5), probe=probes.CCS())
    assert swept.best.auc[1] > 0.7
    assert swept.controls.selectivity.note == "CCS learns from pairs, and random labels have none"
    assert "no-control" in kinds(swept)
    with pytest.raises(UsageError, match=r"CCS needs statements together with their negations.*does not contain both"):
        probes.sweep(activations(statements()), probe=probes.CCS())


def test_results_print_in_short(result):
    shown = [
        result,
        result.best,
        result.predictions,
        result.controls,
        result.controls.null,
        result.controls.selectivity,
    ]
    acts = activations(statements())
    shown += [*result.controls.baselines, acts, acts.data, probes.split(acts.data)]
    for one in shown:
        assert len(repr(one)) < 260
        assert "array" not in repr(one)
    assert str(result.controls) == str(result.controls.table())
    assert f"layer {result.best.layer}, position last: accuracy {result.best.accuracy[0]:.3f}" in repr(result.best)


def test_a_surface_baseline_as_good_as_the_probe_is_seen():
    data = statements()
    leaking = tuple(f"{s} {'Indeed' if y else 'Hardly'}." for s, y in zip(data.statements, data.labels, strict=True))
    assert "surface" in kinds(probes.sweep(activations(replace(data, statements=leaking))))
    likely = np.stack([data.labels * 10.0, data.labels * 1.0], axis=1)
    swept = probes.sweep(activations(data), log_probs=likely)
    assert "log-probability alone does about as well" in " ".join(v.text for v in swept.verdicts)
    with pytest.raises(UsageError, match=r"log_probs must have shape \(240, 2\), the total and mean"):
        probes.sweep(activations(data), log_probs=likely[:5])


def test_controls_can_be_turned_off():
    assert probes.sweep(activations(statements()), controls=False).controls is None


def test_a_split_of_ones_own_is_used_and_checked():
    acts = activations(statements())
    first = np.arange(len(acts)) < 160
    swept = probes.sweep(acts, sides=probes.own_split(acts.data, first, ~first), controls=False)
    assert (swept.n_train, swept.n_test) == (160, 80)
    own = probes.own_split(acts.data, first, ~first)
    np.testing.assert_allclose(swept.refit(acts, own).direction_, swept.direction, rtol=1e-6)
    with pytest.raises(UsageError, match="used another split"):
        swept.refit(acts)
    torn = probes.Split(first ^ (np.arange(len(acts)) == 159), ~first, 0, 0, 0, "")
    assert probes.sweep(acts, sides=torn, controls=False).n_train == 159
    with pytest.raises(UsageError, match="has rows on both sides"):
        probes.sweep(acts, sides=probes.Split(first, ~first | (np.arange(len(acts)) == 0), 0, 0, 0, ""))


def test_what_cannot_be_swept_is_refused():
    acts = activations(statements())
    with pytest.raises(UsageError, match="is not a probe: give probes"):
        probes.sweep(acts, probe="logistic")
    with pytest.raises(UsageError, match="MassMean has no strength to choose"):
        probes.sweep(acts, probe=probes.MassMean(), strengths=[1.0])
    with pytest.raises(UsageError, match="activations of every token"):
        probes.sweep(replace(acts, positions=("0",)))
    with pytest.raises(UsageError, match="AttentionPooled reads all tokens"):
        probes.sweep(acts, probe=probes.AttentionPooled())
    with pytest.raises(UsageError, match=r"MassMean is a class: give an instance, MassMean\(\)"):
        probes.sweep(acts, probe=probes.MassMean)
    with pytest.raises(UsageError, match="acts must be an Activations, not list"):
        probes.sweep([acts])
    with pytest.raises(UsageError, match="strengths is empty"):
        probes.sweep(acts, strengths=[])
    with pytest.raises(UsageError, match="contain NaN or infinity"):
        probes.sweep(replace(acts, values=acts.values * float("nan")))
    with pytest.raises(UsageError, match=r"must be float32, not torch\.bfloat16"):
        probes.sweep(replace(acts, values=acts.values.bfloat16()))
    with pytest.raises(UsageError, match="log_probs of planted contain NaN"):
        probes.sweep(acts, log_probs=np.full((len(acts), 2), np.nan))


def test_shuffling_preserves_groups_and_counts():
    data = statements(40, rows=4)
    drawn = shuffled(data.labels, data.groups, n=50, seed=0)
    for rows in rows_by_group(data.groups).values():
        np.testing.assert_array_equal(drawn[:, rows].sum(1), data.labels[rows].sum())
    assert 0.4 < (drawn == data.labels).mean() < 0.6
    # Groups of other shares of true rows exchange them, and every share occurs as often as it did.
    mixed = np.concatenate([[0, 0, 0, 1] if i % 3 else [1, 1, 0, 1] for i in range(40)])
    moved = shuffled(mixed, data.groups, n=50, seed=0).reshape(50, 40, 4).sum(2)
    np.testing.assert_array_equal(np.sort(moved, axis=1), np.tile(np.sort(mixed.reshape(40, 4).sum(1)), (50, 1)))
    assert (moved != mixed.reshape(40, 4).sum(1)).any()
    # Groups of one label: the label moves with the whole group.
    pure = np.repeat(np.arange(40) % 2, 4)
    moved = shuffled(pure, data.groups, n=50, seed=0)
    assert (moved.reshape(50, 40, 4).std(2) == 0).all()
    np.testing.assert_array_equal(moved.sum(1), pure.sum())
    assert (moved != pure).any()


def test_control_labels_are_one_a_group_and_balanced():
    data = statements(51, rows=3)
    tasks = per_group(data.groups, n=4, seed=0)
    assert (tasks.reshape(4, 51, 3).std(2) == 0).all()
    assert set(tasks.reshape(4, 51, 3)[..., 0].sum(1).tolist()) == {25}


@pytest.mark.parametrize("probe", [probes.LogisticRegression(C=0.1), probes.MassMean(), probes.LDA(), TheirLogistic()])
def test_many_labelings_at_once_are_fitted_as_one_by_one(probe):
    data = statements(40)
    X = activations(data).at(1).numpy()
    labels = shuffled(data.labels, data.groups, n=3, seed=0)
    joint = scores_by_labels(probe, X, labels, X[:10], data)
    alone = [type(probe)(**probe.get_params()).fit(X, row).decision_function(X[:10]) for row in labels]
    # Both are converged to a relative gradient of 1e-9; X is float32 in one and float64 in the other.
    np.testing.assert_allclose(joint, alone, rtol=1e-5, atol=1e-6)


def test_the_null_is_centred_on_chance_and_knows_a_real_effect():
    acts = activations(statements(150))
    sides = probes.split(acts.data)
    scores = acts.at(1)[torch.from_numpy(sides.test)][:, 0].numpy()
    result = null(probes.MassMean(), acts.at(1).numpy(), acts.data, sides, scores, seed=0)
    # 200 draws, each with a standard deviation of at most 0.25: four standard errors are 0.07.
    assert abs(result.auc.mean() - 0.5) < 0.07
    assert result.p < 0.02  # three draws of 200 at most reach it


def test_the_null_is_chance_where_groups_are_nearly_pure():
    """Groups of one kind are nearly all true, of the other nearly all false, and the activations say which kind."""
    data = statements(160, rows=5)
    kind = np.repeat(np.arange(160) % 2, 5)
    labels = np.where(np.arange(800) % 5 == 0, 1 - kind, kind).astype(np.int8)
    acts = activations(replace(data, labels=labels), strength=0.0, entity=0.0)
    X = acts.at(1).numpy()
    X[:, 0] += 2 * kind
    sides = probes.split(acts.data)
    result = null(probes.MassMean(), X, acts.data, sides, X[sides.test, 0], seed=0)
    # Shuffled within groups alone the kind stays in the labels: a mean of 0.75. 200 draws: four errors are 0.07.
    assert abs(result.auc.mean() - 0.5) < 0.07
    assert result.p == pytest.approx(1 / 201)


def test_a_null_that_is_not_chance_is_noted_in_the_table(result):
    controls = result.controls
    assert "shuffled between and within groups" in str(controls.table())
    assert "is not chance" not in str(controls.table())
    far = replace(controls, null=replace(controls.null, auc=controls.null.auc + 0.1))
    assert "is not chance: groups of a unique size keep their share of true rows" in str(far.table())
