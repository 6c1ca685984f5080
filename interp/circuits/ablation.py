"""Ablation of induction heads: the loss on repeated text without them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from interp import edit
from interp.circuits.head_results import Ablation, HeadScores
from interp.circuits.results import head_name
from interp.circuits.texts import repeated
from interp.errors import UsageError, require, whole
from interp.model import Model
from interp.model.capture import bridge_is_hooked, logits_of

N_TEXT = 4
"""Texts the loss is measured on: one run of the model is a few seconds, and a study makes some forty."""
METHODS = ("zero", "mean")
Heads = Sequence[tuple[int, int]]


def ablate_induction(
    model: Model,
    scores: HeadScores,
    *,
    k: int = 5,
    method: str = "zero",
    n_controls: int = 20,
    length: int = 25,
    seed: int = 1,
) -> Ablation:
    """Ablate the k heads of highest induction score, and random heads.

    The `n_controls` random sets have k heads each, of other heads of their layers.

    The loss is that of the second half of repeated random text, whose every token the first half gives away, in nats a
    token. "zero" sets a head's values after attention to zero; "mean" to their mean over all positions of these texts.
    The texts are not those the scores were measured on, unless `seed` is the same. A random set has as many heads in
    each layer as the chosen one (in the nearest layers where too few are left): heads of other layers matter more or
    less whatever they do.

    Args:
        model: the model.
        scores: of `head_scores`.
        k: heads ablated.
        method: "zero" or "mean".
        n_controls: random sets of heads.
        length: tokens in each half of a text.
        seed: of the texts and the random heads.

    Returns:
        The rise of the loss by the chosen heads, and by each random set.

    Raises:
        UsageError: an unknown method, more heads than there are, or hooks on `model.bridge`.

    >>> scores = circuits.head_scores(model, n_text=4, length=12)
    >>> ablation = ablate_induction(model, scores, k=2, n_controls=5, length=12)
    >>> ablation.heads, ablation.effect
    (('L1H1', 'L1H2'), 0.105)
    """
    k, n_controls, seed = whole(k, "k"), whole(n_controls, "n_controls"), whole(seed, "seed", 0)
    _check(model, method, k, n_controls)
    tokens = repeated(model, N_TEXT, length, seed)
    shape = scores.induction.shape
    order = np.argsort(-scores.induction, axis=None, kind="stable")
    chosen = [(int(i) // shape[1], int(i) % shape[1]) for i in order[:k]]
    rest = [(int(i) // shape[1], int(i) % shape[1]) for i in order[k:]]
    generator = np.random.default_rng(seed)
    sets = [_matched(chosen, rest, generator) for _ in range(n_controls)]
    means = _means(model, tokens) if method == "mean" else None
    baseline, *losses = _losses(model, tokens, [chosen, *sets], means)
    return Ablation(
        method=method,
        heads=tuple(head_name(*head) for head in chosen),
        baseline=baseline,
        effect=losses[0] - baseline,
        control=np.array(losses[1:]) - baseline,
        control_heads=tuple(tuple(head_name(*head) for head in sorted(heads)) for heads in sets),
        seed=seed,
    )


def _matched(chosen: Heads, rest: Heads, generator: np.random.Generator) -> list[tuple[int, int]]:
    """Draw for each chosen head another of its layer.

    Where the layer has none left, one of the nearest layer that has.
    """
    left, drawn = list(rest), []
    for layer, _ in chosen:
        nearest = min(abs(other - layer) for other, _ in left)
        pool = [head for head in left if abs(head[0] - layer) == nearest]
        drawn.append(pool[generator.integers(len(pool))])
        left.remove(drawn[-1])
    return drawn


def without(model: Model, heads: Heads, means: Float[Tensor, "n_layer n_head d_head"] | None = None) -> Model:
    """Return the model with some heads' values after attention set to zero.

    Or to `means`.
    """
    edits = []
    for layer in sorted({layer for layer, _ in heads}):
        hook, chosen = f"blocks.{layer}.attn.hook_z", [head for at, head in heads if at == layer]
        edits.append(edit.zero(hook, head=chosen) if means is None else edit.replace(hook, means[layer], head=chosen))
    return model.edited(*edits)


def _losses(model: Model, tokens: Tensor, sets: Sequence[Heads], means: Tensor | None) -> list[float]:
    """Return the loss of the unmodified model, then that without each set of heads.

    Blocks below the first ablated head compute what they do in the unmodified model, so each run begins at its block.
    """
    firsts = [min(layer for layer, _ in heads) for heads in sets]
    _, streams = model.run_with_cache(tokens, [f"blocks.{layer}.hook_resid_pre" for layer in sorted({*firsts})])
    resumed = {layer: model.resumed(layer, streams[f"blocks.{layer}.hook_resid_pre"]) for layer in firsts}
    edited = (without(resumed[layer], heads, means) for layer, heads in zip(firsts, sets, strict=True))
    return [_loss(each, tokens) for each in (resumed[max(firsts)], *edited)]


def _loss(model: Model, tokens: Tensor) -> float:
    """Return the mean loss of the second half, in nats.

    The first token of that half is left out, and only that half is unembedded.
    """
    half = tokens.shape[1] // 2
    logits = logits_of(model, tokens, torch.arange(half, tokens.shape[1] - 1)).float()
    return float(torch.nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:, half + 1 :].flatten()))


def _means(model: Model, tokens: Tensor) -> Float[Tensor, "n_layer n_head d_head"]:
    hooks = [f"blocks.{layer}.attn.hook_z" for layer in range(model.spec.n_layer)]
    _, cache = model.run_with_cache(tokens, hooks)
    return torch.stack([cache[hook].mean((0, 1)) for hook in hooks])


def _check(model: Model, method: str, k: int, n_controls: int) -> None:
    require(model, Model, "model")
    n_heads = model.spec.n_layer * model.spec.n_head
    if method not in METHODS:
        raise UsageError(f'There is no ablation method "{method}": choose "zero" or "mean".')
    if n_controls < 1 or not 1 <= k <= n_heads // 2:
        raise UsageError(f"k={k} heads against {n_controls} random sets: the model has {n_heads} heads in all.")
    if bridge_is_hooked(model):
        raise UsageError("model.bridge has hooks, which an ablation would not see: remove them first.")
