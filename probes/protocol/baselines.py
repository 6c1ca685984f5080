"""What can be had without the probe: the majority, the words of the statement, and how likely the model finds it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from interp.arguments import checked
from interp.errors import UsageError
from probes.inputs import check_whole
from probes.protocol.intervals import measured
from probes.protocol.results import Baseline
from probes.protocol.splits import Split
from probes.statements import Statements

if TYPE_CHECKING:
    from interp.model import Model

UNKNOWN = (float("nan"), float("nan"), float("nan"))


def baselines(
    data: Statements, split: Split, *, seed: int, log_probs: Float[np.ndarray, "n 2"] | None
) -> tuple[Baseline, ...]:
    """The three baselines on the test side of a split, each trained on its train side."""
    return (majority(data, split, seed=seed), words(data, split, seed=seed), likelihood(data, split, log_probs, seed))


def majority(data: Statements, split: Split, *, seed: int) -> Baseline:
    """The more frequent label of the train side, always: chance."""
    common = 1.0 if data.labels[split.train].mean() >= 0.5 else -1.0
    return _judged("majority label", np.full(int(split.test.sum()), common), data, split, seed)


def words(data: Statements, split: Split, *, seed: int) -> Baseline:
    """Logistic regression on TF-IDF of single words and pairs of words, which sees the text and no model."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    texts = np.array(data.statements, object)
    fit = make_pipeline(TfidfVectorizer(ngram_range=(1, 2), token_pattern=r"(?u)\b\w+\b"), LogisticRegression())
    try:
        fit.fit(texts[split.train], data.labels[split.train])
    except ValueError:  # statements without a single word
        return Baseline("words (TF-IDF)", UNKNOWN, UNKNOWN, "the statements hold no words")
    return _judged("words (TF-IDF)", fit.decision_function(texts[split.test]), data, split, seed)


def likelihood(data: Statements, split: Split, log_probs: Float[np.ndarray, "n 2"] | None, seed: int) -> Baseline:
    """Logistic regression on how likely the model finds the statement: total and mean log-probability of its tokens."""
    name = "log-probability"
    if log_probs is None:
        return Baseline(name, UNKNOWN, UNKNOWN, "not measured: give log_probs=probes.log_probs(model, data)")
    log_probs = np.asarray(log_probs, float)
    if log_probs.shape != (len(data), 2):
        raise UsageError(f"log_probs must be (total, mean) of {len(data)} statements, not shaped {log_probs.shape}.")
    if not np.isfinite(log_probs).all():
        raise UsageError(f"log_probs of {data.name} hold NaN or infinity: measure them with probes.log_probs.")
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    fit = make_pipeline(StandardScaler(), LogisticRegression())
    fit.fit(log_probs[split.train], data.labels[split.train])
    return _judged(name, fit.decision_function(log_probs[split.test]), data, split, seed)


@checked
def log_probs(
    model: Model, data: Statements, *, prepend_bos: bool | None = None, batch: int = 16
) -> Float[np.ndarray, "n 2"]:
    """Return (total, mean) log-probability of each statement's tokens after its first, in nats."""
    from probes.passes import contexts_of, passes

    check_whole(batch, "batch", 1)
    contexts = contexts_of(model, data.statements, prepend_bos)
    likelihoods = np.zeros((len(data), 2))
    for one in passes(model, contexts, (), batch, log_probs=True):
        likelihoods[one.rows] = one.total_and_mean(contexts.lengths)
    return likelihoods


def _judged(name: str, scores: np.ndarray, data: Statements, split: Split, seed: int) -> Baseline:
    test = data.take(split.test)
    found = measured(scores, test.labels, test.groups, seed=seed)
    return Baseline(name, interval(found.accuracy), interval(found.auc))


def interval(values: Float[np.ndarray, " 3"]) -> tuple[float, float, float]:
    """Estimate and bounds as plain numbers."""
    estimate, low, high = (float(v) for v in values)
    return estimate, low, high
