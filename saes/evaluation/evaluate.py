"""`evaluate`: all measures of an autoencoder from one pass over the activations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from interp.arguments import checked
from interp.cache import sinks
from interp.errors import UsageError
from interp.provenance import Stopwatch
from interp.statistics import Bootstrap
from saes.evaluation import language, metrics, truth as planted
from saes.evaluation.baselines import SAMPLE, Sample, baselines as compare, oracle
from saes.evaluation.config import Config
from saes.evaluation.geometry import Geometry, geometry
from saes.evaluation.k_sparse_probing import probing
from saes.evaluation.recovery import Match
from saes.evaluation.result import Evaluation, Latents
from saes.evaluation.rows import Source
from saes.evaluation.scores import Score, unavailable
from saes.evaluation.tally import Tally
from saes.evaluation.truth import Truth, TruthTally

if TYPE_CHECKING:
    from interp.model import Model
    from saes.autoencoder import SAE

CONTEXTS = 32
"""Contexts of a store on which the model's losses are measured."""


@checked
@torch.no_grad()
def evaluate(  # noqa: PLR0913  (all but the first two are keyword-only)
    sae: SAE,
    activations: Any,
    *,
    model: Model | None = None,
    contexts: Any | None = None,
    truth: Truth | None = None,
    labels: Mapping[str, Any] | None = None,
    groups: Any | None = None,
    config: Config | None = None,
    command: str | None = None,
) -> Evaluation:
    """Evaluate an autoencoder on activations that it was not trained on.

    Memory does not grow with the number of rows. A measure that cannot be computed gives the reason in its score.

    Args:
        sae: the autoencoder, transcoder or crosscoder.
        activations: a tensor (n, d_in), an `interp.cache` store, batches, or a function that returns batches; pairs
            (input, output) for a transcoder; (n, layer, d_in) for a crosscoder.
        model: the model of the activations, to measure its loss on reconstructions.
        contexts: `interp.cache` contexts or token ids (n_context, n_token) for the loss; a store provides 32.
        truth: the features of which the activations are made, if known.
        labels: for k-sparse probing: for each concept, whether it is present, one value per row.
        groups: the context of each row, so that intervals do not treat neighbours as independent; a store knows it.
        config: number of rows, baselines and seed; `Config()` by default.
        command: command for the provenance; by default that of this process.

    Returns:
        An `Evaluation` with a score for each measure.

    Raises:
        UsageError: a wrong shape, values that are not finite, or a hook that cannot be replaced.

    Example:
        >>> x = torch.randn(64, 4, generator=torch.Generator().manual_seed(0))
        >>> result = saes.evaluate(sae, x, config=saes.evaluation.Config(baselines=False))
        >>> print(result.score("fvu"))
        FVU: 0.1313 (0.1052 to 0.1591)
    """
    config, watch = Config() if config is None else config, Stopwatch()
    seed, source = config.seed, Source.of(sae, activations, groups, config.rows)
    dictionary = sae.W_dec.detach().float()
    known = None if truth is None else _truth_tally(truth, dictionary.cpu().numpy())
    tally, extreme, sample = _pass(source, known, seed)
    count = len(tally.used)
    on = f"{tally.rows:,} rows in {count:,} {source.cluster}"
    bootstrap, shape = Bootstrap.of(count, seed), geometry(dictionary, seed=seed)
    scores = [
        *metrics.reconstruction(tally, bootstrap, on),
        *metrics.with_sinks(tally, extreme, seed),
        *metrics.sparsity(tally, bootstrap, on),
        *metrics.coherence(shape, seed),
        *_language(sae, model, _contexts(contexts, source), tally, seed),
    ]
    if known is not None:
        scores += planted.scores(known, seed, *oracle(known.truth, sample))
    scores += probing(source, labels, seed) if labels else ()
    return Evaluation(
        description(sae),
        watch.provenance(command=command, seed=seed, **({} if model is None else model.identity())),
        tally.rows,
        count,
        source.cluster,
        tuple(scores),
        _latents(tally, shape),
        compare(sae, tally, sample, truth, seed) if config.baselines else (),
        _pca(tally) if config.baselines else np.zeros(0),
        None if known is None else planted.known(known),
    )


def _pass(source: Source, known: TruthTally | None, seed: int) -> tuple[Tally, Tally, Sample]:
    """Run one pass and return its sums and a sample.

    There are sums over usual rows, sums over attention sinks, and a sample of the usual rows.
    """
    sae = source.sae
    tally, extreme = Tally(sae.width, sae.d_out), Tally(sae.width, sae.d_out, moments=False)
    sample, most = Sample.of(SAMPLE, seed), None
    for batch in source.batches():
        most = sinks.limit(batch.y) if most is None else most
        codes, out = sae.run_sparse(batch.x)
        usual = sinks.usual(batch.y, most)
        rows = batch if bool(usual.all()) else batch.where(usual)
        tally.add(rows, codes.where(usual), out[usual])
        sample.add(rows.number, rows.x, rows.y)
        if not bool(usual.all()):
            extreme.centre = tally.centre
            extreme.add(batch.where(~usual), codes.where(~usual), out[~usual])
        if known is not None:
            known.add(batch.first, (codes.dense() != 0).cpu().numpy())
    return tally, extreme, sample


def _truth_tally(truth: Truth, dictionary: np.ndarray) -> TruthTally:
    if truth.directions.shape[1] != dictionary.shape[1]:
        raise UsageError(
            f"The known directions have {truth.directions.shape[1]} numbers each, the decoder's {dictionary.shape[1]}."
        )
    return TruthTally(truth, Match.of(truth.directions, dictionary))


def _contexts(contexts: Any | None, source: Source) -> Any | None:
    """Return the given contexts, or the first ones of the store."""
    store = source.given.store
    return store.contexts(0, CONTEXTS) if contexts is None and store is not None else contexts


def _language(sae: SAE, model: Model | None, contexts: Any | None, tally: Tally, seed: int) -> tuple[Score, ...]:
    why = None
    if model is None or contexts is None:
        why = "it takes the model and contexts of token ids: evaluate(..., model=model, contexts=contexts)"
    elif sae.variant == "crosscoder":
        why = "a crosscoder reads several hooks at once, which a single splice cannot replace"
    elif not sae.metadata.get("hook_name"):
        why = 'the autoencoder does not say where it belongs: set sae.metadata["hook_name"]'
    if why is not None or model is None:
        return tuple(unavailable(key, language.GROUP, str(why)) for key in language.KEYS)
    losses = language.losses(sae, model, contexts, torch.from_numpy(tally.mean))
    return language.scores(losses, seed)


def _latents(tally: Tally, shape: Geometry) -> Latents:
    fired = tally.fired.sum(0)
    strength = tally.strength / np.maximum(fired, 1)
    return Latents(fired / tally.rows, strength, shape.norm, shape.nearest, shape.cosine)


def _pca(tally: Tally) -> np.ndarray:
    values = tally.eigenvalues
    if not len(values) or not values.sum():
        return np.zeros(0)
    return np.maximum(1 - np.cumsum(values) / values.sum(), 0)


def description(sae: SAE) -> dict[str, Any]:
    """Return a description of an SAE as plain values.

    A saved result can have such values. Lists become tuples, and values that are not plain become text.

    >>> description(sae)["width"]
    8
    """
    about = {name: getattr(sae, name) for name in ("architecture", "variant", "d_in", "d_out", "width")}
    return about | {"settings": _plain(sae.settings), "metadata": _plain(sae.metadata)}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return tuple(_plain(item) for item in value)
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)
