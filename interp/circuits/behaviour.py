"""What heads attend to, scored on text of known structure.

Olsson et al. 2022, arXiv 2209.11895.

Scores are attention mass on the tokens that a rule names, averaged over the queries for which it names any:

    previous    the token just before the query
    duplicate   earlier copies of the query's token
    induction   the tokens that followed earlier copies of the query's token
    first       the first token, where heads rest
    positional  none: how alike the patterns on two unrelated texts are, 2⟨P−U, P'−U⟩ / (‖P−U‖² + ‖P'−U‖²), with U
                attention spread evenly; 1 if the pattern does not depend on the text, 0 if nothing is shared
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from interp.circuits.attention_hooks import observed
from interp.circuits.head_results import HeadScores
from interp.circuits.output_value import copying_score, ov, token_transfer
from interp.circuits.texts import natural, repeated
from interp.errors import CheckFailedError, UsageError, whole
from interp.model import Model
from interp.model.arithmetic import visible
from interp.statistics import mean_interval
from interp.threads import on_a_thread_each

RULES = ("previous", "duplicate", "induction", "first")
NAMES = (*RULES, "positional")


def head_scores(model: Model, *, n_text: int = 16, length: int = 25, seed: int = 0) -> HeadScores:
    """Score every head on repeated random texts and on prose.

    There are `n_text` random texts and, with a tokenizer, eight pieces of prose. The patterns are the model's own, from
    its softmax. Intervals are 95 % percentile bootstraps over the texts (over pairs of texts for "positional").

    Args:
        model: the model.
        n_text: repeated texts, an even number from 4 up.
        length: tokens in each half of a repeated text.
        seed: of the texts and the bootstrap.

    Returns:
        Score and interval of every head, on each kind of text.

    Raises:
        UsageError: `n_text` or `length` that cannot be.
        CheckFailedError: a pattern whose rows do not sum to 1, or attention that could not be read.

    >>> scores = head_scores(model, n_text=4, length=12)
    >>> scores.induction.round(3)
    array([[0.072, 0.047, 0.058, 0.044],
           [0.037, 0.081, 0.074, 0.05 ],
           [0.046, 0.03 , 0.055, 0.041]], dtype=float32)
    """
    n_text, length, seed = whole(n_text, "n_text"), whole(length, "length"), whole(seed, "seed", 0)
    if n_text < 4 or n_text % 2:
        raise UsageError(f"n_text={n_text}, but intervals need an even number of texts, from 4 up.")
    texts = {"repeated": repeated(model, n_text, length, seed), "natural": natural(model)}
    measured = {kind: _measure(model, tokens) for kind, tokens in texts.items() if tokens is not None}
    bounds = [
        [mean_interval(samples, seed=seed) for samples in measurement.samples] for measurement in measured.values()
    ]
    return HeadScores(
        names=NAMES,
        texts=tuple(measured),
        scores=np.array([[bound[0] for bound in row] for row in bounds], np.float32),
        low=np.array([[bound[1] for bound in row] for row in bounds], np.float32),
        high=np.array([[bound[2] for bound in row] for row in bounds], np.float32),
        chance=np.array([measurement.chance for measurement in measured.values()]),
        copying=_copying(model),
        n_text=tuple(measurement.n_text for measurement in measured.values()),
        n_token=tuple(measurement.n_token for measurement in measured.values()),
        seed=seed,
        error=max(measurement.error for measurement in measured.values()),
    )


class _Measured:
    """Scores of one kind of text, for each name.

    An array (n_sample, n_layer, n_head) each.
    """

    def __init__(self, model: Model, tokens: Tensor):
        self.n_text, self.n_token = tokens.shape
        self.rules = _rules(tokens)
        self.windows = model.spec.windows
        self.sinks = model.spec.attention_sinks
        seen = visible(self.n_token, None, tokens.device).double()
        even = seen / seen.sum(-1, keepdim=True)
        self.chance = [float(_mass(even[None, None], rule).mean()) for rule in self.rules] + [0.0]
        self.samples: list[np.ndarray] = []
        self.error = 0.0
        self._layers: list[list[Tensor]] = []

    def keep(self, layer: int, _: Tensor, pattern: Tensor) -> None:
        """Score one layer's patterns, which are not stored.

        They are (batch, n_head, query, key).
        """
        excess = pattern.sum(-1) - 1  # with a sink, what is missing from one is the sink's
        sums = float((excess.clamp_min(0) if self.sinks else excess.abs()).max())
        self.error = sums if not sums <= self.error else self.error
        even = visible(self.n_token, self.windows[layer], pattern.device).to(pattern)
        even = even / even.sum(-1, keepdim=True)
        self._layers.append([*(_mass(pattern, rule) for rule in self.rules), _similarity(pattern - even)])

    def close(self) -> None:
        """Average after every layer was seen."""
        self.samples = [torch.stack(layers, dim=1).double().cpu().numpy() for layers in zip(*self._layers, strict=True)]


def _measure(model: Model, tokens: Tensor) -> _Measured:
    measurement = _Measured(model, tokens)
    last = f"blocks.{model.spec.n_layer - 1}.attn.hook_z"
    with observed(model, measurement.keep):
        model.run_with_cache(tokens, [last])
    measurement.close()
    if not measurement.error < 1e-2:
        raise CheckFailedError(
            f"Attention patterns of {model.name} sum to 1 only within {measurement.error:.1e}: is there a NaN?"
        )
    return measurement


def _rules(tokens: Tensor) -> list[Bool[Tensor, "batch query key"]]:
    """Return for each of `RULES` the keys it names for each query."""
    batch, n = tokens.shape
    key, query = torch.arange(n, device=tokens.device), torch.arange(n, device=tokens.device)[:, None]
    earlier_copy = (tokens[:, :, None] == tokens[:, None, :]) & (key < query)
    after_copy = torch.cat([torch.zeros_like(earlier_copy[..., :1]), earlier_copy[..., :-1]], dim=-1) & (key < query)
    previous, first = key == query - 1, (key == 0) & (query > 0)
    return [previous.expand(batch, n, n), earlier_copy, after_copy, first.expand(batch, n, n)]


def _mass(
    pattern: Float[Tensor, "batch n_head query key"], rule: Bool[Tensor, "batch query key"]
) -> Float[Tensor, "batch n_head"]:
    """Return the attention on what the rule names, averaged over its queries."""
    queries = rule.any(-1)
    mass = (pattern * rule[:, None]).sum((-1, -2))
    return mass / queries.sum(-1)[:, None].clamp_min(1)


def _similarity(excess: Float[Tensor, "batch n_head query key"]) -> Float[Tensor, "pair n_head"]:
    """Compute the similarity of patterns of successive pairs of texts.

    Texts 0 and 1, 2 and 3, ….

    0 where both are even.
    """
    one, other = excess[0::2], excess[1::2]
    size = one.square().sum((-1, -2)) + other.square().sum((-1, -2))
    return 2 * (one * other).sum((-1, -2)) / size.clamp_min(torch.finfo(size.dtype).tiny)


def _copying(model: Model) -> np.ndarray:
    model, transfer = model.with_cached_weights(), token_transfer(model)
    shape = (model.spec.n_layer, model.spec.n_head)
    heads = [ov(model, *at) for at in np.ndindex(shape)]
    scores = on_a_thread_each(lambda head: copying_score(head.W_V, head.W_O, transfer), heads)
    return np.array(scores).reshape(shape)
