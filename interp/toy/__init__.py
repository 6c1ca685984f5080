"""Toy models of superposition: small networks with known features, trained in one batch.

    config = toy.Config(features=5, hidden=2, density=(1.0, 0.3, 0.05), starts=8)
    trained = toy.train(config)                     # 3 cells x 8 starts as one batched product
    toy.dimensionality(trained.best().features)     # (cells, features)

Toy Models of Superposition, Elhage et al. 2022 (arXiv 2209.10652). Names are imported when first used; the geometry,
the theory and the results need numpy only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from interp.lazy import attach

if TYPE_CHECKING:
    from interp.toy import modular as modular
    from interp.toy.config import Config as Config
    from interp.toy.data import sample as sample, zipf as zipf
    from interp.toy.geometry import (
        Factor as Factor,
        canonical as canonical,
        dimensionality as dimensionality,
        frobenius as frobenius,
        gaps as gaps,
        interference as interference,
        monosemantic_fraction as monosemantic_fraction,
        represented as represented,
        tegum_factors as tegum_factors,
    )
    from interp.toy.loss import exact_loss as exact_loss, sampled_loss as sampled_loss
    from interp.toy.theory import boundary as boundary, candidates as candidates, theory_loss as theory_loss
    from interp.toy.trained import Trained as Trained
    from interp.toy.trainer import train as train

attach(__name__)
