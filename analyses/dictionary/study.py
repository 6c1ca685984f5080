"""Study of a sparse autoencoder.

It evaluates the autoencoder, compares it with others and computes the features of its latents.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

import saes
from analyses.dictionary.latents import Progress, read
from analyses.dictionary.passages import Corpus, hooks_read
from analyses.dictionary.result import Config, DictionaryStudy, Other
from interp.arguments import checked
from interp.cache import Store
from interp.errors import UsageError
from interp.provenance import Stopwatch
from saes.evaluation.evaluate import description

if TYPE_CHECKING:
    from interp.model import Model
    from saes.autoencoder import SAE


@checked
def run(  # noqa: PLR0913
    sae: SAE,
    activations: Store | Corpus,
    *,
    text: Store | None = None,
    model: Model | None = None,
    config: Config | None = None,
    others: Mapping[str, SAE] | None = None,
    seed: int = 0,
    command: str | None = None,
    progress: Progress | None = None,
) -> DictionaryStudy:
    """Evaluate a sparse autoencoder and compute the features of its latents.

    Args:
        sae: the autoencoder.
        activations: a store of the hook it reads, best of text it was not trained on; or a corpus in memory, on which
            features can be computed but no evaluation.
        text: another store for the features of its latents; it may be the text that it was trained on.
        model: the model that the activations come from. It is needed for the model's loss, the text of tokens and
            the logits of latents.
        config: settings of the study.
        others: further autoencoders of the same hook, evaluated on the same rows, by name.
        seed: seed of everything drawn at random.
        command: command recorded in the provenance; this process's own by default.
        progress: called with (steps done, steps in all, what is done).

    Returns:
        `DictionaryStudy` with the evaluation and the features.

    Raises:
        UsageError: the autoencoder, the store and the model do not match, or activations are not finite.

    Example:
        >>> from analyses import dictionary
        >>> chosen, config = dictionaries["blocks.1.hook_resid_post"], dictionary.Config(judge=False)
        >>> dictionary.run(chosen, store, model=model, config=config).features.words(32)
        (' is', ' in', 'the')
    """
    config, watch = Config() if config is None else config, Stopwatch()
    if isinstance(activations, Corpus) and config.judge:
        raise UsageError("A corpus in memory can be read (Config(judge=False)) but not judged: give a store.")
    source = activations if text is None else text
    identity = {} if model is None else model.identity()
    for one in (sae, *(others or {}).values()):
        _check(one, activations, identity)
    _check(sae, source, identity)
    if progress is not None:
        progress(0, 1, "judging")
    judged = saes.evaluation.Config(seed=seed)
    measures = saes.evaluate(sae, activations, model=model, config=judged, command=command) if config.judge else None
    compared = tuple(
        Other(key, saes.evaluate(one, activations, config=replace(judged, baselines=False), command=command))
        for key, one in (others or {}).items()
    )
    corpus = source if isinstance(source, Corpus) else Corpus.of_store(source, sae)
    latents = read(sae, corpus, model, config, seed=seed, progress=progress) if config.features else None
    sources = _sources(sae, activations if config.judge else None, source if config.features else None)
    return DictionaryStudy(
        config=config,
        provenance=watch.provenance(command=command, seed=seed, **identity),
        name=config.name,
        sae=description(sae),
        source=tuple(sentence for sentence, _ in sources),
        in_doubt=tuple(doubt for _, doubt in sources),
        history={key: np.asarray(value) for key, value in sae.history.items()},
        evaluation=measures,
        others=compared,
        features=latents,
    )


def _check(sae: SAE, activations: Store | Corpus, model: Mapping[str, str]) -> None:
    """Raise `UsageError` unless a store is of the autoencoder's hook and of the model with this identity, if any."""
    if isinstance(activations, Corpus):
        return
    hooks_read(sae, activations)
    if model:
        activations.manifest.check_model(model["model"], model["weights_sha256"], model["dtype"])


def _sources(sae: SAE, judged: Store | Corpus | None, read: Store | Corpus | None) -> tuple[tuple[str, bool], ...]:
    """Return pairs (sentence about the activations, doubt).

    Doubt is whether the measures may be those of the text trained on.
    """
    stores = [("judged", judged), ("read", read)] if judged is not read else [("judged and read", judged)]
    return tuple(
        (_source(sae, verb, store), store is judged and not _is_fresh(sae, store))
        for verb, store in stores
        if store is not None
    )


def _is_fresh(sae: SAE, store: Store | Corpus) -> bool:
    """Return whether the text is known to differ from the training text."""
    trained = sae.metadata.get("token_sha256")
    return isinstance(store, Store) and bool(trained) and trained != store.manifest.token_sha256


def _source(sae: SAE, verb: str, store: Store | Corpus) -> str:
    if isinstance(store, Corpus):
        return f"{verb} on {store.contexts:,} contexts of {store.length} tokens in memory"
    about, trained = store.manifest, sae.metadata.get("token_sha256")
    what = f"{verb} on {about.rows:,} activations, from {about.contexts:,} contexts of {about.context} tokens"
    if not trained:
        return f"{what}; whether it was trained on these is not recorded"
    if trained == about.token_sha256:
        return f"{what}, which are those it was trained on"
    return f"{what}, which are not the text it was trained on"
