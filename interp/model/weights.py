"""Per-head weights with the gains and biases of norms folded in.

A norm maps a residual x to (x − mean) / s · g + b, with s = sqrt(mean of squares + eps) and the mean subtracted by
LayerNorm only. Whatever reads it through W therefore computes

    x W' / s + b'      with  W' = C diag(g) W,   b' = b W + bias

where C = I − 11ᵀ/d_model for LayerNorm (the centring) and the identity for RMSNorm. The matrices below are W' and b':
gain, norm bias and centring are inside, the scale s is left to the caller. Norms that come after a product keep
their gains apart, because their scale is that of the product itself: query/key norms (`query_gain`, `key_gain`) and
the norm of what a component writes (`post_gain`: it writes (z W_O + b_O) · post_gain / scale, see `spec.post_norms`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from types import ModuleType
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from interp.errors import UsageError, whole
from interp.model.arithmetic import apply_norm, norm_scale
from interp.model.families.base import Layer, RawNorm
from interp.model.spec import Spec


@dataclass(frozen=True)
class Attention:
    """Folded weights of one attention layer.

    Q and O have query heads, K and V key-value heads. See `Spec.kv_group`.

    >>> attention = model.weights.attention(0)
    >>> attention.W_Q.shape, attention.W_K.shape
    (torch.Size([4, 24, 8]), torch.Size([2, 24, 8]))
    """

    W_Q: Float[Tensor, "n_head d_model d_head"]
    W_K: Float[Tensor, "n_kv_head d_model d_head"]
    W_V: Float[Tensor, "n_kv_head d_model d_head"]
    W_O: Float[Tensor, "n_head d_head d_model"]
    b_Q: Float[Tensor, "n_head d_head"]
    b_K: Float[Tensor, "n_kv_head d_head"]
    b_V: Float[Tensor, "n_kv_head d_head"]
    b_O: Float[Tensor, " d_model"]
    query_gain: Float[Tensor, " d_head"] | Float[Tensor, "n_head 1 d_head"] | None
    key_gain: Float[Tensor, " d_head"] | Float[Tensor, "n_kv_head 1 d_head"] | None
    post_gain: Float[Tensor, " d_model"] | None


@dataclass(frozen=True)
class Mlp:
    """Folded weights of one MLP, or of one expert.

    Without a gate, `W_gate` and `b_gate` are None.

    >>> mlp = model.weights.mlp(0)
    >>> mlp.W_in.shape, mlp.W_out.shape
    (torch.Size([24, 40]), torch.Size([40, 24]))
    """

    W_in: Float[Tensor, "d_model d_mlp"]
    b_in: Float[Tensor, " d_mlp"]
    W_gate: Float[Tensor, "d_model d_mlp"] | None
    b_gate: Float[Tensor, " d_mlp"] | None
    W_out: Float[Tensor, "d_mlp d_model"]
    b_out: Float[Tensor, " d_model"]
    post_gain: Float[Tensor, " d_model"] | None


class Weights:
    """Weights of a model, computed when asked for.

    They are given for one head, one layer, or as the outer matrices. Biases a model lacks are zeros. Heads are query
    heads everywhere: with grouped queries, `W_K(layer, head)` is that of the group `head` belongs to. `UsageError` for
    a layer or head that does not exist.

    >>> weights = model.weights
    >>> weights.W_E.shape, weights.W_U.shape
    (torch.Size([64, 24]), torch.Size([24, 64]))
    """

    def __init__(self, hf: Any, family: ModuleType, spec: Spec):
        self._hf = hf
        self._family = family
        self._parts = family.parts(hf)
        self.spec = spec

    @property
    def W_E(self) -> Float[Tensor, "d_vocab d_model"]:
        """Token embeddings, with `spec.embedding_scale` or their norm inside; a view without either."""
        return self.embed(slice(None))

    def embed(self, tokens: Tensor | slice) -> Float[Tensor, "*tokens d_model"]:
        """Return the rows of `W_E` of some tokens, without computing the rest.

        >>> weights.embed(tokens).shape
        torch.Size([1, 4, 24])
        """
        rows, norm = self._parts.W_E.detach()[tokens], self._parts.embed_norm
        if norm is not None:
            rows = apply_norm(rows, norm_scale(rows, self.spec.norm, self.spec.norm_eps), _detached_norm(norm))
        return rows if self.spec.embedding_scale == 1.0 else rows * self.spec.embedding_scale

    @property
    def W_pos(self) -> Float[Tensor, "n_ctx d_model"] | None:
        """Learned position embeddings; None for a model that has none."""
        return None if self._parts.W_pos is None else self._parts.W_pos.detach()

    @property
    def W_U(self) -> Float[Tensor, "d_model d_vocab"]:
        """Unembedding with the final norm folded in."""
        return self._read(self._parts.ln_final, self._parts.W_U.T, None)[0]

    @property
    def b_U(self) -> Float[Tensor, " d_vocab"]:
        """Unembedding bias: the model's own plus the final norm's bias through W_U."""
        return self._read(self._parts.ln_final, self._parts.W_U.T, self._parts.b_U)[1]

    def unembed(self, tokens: Tensor) -> tuple[Float[Tensor, "d_model n"], Float[Tensor, " n"]]:
        """Return the columns of `W_U` and entries of `b_U` of some tokens.

        The rest is not computed.

        >>> columns, biases = weights.unembed(torch.tensor([19]))
        >>> columns.shape
        torch.Size([24, 1])
        """
        bias = None if self._parts.b_U is None else self._parts.b_U[tokens]
        return self._read(self._parts.ln_final, self._parts.W_U[tokens].T, bias)

    def W_Q(self, layer: int, head: int) -> Float[Tensor, "d_model d_head"]:
        """Return the query weights of one head.

        >>> weights.W_Q(layer=1, head=0).shape
        torch.Size([24, 8])
        """
        return self._head(layer, head, "Q")[0]

    def W_K(self, layer: int, head: int) -> Float[Tensor, "d_model d_head"]:
        """Return the key weights of one head.

        >>> weights.W_K(layer=1, head=3).shape
        torch.Size([24, 8])
        """
        return self._head(layer, head, "K")[0]

    def W_V(self, layer: int, head: int) -> Float[Tensor, "d_model d_head"]:
        """Return the value weights of one head.

        >>> weights.W_V(layer=1, head=3).shape
        torch.Size([24, 8])
        """
        return self._head(layer, head, "V")[0]

    def b_Q(self, layer: int, head: int) -> Float[Tensor, " d_head"]:
        """Return the query bias of one head, with that of the norm.

        >>> weights.b_Q(layer=1, head=0).shape
        torch.Size([8])
        """
        return self._head(layer, head, "Q")[1]

    def b_K(self, layer: int, head: int) -> Float[Tensor, " d_head"]:
        """Return the key bias of one head, with that of the norm.

        >>> weights.b_K(layer=1, head=0).shape
        torch.Size([8])
        """
        return self._head(layer, head, "K")[1]

    def b_V(self, layer: int, head: int) -> Float[Tensor, " d_head"]:
        """Return the value bias of one head, with that of the norm.

        >>> weights.b_V(layer=1, head=0).shape
        torch.Size([8])
        """
        return self._head(layer, head, "V")[1]

    def W_O(self, layer: int, head: int) -> Float[Tensor, "d_head d_model"]:
        """Return the output weights of one head, always a view.

        >>> weights.W_O(layer=1, head=0).shape
        torch.Size([8, 24])
        """
        return self.raw(layer).W_O[self._known_head(head)].detach()

    def b_O(self, layer: int) -> Float[Tensor, " d_model"]:
        """Return the output bias of a layer's attention, shared by its heads.

        >>> weights.b_O(layer=1).shape
        torch.Size([24])
        """
        raw = self.raw(layer)
        return _or_zeros(raw.b_O, raw.W_O, self.spec.d_model).detach()

    def attention(self, layer: int, folded: bool = True) -> Attention:
        """Return all heads of one layer.

        `folded=False` leaves the norm out and copies nothing (see `norm`).

        >>> weights.attention(1).W_V.shape  # key-value heads
        torch.Size([2, 24, 8])
        """
        raw = self.raw(layer)
        read = self._read if folded else _plain
        W_Q, b_Q = read(raw.ln1, raw.W_Q, raw.b_Q)
        W_K, b_K = read(raw.ln1, raw.W_K, raw.b_K)
        W_V, b_V = read(raw.ln1, raw.W_V, raw.b_V)
        gains = (_detached(raw.query_gain), _detached(raw.key_gain), _gain(raw.attn_post))
        return Attention(W_Q, W_K, W_V, raw.W_O.detach(), b_Q, b_K, b_V, self.b_O(layer), *gains)

    def mlp(self, layer: int, folded: bool = True, expert: int | None = None) -> Mlp:
        """Return the MLP of one layer, or one of its experts.

        Args:
            layer: the layer.
            folded: False leaves the norm out and copies nothing.
            expert: which expert, in a mixture.

        Returns:
            The weights.

        Raises:
            UsageError: the layer is a mixture of experts and none is named, or the named one does not exist.

        >>> weights.mlp(1).W_gate.shape
        torch.Size([24, 40])
        """
        raw = self.raw(layer)
        own = self._experts(layer, expert)
        read = self._read if folded else _plain
        W_in, b_in = read(raw.ln2, own(raw.W_in), own(raw.b_in))
        W_gate, b_gate = (None, None) if raw.W_gate is None else read(raw.ln2, own(raw.W_gate), own(raw.b_gate))
        W_out = own(raw.W_out).detach()
        b_out = _or_zeros(own(raw.b_out), W_out, self.spec.d_model).detach()
        return Mlp(W_in, b_in, W_gate, b_gate, W_out, b_out, _gain(raw.mlp_post))

    def router(self, layer: int, folded: bool = True) -> tuple[Float[Tensor, "d_model n_expert"], Tensor]:
        """Return (weights, bias) of the router of a layer.

        Raises `UsageError` for a model without experts.

        >>> weights.router(0)
        Traceback (most recent call last):
            ...
        interp.errors.UsageError: llama has no router: its layers have one MLP each.
        """
        raw = self.raw(layer)
        if raw.router is None:
            raise UsageError(f"{self.spec.family} has no router: its layers have one MLP each.")
        return (self._read if folded else _plain)(raw.ln2, raw.router.W, raw.router.b)

    def _experts(self, layer: int, expert: int | None) -> Callable[[Any], Any]:
        """Return a function that takes one expert's part of a stored tensor.

        Where a layer has one MLP it takes the whole.
        """
        n = self.spec.n_expert
        if expert is None:
            if n:
                raise UsageError(
                    f"Layer {layer} of {self.spec.family} is a mixture of {n} experts, not one MLP: name one of them, "
                    f"as weights.mlp({layer}, expert=0)."
                )
            return lambda tensor: tensor
        if not 0 <= whole(expert, "An expert") < n:
            known = f"each layer has experts 0 to {n - 1}" if n else f"{self.spec.family} has one MLP in each layer"
            raise UsageError(f"Expert {expert} does not exist: {known}.")
        return lambda tensor: None if tensor is None else tensor[expert]

    def _head(self, layer: int, head: int, kind: str) -> tuple[Tensor, Tensor]:
        raw = self.raw(layer)
        index = self._known_head(head) if kind == "Q" else self._known_head(head) // self.spec.kv_group
        bias = getattr(raw, f"b_{kind}")
        return self._read(raw.ln1, getattr(raw, f"W_{kind}")[index], None if bias is None else bias[index])

    def _read(self, norm: RawNorm, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the folded (W', b') of a matrix that reads through `norm`.

        The matrix (..., d_model, out) reads the stream.
        """
        folded = norm.gain.detach()[:, None] * weight.detach()
        if self.spec.norm == "layer":
            folded = folded - folded.mean(dim=-2, keepdim=True)
        offset = _or_zeros(bias, weight, *weight.shape[:-2], weight.shape[-1])
        if norm.bias is not None:
            offset = offset + norm.bias @ weight
        return folded.detach(), offset.detach()

    @property
    def ln_final(self) -> RawNorm:
        """The gain and bias of the norm before the unembedding."""
        return _detached_norm(self._parts.ln_final)

    @property
    def unfolded_unembedding(self) -> tuple[Float[Tensor, "d_model d_vocab"], Float[Tensor, " d_vocab"]]:
        """The stored unembedding weights, a view, and bias, without the final norm."""
        return _plain(self._parts.ln_final, self._parts.W_U.T, self._parts.b_U)

    def raw(self, index: int) -> Layer:
        """Return the stored parameters of one block, with an axis of heads.

        Raises `UsageError` for a layer that does not exist.

        >>> weights.raw(1).W_Q.shape
        torch.Size([4, 24, 8])
        """
        index = whole(index, "A layer")
        if not 0 <= index < self.spec.n_layer:
            raise UsageError(f"Layer {index} does not exist: the model has layers 0 to {self.spec.n_layer - 1}.")
        return self._family.layer(self._hf, index)

    def cached(self) -> CachedWeights:
        """Return the same weights, with the parameters of each block read once.

        >>> type(weights.cached()).__name__
        'CachedWeights'
        """
        return CachedWeights(self)

    def _known_head(self, head: int) -> int:
        head = whole(head, "A head")
        if not 0 <= head < self.spec.n_head:
            raise UsageError(f"Head {head} does not exist: each layer has heads 0 to {self.spec.n_head - 1}.")
        return head


class CachedWeights(Weights):
    """Weights that read the parameters of every block once.

    For a computation during which nothing is trained or replaced.

    Reading a block makes some forty views, which takes longer than a short prompt's products.
    """

    def __init__(self, weights: Weights):
        super().__init__(weights._hf, weights._family, weights.spec)
        self._cached: dict[tuple[str, int], Any] = {}

    def raw(self, index: int) -> Layer:
        """Return the stored parameters of one block; see `Weights.raw`."""
        return self._once("raw", index, super().raw)

    def attention(self, layer: int, folded: bool = True) -> Attention:
        """Return all heads of one layer.

        Folded ones, which are copies, are not stored.
        """
        read = partial(super().attention, folded=False)
        return super().attention(layer) if folded else self._once("attention", layer, read)

    def mlp(self, layer: int, folded: bool = True, expert: int | None = None) -> Mlp:
        """Return the MLP of one layer or one expert.

        A folded one is not stored.
        """
        read = partial(super().mlp, folded=False, expert=expert)
        return super().mlp(layer, True, expert) if folded else self._once(f"mlp {expert}", layer, read)

    def _once(self, what: str, layer: int, read: Callable[[int], Any]) -> Any:
        if (what, layer) not in self._cached:
            self._cached[what, layer] = read(layer)
        return self._cached[what, layer]


def _plain(_: RawNorm, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return the weight as stored, and its bias."""
    return weight.detach(), _or_zeros(bias, weight, *weight.shape[:-2], weight.shape[-1]).detach()


def _detached_norm(norm: RawNorm) -> RawNorm:
    return RawNorm(norm.gain.detach(), None if norm.bias is None else norm.bias.detach())


def _gain(norm: RawNorm | None) -> Tensor | None:
    return None if norm is None else norm.gain.detach()


def _detached(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.detach()


def _or_zeros(bias: Tensor | None, like: Tensor, *shape: int) -> Tensor:
    return torch.zeros(shape, dtype=like.dtype, device=like.device) if bias is None else bias
