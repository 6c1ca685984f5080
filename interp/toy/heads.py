"""Attention heads or layers trained jointly, in turn or separately, on independent look-backs.

A sequence of random tokens; at the last position the tokens of the `wanted` positions before it are asked for, each
in outputs of its own. A head has one pattern and one output map for all it attends to, so that one head cannot bring
all tokens. Embedding, positions and unembedding are random and fixed: only heads are trained. With `layered` the
heads are stacked, one a layer: a later one reads what an earlier one writes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from interp.errors import UsageError
from interp.masks.training import train
from interp.toy.networks import Weights
from interp.toy.transformer import Shape, run_transformer, transformer

AXES = {"q": 1, "k": 1, "v": 1, "o": 2}
"""A block's maps, and the axis along which each is divided among heads."""
EVALUATED = 1024


@dataclass(frozen=True)
class Task:
    """Task of attention: bring earlier tokens to the last position.

    `wanted` tokens of `tokens` kinds are brought to the last of `length` positions.
    """

    wanted: int = 4
    tokens: int = 4
    length: int = 6
    slots: int = 8
    """Number of heads that fit."""
    head_width: int = 4
    layered: bool = False
    """Whether each head is the only one of a layer of its own."""

    def __post_init__(self) -> None:
        if not 1 <= self.wanted < self.length:
            raise UsageError(
                f"wanted is {self.wanted}; it must be between 1 and {self.length - 1}, the length less one."
            )

    @property
    def shape(self) -> Shape:
        """Return the sizes of the transformer."""
        width = self.slots * self.head_width
        return Shape(
            self.tokens,
            self.wanted * self.tokens,
            self.length,
            width=width,
            heads=self.slots,
            mlp=0,
            layers=self.slots if self.layered else 1,
        )

    @property
    def maps(self) -> list[str]:
        """Names of the weights that are trained."""
        return [f"{layer}.{name}" for layer in range(self.shape.layers) for name in AXES]

    def draw(self, count: int, step: int) -> Tensor:
        """Return the sequences of a step, (count, length)."""
        return torch.randint(self.tokens, (count, self.length), generator=torch.Generator().manual_seed(step))


@dataclass(frozen=True)
class Heads:
    """Trained networks, which may use different numbers of heads."""

    weights: Weights
    loss: Float[Tensor, " networks"]
    """Mean cross-entropy of the wanted tokens on new sequences, nats; ln(tokens) for none known."""
    writes: Float[Tensor, "networks sequences heads width"]
    """What each head writes at the last position."""

    def split(self, count: int) -> list[Heads]:
        """Return the networks in groups of `count`."""
        pieces = {name: w.split(count) for name, w in self.weights.items()}
        return [
            Heads({name: piece[k] for name, piece in pieces.items()}, loss, writes)
            for k, (loss, writes) in enumerate(zip(self.loss.split(count), self.writes.split(count), strict=True))
        ]


def train_jointly(task: Task, used: Sequence[int], seeds: Sequence[int], *, steps: int, lr: float = 0.02) -> Heads:
    """Train the first `used` heads of networks at the same time.

    There is one network for each seed given.
    """
    mask = _first(task, used)
    start = _start(task, seeds)
    moving = train({name: start[name] for name in task.maps}, _loss(task, start), steps=steps, lr=lr, mask=mask)
    return _judged(task, start | moving)


def train_in_turn(task: Task, most: int, seeds: Sequence[int], *, steps: int, lr: float = 0.02) -> list[Heads]:
    """Train `most` heads one after the other.

    The result has networks of 1, 2, … `most` heads. Earlier heads are frozen.
    """
    start = _start(task, seeds)
    done = {name: torch.zeros_like(start[name]) for name in task.maps}
    result = []
    for count in range(1, most + 1):
        own = _only(task, count - 1, len(seeds))
        loss = _loss(task, start, added=done)
        fresh = train({name: start[name] for name in task.maps}, loss, steps=steps, lr=lr, mask=own)
        done = {name: done[name] + fresh[name] for name in task.maps}
        result.append(_judged(task, start | done))
    return result


def train_separately(task: Task, most: int, seeds: Sequence[int], *, steps: int, lr: float = 0.02) -> list[Heads]:
    """Train each of `most` heads as if it were the only one.

    The result has networks of 1, 2, … `most` heads.
    """
    start = _start(task, [seed for seed in seeds for _ in range(most)])
    # Network k trains head k mod `most`, so that the heads fit side by side.
    own = {
        name: torch.cat([_only(task, head, 1)[name] for head in range(most)]).repeat(len(seeds), 1, 1)
        for name in task.maps
    }
    alone = train({name: start[name] for name in task.maps}, _loss(task, start), steps=steps, lr=lr, mask=own)
    fixed = {name: tensor[::most] for name, tensor in start.items()}
    result = []
    for count in range(1, most + 1):
        summed = {name: w.view(len(seeds), most, *w.shape[1:])[:, :count].sum(1) for name, w in alone.items()}
        result.append(_judged(task, fixed | summed))
    return result


def similarity(writes: Float[Tensor, "sequences heads width"]) -> Float[np.ndarray, "heads heads"]:
    """Return the similarity of what any two heads write.

    It is ‖C_ab‖² / (‖C_aa‖ ‖C_bb‖), C their covariances over sequences.

    1 for the same up to rotation and scale, 0 for unrelated and for a head that writes nothing (linear CKA, Kornblith
    et al. 2019, arXiv 1905.00414).
    """
    centred = (writes - writes.mean(0)).double()
    crossed = torch.einsum("nap,nbq->abpq", centred, centred).square().sum((2, 3))
    own = crossed.diagonal().sqrt()
    return (crossed / (own[:, None] * own[None]).clamp(min=1e-12)).numpy()


def _start(task: Task, seeds: Sequence[int]) -> Weights:
    return transformer(task.shape, seeds)


def _loss(task: Task, start: Weights, added: Weights | None = None) -> Callable[[Weights, int], Tensor]:
    def loss(moving: Weights, step: int) -> Tensor:
        heads = {name: w + added[name] for name, w in moving.items()} if added else moving
        return _cross_entropy(task, start | heads, task.draw(64, step + 1))

    return loss


def _cross_entropy(task: Task, weights: Weights, tokens: Tensor) -> Float[Tensor, " networks"]:
    logits = run_transformer(weights, tokens, task.shape)[:, :, -1]
    logits = logits.view(len(logits), len(tokens), task.wanted, task.tokens)
    label = tokens[:, -1 - task.wanted : -1].expand(len(logits), -1, -1)
    return torch.nn.functional.cross_entropy(logits.movedim(3, 1), label, reduction="none").mean((1, 2))


def _judged(task: Task, weights: Weights) -> Heads:
    tokens = task.draw(EVALUATED, 1 << 40)
    writes: dict[str, Tensor] = {}
    with torch.no_grad():
        run_transformer(weights, tokens, task.shape, writes=writes)
        loss = _cross_entropy(task, weights, tokens)
    last = [writes[f"{layer}.heads"][:, :, -1] for layer in range(task.shape.layers)]
    return Heads(weights, loss, torch.stack([w[:, :, 0] for w in last], dim=2) if task.layered else last[0])


def _first(task: Task, used: Sequence[int]) -> Weights:
    """Return masks of the first heads of every network."""
    parts = [[_only(task, head, 1) for head in range(count)] for count in used]
    return {name: torch.cat([torch.stack([p[name] for p in part]).sum(0) for part in parts]) for name in task.maps}


def _only(task: Task, head: int, networks: int) -> Weights:
    """Return masks of one head."""
    width, (layer, place) = task.shape.width, (head, 0) if task.layered else (0, head)
    masks = {name: torch.zeros(networks, width, width) for name in task.maps}
    for name, axis in AXES.items():
        masks[f"{layer}.{name}"].narrow(axis, place * task.head_width, task.head_width).fill_(1)
    return masks
