"""Compare heads, layers and, if given, the dictionaries of two models."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from analyses.universality.alignment import activations, aligned
from analyses.universality.result import Config, Matches, Universality
from analyses.universality.similarity import best_correlations, cka, orders, rows
from interp import circuits
from interp.arguments import checked
from interp.circuits.texts import PROSE
from interp.errors import UsageError
from interp.model import Model, load
from interp.progress import Progress, stages
from interp.provenance import Stopwatch

STEPS = ("heads", "shared text", "layers", "latents", "done")
LEAST_ACTIVE = 5
"""Least number of active positions for which a latent's correlations are computed."""


@checked
def run(
    first: Model,
    second: Model,
    config: Config | None = None,
    *,
    dictionaries: Sequence[Any] = (),
    command: str | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Universality:
    """Compare two models, whatever their tokenizers.

    Behaviour scores are those of `circuits.head_scores`, on random tokens of each model's own vocabulary. Layers are
    compared by linear CKA of what leaves each block, divided by its length as a norm does, at positions where both
    have read the same characters. There are two controls: every text paired with another at the same positions, so
    that what all texts share counts as chance, and the second model untrained, so that similarity from the words
    alone counts too. Latents of two dictionaries are matched by correlation over the same positions.

    Args:
        first: a model with a tokenizer.
        second: another model with a tokenizer.
        config: settings of the comparison.
        dictionaries: none, or two, of the first and of the second model, each with the hook it reads in its metadata.
        command: the command that the user typed, for the provenance.
        seed: seed of the random texts and of the pairings.
        progress: called with (steps done, steps in all, what is being done).

    Returns:
        `Universality` with the CKA (a fraction) of every pair of layers.

    Raises:
        UsageError: a model without tokenizer, fewer than four texts, texts without shared positions, or one dictionary.

    Example:
        >>> result = run(model, model, study.config)  # study.config = universality.Config(texts)
        >>> result.cka.diagonal().round(3).tolist()  # a model compared with itself
        [1.0, 1.0, 1.0]
    """
    config = Config() if config is None else config
    texts = config.texts or PROSE
    _check(first, second, texts, dictionaries)
    watch, step = Stopwatch(), stages(progress, STEPS)
    step(0)
    scored = [circuits.head_scores(model, length=config.length, seed=seed) for model in (first, second)]
    step(1)
    pairs = [aligned(first, second, text) for text in texts]
    per_text = min(map(len, pairs))
    if per_text < 4:
        raise UsageError(f"The texts have {per_text} positions in common: give longer ones.")
    pairs = [pair[:per_text] for pair in pairs]
    hooks = [[f"blocks.{at}.hook_resid_post" for at in range(model.spec.n_layer)] for model in (first, second)]
    step(2)
    read = [[model.to_tokens(text) for text in texts] for model in (first, second)]
    grams = [_grams(*each) for each in zip((first, second), read, _sides(pairs), hooks, strict=True)]
    similarity = cka(*grams)
    shuffled = orders(len(texts), config.draws, seed)
    low, high = _intervals(grams, similarity, len(texts), per_text)
    scrambled = _grams(untrained(second, seed), read[1], _sides(pairs)[1], hooks[1])
    step(3)
    matches = None
    if dictionaries:
        matches = _matches(first, second, texts, pairs, dictionaries, shuffled)
    step(4)
    return Universality(
        config=config,
        names=(first.name, second.name),
        heads=(scored[0], scored[1]),
        cka=similarity,
        low=low,
        high=high,
        null=np.array([_best(grams, rows(order, per_text)) for order in shuffled]),
        untrained=cka(grams[0], scrambled).max(1),
        n_text=len(texts),
        per_text=per_text,
        matches=matches,
        provenance=watch.provenance(command=command, seed=seed, **first.identity()),
        other={key: str(value) for key, value in second.identity().items()},
    )


@torch.no_grad()
def untrained(model: Model, seed: int) -> Model:
    """Return a copy of a model with shuffled weight matrices.

    The entries of each matrix are shuffled within it.

    >>> untrained(model, seed=0)(tokens).shape
    torch.Size([1, 4, 64])
    """
    generator, hf = torch.Generator().manual_seed(seed), copy.deepcopy(model.hf)
    for parameter in hf.parameters():
        if parameter.ndim > 1:
            order = torch.randperm(parameter.numel(), generator=generator).to(parameter.device)
            parameter.copy_(parameter.flatten()[order].view_as(parameter))
    return load(hf, dtype=model.dtype, device=model.device, level=model.level)


def _check(first: Model, second: Model, texts: Sequence[str], dictionaries: Sequence[Any]) -> None:
    for model in (first, second):
        if not model.has_tokenizer:
            raise UsageError(f"{model.name} has no tokenizer: shared text needs one.")
    if len(texts) < 4:
        raise UsageError(f"Give at least four texts, not {len(texts)}: intervals and chance come from other texts.")
    if len(dictionaries) not in (0, 2):
        raise UsageError(f"Give no dictionary or two, one of each model, not {len(dictionaries)}.")


def _sides(pairs: list[list[tuple[int, int]]]) -> list[list[list[int]]]:
    return [[[pair[side] for pair in text] for text in pairs] for side in range(2)]


def _grams(model: Model, texts: Sequence[Tensor], positions: list[list[int]], hooks: list[str]) -> np.ndarray:
    """Return each layer's Gram matrix (n, n) over all positions.

    Streams have length 1.
    """
    streams = [activations(model, text, at, hooks) for text, at in zip(texts, positions, strict=True)]
    layers = [torch.cat(each) for each in zip(*streams, strict=True)]
    units = [(x / x.norm(dim=-1, keepdim=True)).numpy() for x in layers]
    return np.stack([x @ x.T for x in units])


def _best(grams: list[np.ndarray], order: np.ndarray) -> np.ndarray:
    """Return each layer's best similarity after reordering the second model's rows."""
    return cka(grams[0], grams[1][:, order][:, :, order]).max(1)


def _intervals(
    grams: list[np.ndarray], similarity: np.ndarray, n_text: int, per_text: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return jackknife bounds over texts of each layer's best similarity."""
    partners, without = similarity.argmax(1), []
    for left_out in range(n_text):
        remaining = rows(np.delete(np.arange(n_text), left_out), per_text)
        each = cka(*(gram[:, remaining][:, :, remaining] for gram in grams))
        without.append(each[np.arange(len(partners)), partners])
    values = np.array(without)
    error = np.sqrt((n_text - 1) / n_text * np.square(values - values.mean(0)).sum(0))
    return similarity.max(1) - 1.96 * error, similarity.max(1) + 1.96 * error


def _matches(
    first: Model,
    second: Model,
    texts: Sequence[str],
    pairs: list[list[tuple[int, int]]],
    dictionaries: Sequence[Any],
    shuffled: list[np.ndarray],
) -> Matches:
    """Match the latents of the first dictionary with those of the second."""
    codes = []
    for model, sae, positions in zip((first, second), dictionaries, _sides(pairs), strict=True):
        if sae.hook is None:
            raise UsageError("A dictionary does not say which hook it reads: save it with its hook in the metadata.")
        tokens = map(model.to_tokens, texts)
        streams = [activations(model, ids, at, [sae.hook])[0] for ids, at in zip(tokens, positions, strict=True)]
        with torch.no_grad():
            codes.append(sae.encode(torch.cat(streams).to(sae.W_dec)).double().cpu().numpy())
    active = [np.flatnonzero((code != 0).sum(0) >= LEAST_ACTIVE) for code in codes]
    if not all(map(len, active)):
        raise UsageError(f"No latent of a dictionary is active at {LEAST_ACTIVE} positions: give more text.")
    codes = [code[:, at] for code, at in zip(codes, active, strict=True)]
    best, partner = best_correlations(*codes)
    per_text = len(pairs[0])
    null = [best_correlations(codes[0], codes[1][rows(order, per_text)])[0] for order in shuffled[:20]]
    names = (dictionaries[0].hook, dictionaries[1].hook)
    return Matches(*names, active[0], active[1][partner], best, np.array(null), LEAST_ACTIVE)
