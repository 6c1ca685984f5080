"""Scores: a number with its interval and what it was judged on, or the sentence that says why there is none.

Intervals are 95 % ones. Loads no torch.
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
"""What each measure is called on pages and in tables, by its key. The measures of k-sparse probing are named after the
labels that were given: there the key is the name."""
KEYS = {name: key for key, name in NAMES.items()}


@dataclass(frozen=True, eq=False)
class Score(Result):
    """One measure.

    Attributes:
        key: what is measured, such as "fvu"; see `NAMES`. It stays the same where the display name changes.
        group: the part of the judgement it belongs to, such as "reconstruction".
        value: None where it could not be computed; `why` then says what was missing.
        low: end of the 95 % interval, None where there is none.
        high: likewise.
        unit: "fraction", "nats", "latents", "cosine", "ratio".
        judged_on: what and how many, such as "4,096 rows in 32 contexts".
        better: "lower", "higher", or "" where neither is.
        why: why there is no value; with a value, what must be known to read it.
        name: what it is called on pages; that of `NAMES` if it is not given.
    """

    layout: ClassVar[int] = 2

    key: str
    group: str
    value: float | None
    low: float | None = None
    high: float | None = None
    unit: str = "fraction"
    judged_on: str = ""
    better: str = ""
    why: str = ""
    name: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", self.name or NAMES.get(self.key, self.key))

    @classmethod
    def upgrade(cls, values: dict[str, Any], layout: int) -> dict[str, Any]:
        """Return the fields of a file of layout 1, which has display names and no keys."""
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
    """Return a score that could not be computed."""
    return Score(key, group, None, why=why)


def apart(seed: int, purpose: str) -> int:
    """A seed for one purpose that shares nothing with `seed` itself.

    A random dictionary drawn with the very seed that a planted one was drawn with *is* the planted one: chance would
    look like perfection.
    """
    return int.from_bytes(hashlib.sha256(f"{purpose} {seed}".encode()).digest()[:6])
