"""The lasso family: agreement with scikit-learn, optimality conditions, limits."""

import itertools

import numpy as np
import pytest
import torch

from interp import coding
from interp.errors import UsageError

L1, L2 = 0.3, 0.2


@pytest.fixture(scope="module")
def problem():
    generator = torch.Generator().manual_seed(3)
    dictionary = coding.random_dictionary(128, 64, generator=generator, dtype=torch.float64)
    return torch.randn(40, 64, generator=generator, dtype=torch.float64), dictionary


def judge(problem, *, l2, positive=False):
    from sklearn.linear_model import ElasticNet

    signals, dictionary = problem
    model = ElasticNet(
        alpha=(L1 + l2) / 64, l1_ratio=L1 / (L1 + l2), fit_intercept=False, positive=positive, tol=1e-14, max_iter=10**5
    )
    return np.stack([model.fit(dictionary.numpy().T, y).coef_ for y in signals.numpy()])


@pytest.mark.parametrize(("l2", "positive"), [(0.0, False), (L2, False), (0.0, True)])
def test_fista_equals_scikit_learn(problem, l2, positive):
    result = coding.fista(*problem, L1, l2=l2, nonnegative=positive)
    # scikit-learn stops at a duality gap of 1e-14; 1e-9 is the promise, 1e-11 what is seen.
    assert abs(result.numpy() - judge(problem, l2=l2, positive=positive)).max() < 1e-9
    assert coding.kkt_violation(result, *problem, L1, l2=l2, nonnegative=positive).max() < 1e-9


def test_kkt_violation_sees_a_code_that_is_not_optimal(problem):
    result = coding.fista(*problem, L1)
    assert coding.kkt_violation(result + 1e-3 * (result != 0), *problem, L1).min() > 1e-5
    assert coding.kkt_violation(torch.zeros_like(result), *problem, L1).max() > 0.1


def test_ista_never_increases_the_objective_and_fista_gets_lower(problem):
    values = [coding.objective(coding.ista(*problem, L1, steps=s), *problem, L1) for s in (0, 1, 2, 5, 20, 50)]
    # Sums of 64 squares in float64: rounding of about 1e-14.
    assert all((late <= early + 1e-12).all() for early, late in itertools.pairwise(values))
    fast = coding.objective(coding.fista(*problem, L1, steps=50), *problem, L1)
    best = coding.objective(coding.fista(*problem, L1), *problem, L1)
    assert ((fast - best) < (values[-1] - best) / 10).all()


def test_a_penalty_at_the_largest_correlation_leaves_nothing(problem):
    signals, dictionary = problem
    largest = (signals @ dictionary.T).abs().max()
    assert (coding.fista(signals, dictionary, float(largest)) == 0).all()
    assert (coding.fista(signals, dictionary, float(largest) * 0.99) != 0).any()


def test_the_elastic_net_tends_to_the_lasso(problem):
    lasso = coding.fista(*problem, L1)
    distance = [(coding.fista(*problem, L1, l2=l2) - lasso).abs().max() for l2 in (1e-1, 1e-3, 1e-5)]
    assert distance[0] > distance[1] > distance[2]
    assert distance[2] < 1e-3


def test_orthogonal_atoms_have_the_closed_form():
    signals = torch.randn(20, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    result = coding.fista(signals, torch.eye(16, dtype=torch.float64), 0.4, l2=0.5)
    expected = torch.nn.functional.softshrink(signals, 0.4) / 1.5
    assert torch.allclose(result, expected, atol=1e-12)


def test_a_negative_penalty_is_refused(problem):
    with pytest.raises(UsageError, match="0 or more"):
        coding.fista(*problem, -1.0)
