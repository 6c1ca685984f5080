"""Training a tuned lens on a stream of residual streams: least squares first, then steps on the KL divergence."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.cache.store import Store
from interp.errors import UsageError, whole
from interp.model import Model
from interp.model.arithmetic import norm_scale, softcap

RIDGE = 1e-2
"""Ridge of the least-squares map, as a share of the mean variance of a coordinate."""
LIKELY, SAMPLED = 8, 2048
"""Vocabulary of a step: the likeliest tokens of each position, and so many others at random."""
EVERY, PATIENCE = 10, 3
"""Steps between validations, and how many of them may bring nothing before a row stops."""
WARM = 16
"""Batches behind the least-squares map."""

Streams = Float[Tensor, "row n d_model"]


def train(  # noqa: PLR0913 (keyword-only)
    model: Model,
    source: Any,
    *,
    kind: str,
    steps: int,
    batch_size: int,
    lr: float,
    seed: int,
    progress: Callable[[int, int, str], None] | None,
) -> tuple[Float[Tensor, "row d_model d_model"], Float[Tensor, "row d_model"], Float[Tensor, "check row"]]:
    """Return a fitted lens as (weights, biases, validation losses); for arguments see `TunedLens.fit`."""
    steps, batch_size = whole(steps, "steps", 0), whole(batch_size, "batch_size", 2)
    if model.dtype not in (torch.float32, torch.float64):
        raise UsageError(f"A lens is fitted in float32 or float64, not in {model.dtype}: load the model so.")
    batches = _batches(model, source, batch_size, seed)
    generator = torch.Generator().manual_seed(seed)
    held = next(batches)
    validation = _Objective.of(model, held[-1], 2 * SAMPLED, generator)
    lens = _Parameters(model, kind)
    history = [validation.rows(lens, held)]
    if kind != "bias":
        _least_squares(lens, batches)
        history.append(validation.rows(lens, held))
        lens.keep(history[-1], history[0])
    for step, streams in zip(range(0 if kind == "linear" else steps), batches, strict=False):
        objective = _Objective.of(model, streams[-1], SAMPLED, generator)
        lens.step(objective, streams, lr * (1 - step / steps))
        if (step + 1) % EVERY == 0:
            history.append(validation.rows(lens, held))
            if lens.keep(history[-1]) == 0:
                break
        if progress is not None:
            progress(step + 1, steps, "fitting the lens")
    weights, biases = lens.best
    return weights, biases, torch.stack(history)


def hooks(model: Model) -> tuple[str, ...]:
    """Return the hooks a store must hold for a lens: what enters the first block and leaves each block."""
    return "blocks.0.hook_resid_pre", *(f"blocks.{i}.hook_resid_post" for i in range(model.spec.n_layer))


def _batches(model: Model, source: Any, size: int, seed: int) -> Iterator[Streams]:
    """Residual streams of `size` positions at a time, the text's order drawn with `seed`, over and over."""
    if isinstance(source, Store):
        yield from _stored(model, source, size, seed)
        return
    tokens = model.check_tokens(source)
    per_batch = max(1, size // tokens.shape[1])
    if len(tokens) < 3 * per_batch:
        raise UsageError(
            f"A lens needs text for at least three batches, one of them for validation: {len(tokens)} rows of "
            f"{tokens.shape[1]} tokens are less than 3 · {size}."
        )
    order = torch.randperm(len(tokens), generator=torch.Generator().manual_seed(seed)).split(per_batch)
    for i in range(10**9):
        # The first batch is the validation's, and never comes again.
        chosen = order[i if i < len(order) else 1 + (i - 1) % (len(order) - 1)]
        _, cache = model.run_with_cache(tokens[chosen], list(hooks(model)))
        yield torch.stack([cache[name].flatten(0, 1) for name in hooks(model)])


def _stored(model: Model, store: Store, size: int, seed: int) -> Iterator[Streams]:
    store.check_model(model)
    missing = [name for name in hooks(model) if name not in store.hooks]
    if missing:
        raise UsageError(f"The store lacks {missing[0]}: a lens needs every layer's stream, {len(hooks(model))} hooks.")
    if len(store) < 3 * size:
        raise UsageError(f"The store holds {len(store)} positions: a lens needs at least three batches of {size}.")
    first: Streams | None = None
    for epoch in range(10**9):
        every = [store.batches(size, seed=seed, hook=name) for name in hooks(model)]
        for number, parts in enumerate(zip(*every, strict=True)):
            if number == 0 and epoch > 0:
                continue  # the validation's
            if len(parts[0]) == size:
                first = torch.stack([part.to(model.device, model.dtype) for part in parts])
                yield first


@dataclass(frozen=True)
class _Objective:
    """KL divergence from the model's own prediction, over part of the vocabulary.

    Tokens outside the likeliest are sampled, and stand in log Σ exp for all that were not: `factor` each.
    """

    model: Model
    columns: Float[Tensor, "d_model n_sampled"]
    bias: Float[Tensor, " n_sampled"]
    factor: Float[Tensor, " n_sampled"]
    probabilities: Float[Tensor, "n n_sampled"]

    @classmethod
    @torch.no_grad()
    def of(cls, model: Model, last: Float[Tensor, "n d_model"], n_sampled: int, generator: torch.Generator) -> Any:
        """The objective of a batch, from the streams that leave the last block."""
        spec = model.spec
        likely = _logits(model, last, *model.weights.unembed(torch.arange(spec.d_vocab, device=last.device)))
        likely = likely.topk(min(LIKELY, spec.d_vocab)).indices.flatten().unique()
        ids, factor = _sample(likely, spec.d_vocab, n_sampled, generator)
        columns, bias = model.weights.unembed(ids)
        probabilities = (_logits(model, last, columns, bias) + factor.log()).softmax(-1)
        return cls(model, columns, bias, factor, probabilities)

    def __call__(self, x: Float[Tensor, "row n d_model"]) -> Float[Tensor, " row"]:
        """The mean KL divergence of translated streams, in nats."""
        found = (_logits(self.model, x, self.columns, self.bias) + self.factor.log()).log_softmax(-1)
        known = self.probabilities.clamp_min(torch.finfo(x.dtype).tiny).log()
        return (self.probabilities * (known - found)).sum(-1).mean(-1)

    @torch.no_grad()
    def rows(self, lens: _Parameters, streams: Streams) -> Float[Tensor, " row"]:
        """The divergence of every row."""
        return torch.stack([self(lens.translated(row, x)) for row, x in enumerate(streams[:-1])]).cpu()


class _Parameters:
    """A and b of every row, Adam's moments, and the best values so far."""

    def __init__(self, model: Model, kind: str):
        shape = model.spec.n_layer, model.spec.d_model
        like = model.parts.W_U
        self.kind, self.weights = kind, like.new_zeros(*shape, shape[1])
        self.biases = like.new_zeros(shape)
        self.scale = like.new_ones(shape[0])
        self.best = self.weights.clone(), self.biases.clone()
        self.best_loss = torch.full(shape[:1], torch.inf, dtype=like.dtype)
        self.waited = torch.zeros(shape[0], dtype=torch.long)
        self.moments = [[torch.zeros_like(value) for _ in range(2)] for value in (self.weights, self.biases)]
        self.n_step = 0

    def translated(self, row: int, x: Tensor) -> Tensor:
        """The stream of one row in the basis of the last."""
        return x + self.biases[row] + (0.0 if self.kind == "bias" else x @ self.weights[row])

    def keep(self, loss: Tensor, before: Tensor | None = None) -> int:
        """Keep each row's values where they are its best, and say how many rows are still worth a step."""
        if before is not None:
            self.best_loss = before.to(self.best_loss)
        better = loss < self.best_loss
        self.best_loss = torch.where(better, loss.to(self.best_loss), self.best_loss)
        self.waited = torch.where(better, 0, self.waited + 1)
        for best, value in zip(self.best, (self.weights, self.biases), strict=True):
            best[better] = value[better]
        return int((self.waited < PATIENCE).sum())

    def step(self, objective: _Objective, streams: Streams, lr: float) -> None:
        """One Adam step of every row that has not stopped."""
        self.n_step += 1
        for row in torch.nonzero(self.waited < PATIENCE).flatten().tolist():
            x = streams[row]
            translated = self.translated(row, x).requires_grad_()
            (gradient,) = torch.autograd.grad(objective(translated), translated)
            size = x.square().mean().sqrt()
            # Inputs of one size and a step in proportion to it: the learning rate means the same in every layer.
            self._adam(1, row, gradient.sum(0), lr * size)
            if self.kind != "bias":
                self._adam(0, row, x.T @ gradient, lr / x.shape[-1] ** 0.5)

    def _adam(self, which: int, row: int, gradient: Tensor, lr: Tensor | float) -> None:
        mean, square = (moment[row] for moment in self.moments[which])
        mean.lerp_(gradient, 0.1)
        square.lerp_(gradient.square(), 0.05)
        ahead = mean / (1 - 0.9**self.n_step) / ((square / (1 - 0.95**self.n_step)).sqrt() + 1e-30)
        (self.weights, self.biases)[which][row] -= lr * ahead


@torch.no_grad()
def _least_squares(lens: _Parameters, batches: Iterator[Streams]) -> None:
    """A and b from the ridge regression of the last stream on each, every position divided by the last norm scale."""
    n_row, d = lens.biases.shape
    moment = lens.weights.new_zeros(n_row, d + 1, d + 1, dtype=torch.float32)
    cross = lens.weights.new_zeros(n_row, d + 1, d, dtype=torch.float32)
    for _, streams in zip(range(WARM), batches, strict=False):
        scale = streams[-1].square().mean(-1, keepdim=True).sqrt()
        for row, x in enumerate(streams[:-1]):
            ones = torch.cat([x, x.square().mean().sqrt().expand(len(x), 1)], dim=1) / scale
            moment[row] += ones.T @ ones
            cross[row] += ones.T @ ((streams[-1] - x) / scale)
            lens.scale[row] = x.square().mean().sqrt()
    for row in range(n_row):
        left = moment[row].double()
        ridge = RIDGE * left.diagonal().median() * torch.eye(d + 1, device=left.device)
        solved = torch.linalg.solve(left + ridge, cross[row].double()).to(lens.weights)
        lens.weights[row], lens.biases[row] = solved[:d], solved[d] * lens.scale[row]


def _logits(model: Model, x: Tensor, columns: Tensor, bias: Tensor) -> Tensor:
    spec = model.spec
    return softcap(x / norm_scale(x, spec.norm, spec.norm_eps) @ columns + bias, spec.logit_softcap)


def _sample(likely: Int[Tensor, " m"], d_vocab: int, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """The likely tokens with factor 1, and `n` of the others, each of which stands for as many as were left out."""
    rest = torch.ones(d_vocab, dtype=torch.bool)
    rest[likely.cpu()] = False
    others = rest.nonzero().flatten()
    drawn = others[torch.randperm(len(others), generator=generator)[:n]]
    ids = torch.cat([likely.cpu(), drawn]).to(likely.device)
    factor = torch.ones(len(ids), device=likely.device)
    factor[len(likely) :] = len(others) / max(1, len(drawn))
    return ids, factor
