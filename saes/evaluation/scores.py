"""Scores with 95 % intervals.

A score has a value with its 95 % interval and what it was evaluated on, or the reason why there is none. No torch.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, ClassVar

from interp.results import Result

NAMES = {
    "fvu": "FVU",
    "explained_variance": "explained variance",
    "cosine": "cosine",
    "norm_ratio": "norm ratio",
    "relative_bias": "relative bias",
    "sink_rows": "sink rows",
    "fvu_with_sinks": "FVU, sink rows included",
    "l0": "L0",
    "dead_latents": "dead latents",
    "dense_latents": "dense latents",
    "coherence_mean": "decoder coherence, mean",
    "coherence_largest": "decoder coherence, largest",
    "loss_original": "loss, original",
    "loss_reconstruction": "loss, reconstruction",
    "loss_zero": "loss, zero ablation",
    "loss_mean": "loss, mean ablation",
    "loss_recovered_zero": "loss recovered (zero)",
    "loss_recovered_mean": "loss recovered (mean)",
    "kl_divergence": "KL divergence",
    "cosine_feature_to_latent": "matched cosine, feature to latent",
    "cosine_latent_to_feature": "matched cosine, latent to feature",
    "cosine_one_to_one": "matched cosine, one to one",
    "recovered_above_0.9": "recovered above 0.9",
    "recovered_above_0.99": "recovered above 0.99",
    "coverage": "coverage",
    "uniqueness": "uniqueness",
    "firing_precision": "firing precision",
    "firing_recall": "firing recall",
    "firing_f1": "firing F1",
    "firing_f1_oracle": "firing F1, true dictionary with OMP",
    "absorption_gap": "absorption gap",
}
"""Display name of each measure by its key. For k-sparse probing, whose measures are named after the labels, the key is
the name."""
KEYS = {name: key for key, name in NAMES.items()}


@dataclass(frozen=True, eq=False)
class Score(Result):
    """Value of one measure.

    Attributes:
        key: key of the measure, such as "fvu"; see `NAMES`. It does not change with the display name.
        group: part of the evaluation, such as "reconstruction".
        value: the value; None if it could not be computed (see `why`).
        low: lower end of the 95 % interval; None if there is none.
        high: upper end of the 95 % interval; None if there is none.
        unit: "fraction", "nats", "latents", "cosine", "ratio".
        evaluated_on: what it was evaluated on, such as "4,096 rows in 32 contexts".
        better: "lower", "higher", or "" if neither.
        why: reason why there is no value, or an explanation of the value.
        name: display name; by default that of `NAMES`.

    Example:
        >>> print(Score("fvu", "reconstruction", 0.1, 0.05, 0.15))
        FVU: 0.1 (0.05 to 0.15)
    """

    layout: ClassVar[int] = 2

    key: str
    group: str
    value: float | None
    low: float | None = None
    high: float | None = None
    unit: str = "fraction"
    evaluated_on: str = ""
    better: str = ""
    why: str = ""
    name: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", self.name or NAMES.get(self.key, self.key))

    @classmethod
    def upgrade(cls, values: dict[str, Any], layout: int) -> dict[str, Any]:
        """Convert the fields of a file of layout 1.

        Such a file has display names and no keys.

        >>> Score.upgrade({"name": "FVU"}, layout=1)
        {'name': 'FVU', 'key': 'fvu'}
        """
        return (
            values | {"key": KEYS.get(values["name"], values["name"])}
            if layout == 1
            else super().upgrade(values, layout)
        )

    def __str__(self) -> str:
        if self.value is None:
            return f"{self.name}: not computed ({self.why})"
        interval = "" if self.low is None or self.high is None else f" ({self.low:.4g} to {self.high:.4g})"
        return f"{self.name}: {self.value:.4g}{interval}"


def unavailable(key: str, group: str, why: str) -> Score:
    """Return a score without a value, with the reason.

    >>> print(unavailable("fvu", "reconstruction", "every row is the same"))
    FVU: not computed (every row is the same)
    """
    return Score(key, group, None, why=why)


def derived_seed(seed: int, purpose: str) -> int:
    """Derive a seed for one purpose, independent of `seed` itself.

    A random dictionary drawn with the same seed as a planted one would equal it, so that chance would look perfect.

    >>> derived_seed(0, "sample") == derived_seed(0, "chance")
    False
    """
    return int.from_bytes(hashlib.sha256(f"{purpose} {seed}".encode()).digest()[:6])
