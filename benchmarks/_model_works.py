"""Comparisons of forward passes, harvests, statements and what is fitted to their activations."""

from __future__ import annotations

import tempfile
from typing import Any

import numpy as np
import torch

import probes
from benchmarks import collect, forward, paths, probes as logistic
from benchmarks._work import Sizes, Work, relative
from interp import attribution, cache
from probes import passes as reading


def passes(sizes: Sizes) -> list[Work]:
    """Compare a hook's value and a frozen input with the forward passes they contain."""
    model = sizes.model
    hook = f"blocks.{min(forward.LAYER, model.spec.n_layer - 1)}.hook_resid_post"
    ids = torch.randint(0, model.spec.d_vocab, (1, sizes.n_token), generator=torch.Generator().manual_seed(0))
    bare = forward.truncated(model.hf)

    @torch.no_grad()
    def cut() -> torch.Tensor:
        return bare(input_ids=ids, use_cache=False).last_hidden_state

    return [
        Work("one hook", lambda: model.run_with_cache(ids, hook)[1][hook], cut, "bare blocks", relative, 0.0),
        Work("freeze", lambda: attribution.freeze(model, ids), lambda: model(ids), "forward", _own_error, 1e-4),
    ]


def _own_error(frozen: Any, _: Any) -> float:
    """Return how far the frozen map ends from the model's logits."""
    return float(frozen.error)


def activations(sizes: Sizes) -> list[Work]:
    """Compare collecting activations with the bare model over the same tokens."""
    model, data = sizes.model, collect._statements(sizes.rows)
    run, _ = collect._bare(model, data)
    last, ids = model.spec.n_layer - 1, model.to_tokens(data.statements[0])
    hook = f"blocks.{last}.hook_resid_post"
    contexts = torch.randint(0, model.spec.d_vocab, (16, sizes.n_token), generator=torch.Generator().manual_seed(1))

    @torch.no_grad()
    def bare(rows: torch.Tensor) -> torch.Tensor:
        return model.hf.model(input_ids=rows, use_cache=False, output_hidden_states=True).hidden_states[-2]

    def harvested() -> np.ndarray:
        config = cache.Config(hooks=(f"blocks.{last - 1}.hook_resid_post",), context=sizes.n_token, batch_size=16)
        with tempfile.TemporaryDirectory() as folder:
            store = cache.harvest(model, contexts, config, folder)
            return torch.cat(list(store.batches(4096, seed=None, hook=config.hooks[0]))).numpy()

    def first(acts: Any, _: Any) -> float:
        _, cached = model.run_with_cache(ids, hook)
        return relative(acts.at(last)[0], cached[hook][0, -1])

    rows = contexts[:, 1:].shape
    return [
        Work(f"collect {len(data)} statements", lambda: probes.collect(model, data), run, "bare model", first, 1e-4),
        Work(f"harvest {rows[0] * rows[1]} rows", harvested, lambda: bare(contexts)[:, 1:].flatten(0, 1), "bare model",
             relative, 0.0),
    ]  # fmt: skip


def statements(sizes: Sizes) -> list[Work]:
    """Activations and log-probabilities of statements in pairs that begin alike, in one pass and in two."""
    data = probes.generate("capitals", seed=0)
    data = data.take(np.arange(min(len(data), sizes.rows)))

    def apart() -> tuple[Any, Any]:
        """Every token of every statement, once for the activations and once for the logits."""
        before, reading.can_share = reading.can_share, lambda *_: False
        try:
            return probes.collect(sizes.model, data), probes.log_probs(sizes.model, data)
        finally:
            reading.can_share = before

    def both(ours: Any, peer: Any) -> float:
        return max(relative(ours[0].values, peer[0].values), relative(ours[1], peer[1]))

    ours = lambda: probes.collect_with_log_probs(sizes.model, data)  # noqa: E731
    return [Work(f"{len(data)} statements with log-probabilities", ours, apart, "whole statements", both, 1e-4)]


def regressions(sizes: Sizes) -> list[Work]:
    """Compare logistic regressions of every layer, fold and strength."""
    d = sizes.model.spec.d_model
    X, y = logistic.random_rows(sizes.layers, max(2 * sizes.rows, 60), d)
    masks = torch.stack([torch.arange(len(y)) // 2 % 4 != k for k in range(4)]).double()

    def ours() -> np.ndarray:
        path = probes.batched.logistic_path(X, y, logistic.STRENGTHS, masks)
        return path.directions.numpy()

    def theirs() -> np.ndarray:
        options = logistic.SOLVERS["lbfgs"]
        result = [logistic.loop(layer.double().numpy(), y.numpy(), masks.numpy(), options) for layer in X]
        return np.stack(result, 1)

    floor = logistic.gradient_floor(X, len(masks)) * len(logistic.STRENGTHS)
    fits = len(X) * len(masks) * len(logistic.STRENGTHS)
    return [Work(f"{fits} logistic regressions", ours, theirs, "scikit-learn lbfgs", relative, 1e-3, floor)]


def stream(sizes: Sizes) -> list[Work]:
    """A discriminant of a stream of rows, from its statistics and from all rows at once."""
    d = sizes.model.spec.d_model
    X, y = logistic.random_rows(1, 20 * sizes.rows, d)
    rows = X[0].double()  # their mean is large: float32 would leave other roundings on both sides

    def ours() -> np.ndarray:
        statistics = probes.Statistics(d)
        for part, labels in zip(rows.split(1024), y.split(1024), strict=True):
            statistics.update(part, labels)
        return probes.streaming.fit(probes.LDA(shrinkage="oas"), statistics).direction_

    theirs = lambda: probes.LDA(shrinkage="oas").fit(rows, y).direction_  # noqa: E731
    gram = min(paths.timed(lambda: rows.T @ rows, 3).cpu for _ in range(2))
    return [Work(f"LDA of {len(rows):,} streamed rows", ours, theirs, "all rows at once", relative, 1e-5, gram)]
