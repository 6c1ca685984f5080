"""Results of an evaluation.

No torch: a saved evaluation is loaded and drawn without it.
"""

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
"""Fraction of rows above which a latent is called dense."""
BINS = np.arange(-6, 0.01, 0.25)
"""Edges of the firing-frequency histogram, log10 of the fraction of rows."""


@dataclass(frozen=True, eq=False)
class Baseline(Result):
    """Result of another method on the same activations.

    Attributes:
        name: name of the method.
        atoms: number of directions; 0 if the method was not run.
        rows: number of evaluated rows; the method was not fitted on them unless `note` says so.
        l0: mean number of directions used per row; None if not computed.
        fvu: fraction of variance unexplained on these rows; None if not computed.
        low: lower end of the 95 % interval of `fvu`.
        high: upper end of the 95 % interval of `fvu`.
        matched: mean |cos| with known features in the one-to-one matching; None if not computed.
        note: explanation, or reason why a value is missing.

    Example:
        >>> [(one.name, round(one.fvu, 2)) for one in evaluation.baselines[:2]]  # evaluation = saes.evaluate(sae, x)
        [('this autoencoder', 0.05), ('principal components, the first 1', 0.69)]
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
    """Statistics of every latent.

    Attributes:
        frequency: fraction of rows on which it fires (value not 0).
        strength: mean value where it fires; 0 if it never does.
        decoder_norm: length of its decoder row.
        nearest: latent with the most similar decoder row, by |cos|.
        nearest_cosine: their signed cosine.

    Example:
        >>> evaluation.latents.frequency[:4].round(2).tolist()  # evaluation = saes.evaluate(sae, x)
        [0.08, 0.19, 0.18, 0.13]
    """

    frequency: Float[np.ndarray, " width"]
    strength: Float[np.ndarray, " width"]
    decoder_norm: Float[np.ndarray, " width"]
    nearest: Int[np.ndarray, " width"]
    nearest_cosine: Float[np.ndarray, " width"]

    def histogram(self) -> tuple[Int[np.ndarray, " bin"], Float[np.ndarray, " edge"], int]:
        """Return the histogram of log10 firing frequencies.

        Also returns its edges and the number of dead latents.

        >>> counts, edges, dead = evaluation.latents.histogram()  # evaluation = saes.evaluate(sae, x)
        >>> int(counts.sum()), dead
        (8, 0)
        """
        fired = self.frequency[self.frequency > 0]
        counts, _ = np.histogram(np.log10(np.maximum(fired, 10 ** BINS[0])), BINS)
        return counts, BINS, int((self.frequency == 0).sum())


@dataclass(frozen=True, eq=False)
class Known(Result):
    """Measures by known feature.

    A measure is NaN if undefined, as the recall of a feature that was never active.

    Attributes:
        per_feature: largest |cos| with any latent's decoder row.
        matched: |cos| in the one-to-one matching; 0 for a feature without a latent.
        latent: index of the matched latent, -1 if there is none.
        frequency: fraction of rows on which each feature is active; empty if unknown.
        precision: P(feature active | latent fires).
        recall: P(latent fires | feature active).
        f1: their harmonic mean.
        deciles: (tenths, 3) by frequency, rarest first: mean frequency, mean recall, features.
        absorption: (pairs, 6) parent, child, rows with the parent alone and how many of them with its latent on, rows
            with both and how many of them with the parent's latent on.

    Example:
        >>> evaluation.known.recall.round(2).tolist()  # evaluation = saes.evaluate(sae, x, truth=truth)
        [0.32, 0.56, 0.49, 0.4]
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
    r"""Evaluation of one autoencoder on one set of activations.

    `saes.evaluate` returns it.

    Attributes:
        sae: description of the autoencoder: architecture, variant, sizes, settings, model and hook.
        rows: number of activations.
        clusters: number of contexts (or blocks of rows); intervals resample whole ones.
        cluster: what a cluster is.
        scores: every measure; those that could not be computed give the reason.
        latents: statistics of every latent.
        baselines: other methods on the same activations; empty if not requested.
        pca: fraction of variance unexplained by the first 1, 2, ... principal components; empty if not computed.
        known: measures by known feature; None if none were given.

    Example:
        >>> print(evaluation.score("fvu"), evaluation.score("l0"), sep="\n")  # evaluation = saes.evaluate(sae, x)
        FVU: 0.05414 (0.03445 to 0.07487)
        L0: 1.168 (1.082 to 1.25)
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
        """Return the score with this key or display name.

        A key is such as "fvu", a display name such as "FVU". Raises `UsageError` with the nearest name if there is
        none.

        >>> evaluation.score("FVU").key, round(evaluation.score("fvu").value, 3)  # evaluation = saes.evaluate(sae, x)
        ('fvu', 0.054)
        """
        for score in self.scores:
            if key in (score.key, score.name):
                return score
        names = [score.name for score in self.scores]
        raise UsageError(f'There is no score "{key}"{nearest(key, names)}. There are: {", ".join(names)}.')

    def table(self) -> Table:
        """Return a table of all measures; the last column explains missing values.

        >>> evaluation.table().columns[:6]  # evaluation = saes.evaluate(sae, x)
        ('measure', 'of', 'value', 'low', 'high', 'unit')
        """
        from interp.report import Table

        columns = ("measure", "of", "value", "low", "high", "unit", "better", "judged on", "note")
        rows = tuple(
            (s.name, s.group, s.value, s.low, s.high, s.unit, s.better, s.evaluated_on, s.why) for s in self.scores
        )
        caption = f"Low and high: 95 % interval, over {self.cluster}."
        return Table(columns, rows, caption, dict.fromkeys(("value", "low", "high"), ".4g"))

    def baseline_table(self) -> Table:
        """Return a table of the autoencoder and the baselines.

        All are evaluated on the same rows.

        >>> evaluation.baseline_table().columns[:5]  # evaluation = saes.evaluate(sae, x)
        ('method', 'atoms', 'rows', 'L0', 'FVU')
        """
        from interp.report import Table

        columns = ("method", "atoms", "rows", "L0", "FVU", "low", "high", "matched cosine", "note")
        rows = tuple((b.name, b.atoms, b.rows, b.l0, b.fvu, b.low, b.high, b.matched, b.note) for b in self.baselines)
        formats = dict.fromkeys(("FVU", "low", "high", "matched cosine"), ".4f") | {"L0": ".1f"}
        return Table(columns, rows, "Other methods on the same activations.", formats)

    def summary(self) -> str:
        """Return the measures as text, one per line.

        >>> evaluation.summary().splitlines()[0]  # evaluation = saes.evaluate(sae, x)
        'FVU: 0.05414 (0.03445 to 0.07487)'
        """
        return "\n".join(map(str, self.scores))

    def to_dict(self) -> dict[str, Any]:
        """Return the values by name (None if missing), for `--json`.

        >>> round(evaluation.to_dict()["explained variance"], 3)  # evaluation = saes.evaluate(sae, x)
        0.946
        """
        return {score.name: score.value for score in self.scores}
