"""Probes of more activations than fit in memory.

They are fitted from statistics that add up.

    statistics = probes.Statistics(width=576)
    for X, y in batches:
        statistics.update(X, y)
    probe = streaming.fit(probes.LDA(shrinkage="oas"), statistics)      # equal to the fit on all rows at once

Statistics of shards merge in any order: `statistics.merge(other)`. `LiveRidge` updates a fitted ridge online.
"""

from __future__ import annotations

from probes.streaming.from_statistics import fit, principal_components, ridge_path
from probes.streaming.live import LiveRidge
from probes.streaming.statistics import Statistics

__all__ = ["Statistics", "fit", "ridge_path", "principal_components", "LiveRidge"]
