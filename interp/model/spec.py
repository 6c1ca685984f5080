"""`Spec`: the architecture of a model in one frozen record."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from interp.errors import UnsupportedModelError

Norm = Literal["rms", "layer", "none"]
Positional = Literal["rotary", "learned", "alibi", "none"]
Shares = Literal["chosen", "all"]


@dataclass(frozen=True)
class Rotary:
    """Rotary position embedding of a layer (arXiv 2104.09864).

    At position p, pair i turns by the angle p · frequencies[i]; cosine and sine are multiplied by `factor`
    (1 but for yarn-like scalings). Only the first `dim` of the d_head coordinates turn; `fraction` = dim / d_head.
    Pair i is coordinates i and i + dim/2, or, `adjacent`, 2i and 2i + 1 (GPT-J, Cohere). `frequencies` are those in
    use, after `scaling` ("default", "linear", "llama3", "yarn", "longrope", "dynamic").

    Two scalings change with the number of tokens of a run. Beyond `fixed_to` tokens, "longrope" (arXiv 2402.13753) uses
    `long_frequencies` and "dynamic" enlarges the base with the length n, by (growth · n / fixed_to − growth + 1) to the
    power dim / (dim − 2). Everything here is evaluated at the length of the run. A text that is generated with a
    key-value cache has the rotations of the cache, so that beyond `fixed_to` it may depend on whether one is used.

    >>> rotary = model.spec.rotary
    >>> rotary.base, rotary.dim, rotary.frequencies[:2]
    (10000.0, 8, (1.0, 0.100))
    """

    base: float
    dim: int
    fraction: float
    scaling: str
    frequencies: tuple[float, ...] = field(repr=False)
    factor: float = 1.0
    adjacent: bool = False
    fixed_to: int | None = None
    long_frequencies: tuple[float, ...] = field(default=(), repr=False)
    growth: float = 1.0


@dataclass(frozen=True)
class Alibi:
    """Attention with linear biases (arXiv 2108.12409).

    A score falls by slopes[head] for each token between query and key.

    The model adds slope · position of the key, counted from the first key or, `from_last`, the last. Scores here are
    relative, − slope · (query − key): they differ from the model's by a constant of each query, which no softmax sees.
    """

    slopes: tuple[float, ...]
    from_last: bool = False


@dataclass(frozen=True)
class Spec:
    """Architecture facts of a decoder-only transformer.

    Per-layer facts are tuples of length n_layer. `rotaries` has None for a layer that does not rotate.
    `attention_scale` multiplies the scores (usually 1/sqrt(d_head)); `windows` is how many tokens a query sees (itself
    included), None for all before it. `post_norms`: what attention and MLP write is normalised before it is added
    (Gemma-2); without `pre_norms` they read the raw stream (OLMo-2). `joint_query_key_norm`: the norm of queries,
    and that of keys, is over all heads at once (OLMo-2). `parallel`: both read the same residual (GPT-NeoX). A softcap
    c replaces x by c·tanh(x/c). `attention_sinks`: each head's softmax has one more entry, a learned score that has no
    value, so that its pattern sums to less than one (gpt-oss). `activation_limit` L clamps what a gated activation is
    applied to at L, and what it multiplies to within L of its bias of one (gpt-oss). `embedding_scale` is already
    inside `weights.W_E`. `prepends_bos` is the tokenizer's own habit, None when the model came without a tokenizer.

    A mixture of experts has `n_expert` MLPs of width `d_mlp` in each layer, of which a router chooses `n_expert_used`
    at each position; their shares are the softmax of the router's scores over those "chosen", or over "all" (of which
    the others' part is dropped). `n_expert` is 0 for a model without.

    >>> spec = model.spec
    >>> spec.n_layer, spec.n_head, spec.d_model, spec.positional
    (3, 4, 24, 'rotary')
    """

    family: str
    n_layer: int
    n_head: int
    n_kv_head: int
    d_model: int
    d_head: int
    d_mlp: int
    d_vocab: int
    n_ctx: int
    norm: Norm
    norm_eps: float
    positional: Positional
    rotaries: tuple[Rotary | None, ...]
    attention_scale: tuple[float, ...]
    windows: tuple[int | None, ...]
    activation: str
    gated: bool
    parallel: bool
    tied: bool
    query_key_norm: bool = False
    joint_query_key_norm: bool = False
    pre_norms: bool = True
    post_norms: bool = False
    attention_bias: bool = False
    output_bias: bool = False
    mlp_bias: bool = False
    attention_softcap: float | None = None
    logit_softcap: float | None = None
    attention_sinks: bool = False
    activation_limit: float | None = None
    n_expert: int = 0
    n_expert_used: int = 0
    expert_shares: Shares = "chosen"
    embedding_scale: float = 1.0
    alibi: Alibi | None = None
    prepends_bos: bool | None = None

    @property
    def block_norm(self) -> Norm:
        """Return the kind of the norms before attention and MLP.

        It is "none" without norms there.
        """
        return self.norm if self.pre_norms else "none"

    @property
    def rotary(self) -> Rotary | None:
        """The rotation of the first layer that rotates, None without any.

        Most models have the same in every layer.
        """
        return next((rotary for rotary in self.rotaries if rotary is not None), None)

    @property
    def fixed_to(self) -> int | None:
        """Return the number of tokens up to which rotations are fixed.

        Up to it they do not depend on the length of the run.

        None if they never do.
        """
        return min((turn.fixed_to for turn in self.rotaries if turn is not None and turn.fixed_to), default=None)

    @property
    def kv_group(self) -> int:
        """Return how many query heads share one key-value head."""
        return self.n_head // self.n_kv_head


def require_fixed_rotations(spec: Spec, n_token: int, what: str) -> None:
    """Raise `UnsupportedModelError` for a text beyond the fixed rotations.

    Rotations of so long a text depend on its length.
    """
    if spec.fixed_to is not None and n_token > spec.fixed_to:
        raise UnsupportedModelError(
            f"{spec.family}: beyond {spec.fixed_to} tokens rotations depend on the length of the text, and {what} "
            f"needs them fixed: give at most {spec.fixed_to} tokens, not {n_token}; freeze and contrast take more."
        )


def summary(spec: Any) -> str:
    """Return the family and sizes of a `Spec`, or of the facts of an observed model, in one line."""
    grouped = f" ({spec.n_kv_head} key-value)" if spec.n_kv_head < spec.n_head else ""
    return f"{spec.family}, {spec.n_layer} layers, {spec.n_head} heads{grouped}, d_model {spec.d_model}"
