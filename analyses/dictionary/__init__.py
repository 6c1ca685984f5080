"""Evaluation of a sparse autoencoder and the features of its latents.

It measures how well the autoencoder reconstructs, and what each of its latents fires on.

    study = dictionary.run(sae, store, model=model)            # `store` has activations and their tokens
    study.save("out/dictionary"); study.page()
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from interp.lazy import attach

if TYPE_CHECKING:
    from analyses.dictionary.features import Features as Features
    from analyses.dictionary.firings import collect as collect
    from analyses.dictionary.passages import Corpus as Corpus
    from analyses.dictionary.result import Config as Config, DictionaryStudy as DictionaryStudy, Other as Other
    from analyses.dictionary.study import run as run

attach(__name__)
