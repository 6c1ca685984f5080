"""`project`: the weights of a head or a neuron as lists of tokens (Dar et al. 2022, arXiv 2209.02535).

A vector that reads the stream is compared with the embedding (which token would it answer to), one that writes is sent
through the unembedding (which token would it raise). No input is run.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from interp.circuits.embedding.results import Projection
from interp.circuits.factors import working
from interp.circuits.output_value import ov
from interp.circuits.query_key import qk
from interp.circuits.readings import TopTokens
from interp.circuits.results import head_name
from interp.circuits.vocabulary import ranked, top_tokens
from interp.errors import UsageError
from interp.model import Model


@torch.no_grad()
def project(
    model: Model, layer: int, *, head: int | None = None, neuron: int | None = None, k: int = 10, directions: int = 3
) -> Projection:
    """Return tokens that match the weights of a head or neuron.

    They are the tokens that a head's strongest singular directions, or a neuron's two or three vectors, go with and
    against.

    Args:
        model: the model.
        layer: the layer of the head or neuron.
        head: a head: of its output-value map what each direction reads and writes, of its query-key map (rotation left
            out) what query and key each direction matches.
        neuron: instead of a head, a hidden unit of the MLP: what it reads, what opens its gate, what it writes.
        k: tokens on each side.
        directions: singular directions of each map of a head. Their signs are arbitrary, but common to both ends.

    Returns:
        The tokens of each vector.

    Raises:
        UsageError: not exactly one of head and neuron, or one that does not exist.

    >>> [vector.source for vector in project(model, layer=1, head=0, directions=1).vectors[:2]]
    ['value direction 0: reads', 'value direction 0: writes']
    """
    if (head is None) == (neuron is None):
        raise UsageError("Give project a head or a neuron, and not both.")
    if head is not None:
        return Projection(head_name(layer, head), tuple(_head(model, layer, head, k, directions)))
    assert neuron is not None
    return Projection(f"MLP {layer} neuron {neuron}", tuple(_neuron(model, layer, neuron, k)))


def _head(model: Model, layer: int, head: int, k: int, directions: int) -> list[TopTokens]:
    maps = {"value": ov(model, layer, head).factors, "query-key": qk(model, layer, head).factors()}
    vectors = []
    for name, factors in maps.items():
        left, _, right = factors.svd()
        for i in range(min(directions, left.shape[1])):
            first, second = ("reads", "writes") if name == "value" else ("query", "key")
            vectors.append(_read(model, left[:, i], f"{name} direction {i}: {first}", k))
            end = top_tokens if name == "value" else _read
            vectors.append(end(model, right[:, i], f"{name} direction {i}: {second}", k))
    return vectors


def _neuron(model: Model, layer: int, neuron: int, k: int) -> list[TopTokens]:
    mlp = model.weights.mlp(layer)
    if not 0 <= neuron < model.spec.d_mlp:
        raise UsageError(f"Neuron {neuron} does not exist: each MLP has 0 to {model.spec.d_mlp - 1}.")
    vectors = [_read(model, mlp.W_in[:, neuron], "reads", k)]
    if mlp.W_gate is not None:
        vectors.append(_read(model, mlp.W_gate[:, neuron], "gate", k))
    written = mlp.W_out[neuron] if mlp.post_gain is None else mlp.W_out[neuron] * mlp.post_gain
    return [*vectors, top_tokens(model, working(written), "writes", k)]


def _read(model: Model, vector: Float[Tensor, " d_model"], source: str, k: int) -> TopTokens:
    """Return the tokens whose embeddings the vector answers to most.

    And those it answers to with the opposite sign.
    """
    W_E = working(model.weights.W_E)
    return ranked(model, W_E @ vector.to(W_E), source, k)
