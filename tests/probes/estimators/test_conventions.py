"""scikit-learn's own checks of an estimator, for the probes that take a matrix and labels.

CCS, CRC and TTPD need to know which statements are pairs or negated, and `AttentionPooled` takes tokens: `fit(X, y)`
alone is an error for them, so the checks that fit do not apply; those of construction do (below).
"""

from __future__ import annotations

from typing import Any

from sklearn.utils.estimator_checks import parametrize_with_checks

import probes

ESTIMATORS = [
    probes.LogisticRegression(),
    probes.MassMean(),
    probes.MassMean(covariance="shrunk"),
    probes.LDA(),
    probes.LDA(shrinkage="oas"),
    probes.Ridge(),
    probes.SAPLMA(),
]


@parametrize_with_checks(ESTIMATORS)
def test_scikit_learn_checks(estimator: Any, check: Any) -> None:
    check(estimator)
