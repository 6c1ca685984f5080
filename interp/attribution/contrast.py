"""Two inputs as an exactly linear map of their difference: every operation replaced by its secant between the runs.

`freeze` holds patterns, norms and gates at one input; here they move, from a counterfactual run (0) to the clean one
(1), and what each contributes to the difference is exact. With bars for means of the two runs, Δ for clean −
counterfactual:

    products       Δ(a b) = b̄ Δa + ā Δb                        query · key, pattern · value, gate · up
    elementwise    Δf(x) = f's chord · Δx                      activations, softcaps
    norms          product rule, the scale's change exact      `secants.NormSecant`
    softmax        logarithmic means of the probabilities      `secants.SoftmaxSecant`

Everything else is linear already, and biases cancel: every path starts at a token that differs. Chords of elementwise
functions are DeepLIFT's rescale rule (arXiv 1704.02685); integrated gradients (1703.01365) and Aumann–Shapley values
also sum to the difference, but only over the inputs, through many gradients; AttnLRP (2402.05602) and RelP
(2508.21258) carry one run's relevance back by rules that split a product in half and hold the softmax or expand it
about one point; contextual decomposition (2407.00886) splits activations, not differences. Here the two runs fix every
coefficient, and the sum is conserved at every component, through queries and keys too.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp import edit
from interp.attribution.expand import Expander
from interp.attribution.expand_contrast import SecantsByComponent, SecantsByPosition
from interp.attribution.frozen import TOLERANCE, Frozen, freeze, max_or_nan, off
from interp.attribution.linearised import Linear, NodeKind, Targets, checked_position
from interp.attribution.pairs import checked_pairs, pair_labels
from interp.attribution.secant_blocks import change, runs
from interp.attribution.secant_map import SecantMap, secant_map
from interp.attribution.secant_targets import linear_of, score_pairs
from interp.attribution.secants import chord
from interp.errors import CheckFailedError, UsageError
from interp.model import Model, trace as forward
from interp.model.arithmetic import apply_norm, norm_scale, softcap
from interp.model.capture import ending


@dataclass(frozen=True, kw_only=True)
class Contrast(SecantMap):
    """A model between two runs, linear in their difference. Made by `contrast`.

    `tokens` are the clean run's and the counterfactual's. `writes[c, t]` is by how much what component c (in the order
    of `layout`) adds at position t differs, clean − counterfactual: zero for every bias. With a post-norm it is the
    norm's secant of the component's own difference. They sum to the difference of the residual streams. `error` is the
    largest relative difference between the model and the map: of the logits of the last position in the two runs and
    of their change, and, at any position, of the streams that leave the last block and of the final norm's change.

    A batch of pairs has a pair axis before the token axis; attributions of it are means over the pairs, and `pair[i]`
    is one of them. `embeddings` are those of the counterfactual run where they are not those of its tokens.

    >>> clean, other = model.to_tokens("the tower in Paris"), model.to_tokens("the tower in London")
    >>> pair = attribution.contrast(model, clean, other)
    >>> pair.labels
    ('the', ' tower', ' in', ' Paris|London')
    """

    tokens: Int[Tensor, "run *pair n_token"]
    labels: tuple[str, ...]
    error: float
    embeddings: Float[Tensor, "*pair n_token d_model"] | None = None
    known: dict[int, Float[Tensor, "run *pair d_vocab"]] = field(default_factory=dict, repr=False)
    """The model's own logits by position, as far as they have been asked for."""

    @property
    def n_token(self) -> int:
        """Number of positions."""
        return self.tokens.shape[-1]

    @property
    def tolerance(self) -> float:
        """Relative error above which a decomposition of this difference raises."""
        return TOLERANCE[self.writes.dtype]

    def position(self, position: int) -> int:
        """Return `position` counted from the start.

        Raises `UsageError` if the input does not have it.

        >>> pair.position(-1)
        3
        """
        return checked_position(position, self.n_token)

    def logits_at(self, position: int) -> Float[Tensor, "run *pair d_vocab"]:
        """Return the model's own logits of both runs at one position.

        See `Frozen.logits_at`.

        >>> pair.logits_at(-1).shape  # clean and counterfactual
        torch.Size([2, 64])
        """
        position = self.position(position)
        if position not in self.known:
            logits, _ = _ending(self.model, self.tokens, self.embeddings, position)
            self.known[position] = logits.unflatten(0, self.tokens.shape[:-1])
        return self.known[position]

    @property
    def logits(self) -> Float[Tensor, "run *pair n_token d_vocab"]:
        """Logits of both runs at every position, as the model computes them.

        2 · n_pair · n_token · d_vocab numbers.
        """
        logits = [model(rows) for model, rows in _model_runs(self.model, self.tokens, self.embeddings)]
        return torch.cat(logits).unflatten(0, self.tokens.shape[:-1])

    def linear(self, target: Targets) -> Linear:
        """Return the target's change as a linear function of the stream's change.

        >>> linear = pair.linear(attribution.logit(model, " Paris"))
        >>> round(linear.value, 3)  # clean − counterfactual
        -2.809
        """
        return linear_of(self, target)

    def score_pairs(self, layer: int, head: int, query: int, key: int) -> tuple[Tensor, float, float]:
        """Split the change of an attention score over all pairs of writers.

        Args:
            layer: the layer of the head.
            head: the head.
            query: the position that attends.
            key: the position attended to.

        Returns:
            (part of the change for each pair of writers, the change, the least scale of its error).

        >>> pairs, change, scale = pair.score_pairs(1, 0, query=3, key=3)
        >>> round(pairs.sum().item(), 3), round(change, 3)
        (-2.172, -2.172)
        """
        return score_pairs(self._one("Scores are"), layer, head, query, key)

    @cached_property
    def ends(self) -> tuple[Frozen, Frozen]:
        """Both runs as frozen inputs, clean first.

        Two more runs of the model, made when first needed.
        """
        self._one("Frozen inputs are")
        if self.embeddings is not None:
            raise UsageError(
                "The counterfactual run has embeddings of no token, and only runs of tokens can be frozen: for scores, "
                "features and verify take a counterfactual prompt."
            )
        return freeze(self.model, self.tokens[:1]), freeze(self.model, self.tokens[1:])

    def values(self, hook: str) -> Float[Tensor, "run n_token d_model"]:
        """Return the model's own values at a hook, in both runs.

        Only for a contrast of one pair.

        >>> pair.values("blocks.1.hook_resid_post").shape
        torch.Size([2, 4, 24])
        """
        runs = ((self.model, self.tokens[:1]), (_with_embeddings(self.model, self.embeddings), self.tokens[1:]))
        return torch.cat([model.run_with_cache(tokens, hook)[1][hook] for model, tokens in runs])

    def _one(self, what: str) -> Contrast:
        if self.tokens.ndim != 2:
            raise UsageError(f"{what} of one pair: pass one of the {len(self)} pairs, as pair[0].")
        return self

    def score_writers(self, layer: int, query: int, key: int) -> tuple[str, ...]:  # noqa: ARG002
        """Return the names of the components that write before a layer's scores.

        Args:
            layer: the layer of the scores.
            query: the position that attends.
            key: the position attended to.

        Returns:
            The names, in the order of the pairs of `score_pairs`.

        >>> pair.score_writers(1, query=3, key=3)[:3]
        ('embed', 'L0H0', 'L0H1')
        """
        return self.layout.names[: self.layout.start(layer)]

    @property
    def base(self) -> Contrast:
        """Itself: it has no dictionaries."""
        return self

    def expander(self, nodes: NodeKind, linear: Linear) -> Expander:
        """Return the object that carries the nodes of a path tree back.

        Raises `UsageError` for a batch of pairs.

        >>> expander = pair.expander("component", pair.linear(attribution.logit(model, " Paris")))
        >>> type(expander).__name__
        'SecantsByComponent'
        """
        one = self._one("A path tree is")
        return SecantsByPosition(one, linear) if nodes == "position" else SecantsByComponent(one, linear)

    def __len__(self) -> int:
        """Number of pairs."""
        return self.tokens[0].shape[:-1].numel()

    def __getitem__(self, pair: int) -> Contrast:
        """Return one pair of a batch, as views."""
        if self.tokens.ndim == 2:
            raise UsageError("This contrast is one pair, not a batch: there is nothing to index.")
        tokens = self.tokens[:, pair]
        return replace(
            self,
            tokens=tokens,
            labels=pair_labels(self.model, tokens),
            blocks=tuple(block.at(pair) for block in self.blocks),
            writes=self.writes[:, pair],
            residual=self.residual[:, pair],
            final=self.final.map(lambda x: x[pair]),
            known={position: logits[:, pair] for position, logits in self.known.items()},
            embeddings=None if self.embeddings is None else self.embeddings[pair],
        )


@torch.no_grad()
def contrast(
    model: Model,
    clean: Int[Tensor, "pair n_token"],
    counterfactual: Int[Tensor, "pair n_token"],
    *,
    embeddings: Float[Tensor, "pair n_token d_model"] | None = None,
    max_gigabytes: float = 8.0,
) -> Contrast:
    """Make a model between two runs exactly linear in their difference.

    Attributions then sum to the difference of its answers.

    Runs the model once and the written-out forward pass once, on both prompts together. Needs `bytes_needed`.

    Args:
        model: in float32 or float64.
        clean: the prompt to explain, (1, n_token) or (n_token,), or a batch of prompts of one length.
        counterfactual: as many prompts of the same length to compare with.
        embeddings: the counterfactual run's token embeddings, where they are not those of its tokens, such as means
            over the vocabulary; see `attribution.mean_embedding`.
        max_gigabytes: refuse, before computing anything, an input that needs more memory than this.

    Returns:
        The map, an input of every attribution.

    Raises:
        UsageError: prompts of different length (both tokenisations are shown), another dtype, or more memory than
            allowed.
        CheckFailedError: the map misses the difference of the model's logits by more than 1e-4 (float32) or 1e-9
            (float64), relative to the largest logit, or there is a NaN.

    >>> pair = contrast(model, model.to_tokens("the tower in Paris"), model.to_tokens("the tower in London"))
    >>> result = attribution.sources(pair, attribution.logit_difference(model, " Paris", " London"))
    >>> result.top(1), result.error < 1e-5
    ((('embed@3', -3.386268138885498),), True)
    """
    tokens = checked_pairs(model, clean, counterfactual, max_gigabytes)
    n_pair = tokens.shape[1]
    theirs, stream = _ending(model, tokens, embeddings, -1)
    streams = forward.embed(model.weights, tokens.flatten(0, 1)).unflatten(0, (2, n_pair))
    differs = tokens[0] != tokens[1]
    if embeddings is not None:
        streams[1] += embeddings - model.weights.embed(tokens[1])
        differs = (streams[0] != streams[1]).any(-1)
    secants = secant_map(model, streams, differs.cumsum(dim=1) > 0)
    made = Contrast(
        model=model,
        tokens=tokens,
        labels=(),
        layout=secants.layout,
        blocks=secants.blocks,
        writes=secants.writes,
        residual=secants.residual,
        final=secants.final,
        error=_error(model, theirs, stream, secants),
        embeddings=embeddings,
        known={tokens.shape[-1] - 1: theirs.unflatten(0, (2, n_pair))},
    )
    return made[0] if n_pair == 1 else replace(made, labels=pair_labels(model, tokens))


def _model_runs(model: Model, tokens: Tensor, embeddings: Tensor | None) -> list[tuple[Model, Tensor]]:
    """Return the model and its rows of tokens, or each run apart.

    The second run is apart where it has embeddings of its own.
    """
    if embeddings is None:
        return [(model, tokens.flatten(0, -2))]
    clean, other = tokens.reshape(2, -1, tokens.shape[-1])
    return [(model, clean), (_with_embeddings(model, embeddings), other)]


def _ending(model: Model, tokens: Tensor, embeddings: Tensor | None, position: int) -> tuple[Tensor, Tensor]:
    """Return the logits of one position and last streams of the runs.

    They are the model's own.
    """
    ends = [ending(each, rows, position) for each, rows in _model_runs(model, tokens, embeddings)]
    logits, streams = zip(*ends, strict=True)
    return torch.cat(logits), torch.cat(streams)


def _with_embeddings(model: Model, embeddings: Tensor | None) -> Model:
    return model if embeddings is None else model.edited(edit.replace("hook_embed", embeddings))


def _error(
    model: Model,
    theirs: Float[Tensor, "run_pair d_vocab"],
    stream: Float[Tensor, "run_pair n_token d_model"],
    secants: SecantMap,
) -> float:
    """Check the runs and the secant map's change; return their error.

    The runs are those of the written-out forward pass.

    The error is relative.
    """
    norm, cap = model.weights.ln_final, model.spec.logit_softcap
    W_U, b_U = model.weights.unfolded_unembedding
    residual = secants.residual.flatten(0, 1)
    normed = apply_norm(residual, norm_scale(residual, model.spec.norm, model.spec.norm_eps), norm)
    moved = secants.final.push(secants.writes.sum(0))
    raw, change_of_logits = normed[:, -1] @ W_U + b_U, moved[:, -1] @ W_U
    if cap is not None:
        change_of_logits = change_of_logits * chord(lambda x: softcap(x, cap), *runs(raw))
    size = theirs.abs().max()
    error = max_or_nan(
        off(residual, stream),
        ((moved - change(normed)).norm(dim=-1) / torch.stack(runs(normed)).norm(dim=-1).amax(0)).max(),
        (softcap(raw, cap) - theirs).abs().max() / size,
        (change_of_logits - change(theirs)).abs().max() / size,
    )
    if not error <= TOLERANCE[theirs.dtype]:
        raise CheckFailedError(
            f"The contrast does not reproduce the model's logits in the two runs, or their difference: relative error "
            f"{error:.2e}, tolerance {TOLERANCE[theirs.dtype]:.0e}. Is there a NaN in the weights, or a hook on "
            "model.bridge?"
        )
    return error
