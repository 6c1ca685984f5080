"""Reconstruction of every hook that a set of dictionaries writes.

No torch here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int

from interp.provenance import Provenance
from interp.report.shown import Shown
from interp.results import Result

if TYPE_CHECKING:
    from interp.report import Figure, Table


@dataclass(frozen=True, eq=False)
class SetEvaluation(Shown, Result):
    """Reconstruction of each hook by all dictionaries that write it.

    The dictionaries belong to one set.

    Attributes:
        hooks: what is reconstructed, in the order of layers.
        layers: their layers.
        fvu: (n_hook, 3) fraction of variance unexplained Σ|x − x̂|² / Σ|x − mean|², with the ends of its 95 % interval
            over contexts; NaN where there is no interval. Attention sinks are left out, as in `saes.evaluate`.
        l0: (n_hook,) mean number of active latents among those that read the hook's own layer.
        dead: (n_hook,) fraction of these latents that no row made active.
        rows: rows evaluated on.
        clusters: contexts, or blocks of rows, that the intervals are over.
        provenance: the run, and the model of the store.

    Example:
        >>> saes.evaluate_set(dictionaries, store).hooks[:2]  # dictionaries = saes.DictionarySet.load("folder")
        ('blocks.0.hook_resid_post', 'blocks.1.hook_resid_post')
    """

    hooks: tuple[str, ...]
    layers: Int[np.ndarray, " n_hook"]
    fvu: Float[np.ndarray, "n_hook 3"]
    l0: Float[np.ndarray, " n_hook"]
    dead: Float[np.ndarray, " n_hook"]
    rows: int
    clusters: int
    provenance: Provenance

    def finding(self) -> str:
        """Return the mean, the smallest and the largest FVU in one sentence.

        >>> saes.evaluate_set(dictionaries, store).finding()
        'FVU of 3 hooks on 360 rows: mean 0.337, from 0.291 (layer 0) to 0.393 (layer 2).'
        """
        values = self.fvu[:, 0]
        least, most = int(values.argmin()), int(values.argmax())
        return (
            f"FVU of {len(self.hooks)} hooks on {self.rows:,} rows: mean {values.mean():.3f}, from {values[least]:.3f} "
            f"(layer {self.layers[least]}) to {values[most]:.3f} (layer {self.layers[most]})."
        )

    def table(self) -> Table:
        """Return a table of the scores of every hook.

        They are the FVU with its interval, the active latents and the dead ones.

        >>> saes.evaluate_set(dictionaries, store).table().columns
        ('layer', 'hook', 'FVU', 'low', 'high', 'L0', 'dead')
        """
        from interp.report import Table

        cells = zip(self.layers.tolist(), self.hooks, *self.fvu.T.tolist(), self.l0, self.dead, strict=True)
        rows = tuple((layer, hook, *map(_known, numbers)) for layer, hook, *numbers in cells)
        columns = ("layer", "hook", "FVU", "low", "high", "L0", "dead")
        caption = f"{self.finding()} Intervals are 95 %, over {self.clusters:,} contexts."
        return Table(columns, rows, caption, dict.fromkeys(columns[2:5], ".3f") | {"L0": ".1f", "dead": ".1%"})

    def figure(self) -> Figure:
        """Return a figure of the FVU by layer with its interval.

        >>> saes.evaluate_set(dictionaries, store).figure().caption
        'Fraction of variance unexplained by layer, on 360 rows. Band: 95 % bootstrap interval.'
        """
        from interp.report.figures import lines

        return lines(
            "fvu-by-layer",
            self.layers,
            {"FVU": self.fvu[:, 0]},
            caption=f"Fraction of variance unexplained by layer, on {self.rows:,} rows. Band: 95 % bootstrap interval.",
            alt=self.finding(),
            axes=("layer", "FVU (fraction)"),
            bands={"FVU": (self.fvu[:, 1], self.fvu[:, 2])},
        )

    def __repr__(self) -> str:
        return f"SetEvaluation({self.finding()})"


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
