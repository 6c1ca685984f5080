"""Lenses side by side on held-out text: cross-entropy, divergence from the model, and bias of every layer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.attribution.lens_fit import hooks
from interp.attribution.lens_results import LOGIT, LensComparison
from interp.attribution.tuned_lens import TunedLens
from interp.errors import NotFiniteError, UsageError, require, whole
from interp.model import Model
from interp.model.arithmetic import apply_norm, norm_scale
from interp.progress import Progress, Rate
from interp.provenance import Stopwatch

AT_ONCE = 2**24
"""Logits in memory at once, twice: 341 rows of SmolLM2's vocabulary, 64 of Gemma 3's; 67 MB in float32."""
WHOLE, SAMPLE = 2**23, 2**21
"""Logits of a text up to which all its positions are compared, and those of the positions drawn from a larger one."""


@torch.no_grad()
def compare_lenses(
    model: Model,
    tokens: Int[Tensor, "n n_token"],
    lenses: Mapping[str, TunedLens],
    *,
    n_position: int | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> LensComparison:
    """Compare lenses with the logit lens on held-out text.

    The text must not have been used to fit the lenses. Each lens and layer needs the logits of every position compared,
    which is most of the cost: positions × lenses × layers × 2 d_model d_vocab operations. They are computed for a
    bounded number of positions at once, so that memory does not grow with the text.

    Args:
        model: the model.
        tokens: (n, n_token) texts of one length, without padding.
        lenses: name → lens.
        n_position: number of positions of each text that are compared, drawn at random. By default all, unless n_token
            × d_vocab is above 2²³ (128 tokens of a vocabulary of 65,536); then 2²¹ / d_vocab of them: 8 of Gemma 3.
        seed: seed of the positions.
        progress: called with (texts done, texts in all, what is being done).

    Returns:
        Cross-entropy, KL divergence and bias of every lens by layer.

    Raises:
        UsageError: a lens of another model, one named "logit", texts of a single token, or an `n_position` that the
            texts do not have.
        NotFiniteError: a prediction with a NaN.

    >>> compare_lenses(model, model.to_tokens(["the tower is in", "a b London Paris"]), {}).cross_entropy.shape
    (1, 4, 2)
    """
    watch = Stopwatch()
    require(model, Model, "model")
    tokens = model.check_tokens(tokens)
    _check_lenses(model, lenses)
    positions = _positions(model, tokens, n_position, seed)
    every: dict[str, TunedLens | None] = {LOGIT: None, **lenses}
    sums = _Sums(model, every, tokens, positions.shape[1])
    rate = Rate(progress, len(tokens), "texts")
    for column, (row, at) in enumerate(zip(tokens, positions, strict=True)):
        _, cache = model.run_with_cache(row[None], list(hooks(model)))
        sums.add(column, row, at, torch.cat([cache[name][:, at] for name in hooks(model)]))
        rate.add(1)
    losses, kl = (total.cpu().numpy() for total in (sums.cross_entropy, sums.kl))
    if not (np.isfinite(losses).all() and np.isfinite(kl).all()):
        raise NotFiniteError("The prediction of a lens is not finite: is there a NaN in the weights?")
    return LensComparison(
        names=tuple(every),
        cross_entropy=losses,
        kl=kl,
        bias=_bias(sums.means),
        depth=sums.depth(),
        n_token=tokens.shape[1],
        n_position=positions.shape[1],
        provenance=watch.provenance(seed=seed, **model.identity()),
    )


def _check_lenses(model: Model, lenses: Mapping[str, TunedLens]) -> None:
    if LOGIT in lenses or not all(isinstance(lens, TunedLens) for lens in lenses.values()):
        raise UsageError('Give lenses by name, such as {"tuned": lens}; "logit" is always among them.')
    for lens in lenses.values():
        lens.check_model(model)


def _positions(model: Model, tokens: Tensor, n_position: int | None, seed: int) -> Int[Tensor, "n n_position"]:
    """Return the positions of each text that are compared, in order.

    Where they are drawn, they are among those whose next token is known.
    """
    n, n_token = tokens.shape
    if n_token < 2:
        raise UsageError("A lens is measured on texts of at least two tokens: the next one must be known.")
    if n_position is None:
        n_position = n_token if n_token * model.spec.d_vocab <= WHOLE else max(1, SAMPLE // model.spec.d_vocab)
        n_position = min(n_position, n_token)
    if not 1 <= whole(n_position, "n_position") <= n_token:
        raise UsageError(f"n_position={n_position}: the texts have {n_token} positions each.")
    if n_position == n_token:
        return torch.arange(n_token, device=tokens.device).expand(n, -1)
    generator = torch.Generator().manual_seed(seed)
    drawn = [torch.randperm(n_token - 1, generator=generator)[:n_position].sort().values for _ in range(n)]
    return torch.stack(drawn).to(tokens.device)


class _Sums:
    """Measures of every lens and row, filled text by text."""

    def __init__(self, model: Model, lenses: Mapping[str, TunedLens | None], tokens: Tensor, n_position: int):
        self.lenses, self.unembedding = tuple(lenses.values()), _Unembedding(model)
        shape = len(lenses), model.spec.n_layer + 1
        self.cross_entropy, self.kl = (torch.zeros(*shape, len(tokens), dtype=torch.float64) for _ in range(2))
        self.means = torch.zeros(*shape, model.spec.d_vocab, dtype=torch.float32, device=model.device)
        self.likeliest = torch.zeros(*shape, len(tokens), n_position, dtype=torch.long)

    def add(
        self,
        column: int,
        tokens: Int[Tensor, " n_token"],
        positions: Int[Tensor, " n_position"],
        streams: Float[Tensor, "row n_position d_model"],
    ) -> None:
        """Add the text of one column, of which `streams` are those at `positions`."""
        predicted = positions < len(tokens) - 1
        following = tokens[(positions + 1).clamp_max(len(tokens) - 1)]
        for start in range(0, len(positions), self.unembedding.n_row):
            part = slice(start, start + self.unembedding.n_row)
            for at, read in self._readings(streams[:, part], following[part]):
                known = read.loss[:, predicted[part]].double().sum(-1) / predicted.sum()
                self.cross_entropy[*at, column] += known.cpu()
                self.kl[*at, column] += (read.divergence.double().sum(-1) / len(positions)).cpu()
                self.means[at] += read.probabilities
                self.likeliest[*at, column, part] = read.likeliest.cpu()

    def _readings(
        self, streams: Float[Tensor, "row n d_model"], following: Int[Tensor, " n"]
    ) -> Iterator[tuple[tuple[slice, slice], _Reading]]:
        """Yield what is read at some lenses and rows: at the last row of all lenses, then at each lens's others.

        As many rows are unembedded together as `AT_ONCE` allows.
        """
        last = len(streams) - 1
        own, read = self.unembedding.own(streams[last], following)
        yield (slice(None), slice(last, None)), read
        step = max(1, self.unembedding.n_row // len(following))
        for i, lens in enumerate(self.lenses):
            for start in range(0, last, step):
                rows = range(start, min(start + step, last))
                translated = [streams[row] if lens is None else lens.translate(row, streams[row]) for row in rows]
                read = self.unembedding.read(torch.stack(translated), following, own)
                yield (slice(i, i + 1), slice(rows.start, rows.stop)), read

    def depth(self) -> np.ndarray:
        """Return the block after which the likeliest token stays the model's own, by lens, text and position."""
        same = self.likeliest == self.likeliest[:, -1:]
        return (same.shape[1] - 1 - same.flip(1).long().cumprod(1).sum(1)).numpy()


@dataclass(frozen=True)
class _Reading:
    """What some rows predict at some positions; `probabilities` are summed over these."""

    loss: Float[Tensor, "row n"]
    divergence: Float[Tensor, "row n"]
    likeliest: Int[Tensor, "row n"]
    probabilities: Float[Tensor, "row d_vocab"]


@dataclass(frozen=True)
class _Own:
    """Probabilities p of the model at some positions, and Σ p log p."""

    probabilities: Float[Tensor, "n d_vocab"]
    negentropy: Float[Tensor, " n"]


class _Unembedding:
    """Final norm and unembedding of a model.

    The logits of at most `n_row` rows are written to one buffer, the model's probabilities to another: making tensors
    of this size again and again costs as much as filling them.
    """

    def __init__(self, model: Model):
        self.model = model
        self.n_row = max(1, AT_ONCE // model.spec.d_vocab)
        self.W_U, self.b_U = model.weights.unfolded_unembedding
        self.logits, self.probabilities = self.W_U.new_empty(0), self.W_U.new_empty(0)

    def own(self, x: Float[Tensor, "n d_model"], following: Int[Tensor, " n"]) -> tuple[_Own, _Reading]:
        """Return the model's prediction from the stream that leaves its last block.

        The probabilities are overwritten by the next call.
        """
        logits, likeliest, chosen = self._shifted(x, following)
        if len(self.probabilities) < len(x):
            self.probabilities = torch.empty_like(logits)
        probabilities = torch.exp(logits, out=self.probabilities[: len(x)])
        total = probabilities.sum(-1)
        probabilities.div_(total[:, None])
        negentropy = torch.linalg.vecdot(probabilities, logits) - total.log()
        loss, same = (total.log() - chosen)[None], torch.zeros_like(total)[None]
        return _Own(probabilities, negentropy), _Reading(loss, same, likeliest[None], probabilities.sum(0)[None])

    def read(self, x: Float[Tensor, "row n d_model"], following: Int[Tensor, " n"], own: _Own) -> _Reading:
        """Return what some rows predict, with its divergence from the model's own prediction.

        Σ p log p − Σ p log q, with log q = logits − log Σ exp logits.
        """
        logits, likeliest, chosen = self._shifted(x.flatten(0, 1), following.repeat(len(x)))
        rows = logits.unflatten(0, x.shape[:2])
        crossed = torch.stack([torch.linalg.vecdot(own.probabilities, row) for row in rows])
        total = rows.exp_().sum(-1)
        return _Reading(
            loss=total.log() - chosen.view_as(total),
            divergence=own.negentropy - crossed + total.log(),
            likeliest=likeliest.view_as(total),
            probabilities=torch.stack([weight @ row for weight, row in zip(1 / total, rows, strict=True)]),
        )

    def _shifted(self, x: Float[Tensor, "n d_model"], following: Int[Tensor, " n"]) -> tuple[Tensor, Tensor, Tensor]:
        """Return (logits minus the largest of their position, the likeliest token, the next token's of the first)."""
        spec = self.model.spec
        x = apply_norm(x, norm_scale(x, spec.norm, spec.norm_eps), self.model.weights.ln_final)
        if len(self.logits) < len(x):
            self.logits = x.new_empty(len(x), spec.d_vocab)
        logits = torch.mm(x, self.W_U, out=self.logits[: len(x)]).add_(self.b_U)
        if spec.logit_softcap is not None:
            logits.div_(spec.logit_softcap).tanh_().mul_(spec.logit_softcap)
        largest, likeliest = logits.max(-1)
        logits.sub_(largest[:, None])
        return logits, likeliest, logits.gather(1, following[:, None])[:, 0]


def _bias(means: Float[Tensor, "lens row d_vocab"]) -> np.ndarray:
    """Return the KL divergence of each mean prediction from the last row's."""
    tiny = torch.finfo(means.dtype).tiny
    result = means.new_zeros(means.shape[:2], dtype=torch.float64)
    for i, rows in enumerate(means):
        own = rows[-1] / rows[-1].sum()
        for row, total in enumerate(rows):
            mean = (total / total.sum()).clamp_min(tiny)
            result[i, row] = (own * (own.clamp_min(tiny).log() - mean.log())).sum()
    return result.cpu().numpy()
