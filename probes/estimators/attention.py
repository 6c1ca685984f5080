"""Attention-pooled probe.

It learns jointly which tokens to read and what to read from them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from jaxtyping import Bool, Float
from sklearn.utils.validation import check_is_fitted
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from interp.arguments import check
from interp.errors import UsageError
from probes.estimators.base import LinearProbe, Solution, as_array, as_tensor, read_labels

if TYPE_CHECKING:
    from probes.activations import Activations

LEARNING_RATE = 0.01


class AttentionPooled(LinearProbe):
    """Linear probe on an attention-weighted mean of the tokens' activations.

    `score = sum_t a_t (x_t · direction_) + bias_` with `a = softmax_t(x_t · query_)` over the tokens of a statement.
    Both vectors are trained by Adam on the cross-entropy with an L2 penalty, in standardised coordinates, starting at
    zero, which is the mean over tokens. Nothing is random. Exclude position 0 from the mask: many models have an
    enormous activation there for any token, which would dominate mean and scale.

    Attributes (in addition to those of `LinearProbe`):
        query_: (d,) float64, in raw activation space.

    Args:
        steps: number of full-batch Adam steps; the learning rate decays to zero along a cosine.
        weight_decay: L2 penalty on both vectors, on the standardised scale.

    Example:
        >>> X, y = np.random.default_rng(0).normal(size=(8, 3, 4)), [0, 1] * 4
        >>> probes.AttentionPooled(steps=5).fit(X, y).attention(X).shape
        (8, 3)
    """

    query_: Float[np.ndarray, " d"]
    reads_tokens = True

    def __init__(self, steps: int = 200, weight_decay: float = 1e-2):
        self.steps = steps
        self.weight_decay = weight_decay

    def fit(self, X: Any, y: Any, *, mask: Any = None) -> Self:
        """Fit on activations of all tokens.

        Args:
            X: (n, token, d) activations; `acts.tokens(layer)` returns `X` and `mask`.
            y: (n,) labels, 0 = false and 1 = true.
            mask: (n, token) which tokens exist; None for all.

        Returns:
            The probe itself.

        Raises:
            UsageError: other shapes, values that are not finite, or a statement without tokens.

        Example:
            >>> X, mask = np.random.default_rng(0).normal(size=(8, 3, 4)), np.arange(3) < np.array([[2], [3]] * 4)
            >>> probes.AttentionPooled(steps=5).fit(X, [0, 1] * 4, mask=mask).attention(X, mask)[0].round(2).tolist()
            [0.51, 0.49, 0.0]
        """
        tokens, mask = _read_tokens(X, mask)
        self.classes_, labels = read_labels(as_array(y))
        if len(labels) != len(tokens):
            raise UsageError(f"There are {len(tokens)} rows of activations but {len(labels)} labels.")
        if self.steps < 1:
            raise UsageError(f"steps must be at least 1, not {self.steps}.")
        self.n_features_in_ = tokens.shape[2]
        return self._take(self._train(tokens, mask, as_tensor(labels)))

    def decision_function(self, X: Any, mask: Any = None) -> Float[np.ndarray, " n"]:
        """Return the log-odds (nats) that each statement is true.

        `X` (n, token, d) has the activations of all tokens.

        >>> X, y = np.random.default_rng(0).normal(size=(8, 3, 4)), [0, 1] * 4
        >>> probes.AttentionPooled(steps=5).fit(X, y).decision_function(X).shape
        (8,)
        """
        tokens, mask = self._check_tokens(X, mask)
        query, direction = torch.from_numpy(self.query_), torch.from_numpy(self.direction_)
        weights = _attend(tokens.double() @ query, mask)
        return (weights * (tokens.double() @ direction)).sum(1).numpy() + self.bias_

    def attention(self, X: Any, mask: Any = None) -> Float[np.ndarray, "n token"]:
        """Return the attention weights (n, token); each row sums to 1.

        >>> X, y = np.random.default_rng(0).normal(size=(8, 3, 4)), [0, 1] * 4
        >>> probes.AttentionPooled(steps=5).fit(X, y).attention(X).sum(1).round(6).tolist()
        [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]
        """
        tokens, mask = self._check_tokens(X, mask)
        return _attend(tokens.double() @ torch.from_numpy(self.query_), mask).numpy()

    def _check_tokens(self, X: Any, mask: Any) -> tuple[Tensor, Tensor]:
        check_is_fitted(self)
        tokens, mask = _read_tokens(X, mask)
        if tokens.shape[2] != self.n_features_in_:
            raise UsageError(
                f"X has {tokens.shape[2]} features, but AttentionPooled is expecting {self.n_features_in_} features."
            )
        return tokens, mask

    def _score(self, acts: Activations, layer: int, position: str | None) -> np.ndarray:  # noqa: ARG002
        tokens, mask = acts.tokens(layer)
        return self.decision_function(tokens, mask)

    def _train(self, tokens: Float[Tensor, "n token d"], mask: Bool[Tensor, "n token"], labels: Tensor) -> Solution:
        mean, scale = _token_scale(tokens, mask)
        rows = ((tokens.double() - mean) / scale).float()
        width = rows.shape[2]
        vectors = torch.zeros(width, 2, requires_grad=True)
        bias = torch.zeros((), requires_grad=True)
        descent = torch.optim.Adam([vectors, bias], lr=LEARNING_RATE)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(descent, self.steps)
        for _ in range(self.steps):
            descent.zero_grad()
            queries, values = (rows @ vectors).unbind(2)
            logits = (_attend(queries, mask) * values).sum(1) + bias
            loss = binary_cross_entropy_with_logits(logits, labels.float())
            (loss + self.weight_decay * (vectors**2).sum()).backward()
            descent.step()
            schedule.step()
        query, direction = (vectors.detach().double() / scale[:, None]).unbind(1)
        # A constant added to all queries does not change the weights, so the mean affects only the bias.
        return Solution(direction, float(bias.detach() - direction @ mean), extra={"query_": query.numpy()})


def _attend(queries: Float[Tensor, "n token"], mask: Bool[Tensor, "n token"]) -> Float[Tensor, "n token"]:
    return queries.masked_fill(~mask, float("-inf")).softmax(1)


def _read_tokens(X: Any, mask: Any) -> tuple[Float[Tensor, "n token d"], Bool[Tensor, "n token"]]:
    """Check tokens and mask and return them.

    Masked tokens are set to 0, so that padding has no effect.
    """
    check({"X": Float[Tensor, "..."] | Float[np.ndarray, "..."]}, {"X": X})
    tokens = X.detach().cpu() if isinstance(X, Tensor) else torch.from_numpy(np.asarray(X))
    if tokens.ndim != 3 or 0 in tokens.shape:
        raise UsageError(
            f"Activations of tokens must have shape (n, token, d), not {tuple(tokens.shape)}: see acts.tokens(layer)."
        )
    present = torch.ones(tokens.shape[:2], dtype=torch.bool) if mask is None else torch.as_tensor(as_array(mask)).bool()
    if present.shape != tokens.shape[:2]:
        raise UsageError(f"mask must have shape (n, token) = {tuple(tokens.shape[:2])}, not {tuple(present.shape)}.")
    if not bool(present.any(1).all()):
        raise UsageError("Some statements have no token in the mask: every statement needs at least one.")
    tokens = tokens.to(torch.promote_types(tokens.dtype, torch.float32)).masked_fill(~present[..., None], 0)
    if not bool(torch.isfinite(tokens).all()):
        raise UsageError("Input X contains NaN or infinity: collect the activations in a wider dtype.")
    return tokens, present


def _token_scale(tokens: Tensor, mask: Tensor) -> tuple[Float[Tensor, " d"], Float[Tensor, " d"]]:
    rows = tokens[mask].double()
    mean, deviation = rows.mean(0), rows.std(0, correction=0)
    return mean, torch.where(deviation <= 1e-12 * mean.abs(), 1.0, deviation)
