"""What judging an autoencoder finds. No torch here: a saved judgement is read and drawn without it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int

from interp.errors import UsageError, nearest
from interp.provenance import Provenance
from interp.report.shown import Shown
from interp.results import Result
from saes.evaluation.scores import Score

if TYPE_CHECKING:
    from interp.report import Table

DENSE = 0.1
"""A latent that fires on more than this fraction of rows is called dense."""
BINS = np.arange(-6, 0.01, 0.25)
"""Edges of the firing-frequency histogram, log10 of the fraction of rows."""


@dataclass(frozen=True, eq=False)
class Baseline(Result):
    """Another way to code the same activations. `fvu`, `l0` and `matched` are None where `note` says why.

    Attributes:
        name: the method.
        atoms: directions it may use; 0 where it was not run.
        rows: how many it was judged on, none of which it was fitted to unless `note` says so.
        l0: mean number of directions used for a row.
        fvu: fraction of variance unexplained on those rows.
        low: end of the 95 % interval of `fvu`.
        high: likewise.
        matched: mean |cos| with the known features in the one-to-one matching, where features are known.
        note: what must be known to read it.
    """

    name: str
    atoms: int
    rows: int
    l0: float | None
    fvu: float | None
    low: float | None = None
    high: float | None = None
    matched: float | None = None
    note: str = ""


@dataclass(frozen=True, eq=False)
class Latents(Result):
    """Of every latent.

    Attributes:
        frequency: fraction of rows it fires on (value not 0).
        strength: mean value where it fires, 0 for one that never does.
        decoder_norm: length of its decoder row.
        nearest: the latent whose decoder row is most like its own, by |cos|.
        nearest_cosine: their cosine, signed.
    """

    frequency: Float[np.ndarray, " width"]
    strength: Float[np.ndarray, " width"]
    decoder_norm: Float[np.ndarray, " width"]
    nearest: Int[np.ndarray, " width"]
    nearest_cosine: Float[np.ndarray, " width"]

    def histogram(self) -> tuple[Int[np.ndarray, " bin"], Float[np.ndarray, " edge"], int]:
        """Latents by log10 of their firing frequency, the edges, and how many never fired."""
        fired = self.frequency[self.frequency > 0]
        counts, _ = np.histogram(np.log10(np.maximum(fired, 10 ** BINS[0])), BINS)
        return counts, BINS, int((self.frequency == 0).sum())


@dataclass(frozen=True, eq=False)
class Known(Result):
    """By known feature. NaN marks what has no value: the recall of a feature that was never active.

    Attributes:
        per_feature: the largest |cos| with any latent's decoder row.
        matched: |cos| in the one-to-one matching; 0 for a feature left without a latent.
        latent: the latent matched, -1 where there is none.
        frequency: fraction of rows each feature is active on; empty where activity is not known.
        precision: P(feature active | latent fires).
        recall: P(latent fires | feature active).
        f1: their harmonic mean.
        deciles: (tenths, 3) by frequency, rarest first: mean frequency, mean recall, features.
        absorption: (pairs, 6) parent, child, rows with the parent alone, of those with its latent on, rows with both,
            of those with its latent on.
    """

    per_feature: Float[np.ndarray, " features"]
    matched: Float[np.ndarray, " features"]
    latent: Int[np.ndarray, " features"]
    frequency: Float[np.ndarray, " features"]
    precision: Float[np.ndarray, " features"]
    recall: Float[np.ndarray, " features"]
    f1: Float[np.ndarray, " features"]
    deciles: Float[np.ndarray, "tenths 3"]
    absorption: Int[np.ndarray, "pairs 6"]


@dataclass(frozen=True, eq=False)
class Evaluation(Shown, Result):
    """A judgement of one autoencoder on one set of activations.

    Attributes:
        sae: what was judged: architecture, variant, sizes, settings, model and hook.
        rows: activations read.
        clusters: contexts (or blocks of rows) they fall into; intervals come from drawing whole ones.
        cluster: what a cluster is, in words.
        scores: every measure, those that could not be computed with the reason.
        latents: of every latent.
        baselines: other methods on the same activations, empty if they were not asked for.
        pca: fraction of variance unexplained by the first 1, 2, ... principal components, empty if not computed.
        known: by known feature; None if none were given.
    """

    sae: dict[str, Any]
    provenance: Provenance
    rows: int
    clusters: int
    cluster: str
    scores: tuple[Score, ...]
    latents: Latents
    baselines: tuple[Baseline, ...]
    pca: Float[np.ndarray, " d"]
    known: Known | None

    def score(self, key: str) -> Score:
        """Return the measure with that key, such as "fvu", or that display name, such as "FVU".

        Raises `UsageError` with the nearest name if there is none.
        """
        for score in self.scores:
            if key in (score.key, score.name):
                return score
        names = [score.name for score in self.scores]
        raise UsageError(f'There is no score "{key}"{nearest(key, names)}. There are: {", ".join(names)}.')

    def table(self) -> Table:
        """Every measure; an empty value is explained in the last column."""
        from interp.report import Table

        columns = ("measure", "of", "value", "low", "high", "unit", "better", "judged on", "note")
        rows = tuple(
            (s.name, s.group, s.value, s.low, s.high, s.unit, s.better, s.judged_on, s.why) for s in self.scores
        )
        caption = f"Low and high: 95 % interval, over {self.cluster}."
        return Table(columns, rows, caption, dict.fromkeys(("value", "low", "high"), ".4g"))

    def baseline_table(self) -> Table:
        """The autoencoder beside the baselines on the same rows."""
        from interp.report import Table

        columns = ("method", "atoms", "rows", "L0", "FVU", "low", "high", "matched cosine", "note")
        rows = tuple((b.name, b.atoms, b.rows, b.l0, b.fvu, b.low, b.high, b.matched, b.note) for b in self.baselines)
        formats = dict.fromkeys(("FVU", "low", "high", "matched cosine"), ".4f") | {"L0": ".1f"}
        return Table(columns, rows, "Other methods on the same activations.", formats)

    def summary(self) -> str:
        """The measures, one a line."""
        return "\n".join(map(str, self.scores))

    def to_dict(self) -> dict[str, Any]:
        """Values by name, None where there is none, for `--json`."""
        return {score.name: score.value for score in self.scores}
