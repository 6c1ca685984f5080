"""Models of known wiring, written by hand: which edges carry the answer is known because nothing else was put in.

The residual stream has one-hot features, each with its negative, so that the mean that LayerNorm subtracts is zero,
and one large constant feature, so that the norm's scale hardly depends on what is written. A head is four maps between
features; everything not named here is zero, so that every other head is dead.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import transformers

import interp
from interp.discovery.graph import Graph
from interp.model import Model
from interp.tasks import Task

V = 8
"""Tokens."""
LENGTH = 8
FEATURES = 40
"""Features of the stream: V tokens, LENGTH positions, and 24 that heads write."""
TOKEN, POSITION, FREE = 0, V, V + LENGTH
D_HEAD = 16
CONSTANT = 30.0
SHARP = 60.0


@dataclass(frozen=True)
class Planted:
    """A model, a task it does, and the edges that do it."""

    model: Model
    task: Task
    wiring: frozenset[str]
    dead: tuple[str, ...]

    def truth(self, graph: Graph) -> np.ndarray:
        """Whether each edge is in the wiring."""
        return np.array([edge in self.wiring for edge in graph.edges])


@dataclass(frozen=True)
class Head:
    """What a head reads for query, key and value, and writes: (feature, head coordinate, size)."""

    query: tuple[tuple[int, int, float], ...] = ()
    key: tuple[tuple[int, int, float], ...] = ()
    value: tuple[tuple[int, int, float], ...] = ()
    write: tuple[tuple[int, int, float], ...] = ()


def same(features: range | list[int], size: float = 1.0) -> tuple[tuple[int, int, float], ...]:
    """Feature i of the list to head coordinate i."""
    return tuple((feature, i, size) for i, feature in enumerate(features))


def gpt2(
    heads: dict[tuple[int, int], Head],
    out: dict[int, dict[int, float]],
    n_layer: int,
    n_head: int,
    mlps: dict[int, list[tuple[dict[int, float], float, dict[int, float]]]] | None = None,
) -> Model:
    """A GPT-2 with the heads and MLPs given; `out` are the logits' weights on features: token -> {feature: weight}.

    An MLP is a list of hidden units (weights on features, bias, writes), with a ReLU.
    """
    width = 2 * (FEATURES + 1)
    d_model = n_head * D_HEAD
    assert d_model >= width
    config = transformers.GPT2Config(
        vocab_size=V, n_embd=d_model, n_layer=n_layer, n_head=n_head, n_positions=LENGTH, n_inner=8, bos_token_id=0,
        eos_token_id=0, attn_implementation="eager", tie_word_embeddings=False, activation_function="relu",
    )  # fmt: skip
    hf = transformers.GPT2LMHeadModel(config).eval()
    with torch.no_grad():
        for name, value in hf.named_parameters():
            value.fill_(1.0 if ".ln_" in name and name.endswith("weight") else 0.0)
        # LayerNorm divides by about the constant: gains of that size give features back as they were written
        scale = CONSTANT * (2 / d_model) ** 0.5
        for name, value in hf.named_parameters():
            if ".ln_" in name and name.endswith("weight"):
                value.fill_(scale)
        for token in range(V):
            hf.transformer.wte.weight[token] = vector({TOKEN + token: 1.0, FEATURES: CONSTANT}, d_model)
        for position in range(LENGTH):
            hf.transformer.wpe.weight[position] = vector({POSITION + position: 1.0}, d_model)
        for (layer, head), parts in heads.items():
            set_head(hf.transformer.h[layer].attn, head, parts, d_model)
        for layer, units in (mlps or {}).items():
            for i, (weights, bias, writes) in enumerate(units):
                hf.transformer.h[layer].mlp.c_fc.weight[:, i] = vector(weights, d_model) / 2
                hf.transformer.h[layer].mlp.c_fc.bias[i] = bias
                hf.transformer.h[layer].mlp.c_proj.weight[i] = vector(writes, d_model)
        for token, weights in out.items():
            hf.lm_head.weight[token] = vector(weights, d_model) / 2
    return interp.load(hf, dtype=torch.float64)


def vector(features: dict[int, float], d_model: int) -> torch.Tensor:
    """Features of given sizes, each followed by its negative."""
    result = torch.zeros(d_model)
    for feature, size in features.items():
        result[feature], result[FEATURES + 1 + feature] = size, -size
    return result


def matrix(entries: tuple[tuple[int, int, float], ...], d_model: int, half: bool) -> torch.Tensor:
    """(d_model, D_HEAD) of feature -> coordinate; reading takes the mean of a feature and its negative."""
    result = torch.zeros(d_model, D_HEAD)
    for feature, coordinate, size in entries:
        result[:, coordinate] += vector({feature: size / (2 if half else 1)}, d_model)
    return result


def set_head(attention, head: int, parts: Head, d_model: int) -> None:
    """Write one head's maps into a GPT-2 attention."""
    columns = slice(head * D_HEAD, (head + 1) * D_HEAD)
    for i, entries in enumerate((parts.query, parts.key, parts.value)):
        attention.c_attn.weight[:, d_model * i :][:, columns] = matrix(entries, d_model, half=True)
    attention.c_proj.weight[columns] = matrix(parts.write, d_model, half=False).T


def task(name: str, clean: list[list[int]], other: list[list[int]], right: list[int], wrong: list[int]) -> Task:
    """Pairs of token rows."""
    end = torch.tensor([len(row) - 1 for row in clean])
    n = len(clean)
    rows = (torch.tensor(clean), torch.tensor(other), torch.tensor(right), torch.tensor(wrong))
    return Task(name, *rows, {"end": end}, ("planted",) * n, tuple(map(str, range(n))), tuple(map(str, clean[0])))


def free(k: int) -> int:
    """A feature that heads may write."""
    return FREE + k


def looks_at(position: int, size: float = SHARP) -> dict[str, tuple]:
    """Query and key of a head whose every query looks at one position: all positions match that one's feature."""
    return {
        "query": tuple((POSITION + p, 0, size) for p in range(LENGTH)),
        "key": ((POSITION + position, 0, 1.0),),
    }


def induction() -> Planted:
    """Two layers: L0H0 writes the previous token, L1H0 looks where the previous token is its own and copies.

    The counterfactual exchanges the two keys; the answer flips. Wiring: the values that L0H0 moves come from the
    tokens, and reach L1H0 by its keys.
    """
    previous = [free(i) for i in range(V)]
    back = Head(
        query=tuple((POSITION + p, p, SHARP) for p in range(LENGTH)),
        key=tuple((POSITION + p, p + 1, 1.0) for p in range(LENGTH - 1)),
        value=same(range(TOKEN, TOKEN + V)),
        write=same(previous),
    )
    answers = [free(V + i) for i in range(V)]
    match = Head(
        query=same(range(TOKEN, TOKEN + V), SHARP),
        key=same(previous),
        value=same(range(TOKEN, TOKEN + V)),
        write=same(answers),
    )
    model = gpt2({(0, 0): back, (1, 0): match}, {t: {answers[t]: 5.0} for t in range(V)}, 2, 6)
    clean = [[0, 1, 2, 3, 7, 0], [4, 5, 6, 1, 7, 4], [2, 6, 5, 3, 7, 2]]
    other = [[2, 1, 0, 3, 7, 0], [6, 5, 4, 1, 7, 4], [5, 6, 2, 3, 7, 2]]
    wiring = {"embed → L0H0.v", "L0H0 → L1H0.k", "L1H0 → logits"}
    return Planted(model, task("induction", clean, other, [1, 5, 6], [3, 1, 3]), frozenset(wiring), ("L0H1", "L1H1"))


def symbolic_ioi() -> Planted:
    """One layer, two heads: L0H0 copies every name, L0H1 takes away the repeated one (2510.25013)."""
    spread = Head(value=same(range(TOKEN, TOKEN + V)), write=same([free(i) for i in range(V)]))
    repeated = Head(
        query=((POSITION + 3, 0, SHARP),),
        key=((POSITION + 2, 0, 1.0),),
        value=same(range(TOKEN, TOKEN + V)),
        write=same([free(i) for i in range(V)], -1.0),
    )
    model = gpt2({(0, 0): spread, (0, 1): repeated}, {t: {free(t): 5.0} for t in range(V)}, 1, 6)
    clean = [[0, 1, 1, 7], [2, 3, 3, 7], [4, 5, 5, 7]]
    other = [[0, 1, 0, 7], [2, 3, 2, 7], [4, 5, 4, 7]]
    wiring = {f"embed → L0H{h}.v" for h in (0, 1)} | {f"L0H{h} → logits" for h in (0, 1)}
    return Planted(model, task("symbolic", clean, other, [0, 2, 4], [1, 3, 5]), frozenset(wiring), ("L0H2", "L0H3"))


def gate(kind: str) -> Planted:
    """Two heads move one signal each to the end; an MLP answers if either ("or"), or both ("and"), arrived."""
    one, other, answer = free(0), free(1), free(2)
    heads = {
        (0, 0): Head(**looks_at(0), value=((TOKEN + 1, 0, 1.0),), write=((one, 0, 1.0),)),
        (0, 1): Head(**looks_at(1), value=((TOKEN + 2, 0, 1.0),), write=((other, 0, 1.0),)),
    }
    both = {one: 1.0, other: 1.0}
    if kind == "and":
        units = [(both, -1.0, {answer: 1.0})]
    else:
        units = [(both, 0.0, {answer: 1.0}), (both, -1.0, {answer: -1.0})]
    model = gpt2(heads, {3: {answer: 5.0}}, 1, 6, {0: units})
    pairs = task(kind, [[1, 2, 7], [1, 2, 6]], [[4, 5, 7], [4, 5, 6]], [3, 3], [0, 0])
    wiring = {f"embed → L0H{h}.v" for h in (0, 1)} | {f"L0H{h} → MLP0" for h in (0, 1)} | {"MLP0 → logits"}
    return Planted(model, pairs, frozenset(wiring), ("L0H2", "L0H3"))


def cancelling() -> Planted:
    """One head's signal reaches the logits directly and, with nearly the opposite sign, through a second head."""
    signal, answer = free(0), free(1)
    heads = {
        (0, 0): Head(**looks_at(0), value=((TOKEN + 1, 0, 1.0),), write=((signal, 0, 1.0),)),
        (1, 0): Head(
            query=tuple((POSITION + p, p, SHARP) for p in range(LENGTH)),
            key=tuple((POSITION + p, p, 1.0) for p in range(LENGTH)),
            value=((signal, 0, 1.0),),
            write=((answer, 0, -0.9),),
        ),
    }
    model = gpt2(heads, {3: {signal: 5.0, answer: 5.0}}, 2, 6)
    pairs = task("cancelling", [[1, 2, 7], [1, 5, 6]], [[4, 2, 7], [4, 5, 6]], [3, 3], [0, 0])
    wiring = {"embed → L0H0.v", "L0H0 → L1H0.v", "L0H0 → logits", "L1H0 → logits"}
    return Planted(model, pairs, frozenset(wiring), ("L0H1", "L1H1"))


def saturated() -> Planted:
    """A head looks by token at one of two places with a softmax so sharp that its gradient vanishes."""
    answers = [free(i) for i in range(V)]
    head = Head(
        query=same(range(TOKEN, TOKEN + V), 4 * SHARP),
        key=tuple((TOKEN + t, t - 2, 1.0) for t in (2, 3)),
        value=tuple((POSITION + p, p, 1.0) for p in range(2)),
        write=((answers[4], 0, 1.0), (answers[5], 1, 1.0)),
    )
    model = gpt2({(0, 0): head}, {t: {answers[t]: 5.0} for t in (4, 5)}, 1, 6)
    pairs = task("saturated", [[2, 3, 0], [2, 3, 0]], [[2, 3, 1], [2, 3, 1]], [4, 4], [5, 5])
    return Planted(model, pairs, frozenset({"embed → L0H0.q", "L0H0 → logits"}), ("L0H1", "L0H2"))


def shared_key() -> Planted:
    """Grouped queries: L0H0 and L0H1 look by the same key, made of the token, and read different things there.

    A Llama whose rotation is slow but in the first pair of coordinates, which no head uses.
    """
    width, d_head, n_head = 4 * D_HEAD, D_HEAD, 4
    config = transformers.LlamaConfig(
        vocab_size=V, hidden_size=width, intermediate_size=8, num_hidden_layers=1, num_attention_heads=n_head,
        num_key_value_heads=2, head_dim=d_head, max_position_embeddings=LENGTH, tie_word_embeddings=False,
        rope_parameters={"rope_type": "default", "rope_theta": 1e30}, attn_implementation="eager",
    )  # fmt: skip
    hf = transformers.LlamaForCausalLM(config).eval()
    constant = width - 1
    with torch.no_grad():
        for name, value in hf.named_parameters():
            value.fill_(CONSTANT * width**-0.5 if "norm" in name else 0.0)
        for token in range(V):
            hf.model.embed_tokens.weight[token, token] = 1.0
            hf.model.embed_tokens.weight[token, constant] = CONSTANT
        attention = hf.model.layers[0].self_attn
        for head, size in ((0, 1.0), (1, 0.7)):
            attention.q_proj.weight[head * d_head + 1, constant] = SHARP / CONSTANT
            attention.o_proj.weight[[30 + head], head * d_head + 2] = size
        attention.k_proj.weight[1, [1, 4]] = torch.tensor([1.0, 0.0])
        attention.v_proj.weight[2, 5], attention.v_proj.weight[2, 6] = 1.0, -1.0
        attention.v_proj.weight[2, 1], attention.v_proj.weight[2, 4] = 1.0, 1.0
        hf.lm_head.weight[3, 30] = hf.lm_head.weight[3, 31] = 5.0
    model = interp.load(hf, dtype=torch.float64)
    pairs = task("shared key", [[1, 6, 7], [1, 6, 2]], [[4, 6, 7], [4, 6, 2]], [3, 3], [0, 0])
    wiring = frozenset({"embed → L0KV0.k", "L0H0 → logits", "L0H1 → logits"})
    return Planted(model, pairs, wiring, ("L0H2", "L0H3"))


PLANTED: dict[str, Callable[[], Planted]] = {
    "induction": induction,
    "symbolic ioi": symbolic_ioi,
    "or gate": lambda: gate("or"),
    "and gate": lambda: gate("and"),
    "cancelling": cancelling,
    "saturated": saturated,
    "shared key": shared_key,
}


def with_backups() -> tuple[Planted, tuple[str, ...]]:
    """L0H0 writes the answer and a mark; L1H0 and L1H1 write a third of it each, where there is no mark.

    L1H2 writes a little of it always. Returns the model and the names of the backups.
    """
    mark, answer, sign = free(0), free(1), free(2)
    looking = Head(**looks_at(0), value=((TOKEN + 1, 0, 1.0),), write=((mark, 0, 1.0), (answer, 0, 1.0)))
    query = (*((POSITION + p, 0, SHARP) for p in range(LENGTH)), (mark, 0, -2 * SHARP))
    backup = Head(query, ((POSITION + 0, 0, 1.0),), ((TOKEN + 1, 0, 1.0),), ((sign, 0, 0.3),))
    always = Head(**looks_at(0), value=((TOKEN + 1, 0, 1.0),), write=((answer, 0, 0.2),))
    heads = {(0, 0): looking, (1, 0): backup, (1, 1): backup, (1, 2): always}
    model = gpt2(heads, {3: {answer: 5.0, sign: 5.0}}, 2, 6)
    pairs = task("backups", [[1, 2, 7], [1, 5, 6]], [[4, 2, 7], [4, 5, 6]], [3, 3], [0, 0])
    return Planted(model, pairs, frozenset(), ("L0H1",)), ("L1H0", "L1H1")
