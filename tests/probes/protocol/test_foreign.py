"""Capabilities of a probe depend on its class, not on the name of the class."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression as TheirLogistic, RidgeClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import probes
from interp import results
from interp.errors import UsageError
from probes.estimators.capabilities import capability
from probes.protocol.controls import selectivity
from probes.protocol.metrics import balanced_accuracy
from probes.protocol.splits import folds
from tests.probes.protocol.planted import activations, statements


class Renamed(TheirLogistic):
    """scikit-learn's under another name."""


class Ours(probes.LogisticRegression):
    """Ours under another name."""


class Halved(probes.LogisticRegression):
    """Ours with a fit of its own: half of the rows are not read."""

    def fit(self, X, y):
        return super().fit(X[len(X) // 2 :], y[len(X) // 2 :])


SAME_NAME = type("LogisticRegression", (TheirLogistic,), {"__module__": __name__})


@pytest.fixture(scope="module")
def acts():
    """Weak enough that two regularisations give two accuracies."""
    return activations(statements(70), strength=0.5, d=24)


@pytest.fixture(scope="module")
def swept(acts):
    kinds = {"theirs": TheirLogistic, "renamed": Renamed, "same name": SAME_NAME}
    kinds |= {"ours": probes.LogisticRegression, "our subclass": Ours, "halved": Halved}
    return {name: probes.sweep(acts, probe=kind()) for name, kind in kinds.items()}  # with controls: what they are of


def numbers(result):
    """Everything measured of a sweep."""
    controls = result.controls
    scores = (
        result.cv_accuracy,
        result.accuracy,
        result.auc,
        result.predictions.scores,
        result.predictions.probabilities,
    )
    return [*scores, controls.null.auc, controls.selectivity.control, np.array([controls.selectivity.truth])]


def equal(one, other):
    return [np.array_equal(a, b, equal_nan=True) for a, b in zip(numbers(one), numbers(other), strict=True)]


def test_a_name_changes_nothing(swept):
    assert all(equal(swept["renamed"], swept["theirs"]))
    assert all(equal(swept["same name"], swept["theirs"]))
    assert all(equal(swept["our subclass"], swept["ours"]))


def test_every_class_gives_its_own_numbers(swept):
    """Down to the controls: at another regularisation, with other rows, no score is the same."""
    for name in ("theirs", "halved"):
        cv, _, _, scores, _, null, control, _ = equal(swept[name], swept["ours"])
        assert not cv
        assert not scores
        assert not control
        assert name == "halved" or not null  # scikit-learn's is not fitted again 200 times


def test_a_foreign_estimator_is_cross_validated_by_its_own_fit(acts, swept):
    side = probes.split(acts.data)
    X, train = acts.values[0].numpy()[:, side.train], acts.data.take(side.train)
    known, inside = folds(train.groups, 4, 0)
    for layer, rows in enumerate(X):
        scores = np.full(len(train), np.nan)
        for fit, new in zip(known, inside, strict=True):
            scores[new] = TheirLogistic().fit(rows[fit], train.labels[fit]).decision_function(rows[new])
        assert swept["theirs"].cv_accuracy[0, layer] == balanced_accuracy(scores, train.labels)
    assert np.isnan(swept["theirs"].strengths).all()  # its own C, which nothing chooses


def test_its_control_task_is_learnt_by_its_own_fit(acts):
    """By a classifier that notes what it was fitted on."""
    fitted = []

    class Noting(TheirLogistic):
        def fit(self, X, y, sample_weight=None):
            fitted.append(len(X))
            return super().fit(X, y, sample_weight)

    result = selectivity(Noting(), acts.at(2).numpy(), acts.data, seed=0)
    assert fitted == [70] * 10  # one row a group, truth and control labels, five tasks
    assert result.truth == pytest.approx(selectivity(TheirLogistic(), acts.at(2).numpy(), acts.data, seed=0).truth)


@pytest.mark.parametrize("name", ["theirs", "renamed", "ours", "our subclass"])
def test_refit_is_the_class_that_was_swept(name, acts, swept, tmp_path):
    result = swept[name]
    again = result.refit(acts, probe=Ours() if name == "our subclass" else None)
    assert (type(again).__module__, type(again).__name__) == (result.module, result.probe)
    rows = acts.at(result.best.layer)[torch.from_numpy(result.predictions.rows)].numpy()
    np.testing.assert_allclose(again.decision_function(rows), result.predictions.scores, rtol=1e-6, atol=1e-9)
    result.save(tmp_path)
    assert results.load(tmp_path) == result


def test_what_cannot_be_refitted_is_refused(acts, swept):
    absent = replace(swept["theirs"], module="no.such.module")
    with pytest.raises(UsageError, match=r"no\.such\.module\.LogisticRegression is not imported: import it first"):
        absent.refit(acts)
    with pytest.raises(UsageError, match="is not imported"):
        replace(swept["theirs"], module="os", probe="getcwd").refit(acts)  # no class of estimators
    with pytest.raises(UsageError, match=r"The sweep used sklearn.*, not probes\.estimators\.ridge\.Ridge"):
        swept["theirs"].refit(acts, probe=probes.Ridge())
    piped = make_pipeline(StandardScaler(), TheirLogistic())
    result = probes.sweep(acts, probe=piped, controls=False)
    with pytest.raises(UsageError, match=r"did not save the setting steps of .*Pipeline: give refit the probe"):
        result.refit(acts)
    rows = acts.at(result.best.layer)[torch.from_numpy(result.predictions.rows)].numpy()
    again = result.refit(acts, probe=clone(piped))
    np.testing.assert_allclose(again.decision_function(rows), result.predictions.scores)


def test_classifiers_without_a_score_or_without_probabilities(acts, tmp_path):
    voting = probes.sweep(acts, probe=KNeighborsClassifier(15), controls=False)
    share = voting.predictions.probabilities.clip(1e-12, 1 - 1e-12)
    np.testing.assert_allclose(voting.predictions.scores, np.log(share / (1 - share)), rtol=1e-4, atol=1e-6)
    ridge = probes.sweep(acts, probe=RidgeClassifier(), controls=False)
    assert np.isnan(ridge.best.ece)
    assert not len(ridge.predictions.probabilities)
    assert ridge.best.ece_rescaled < 0.5
    ridge.save(tmp_path)
    assert results.load(tmp_path) == ridge


def test_a_capability_is_not_inherited_past_a_fit_of_ones_own():
    assert capability(Ours(), "fit_path")
    assert capability(Ours(), "fit_layers")
    for name in ("fit_path", "fit_labelings", "fit_layers"):
        assert capability(Halved(), name) is None
        assert capability(TheirLogistic(), name) is None


def test_a_probe_of_ones_own_is_not_saved_as_one_of_ours(acts, tmp_path):
    fitted = Ours().fit(acts.at(2), acts.data.labels)
    with pytest.raises(UsageError, match="Ours is not a class of probes and could not be loaded again"):
        fitted.save(tmp_path / "probe")
    assert not (tmp_path / "probe").exists()


def test_strengths_are_positive_numbers_for_a_probe_that_has_them(acts):
    for wrong in (["a"], [None], "0.1"):
        with pytest.raises(UsageError, match="strengths must be a sequence of numbers or None"):
            probes.sweep(acts, strengths=wrong)
    for wrong in ([-1.0], [0.0]):
        with pytest.raises(UsageError, match="give positive numbers, the candidates for C of LogisticRegression"):
            probes.sweep(acts, strengths=wrong)
    with pytest.raises(UsageError, match="LogisticRegression has no strength to choose"):
        probes.sweep(acts, probe=TheirLogistic(), strengths=[1.0])
