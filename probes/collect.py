"""Collect the activations of statements.

Chosen tokens of all layers are collected in one pass (`probes.passes`).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.arguments import checked
from interp.cache.config import Config
from interp.cache.contexts import Contexts
from interp.cache.harvest import harvest
from interp.cache.manifest import NAME, Manifest
from interp.cache.store import Store
from interp.errors import InterpError, UsageError
from interp.model.capture import bridge_is_hooked
from interp.progress import Progress, advance
from probes.activations import Activations
from probes.inputs import check_kind, check_number, check_whole
from probes.layers import hook_of, read_layers
from probes.passes import Pass, Streams, contexts_of, passes
from probes.positions import spans_of
from probes.statements import Statements

if TYPE_CHECKING:
    from interp.model import Model


@checked
def collect(  # noqa: PLR0913 (all but the first two are keyword-only)
    model: Model,
    data: Statements,
    *,
    layers: str | int | Sequence[int | str] = "all",
    position: str | int | Sequence[str | int] = "last",
    prepend_bos: bool | None = None,
    batch_size: int = 32,
    max_gigabytes: float = 8.0,
    store: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> Activations:
    """Collect the residual stream at chosen tokens of every statement.

    Args:
        model: the model; it runs no deeper than the last chosen layer.
        data: the statements.
        layers: "all", one layer or several. Layer l is the output of block l, before the final norm (the last entry
            of the hidden states of `transformers` is after it); -1 or "embed" is the embedding.
        position: one rule or several: "last"; a negative index from the end (-1 is the last token); "mean" over all
            tokens except the first, whose activations have an enormous norm in many models; "entity" (the last token
            of the row's last entity); "token:TEXT" (the last token of the last occurrence of TEXT); or "all" tokens.
        prepend_bos: whether a BOS token is prepended; None follows the tokenizer. Saved with the activations.
        batch_size: statements per forward pass.
        max_gigabytes: limit in GB (10^9 bytes) of memory for the activations.
        store: folder in which the activations of all tokens are stored. A later call with the same folder runs no
            model, whatever its positions. A store of another model or of other statements is refused.
        progress: called after every batch.

    Returns:
        `Activations` with values (position, layer, n, d) in float32.

    Raises:
        UsageError: a layer or position that does not exist, a statement too short or too long for it, too much
            memory, hooks on the model's bridge, or a store of another model or other statements.
        InterpError: an activation that is not finite.

    Example:
        >>> data = probes.read_statements([{"statement": f"the tower is in {w}", "label": w == "a"} for w in "ab"])
        >>> probes.collect(model, data, layers=[0, 1]).values.shape
        torch.Size([1, 2, 2, 24])
    """
    settings = _Settings(layers, position, prepend_bos, batch_size, max_gigabytes)
    return _collect(model, data, settings, store=store, progress=progress)[0]


@checked
def collect_with_log_probs(
    model: Model,
    data: Statements,
    *,
    layers: str | int | Sequence[int | str] = "all",
    position: str | int | Sequence[str | int] = "last",
    batch_size: int = 32,
    progress: Progress | None = None,
) -> tuple[Activations, Float[np.ndarray, "n 2"]]:
    """Collect activations and log-probabilities in one pass over the statements.

    The results are those of `collect` and `log_probs`.

    Args:
        model: the model.
        data: the statements.
        layers: "all", one layer or several; see `collect`.
        position: one rule or several; see `collect`.
        batch_size: statements per forward pass.
        progress: called after every batch.

    Returns:
        `Activations`, and an array (n, 2) of each statement's total and mean log-probability in nats.

    Raises:
        UsageError: as `collect`.
        InterpError: an activation that is not finite.

    Example:
        >>> data = probes.read_statements([{"statement": f"the tower is in {w}", "label": w == "a"} for w in "ab"])
        >>> acts, log_probs = probes.collect_with_log_probs(model, data, layers=0)
        >>> acts.at(0).shape, log_probs.shape
        (torch.Size([2, 24]), (2, 2))
    """
    settings = _Settings(layers, position, batch_size=batch_size)
    return _collect(model, data, settings, progress=progress, log_probs=True)


@dataclass(frozen=True)
class _Settings:
    """Arguments of `collect` that say which activations are collected and how."""

    layers: str | int | Sequence[int | str]
    position: str | int | Sequence[str | int]
    prepend_bos: bool | None = None
    batch_size: int = 32
    max_gigabytes: float = 8.0


def _collect(
    model: Model,
    data: Statements,
    settings: _Settings,
    *,
    store: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
    log_probs: bool = False,
) -> tuple[Activations, Float[np.ndarray, "n 2"]]:
    """Collect the activations of all statements.

    If requested, also collects their log-probabilities (else zeros).
    """
    check_kind(data, Statements, "data", "probes.read_statements")
    if bridge_is_hooked(model):
        raise UsageError("model.bridge has hooks, which would change the activations: remove them first.")
    check_whole(settings.batch_size, "batch_size", 1)
    check_number(settings.max_gigabytes, "max_gigabytes")
    chosen = read_layers(settings.layers, model.spec.n_layer)
    contexts = contexts_of(model, data.statements, settings.prepend_bos)
    spans = spans_of(model, data, contexts, settings.position)
    _check_memory(len(spans.names), len(chosen), len(data), model.spec.d_model, settings.max_gigabytes)
    values = torch.empty(len(spans.names), len(chosen), len(data), model.spec.d_model)
    likelihoods = np.zeros((len(data), 2))
    if store is None:
        batches = passes(model, contexts, chosen, settings.batch_size, log_probs=log_probs)
    else:
        batches = _read_store(model, contexts, chosen, settings.batch_size, Path(store))
    done = 0
    for one in batches:
        values[:, :, one.rows] = _span_means(one.streams, spans.at[:, one.rows])
        if log_probs:
            likelihoods[one.rows] = one.total_and_mean(contexts.lengths)
        done += len(one.rows)
        advance(progress, done, len(data), "reading statements")
    _check_finite(values, chosen, data)
    identity = model.identity() | {"prepend_bos": bool(contexts.prepend_bos)}
    return Activations(data, chosen, spans.names, values, contexts.lengths, identity), likelihoods


def _read_store(
    model: Model, contexts: Contexts, layers: tuple[int, ...], batch_size: int, folder: Path
) -> Iterator[Pass]:
    """Yield batches from a store in `folder`.

    The store is filled first if it does not exist.
    """
    hooks = tuple(hook_of(layer) for layer in layers)
    order = torch.argsort(contexts.lengths, stable=True)
    sorted_contexts = Contexts(contexts.tokens[order], contexts.lengths[order], contexts.prepend_bos)
    store = _open_store(model, sorted_contexts, hooks, folder, batch_size)
    last = 0
    for rows in order.split(batch_size):
        lengths = contexts.lengths[rows]
        present = torch.arange(int(lengths.max())) < lengths[:, None]
        first, last = last, last + int(lengths.sum())
        streams = []
        for hook in hooks:
            stream = torch.zeros(*present.shape, model.spec.d_model)
            stream[present] = store.tensor(hook, first, last)
            streams.append(stream)
        yield Pass(rows, streams, None)


def _open_store(model: Model, contexts: Contexts, hooks: tuple[str, ...], folder: Path, batch_size: int) -> Store:
    """Open or fill the store of these contexts.

    Raises `UsageError` if it has another model, text or layers.
    """
    if not (folder / NAME).exists() or not Manifest.load(folder).complete:
        config = Config(
            hooks, context=contexts.tokens.shape[1], batch_size=batch_size, exclude=("padding",), pack=False
        )
        return harvest(model, contexts, config, folder, resume=True)
    store = Store.open(folder, model)
    manifest = store.manifest
    if manifest.token_sha256 != contexts.sha256():
        raise UsageError(
            f"The store in {folder} contains other text, or the same text with another BOS setting: choose another "
            "folder for these statements."
        )
    if manifest.exclude != ("padding",):
        raise UsageError(f"The store in {folder} excludes the first position: choose another folder.")
    if missing := [hook for hook in hooks if hook not in store.hooks]:
        raise UsageError(f"The store in {folder} does not contain {missing[0]}: collect into another folder.")
    return store


def _span_means(streams: Streams, at: Int[Tensor, "position batch 2"]) -> Float[Tensor, "position layer batch d"]:
    """Return the mean of each row over its span of tokens.

    It is exact for one token and zero for none.
    """
    start, count = at[..., 0], at[..., 1] - at[..., 0]
    out = torch.empty(len(at), len(streams), *at.shape[1:2], streams[0].shape[-1])
    one = (count <= 1).all(1)
    rows = torch.arange(at.shape[1])
    for layer, stream in enumerate(streams):
        if one.any():
            picked = stream[rows, start[one].clamp(max=stream.shape[1] - 1)]
            exists = (count[one] > 0)[..., None].to(picked.device)
            out[one, layer] = torch.where(exists, picked, 0).to("cpu", out.dtype)
        if not one.all():
            token = torch.arange(stream.shape[1])
            inside = (token >= at[~one, :, :1]) & (token < at[~one, :, 1:])
            weights = (inside / count[~one][..., None].clamp(min=1)).to(stream.device, torch.float32)
            out[~one, layer] = torch.einsum("pbt,btd->pbd", weights, stream.float()).cpu()
    return out


def _check_memory(n_position: int, n_layer: int, n: int, d: int, most: float) -> None:
    needed = n_position * n_layer * n * d * 4 / 1e9
    if needed > most:
        raise UsageError(
            f"{n_position} positions x {n_layer} layers x {n} statements would take {needed:.1f} GB, more than "
            f"max_gigabytes={most:g}: choose fewer layers or positions, or raise the limit."
        )


def _check_finite(values: Float[Tensor, "position layer n d"], layers: tuple[int, ...], data: Statements) -> None:
    if torch.isfinite(values.sum(dtype=torch.float64)):  # a finite sum proves every number finite
        return
    bad = (~torch.isfinite(values)).any(-1).nonzero()
    if len(bad):
        _, layer, row = bad[0].tolist()
        raise InterpError(
            f'Layer {layers[layer]} has NaN or infinite activations for the statement "{data.statements[row]}".'
        )
