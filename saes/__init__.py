"""Sparse autoencoders: training, evaluation and exchange with other libraries.

    config = saes.Config(architecture="topk", width=4608, k=32, steps=1000)
    sae = saes.train(config, activations)        # a tensor (n, d_in), a store, or an iterable of batches
    codes = sae.encode(x)                        # (n, width); sae.decode(codes), sae(x)
    sae.save("out/sae")                          # a folder that SAELens reads; saes.load reads it back
    dictionaries = saes.DictionarySet.load("out/transcoders")      # {hook: SAE or transcoder} of a whole model

Names are imported on first use; `saes.Config` needs no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from interp.lazy import attach

if TYPE_CHECKING:
    from saes import coding as coding, evaluation as evaluation, interop as interop
    from saes.autoencoder import SAE as SAE, build as build
    from saes.config import Config as Config
    from saes.evaluation import Evaluation as Evaluation, Truth as Truth, evaluate as evaluate
    from saes.interop import load as load
    from saes.interop.card import card as card
    from saes.interop.push import push as push
    from saes.runs.train import train as train
    from saes.sets.dictionaries import DictionarySet as DictionarySet
    from saes.sets.evaluate_set import evaluate_set as evaluate_set
    from saes.sets.result import SetEvaluation as SetEvaluation
    from saes.sets.train_set import train_set as train_set
    from saes.training.trainer import Trainer as Trainer

attach(__name__)
