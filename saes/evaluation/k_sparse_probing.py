"""k-sparse probing: how well a few latents predict a concept.

The result is compared with the whole activation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from interp.errors import UsageError
from interp.statistics import auc, bootstrap
from saes.evaluation.rows import Source
from saes.evaluation.scores import Score, unavailable

GROUP = "k-sparse probing"
KS = (1, 4, 16)
ROWS = 20_000
"""Maximal number of rows: the dense probe has them in memory."""
LEAST = 5
"""Smallest number of rows of each class among the training and the test rows."""
DRAWS = 200


@dataclass(frozen=True)
class Split:
    """Split of rows by whole contexts."""

    train: Bool[np.ndarray, " n"]
    cluster: Int[np.ndarray, " n"]

    @classmethod
    def of(cls, cluster: Int[np.ndarray, " n"], seed: int) -> Split:
        """Use about 70 % of the contexts for training."""
        names = np.unique(cluster)
        chosen = np.random.default_rng(seed).permutation(names)[: round(0.7 * len(names))]
        return cls(np.isin(cluster, chosen), cluster)


@torch.no_grad()
def probing(source: Source, labels: Mapping[str, Any], seed: int) -> tuple[Score, ...]:
    """Compute the AUC of probes for every label.

    The AUC is measured on contexts that were not used for training. The probes are logistic regressions: on the k
    latents whose class means differ most on the training rows (in standard deviations; Gurnee et al. 2023, arXiv
    2305.01610), the same with shuffled training labels (chance, 0.5), and on the activation itself (the ceiling).

    Args:
        source: the activations.
        labels: for each concept, whether it is present in each row.
        seed: seed of split, shuffles and resamples.
    """
    if not source.again:
        why = "the activations can be read only once: give a tensor, a store or a function that gives batches"
        return tuple(unavailable(f"{name}, {k} latents", GROUP, why) for name in labels for k in KS)
    dense, cluster = _dense(source)
    wanted = {name: _label(name, value, len(dense)) for name, value in labels.items()}
    split, draw = Split.of(cluster, seed), np.random.default_rng(seed)
    shuffled = {name: draw.permutation(value) for name, value in wanted.items()}
    usable = {name for name, value in wanted.items() if _enough(value, split)}
    if not usable:
        return tuple(_too_few(name) for name in wanted)
    best = _best(source, split, [*(wanted[n] for n in wanted), *(shuffled[n] for n in wanted)])
    columns = np.unique(np.concatenate(best))
    values = _columns(source, columns, len(dense))
    scores = []
    for index, (name, label) in enumerate(wanted.items()):
        if name not in usable:
            scores.append(_too_few(name))
            continue
        chosen = [values[:, np.searchsorted(columns, one)] for one in (best[index], best[index + len(wanted)])]
        scores += _scores(name, label, shuffled[name], chosen, dense, split, seed=seed)
    return tuple(scores)


def _scores(
    name: str,
    label: np.ndarray,
    shuffled: np.ndarray,
    chosen: list[np.ndarray],
    dense: np.ndarray,
    split: Split,
    *,
    seed: int,
) -> list[Score]:
    test = ~split.train
    on = f"{int(test.sum()):,} rows in {len(np.unique(split.cluster[test]))} contexts held out"
    scores = []
    for k in (k for k in KS if k <= chosen[0].shape[1]):
        chance = _auc(chosen[1][:, :k], shuffled, label, split, seed)[0]
        value = _auc(chosen[0][:, :k], label, label, split, seed)
        note = f"with shuffled labels {chance:.3f}"
        scores.append(Score(f"{name}, {k} latents", GROUP, *value, "AUC", on, "higher", note))
    ceiling = _auc(dense, label, label, split, seed)
    return [*scores, Score(f"{name}, whole activation", GROUP, *ceiling, "AUC", on, "higher", "the ceiling")]


def _auc(
    x: Float[np.ndarray, "n k"], fit: np.ndarray, label: np.ndarray, split: Split, seed: int
) -> tuple[float, float | None, float | None]:
    """Return the AUC for `label` on test rows.

    The probe is trained on `fit`. The AUC has an interval over contexts.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(x[split.train], fit[split.train])
    test = ~split.train
    score, true = model.decision_function(x[test]), label[test]
    members = np.unique(split.cluster[test], return_inverse=True)[1].ravel()
    value, low, high = bootstrap(lambda weights: auc(score, true, weights), members, seed=seed, draws=DRAWS)
    return (value, None, None) if np.isnan(low) else (value, low, high)


def _best(source: Source, split: Split, labels: list[np.ndarray]) -> list[Int[np.ndarray, " k"]]:
    """Return the latents that separate each label best.

    They have the largest |difference of class means| / standard deviation.
    """
    width = source.sae.width
    sums, square, count = np.zeros((len(labels), width)), np.zeros(width), 0
    whole = np.zeros(width)
    for first, latents in _latents(source, len(split.train)):
        train = split.train[first : first + len(latents)]
        f = latents[torch.from_numpy(train)].double()
        whole += f.sum(0).numpy()
        square += f.square().sum(0).numpy()
        for index, label in enumerate(labels):
            sums[index] += f[torch.from_numpy(label[first : first + len(latents)][train])].sum(0).numpy()
        count += int(train.sum())
    deviation = np.sqrt(np.maximum(square / count - (whole / count) ** 2, 0))
    positives = np.array([label[split.train].sum() for label in labels], dtype=float)[:, None]
    difference = sums / np.maximum(positives, 1) - (whole - sums) / np.maximum(count - positives, 1)
    score = np.abs(difference) / np.where(deviation > 0, deviation, np.inf)
    return list(np.argsort(-score, axis=1, kind="stable")[:, : max(KS)])


def _columns(source: Source, columns: Int[np.ndarray, " c"], rows: int) -> Float[np.ndarray, "n c"]:
    return np.concatenate([f[:, torch.from_numpy(columns)].numpy() for _, f in _latents(source, rows)])


def _latents(source: Source, rows: int) -> Any:
    """Yield batches of latents, up to `rows` rows.

    Each comes with the number of its first row.
    """
    for batch in source.batches():
        count = min(len(batch.x), rows - batch.first)
        if count <= 0:
            return
        yield batch.first, source.sae.encode(batch.x[:count]).cpu()


def _dense(source: Source) -> tuple[Float[np.ndarray, "n d"], Int[np.ndarray, " n"]]:
    rows, clusters = [], []
    for batch in source.batches():
        rows.append(batch.x[: ROWS - batch.first].flatten(1).float())
        clusters.append(batch.cluster[: ROWS - batch.first])
        if batch.first + len(batch.x) >= ROWS:
            break
    return torch.cat(rows).numpy(), np.concatenate(clusters)


def _label(name: str, value: Any, rows: int) -> Bool[np.ndarray, " n"]:
    value = np.asarray(value)
    if value.ndim != 1 or len(value) < rows or not np.isin(value, (0, 1)).all():
        raise UsageError(f'The label "{name}" must be true or false for each of the {rows:,} rows, not {value.shape}.')
    return value[:rows].astype(bool)


def _enough(label: np.ndarray, split: Split) -> bool:
    parts = (label[split.train], label[~split.train])
    return all(LEAST <= part.sum() <= len(part) - LEAST for part in parts)


def _too_few(name: str) -> Score:
    why = f"the training or the test contexts have fewer than {LEAST} rows of one class"
    return unavailable(f"{name}, {KS[0]} latents", GROUP, why)
