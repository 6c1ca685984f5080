"""Probes for all layers at once.

This is the numerical core that the estimators share.

    fitted = batched.fit_layers(probes.LogisticRegression(C=0.01), X, y)       # X (layer, n, d): one probe a layer
    path = batched.logistic_path(X, y, strengths=(0.01, 0.1, 1.0), weights=masks)       # every fold and strength too
    path = batched.ridge_path(X, y, alphas=(1.0, 10.0))
"""

from __future__ import annotations

from probes.batched.layers import fit_layers, scores_of
from probes.batched.logistic import LogisticPath, logistic_path
from probes.batched.ridge import RidgePath, ridge_path

__all__ = ["fit_layers", "scores_of", "logistic_path", "LogisticPath", "ridge_path", "RidgePath"]
