"""Lenses side by side on held-out text: cross-entropy, divergence from the model, and bias of every layer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.attribution.lens_results import LOGIT, LensComparison
from interp.attribution.lens_training import hooks
from interp.attribution.tuned_lens import TunedLens
from interp.errors import NotFiniteError, UsageError, require
from interp.model import Model, trace
from interp.progress import Progress, Rate
from interp.provenance import Stopwatch


@torch.no_grad()
def compare_lenses(
    model: Model,
    tokens: Int[Tensor, "n n_token"],
    lenses: Mapping[str, TunedLens],
    *,
    progress: Progress | None = None,
) -> LensComparison:
    """Compare lenses with the logit lens on held-out text.

    The text must not have been used to fit the lenses.

    Args:
        model: the model.
        tokens: (n, n_token) texts of one length, without padding.
        lenses: name → lens.
        progress: called with (texts done, texts in all, what is being done).

    Returns:
        Cross-entropy, KL divergence and bias of every lens by layer.

    Raises:
        UsageError: a lens of another model, one named "logit", or texts of a single token.
        NotFiniteError: a prediction with a NaN.

    >>> compare_lenses(model, model.to_tokens(["the tower is in", "a b London Paris"]), {}).cross_entropy.shape
    (1, 4, 2)
    """
    watch = Stopwatch()
    require(model, Model, "model")
    tokens = model.check_tokens(tokens)
    if tokens.shape[1] < 2:
        raise UsageError("A lens is measured on texts of at least two tokens: the next one must be known.")
    if LOGIT in lenses or not all(isinstance(lens, TunedLens) for lens in lenses.values()):
        raise UsageError('Give lenses by name, such as {"tuned": lens}; "logit" is always among them.')
    for lens in lenses.values():
        lens.check_model(model)
    every: dict[str, TunedLens | None] = {LOGIT: None, **lenses}
    shape = (len(every), model.spec.n_layer + 1)
    losses, kl = (np.zeros((*shape, len(tokens))) for _ in range(2))
    means = torch.zeros(*shape, model.spec.d_vocab, dtype=torch.float32, device=model.device)
    rate = Rate(progress, len(tokens), "texts")
    for column, row in enumerate(tokens):
        _, cache = model.run_with_cache(row[None], list(hooks(model)))
        streams = [cache[name][0] for name in hooks(model)]
        own = _Prediction.of(model, streams[-1])
        for i, lens in enumerate(every.values()):
            for layer, x in enumerate(streams):
                last = layer == shape[1] - 1
                read = own if last else _Prediction.of(model, _translated(lens, layer, x))
                losses[i, layer, column] = read.cross_entropy(row)
                kl[i, layer, column] = 0 if last else own.divergence(read)
                means[i, layer] += read.probabilities.mean(0)
        rate.add(1)
    if not (np.isfinite(losses).all() and np.isfinite(kl).all()):
        raise NotFiniteError("The prediction of a lens is not finite: is there a NaN in the weights?")
    return LensComparison(
        names=tuple(every),
        cross_entropy=losses,
        kl=kl,
        bias=_bias(means),
        n_token=tokens.shape[1],
        provenance=watch.provenance(seed=None, **model.identity()),
    )


def _translated(lens: TunedLens | None, row: int, x: Tensor) -> Tensor:
    return x if lens is None else lens.translate(row, x)


@dataclass(frozen=True)
class _Prediction:
    """Next-token probabilities at every position of one text.

    `logits` and log Σ exp of them, by position.
    """

    logits: Float[Tensor, "n_token d_vocab"]
    total: Float[Tensor, " n_token"]
    probabilities: Float[Tensor, "n_token d_vocab"]

    @classmethod
    def of(cls, model: Model, x: Float[Tensor, "n_token d_model"]) -> _Prediction:
        """Read a stream with the final norm and the unembedding."""
        logits = trace.unembed(model.weights, x, folded=False)[0]
        largest = logits.amax(-1, keepdim=True)
        weights = (logits - largest).exp_()
        total = weights.sum(-1, keepdim=True)
        return cls(logits, (largest + total.log())[:, 0], weights.div_(total))

    def cross_entropy(self, tokens: Int[Tensor, " n_token"]) -> float:
        """Return the mean −log p of each next token, in nats."""
        chosen = self.logits[:-1].gather(1, tokens[1:, None])[:, 0]
        return float((self.total[:-1] - chosen).mean())

    def divergence(self, other: _Prediction) -> float:
        """Return the mean KL divergence of another prediction from this one.

        In nats.

        Σ p (log p − log q) = Σ p (logits − other logits) − log Σ exp logits + log Σ exp (other logits).
        """
        moved = torch.linalg.vecdot(self.probabilities, self.logits - other.logits)
        return float((moved - self.total + other.total).mean())


def _bias(means: Float[Tensor, "lens row d_vocab"]) -> np.ndarray:
    """Return the KL divergence of each mean prediction from the last row's."""
    means = means / means.sum(-1, keepdim=True)
    tiny = torch.finfo(means.dtype).tiny
    own = means[:, -1:]
    return (own * (own.clamp_min(tiny).log() - means.clamp_min(tiny).log())).sum(-1).double().cpu().numpy()
