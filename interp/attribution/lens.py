"""The logit lens: the residual stream after every block, read as if it were the last or through a tuned lens."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.attribution.lens_fit import hooks
from interp.attribution.lens_results import LogitLens
from interp.attribution.linearised import checked_position
from interp.attribution.targets import logit
from interp.attribution.tuned_lens import TunedLens
from interp.errors import CheckFailedError, UsageError, require, whole
from interp.model import Model, capture, trace as forward
from interp.model.check import TOLERANCE


@torch.no_grad()
def logit_lens(
    model: Model,
    tokens: Int[Tensor, "1 n_token"],
    tracked: Sequence[str | int] = (),
    *,
    k: int = 5,
    lens: TunedLens | None = None,
    position: int | None = None,
) -> LogitLens:
    """Unembed the residual stream after every block.

    It passes the final norm with its own scale (nostalgebraist, 2020). A lens is a reading, not a decomposition: an
    intermediate stream is not what the unembedding was trained on.

    Args:
        model: the model.
        tokens: one prompt.
        tracked: tokens whose logit and rank are wanted at every layer.
        k: how many of the likeliest tokens to return.
        lens: a `TunedLens` fitted to this model, whose translation is read instead of the stream itself.
        position: the only position to read, as `LogitLens.at` returns it; negative counts from the end. All by default.

    Returns:
        The likeliest tokens, and logits and ranks of the tracked ones, at every layer and position.

    Raises:
        UsageError: a lens of another unembedding, more than one prompt, a tracked token that is not one, or a k beyond
            the vocabulary, or a position that does not exist.
        CheckFailedError: the last row misses the model's own logits by more than ten times the tolerance of
            `interp.check`, or there is a NaN.

    >>> lens = logit_lens(model, tokens, [" Paris"])
    >>> lens.logits[:, -1, 0].round(3)  # after the embedding and after each block
    array([-0.339, -1.405,  1.085,  0.596], dtype=float32)
    """
    require(model, Model, "model")
    require(tracked, (list, tuple), "tracked")
    require(lens, (TunedLens, type(None)), "lens")
    tokens = model.check_tokens(tokens)
    if tokens.shape[0] != 1:
        raise UsageError(f"A logit lens reads one prompt at a time: the tokens have {tokens.shape[0]} rows.")
    k = whole(k, "k")
    if not 1 <= k <= model.spec.d_vocab:
        raise UsageError(f"k={k}: the vocabulary has {model.spec.d_vocab} tokens to choose the likeliest from.")
    ids = [logit(model, token).tokens[0] for token in tracked]
    if lens is not None:
        lens.check_model(model)
    _, streams = model.run_with_cache(tokens, list(hooks(model)))
    read = torch.cat([x if lens is None else lens.translate(row, x) for row, x in enumerate(streams.values())])
    n_token = tokens.shape[1]
    positions = list(range(n_token)) if position is None else [checked_position(position, n_token)]
    # A position's rows are unembedded together: the logits of all positions would be n_token times as many numbers.
    columns = [_read(_unembed(model, read[:, at]), ids, k) for at in positions]
    ours, (theirs, _) = _unembed(model, read[-1:, -1]), capture.ending(model, tokens, -1)
    error = float((ours - theirs).abs().max() / theirs.abs().max())
    if not error <= 10 * TOLERANCE[model.dtype]:
        raise CheckFailedError(
            f"The last row of the lens does not reproduce the model's logits: relative error {error:.2e}. "
            "Is there a NaN in the weights, or a hook on model.bridge?"
        )
    top, likely, values, ranks = (torch.stack(parts, dim=1) for parts in zip(*columns, strict=True))
    shown = [tokens.flatten(), torch.tensor(ids, device=tokens.device), top.flatten()]
    seen = torch.cat([each.long() for each in shown]).unique()
    texts = dict(zip(seen.tolist(), model.labels(seen), strict=True))
    return LogitLens(
        tokens=tuple(texts[i] for i in tokens[0, positions].tolist()),
        tracked=tuple(texts[i] for i in ids),
        top_tokens=tuple(tuple(tuple(texts[i] for i in most) for most in row) for row in top.tolist()),
        top_probabilities=likely.float().cpu().numpy(),
        logits=values.float().cpu().numpy(),
        ranks=ranks.cpu().numpy(),
        error=error,
        lens="logit" if lens is None else lens.kind,
    )


def _unembed(model: Model, residual: Float[Tensor, "n d_model"]) -> Float[Tensor, "n d_vocab"]:
    return forward.unembed(model.weights, residual, folded=False)[0]


def _read(logits: Float[Tensor, "row d_vocab"], ids: list[int], k: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return what the lens reads of one position at every row.

    (likeliest tokens, their probabilities, tracked logits, tracked ranks).
    """
    probabilities, top = logits.softmax(-1).topk(k, dim=-1)
    tracked = logits[:, ids]
    ranks = tracked.new_zeros(tracked.shape, dtype=torch.long)
    for i, value in enumerate(tracked.unbind(1)):
        ranks[:, i] = (logits > value[:, None]).sum(-1)
    return top, probabilities, tracked, ranks
