"""Baselines without activations.

They use the majority label, the words of the statement, and the log-probability of the statement.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from interp.arguments import checked
from interp.errors import UsageError
from probes.inputs import check_whole
from probes.protocol.control_results import Baseline
from probes.protocol.intervals import measured
from probes.protocol.splits import Split
from probes.statements import Statements

if TYPE_CHECKING:
    from interp.model import Model

UNKNOWN = (float("nan"), float("nan"), float("nan"))


def baselines(
    data: Statements, split: Split, *, seed: int, log_probs: Float[np.ndarray, "n 2"] | None
) -> tuple[Baseline, ...]:
    """Return the three baselines on the test side of a split.

    Each is fitted on the train side.

    >>> baselines(data, probes.split(data), seed=0, log_probs=None)[0].name  # data = probes.read_statements(...)
    'majority label'
    """
    return (majority(data, split, seed=seed), words(data, split, seed=seed), likelihood(data, split, log_probs, seed))


def majority(data: Statements, split: Split, *, seed: int) -> Baseline:
    """Evaluate the constant prediction of the more frequent train label.

    >>> majority(data, probes.split(data), seed=0).auc[0]  # data = probes.read_statements(...)
    0.5
    """
    common = 1.0 if data.labels[split.train].mean() >= 0.5 else -1.0
    return _evaluated("majority label", np.full(int(split.test.sum()), common), data, split, seed)


def words(data: Statements, split: Split, *, seed: int) -> Baseline:
    """Evaluate logistic regression on TF-IDF features of words and word pairs.

    >>> words(data, probes.split(data), seed=0).name  # data = probes.read_statements(...)
    'words (TF-IDF)'
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    texts = np.array(data.statements, object)
    fit = make_pipeline(TfidfVectorizer(ngram_range=(1, 2), token_pattern=r"(?u)\b\w+\b"), LogisticRegression())
    try:
        fit.fit(texts[split.train], data.labels[split.train])
    except ValueError:  # statements without a single word
        return Baseline("words (TF-IDF)", UNKNOWN, UNKNOWN, "the statements contain no words")
    return _evaluated("words (TF-IDF)", fit.decision_function(texts[split.test]), data, split, seed)


def likelihood(data: Statements, split: Split, log_probs: Float[np.ndarray, "n 2"] | None, seed: int) -> Baseline:
    """Evaluate logistic regression on the log-probability of the statements.

    The features are the total and the mean log-probability of the statement's tokens.

    Args:
        data: the statements.
        split: train and test side.
        log_probs: (n, 2) from `log_probs`, or None.
        seed: seed of the resamples.

    Raises:
        UsageError: `log_probs` of another shape, or not finite.
    """
    name = "log-probability"
    if log_probs is None:
        return Baseline(name, UNKNOWN, UNKNOWN, "not measured; give log_probs=probes.log_probs(model, data)")
    log_probs = np.asarray(log_probs, float)
    if log_probs.shape != (len(data), 2):
        raise UsageError(
            f"log_probs must have shape ({len(data)}, 2), the total and mean of each statement, not {log_probs.shape}."
        )
    if not np.isfinite(log_probs).all():
        raise UsageError(f"log_probs of {data.name} contain NaN or infinity: compute them with probes.log_probs.")
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    fit = make_pipeline(StandardScaler(), LogisticRegression())
    fit.fit(log_probs[split.train], data.labels[split.train])
    return _evaluated(name, fit.decision_function(log_probs[split.test]), data, split, seed)


@checked
def log_probs(
    model: Model, data: Statements, *, prepend_bos: bool | None = None, batch_size: int = 16
) -> Float[np.ndarray, "n 2"]:
    """Compute the total and mean log-probability (nats) of each statement.

    Both are over the statement's tokens after the first.

    Args:
        model: the model.
        data: the statements.
        prepend_bos: whether a BOS token is prepended; None follows the tokenizer.
        batch_size: statements per forward pass.

    Returns:
        An array (n, 2): total and mean.

    Example:
        >>> data = probes.read_statements([{"statement": f"the tower is in {w}", "label": w == "a"} for w in "ab"])
        >>> log_probs(model, data).shape
        (2, 2)
    """
    from probes.passes import contexts_of, passes

    check_whole(batch_size, "batch_size", 1)
    contexts = contexts_of(model, data.statements, prepend_bos)
    likelihoods = np.zeros((len(data), 2))
    for one in passes(model, contexts, (), batch_size, log_probs=True):
        likelihoods[one.rows] = one.total_and_mean(contexts.lengths)
    return likelihoods


def _evaluated(name: str, scores: np.ndarray, data: Statements, split: Split, seed: int) -> Baseline:
    test = data.take(split.test)
    metrics = measured(scores, test.labels, test.groups, seed=seed)
    return Baseline(name, interval(metrics.accuracy), interval(metrics.auc))


def interval(values: Float[np.ndarray, " 3"]) -> tuple[float, float, float]:
    """Return estimate, lower and upper bound as plain numbers.

    >>> interval(np.array([0.5, 0.25, 0.75]))
    (0.5, 0.25, 0.75)
    """
    estimate, low, high = (float(v) for v in values)
    return estimate, low, high
