"""Output-value map of a head: what it does with what it attends to.

A head that attends to a token with residual y adds (y / s W_V + b_V) W_O to the residual stream, with s the scale of
the norm before it; a model with post-norms multiplies that by g / s_post, whose gain g is folded into W_O here. Read
through embedding and unembedding it says which tokens attending to a token promotes (Elhage et al. 2021).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Complex, Float
from torch import Tensor

from interp.circuits.factors import LowRank, top_entries, working
from interp.circuits.readings import Directions, FullCircuit, TopTokens
from interp.circuits.results import head_name
from interp.circuits.vocabulary import nearest_tokens, top_tokens
from interp.errors import UsageError, require, whole
from interp.model import Model
from interp.model.arithmetic import norm_scale

DEGENERATE = 0.01
"""Singular values closer than this, relative to the larger, leave their directions free to turn."""


@dataclass(frozen=True)
class OutputValue:
    """Output-value map of one head.

    Made by `ov`; inputs are residual streams as they enter the block.

    >>> head = circuits.ov(model, layer=1, head=0)
    >>> head.copying_score, head.matrix.shape
    (-0.147, torch.Size([24, 24]))
    """

    model: Model
    layer: int
    head: int
    W_V: Float[Tensor, "d_model d_head"]
    b_V: Float[Tensor, " d_head"]
    W_O: Float[Tensor, "d_head d_model"]

    @property
    def factors(self) -> LowRank:
        """Return `matrix` as two (d_model, d_head) factors."""
        return LowRank(self.W_V, self.W_O.T)

    @property
    def matrix(self) -> Float[Tensor, "d_model d_model"]:
        """Output-value matrix W_V W_O.

        It reads the residual stream on the left and writes on the right.
        """
        return self.factors.matrix

    @property
    def bias(self) -> Float[Tensor, " d_model"]:
        """b_V W_O: what the head writes wherever it looks."""
        return self.b_V @ self.W_O

    @property
    def eigenvalues(self) -> Complex[Tensor, " d_head"]:
        """Eigenvalues of `matrix`, largest magnitude first, through W_O W_V."""
        return self.factors.eigenvalues()

    @property
    def copying_score(self) -> float:
        """Copying score by the eigenvalues of W_E W_V W_O W_U.

        Σ Re λ / Σ |λ| over the eigenvalues λ, all tokens by all tokens: −1 to 1.

        Near 1, attending to a token raises that token; near −1 it lowers it; random weights give about 0. Computed
        through the d_head × d_head matrix (W_O W_U)(W_E W_V).
        """
        return copying_score(self.W_V, self.W_O, token_transfer(self.model))

    @property
    def write_basis(self) -> Float[Tensor, "d_model rank"]:
        """Orthonormal columns that span everything the head can write, strongest direction first."""
        _, values, writes = self.factors.svd()
        return writes[:, values > values[0] * 1e-6]

    def values(self, x: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_head"]:
        """Return the value vectors of residual streams, the norm applied.

        >>> head.values(torch.ones(model.spec.d_model)).shape
        torch.Size([8])
        """
        x = x.to(self.W_V.dtype)
        spec = self.model.spec
        return x / norm_scale(x, spec.block_norm, spec.norm_eps) @ self.W_V + self.b_V

    def write(
        self, x: Float[Tensor, "*batch key d_model"], pattern: Float[Tensor, "*batch query key"]
    ) -> Float[Tensor, "*batch query d_model"]:
        """Return what the head adds, attending to `x` as `pattern` says.

        This is before the division by a post-norm's scale.

        >>> head.write(torch.ones(4, model.spec.d_model), torch.eye(4)).shape
        torch.Size([4, 24])
        """
        return pattern @ self.values(x) @ self.W_O

    def svd(self, k: int | None = None) -> Directions:
        """Return the k strongest singular directions, all by default.

        Those that are not determined are marked.

        Raises `UsageError` unless 1 ≤ k ≤ d_head.

        >>> head.svd(3).values.round(3)
        array([3.588, 3.122, 2.473])
        """
        limit = min(self.W_V.shape)
        k = limit if k is None else whole(k, "k")
        if not 1 <= k <= limit:
            raise UsageError(f"k={k} singular directions were asked for; the head has 1 to {limit}.")
        reads, values, writes = self.factors.svd()
        energy = values.square()
        singular = values.cpu().numpy()
        return Directions(
            name=head_name(self.layer, self.head),
            values=singular[:k],
            reads=reads.T[:k].cpu().numpy(),
            writes=writes.T[:k].cpu().numpy(),
            group=_groups(singular)[:k],
            rank=int((singular > singular[0] * 1e-6).sum()),
            stable_rank=float(energy.sum() / energy[0]),
            participation_rank=float(energy.sum() ** 2 / energy.square().sum()),
        )

    def top_tokens(self, token: str | int | None = None, *, direction: int = 0, k: int = 10) -> TopTokens:
        """Return the tokens promoted and suppressed by attending to a token.

        Without a token, by a singular direction. For a token they are ranked by logits, for a direction by cosine
        (`nearest_tokens`).

        Args:
            token: text of exactly one token, or its id; its embedding enters the head as if alone in the stream.
            direction: without a token, which singular direction (0 is the strongest); its sign is arbitrary.
            k: how many of each.

        Returns:
            The tokens, strongest first.

        >>> head.top_tokens(" Paris", k=2).promoted_values
        (3.970, 3.651)
        """
        if token is None:
            written = torch.from_numpy(self.svd(direction + 1).writes[direction])
            source = f"{head_name(self.layer, self.head)} direction {direction}"
            return nearest_tokens(self.model, written, source, k)
        index = self.model.token_id(token)
        x = working(self.model.weights.W_E[index])
        written = self.values(x) @ self.W_O
        return top_tokens(
            self.model,
            written,
            f"{head_name(self.layer, self.head)} ← {self.model.labels(torch.tensor([index]))[0]!r}",
            k,
        )

    def full_circuit(self, k: int = 50, block: int = 512) -> FullCircuit:
        """Return the k largest effects of attended tokens on logits.

        `block` rows of them are computed at a time.

        Row t is what `top_tokens(t)` ranks. 2·d_vocab²·d_head operations, 0.1 GB.

        >>> circuit = head.full_circuit(k=3)
        >>> circuit.values.round(3), circuit.copied
        (array([10.385, 10.384,  8.723], dtype=float32), 0.016)
        """
        left = self.values(working(self.model.weights.W_E))
        right = (self.W_O @ working(self.model.weights.W_U)).T
        entries = top_entries(left, right, k, block)
        own = torch.arange(len(left), device=left.device)
        return FullCircuit(
            name=f"{head_name(self.layer, self.head)} output-value",
            sources=self.model.labels(entries.rows),
            targets=self.model.labels(entries.columns),
            values=entries.values.cpu().numpy(),
            copied=float((entries.best_column == own).double().mean()),
            n_source=len(left),
        )


def ov(model: Model, layer: int, head: int) -> OutputValue:
    """Return the output-value map of one head.

    Raises `UsageError` if the layer or head does not exist.

    Args:
        model: the model.
        layer: the layer.
        head: the head.

    Returns:
        The map.

    Raises:
        UsageError: a layer or head that does not exist.

    >>> circuits.ov(model, 1, 0).copying_score
    -0.147
    """
    require(model, Model, "model")
    w = model.weights
    W_O, post = w.W_O(layer, head), w.raw(layer).attn_post
    W_O = W_O if post is None else W_O * post.gain.detach()
    return OutputValue(model, layer, head, *map(working, (w.W_V(layer, head), w.b_V(layer, head), W_O)))


def token_transfer(model: Model, block: int = 8192) -> Float[Tensor, "d_model d_model"]:
    """Return W_U W_E through all tokens.

    In float64 sums of blocks of the vocabulary: 0.3 s a million entries of W_E.
    """
    total = torch.zeros(model.spec.d_model, model.spec.d_model, dtype=torch.float64, device=model.device)
    for ids in torch.arange(model.spec.d_vocab, device=model.device).split(block):
        total += (working(model.weights.unembed(ids)[0]) @ working(model.weights.W_E[ids])).double()
    return total


def copying_score(W_V: Tensor, W_O: Tensor, transfer: Tensor) -> float:
    """Compute the copying score of a head from its weights.

    Σ Re λ / Σ |λ| of the eigenvalues of W_O (W_U W_E) W_V; 0 where all of them are zero.
    """
    eigenvalues = torch.linalg.eigvals(W_O.double() @ transfer @ W_V.double())
    size = float(eigenvalues.abs().sum())
    return float(eigenvalues.real.sum()) / size if size else 0.0


def _groups(values: np.ndarray) -> np.ndarray:
    """Return equal numbers for neighbours whose relative gap is below `DEGENERATE`."""
    gaps = (values[:-1] - values[1:]) > DEGENERATE * values[:-1]
    return np.concatenate([[0], np.cumsum(gaps)])
