"""Embedding space: what the vectors at both ends of a model have in common, and weights read as tokens.

>>> from interp.circuits import embedding
>>> embedding.collapse(model, tokens).cosine.round(3)
array([0.008, 0.4  , 0.53 , 0.5  ])

Names are imported when first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from interp.lazy import attach

if TYPE_CHECKING:
    from interp.circuits.embedding.coding import sparse_code as sparse_code
    from interp.circuits.embedding.ends import compare as compare
    from interp.circuits.embedding.offsets import analogy as analogy
    from interp.circuits.embedding.projection import project as project
    from interp.circuits.embedding.results import (
        Analogy as Analogy,
        Collapse as Collapse,
        Comparison as Comparison,
        Projection as Projection,
        SparseCode as SparseCode,
    )
    from interp.circuits.embedding.spread import collapse as collapse
    from interp.circuits.embedding.streams import Streams as Streams, streams as streams

attach(__name__)
