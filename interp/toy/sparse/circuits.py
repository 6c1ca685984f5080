"""Circuits of single weights: few edges that do most of a network's task."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp import masks
from interp.toy.networks import Weights
from interp.toy.sparse.tasks import Batch, Sequences
from interp.toy.sparse.training import Networks, cross_entropy, evaluation
from interp.toy.transformer import Ablation, run_transformer

PRICE, STEPS, RATE, BATCH = 10.0, 200, 0.1, 128
"""Of the learned masks that rank the edges: nats for all edges in sum, steps, learning rate, sequences a step."""


@dataclass(frozen=True)
class Circuit:
    """Masks, edge counts and faithfulness of every network's circuit.

    >>> task = sparse.sequences("quotes")
    >>> networks = sparse.train(task, density=0.2, seeds=(0,), steps=20, width=16, mlp=16, heads=2)
    >>> result = sparse.circuit(networks, task, faithful=0.8)
    """

    masks: Weights
    edges: Int[Tensor, " instances"]
    """Weights in the circuit that are not zero; those of positions are constants, not edges."""
    faithfulness: Float[Tensor, " instances"]
    random_edges: Int[Tensor, " instances"]
    """The control: edges needed in random order."""
    total: Int[Tensor, " instances"]
    """Weights of the network that are not zero."""


class Measure:
    """Faithfulness of edge sets of some networks on one sample.

    f = (m(C) − m(∅)) / (m(all) − m(∅)) with m = −loss.

    A cut edge carries the mean over the sample of what it carries at its position. (Wang et al. 2022, arXiv
    2211.00593; with means in place of other prompts' values.)
    """

    def __init__(self, networks: Networks, task: Sequences, seed: int = 1) -> None:
        self.networks = networks
        self.tokens, self.answer = evaluation(task, seed)
        reads: dict[str, Tensor] = {}
        with torch.no_grad():
            run_transformer(networks.weights, self.tokens, networks.shape, reads=reads)
        self.means = {name: read.mean(1) for name, read in reads.items()}
        self.matrices = {name: networks.weights[name] for name in reads}
        with torch.no_grad():
            self.whole = self.loss({name: torch.ones_like(w) for name, w in self.matrices.items()})
            self.nothing = self.loss({name: torch.zeros_like(w) for name, w in self.matrices.items()})

    def loss(self, edges: Weights, sample: Batch | None = None) -> Float[Tensor, " instances"]:
        """Return the cross-entropy with only these edges.

        It is measured on the measure's own sequences or others.
        """
        tokens, answer = sample or (self.tokens, self.answer)
        return cross_entropy(self.networks.weights, tokens, answer, self.networks.shape, Ablation(edges, self.means))

    def faithfulness(self, edges: Weights) -> Float[Tensor, " instances"]:
        """Return the faithfulness f of the edges."""
        return (self.nothing - self.loss(edges)) / (self.nothing - self.whole)


def faithfulness(networks: Networks, task: Sequences, edges: Weights) -> Float[Tensor, " instances"]:
    """Return the share of the network's gain that the edges alone reach.

    The gain is over an empty circuit: 1 for all, 0 for none.

    Args:
        networks: the networks.
        task: the task they were trained on.
        edges: masks of the edges of the circuit.

    Returns:
        One number for each network.

    >>> task = sparse.sequences("quotes")
    >>> networks = sparse.train(task, density=0.2, seeds=(0,), steps=20, width=16, mlp=16, heads=2)
    >>> faithfulness(networks, task, {name: torch.ones_like(w) for name, w in networks.weights.items()})
    tensor([1.])
    """
    with torch.no_grad():
        return Measure(networks, task).faithfulness(edges)


def circuit(networks: Networks, task: Sequences, *, faithful: float = 0.9, seed: int = 0) -> Circuit:
    """Return the smallest circuits with a faithfulness of at least `faithful`.

    Masks over all edges are learned at one price an edge (edge pruning, arXiv 2406.16778, on single weights); edges
    are ranked by their log-odds, and the fewest that suffice are returned. Dense and sparse networks are searched in
    the same way. (A ranking by integrated gradients, tried first, needed three times as many edges where a task
    multiplies queries and keys: a trained network's loss has no slope at the whole, and one edge shows nothing of the
    edges it needs.)

    Args:
        networks: the networks.
        task: the task they were trained on.
        faithful: the least faithfulness.
        seed: of the inputs.

    Returns:
        The circuit of every network, with the edges of random ones.

    >>> task = sparse.sequences("quotes")
    >>> networks = sparse.train(task, density=0.2, seeds=(0,), steps=20, width=16, mlp=16, heads=2)
    >>> circuit(networks, task, faithful=0.8).edges.shape
    torch.Size([1])
    """
    measure = Measure(networks, task)
    there = {name: w != 0 for name, w in measure.matrices.items()}
    learned = masks.learn(
        {name: torch.ones_like(w) for name, w in measure.matrices.items()},
        lambda gates, step: measure.loss(gates, task.draw(BATCH, torch.Generator().manual_seed((seed << 31) + step))),
        price=PRICE,
        steps=STEPS,
        lr=RATE,
        seed=seed,
    )

    def fewest(scores: Weights) -> Weights:
        among = {name: score.masked_fill(~there[name], -torch.inf) for name, score in scores.items()}
        return masks.smallest(among, lambda edges: -measure.faithfulness(edges), -faithful)

    edges, random = fewest(learned.log_odds), fewest(masks.random(measure.matrices, seed=seed))
    with torch.no_grad():
        reached = measure.faithfulness(edges)
    total = _count({name: mask.float() for name, mask in there.items()})
    return Circuit(edges, _count(edges), reached, _count(random), total)


def _count(edges: Weights) -> Int[Tensor, " instances"]:
    return torch.stack([mask.flatten(1).sum(1) for mask in edges.values()]).sum(0).long()
