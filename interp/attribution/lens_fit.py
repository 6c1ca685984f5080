"""Training of tuned lenses on residual streams: least squares first, then Adam steps on the KL divergence.

Most of the time of a step would go into products with the whole unembedding, and most of the rest into running the
model. So a step takes the likeliest tokens and a sample of the others (`_Objective`), and lenses of several kinds are
trained on the same streams, of which every position is computed once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count, islice
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.cache.store import Store
from interp.errors import UsageError, whole
from interp.model import Model, trace
from interp.model.arithmetic import norm_scale, softcap

RIDGE = 1e-2
"""Ridge of the least-squares map, as a share of the mean variance of a coordinate."""
LIKELY, SAMPLED = 8, 1024
"""Vocabulary of a step: the likeliest tokens of each position, and this number of the others at random."""
EVERY, PATIENCE = 10, 3
"""Steps between validations, and how many of them may bring nothing before a row stops."""
WARM = 12_288
"""Positions behind the least-squares map, about 20 for each of its rows where the model has 576 dimensions."""
VALIDATION = 2
"""Runs of the model that no lens is trained on: they choose the best parameters of each row."""
POSITIONS, LOGITS = 256, 3 * 2**22
"""Positions of a step, and the logits of the whole vocabulary that bound them: all of SmolLM2, 48 of Gemma 3."""
AT_ONCE = 2**24
"""Logits of the whole vocabulary in memory at once."""

Streams = Float[Tensor, "row n d_model"]


@dataclass(frozen=True)
class Fitted:
    """Parameters of a trained lens and its history of KL divergence.

    The KL divergence is that on the validation batches at each stage of the training.
    """

    weights: Float[Tensor, "row d_model d_model"]
    biases: Float[Tensor, "row d_model"]
    history: Float[Tensor, "stage row"]


def train(  # noqa: PLR0913 (keyword-only)
    model: Model,
    source: Any,
    *,
    kinds: Sequence[str],
    steps: int,
    batch_size: int | None,
    lr: float,
    seed: int,
    progress: Callable[[int, int, str], None] | None,
) -> list[Fitted]:
    """Return the fitted lens of each kind; for arguments see `TunedLens.fit`."""
    steps, n_run = whole(steps, "steps", 0), POSITIONS if batch_size is None else whole(batch_size, "batch_size", 2)
    if model.dtype not in (torch.float32, torch.float64):
        raise UsageError(f"A lens is fitted in float32 or float64, not in {model.dtype}: load the model so.")
    source = source if isinstance(source, Store) else model.check_tokens(source)
    runs = _runs(model, source, n_run, seed)
    generator = torch.Generator().manual_seed(seed)
    unseen = torch.cat(list(islice(runs, VALIDATION)), 1)
    validation = _Objective.of(model, unseen[-1], 2 * SAMPLED, generator)
    lenses = [_Parameters(model, kind) for kind in kinds]
    moments = _Moments.of(islice(runs, min(-(-WARM // n_run), _distinct(source, n_run))))
    for lens in lenses:
        lens.validate(validation, unseen)
        lens.start(moments)
        lens.validate(validation, unseen)
    running = [lens for lens in lenses if lens.kind != "linear"]
    batches = _batches(runs, positions_per_step(model, batch_size), seed)
    for step in range(steps if running else 0):
        streams = next(batches)
        objective = _Objective.of(model, streams[-1], SAMPLED, generator)
        for lens in running:
            lens.step(objective, streams, lr * (1 - step / steps))
        if (step + 1) % EVERY == 0:
            for lens in running:
                lens.validate(validation, unseen)
            running = [lens for lens in running if lens.improving]
            if not running:
                break
        if progress is not None:
            progress(step + 1, steps, "fitting the lenses")
    return [lens.fitted() for lens in lenses]


def hooks(model: Model) -> tuple[str, ...]:
    """Return the hooks that a store needs for training a lens.

    What enters the first block and leaves each block.
    """
    return "blocks.0.hook_resid_pre", *(f"blocks.{i}.hook_resid_post" for i in range(model.spec.n_layer))


def positions_per_step(model: Model, batch_size: int | None = None) -> int:
    """Return the number of positions of a training step.

    It is `batch_size` where that is given. Otherwise it is 256, or fewer where their logits would be more than 3 · 2²²,
    those of a vocabulary of 49,152: choosing the likeliest tokens of a position takes 2 d_model d_vocab operations.

    >>> positions_per_step(model), positions_per_step(model, 32)
    (256, 32)
    """
    return min(POSITIONS, max(2, LOGITS // model.spec.d_vocab)) if batch_size is None else batch_size


def _batches(runs: Iterator[Streams], size: int, seed: int) -> Iterator[Streams]:
    """Yield the positions of each run in steps of `size`, shuffled where a run is more than one step."""
    generator = torch.Generator().manual_seed(seed)
    for streams in runs:
        n = streams.shape[1]
        if n < 2 * size:
            yield streams
            continue
        for chosen in torch.randperm(n, generator=generator)[: n - n % size].split(size):
            yield streams[:, chosen.to(streams.device)]


def _distinct(source: Store | Tensor, size: int) -> int:
    """Return the number of runs after those for validation before the text comes again."""
    n = len(source) // size if isinstance(source, Store) else -(-len(source) // max(1, size // source.shape[1]))
    return n - VALIDATION


def _runs(model: Model, source: Store | Tensor, size: int, seed: int) -> Iterator[Streams]:
    """Yield residual streams of `size` positions, validation first.

    In an order drawn with `seed`.
    """
    if isinstance(source, Store):
        yield from _stored(model, source, size, seed)
        return
    tokens, per_batch = source, max(1, size // source.shape[1])
    if len(tokens) <= VALIDATION * per_batch:
        raise UsageError(
            f"A lens needs text for at least {VALIDATION + 1} batches, {VALIDATION} of them for validation: "
            f"{len(tokens)} rows of {tokens.shape[1]} tokens are fewer than {VALIDATION + 1} · {size}."
        )
    order = torch.randperm(len(tokens), generator=torch.Generator().manual_seed(seed)).split(per_batch)
    again = len(order) - VALIDATION
    for i in count():
        chosen = order[i if i < VALIDATION else VALIDATION + (i - VALIDATION) % again]
        _, cache = model.run_with_cache(tokens[chosen], list(hooks(model)))
        yield torch.stack([cache[name].flatten(0, 1) for name in hooks(model)])


def _stored(model: Model, store: Store, size: int, seed: int) -> Iterator[Streams]:
    store.check_model(model)
    missing = [name for name in hooks(model) if name not in store.hooks]
    if missing:
        raise UsageError(f"The store lacks {missing[0]}: a lens needs every layer's stream, {len(hooks(model))} hooks.")
    if len(store) < (VALIDATION + 1) * size:
        raise UsageError(
            f"The store holds {len(store)} positions: a lens needs at least {VALIDATION + 1} batches of {size}."
        )
    for epoch in count():
        every = [store.batches(size, seed=seed, hook=name) for name in hooks(model)]
        for number, parts in enumerate(zip(*every, strict=True)):
            if len(parts[0]) == size and (epoch == 0 or number >= VALIDATION):
                yield torch.stack([part.to(model.device, model.dtype) for part in parts])


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
        """Return the objective of a batch.

        From the streams that leave the last block.
        """
        ids, factor = _sample(_likely(model, last), model.spec.d_vocab, n_sampled, generator)
        columns, bias = model.weights.unembed(ids)
        probabilities = (_logits(model, last, columns, bias) + factor.log()).softmax(-1)
        return cls(model, columns, bias, factor, probabilities)

    def __call__(self, x: Float[Tensor, "row n d_model"]) -> Float[Tensor, " row"]:
        """Return the mean KL divergence of translated streams, in nats."""
        read = (_logits(self.model, x, self.columns, self.bias) + self.factor.log()).log_softmax(-1)
        known = self.probabilities.clamp_min(torch.finfo(x.dtype).tiny).log()
        return (self.probabilities * (known - read)).sum(-1).mean(-1)

    @torch.no_grad()
    def rows(self, lens: _Parameters, streams: Streams) -> Float[Tensor, " row"]:
        """Return the divergence of every row."""
        return torch.stack([self(lens.translated(row, x)) for row, x in enumerate(streams[:-1])]).cpu()


class _Parameters:
    """Parameters A and b of every row, and state of Adam.

    Its moments, and the best values so far.
    """

    def __init__(self, model: Model, kind: str):
        shape = model.spec.n_layer, model.spec.d_model
        like = model.parts.W_U
        self.kind, self.weights = kind, like.new_zeros(*shape, shape[1])
        self.biases = like.new_zeros(shape)
        self.best = self.weights.clone(), self.biases.clone()
        self.best_loss = torch.full(shape[:1], torch.inf, dtype=like.dtype)
        self.waited = torch.zeros(shape[0], dtype=torch.long)
        self.moments = [[torch.zeros_like(value) for _ in range(2)] for value in (self.weights, self.biases)]
        self.history: list[Tensor] = []
        self.n_step = 0

    @property
    def improving(self) -> bool:
        """Whether any row has improved lately."""
        return bool((self.waited < PATIENCE).any())

    def translated(self, row: int, x: Tensor) -> Tensor:
        """Return the stream of one row in the basis of the last."""
        return x + self.biases[row] + (0.0 if self.kind == "bias" else x @ self.weights[row])

    def start(self, moments: _Moments) -> None:
        """Start from least squares: of A and b, or of b alone."""
        if self.kind == "bias":
            self.biases = moments.bias().to(self.biases)
        else:
            weights, biases = moments.affine()
            self.weights, self.biases = weights.to(self.weights), biases.to(self.biases)

    def validate(self, objective: _Objective, streams: Streams) -> None:
        """Measure every row on the validation batches.

        Its values are stored where they improve.
        """
        loss = objective.rows(self, streams)
        self.history.append(loss)
        better = loss < self.best_loss
        self.best_loss = torch.where(better, loss.to(self.best_loss), self.best_loss)
        self.waited = torch.where(better, 0, self.waited + 1)
        for best, value in zip(self.best, (self.weights, self.biases), strict=True):
            best[better] = value[better]

    def fitted(self) -> Fitted:
        """Return the best values."""
        return Fitted(*self.best, torch.stack(self.history))

    def step(self, objective: _Objective, streams: Streams, lr: float) -> None:
        """Take one Adam step of every row that has not stopped."""
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


@dataclass(frozen=True)
class _Moments:
    """Second moments for the regression of last − x on x.

    Of [x, size] with itself and with (last − x), every position divided by the last norm scale.

    `size` stands in the place of the 1 of an affine map, so that the ridge means the same for A and b.
    """

    own: Float[Tensor, "row d_model+1 d_model+1"]
    cross: Float[Tensor, "row d_model+1 d_model"]
    size: Float[Tensor, " row"]

    @classmethod
    @torch.no_grad()
    def of(cls, batches: Iterator[Streams]) -> _Moments:
        """Sum the moments of some batches."""
        own, cross, size = None, None, None
        for streams in batches:
            before, last = streams[:-1].float(), streams[-1].float()
            scale = last.square().mean(-1, keepdim=True).sqrt()
            if own is None or cross is None or size is None:
                n_row, _, d = before.shape
                own, cross = before.new_zeros(n_row, d + 1, d + 1), before.new_zeros(n_row, d + 1, d)
                size = before.square().mean((1, 2)).sqrt()
            for row, x in enumerate(before):
                affine = torch.cat([x, size[row].expand(len(x), 1)], dim=1) / scale
                own[row].addmm_(affine.T, affine)
                cross[row].addmm_(affine.T, (last - x) / scale)
        assert own is not None and cross is not None and size is not None
        return cls(own, cross, size)

    def affine(self) -> tuple[Tensor, Tensor]:
        """Return A and b of the ridge regression of last − x on x."""
        solved = []
        for own, cross in zip(self.own, self.cross, strict=True):
            left = own.double()
            ridge = RIDGE * left.diagonal().median() * torch.eye(len(left), device=left.device)
            solved.append(torch.linalg.solve(left + ridge, cross.double()))
        both = torch.stack(solved)
        return both[:, :-1], both[:, -1] * self.size[:, None]

    def bias(self) -> Tensor:
        """Return b alone: the weighted mean of last − x."""
        return self.cross[:, -1] / self.own[:, -1, -1, None] * self.size[:, None]


def _likely(model: Model, last: Float[Tensor, "n d_model"]) -> Int[Tensor, " m"]:
    """Return the likeliest tokens of all positions, unembedded a bounded number at once."""
    k, n = min(LIKELY, model.spec.d_vocab), max(1, AT_ONCE // model.spec.d_vocab)
    parts = [trace.unembed(model.weights, x, folded=False)[0].topk(k).indices.flatten() for x in last.split(n)]
    return torch.cat(parts).unique()


def _logits(model: Model, x: Tensor, columns: Tensor, bias: Tensor) -> Tensor:
    spec = model.spec
    return softcap(x / norm_scale(x, spec.norm, spec.norm_eps) @ columns + bias, spec.logit_softcap)


def _sample(likely: Int[Tensor, " m"], d_vocab: int, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return the likely tokens, and a sample of the others.

    The likely tokens have factor 1, and `n` others are weighted for those left out.
    """
    rest = torch.ones(d_vocab, dtype=torch.bool)
    rest[likely.cpu()] = False
    others = rest.nonzero().flatten()
    drawn = others[torch.randperm(len(others), generator=generator)[:n]]
    ids = torch.cat([likely.cpu(), drawn]).to(likely.device)
    factor = torch.ones(len(ids), device=likely.device)
    factor[len(likely) :] = len(others) / max(1, len(drawn))
    return ids, factor
