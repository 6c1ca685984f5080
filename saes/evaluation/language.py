"""Loss of the model on reconstructions: cross-entropy, loss recovered, divergence."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from interp import edit
from interp.cache.config import EXCLUDED
from interp.cache.contexts import stored
from interp.errors import UsageError
from interp.model import capture
from interp.statistics import Bootstrap
from saes.evaluation.scores import Score, unavailable

if TYPE_CHECKING:
    from interp.model import Model
    from saes.autoencoder import SAE

Replace = Callable[[Float[Tensor, "batch n_token d"]], Float[Tensor, "batch n_token d"]]

GROUP = "language model"
RUNS = ("clean", "spliced", "zero", "mean")
LOSSES = ("loss_original", "loss_reconstruction", "loss_zero", "loss_mean")
"""Keys of the scores of `RUNS`, in that order."""
KEYS = (*LOSSES, "loss_recovered_zero", "loss_recovered_mean", "kl_divergence")
"""Keys of all scores."""
TOKENS = 512
"""Number of tokens in a forward pass."""


def spliced(model: Model, hook: str, replace: Replace) -> Model:
    """Return `model` with the value at `hook` replaced by `replace(value)`.

    This is `interp.edit.function` on the value as an autoencoder reads it: heads are flattened into the last axis.

    Args:
        model: the model.
        hook: name of the hook.
        replace: function from values (batch, n_token, d) to values of the same shape, such as an autoencoder.

    Returns:
        The edited model; the given one does not change.

    Raises:
        UsageError: a hook that cannot be replaced.

    Example:
        >>> spliced(model, "blocks.1.hook_resid_post", dictionaries["blocks.1.hook_resid_post"])(tokens).shape
        torch.Size([1, 4, 64])
    """
    return model.edited(edit.function(hook, lambda value: replace(value.flatten(2)).reshape(value.shape)))


def spliced_logits(
    model: Model, tokens: Int[Tensor, "batch n_token"], hook: str, replace: Replace
) -> Float[Tensor, "batch n_token d_vocab"]:
    """Return the logits of a run of the spliced model; see `spliced`.

    Args:
        model: the model.
        tokens: (batch, n_token) token ids.
        hook: name of the hook.
        replace: function from values (batch, n_token, d) to values of the same shape.

    Returns:
        Logits (batch, n_token, d_vocab).

    Raises:
        UsageError: a hook that cannot be replaced.

    Example:
        >>> spliced_logits(model, tokens, "blocks.1.hook_resid_post", torch.zeros_like).shape
        torch.Size([1, 4, 64])
    """
    return spliced(model, hook, replace)(tokens)


@dataclass(frozen=True)
class Losses:
    """Sums of the losses per context.

    They are the number of predictions, the cross-entropy (nats) of each of `RUNS`, and KL(clean ‖ spliced).
    """

    count: Float[np.ndarray, " context"]
    loss: Float[np.ndarray, "context run"]
    divergence: Float[np.ndarray, " context"]


@torch.no_grad()
def losses(
    sae: SAE, model: Model, contexts: Any, mean: Float[Tensor, " d"], *, exclude: tuple[str, ...] = EXCLUDED
) -> Losses:
    """Compute the losses of four runs of a model.

    The runs are unchanged, with reconstructions, with zeros, and with the mean. Only positions that a harvest includes
    are replaced: not position 0 (with the default `exclude`) and no padding. Only predictions at these positions are
    counted.

    Args:
        sae: the autoencoder or transcoder.
        model: the model.
        contexts: `interp.cache` contexts or token ids (n_context, n_token).
        mean: (d,) mean activation.
        exclude: excluded positions.

    Raises:
        UsageError: a hook that cannot be replaced or is not named in the metadata.
    """
    tokens, lengths = _tokens(contexts)
    hooks = _hooks(sae)
    size = max(1, TOKENS // tokens.shape[1])
    parts = []
    for start in range(0, len(tokens), size):
        ids, length = tokens[start : start + size], lengths[start : start + size]
        mask = stored(length, ids.shape[1], exclude)
        rows = slice(None, int(length.max()))
        parts.append(_batch(sae, model, ids[:, rows], mask[:, rows], length, hooks, mean))
    return Losses(*(np.concatenate(part) for part in zip(*parts, strict=True)))


def _batch(
    sae: SAE, model: Model, ids: Tensor, mask: Tensor, length: Tensor, hooks: tuple[str, str], mean: Tensor
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return counts, losses and divergences of a batch of contexts."""
    ids, (reads, writes) = ids.to(model.device), hooks
    inputs = None if reads == writes else model.run_with_cache(ids, reads)[1][reads].flatten(2)

    def with_sae(value: Tensor) -> Tensor:
        return sae.run(value if inputs is None else inputs)[1]

    replace: dict[str, Replace] = {
        "spliced": with_sae,
        "zero": torch.zeros_like,
        "mean": lambda value: mean.to(value).expand_as(value),
    }
    clean, resumed = _clean(model, ids, writes)
    replaced, streams = mask.to(model.device), [clean]
    for name in RUNS[1:]:
        edited = spliced(resumed, writes, _where(replaced, replace[name]))
        streams.append(_final(edited, ids)[0])
    judged = (mask & (torch.arange(ids.shape[1]) < length[:, None] - 1))[:, :-1].to(model.device)
    loss, divergence = _judged(model, [stream[:, :-1][judged] for stream in streams], ids[:, 1:][judged])
    per_context = [_sum(value, judged) for value in (*loss, divergence)]
    return judged.sum(1).cpu().double().numpy(), np.stack(per_context[:-1], 1), per_context[-1]


def _clean(model: Model, ids: Tensor, hook: str) -> tuple[Tensor, Model]:
    """Return the final stream of the unchanged run, and the model whose runs on these tokens begin at `hook`'s block.

    Blocks below it compute in every spliced run what they compute in the unchanged one.
    """
    layer = int(hook.split(".")[1]) if hook in model.places and hook.startswith("blocks.") else 0
    if layer == 0 or model.level != "exact":
        return _final(model, ids)[0], model
    final, stream = _final(model, ids, f"blocks.{layer}.hook_resid_pre")
    return final, model.resumed(layer, stream)


def _final(model: Model, ids: Tensor, *names: str) -> list[Tensor]:
    """Return the stream that leaves the last block, and further activations of the same run."""
    last = f"blocks.{model.spec.n_layer - 1}.hook_resid_post"
    cache, _ = capture.run(model, ids, tuple(dict.fromkeys((last, *names))), logits=False)
    return [cache[name] for name in (last, *names)]


def _where(mask: Bool[Tensor, "batch n_token"], replace: Replace) -> Replace:
    return lambda value: torch.where(mask[..., None], replace(value).to(value), value)


def _judged(
    model: Model, streams: list[Float[Tensor, "n d_model"]], targets: Int[Tensor, " n"]
) -> tuple[list[Float[Tensor, " n"]], Float[Tensor, " n"]]:
    """Return the cross-entropy of each run at every prediction, and KL(first ‖ second).

    Only as many logits are computed at a time as stay in the processor's cache.
    """
    losses, divergences = [[] for _ in streams], []
    for rows in torch.arange(len(targets), device=targets.device).split(capture.unembedded_rows(model)):
        clean = None
        for run, stream in enumerate(streams):
            log_p = _log_probabilities(capture.unembedded(model, stream[rows]))
            losses[run].append(-log_p.gather(1, targets[rows, None])[:, 0])
            if clean is None:
                clean = log_p
            elif run == 1:
                each = torch.nn.functional.kl_div(log_p, clean, log_target=True, reduction="none")
                divergences.append(each.sum(1))
    return [torch.cat(one) for one in losses], torch.cat(divergences)


def _log_probabilities(logits: Float[Tensor, "n d_vocab"]) -> Float[Tensor, "n d_vocab"]:
    return (logits if logits.dtype == torch.float64 else logits.float()).log_softmax(-1)


def _sum(value: Float[Tensor, " n"], judged: Bool[Tensor, "batch n_token"]) -> Float[np.ndarray, " batch"]:
    """Return the sums of the values, one for each true entry of `judged`, by row."""
    grid = torch.zeros(judged.shape, dtype=value.dtype, device=value.device)
    grid[judged] = value
    return grid.sum(1, dtype=torch.float64).cpu().numpy()


def scores(losses: Losses, seed: int, excluded: tuple[str, ...] = EXCLUDED) -> tuple[Score, ...]:
    """Return losses (nats per token), fractions recovered and divergence as scores.

    The fraction recovered is (ablated − spliced) / (ablated − clean).
    """
    bootstrap = Bootstrap.of(len(losses.count), seed)
    on = f"{int(losses.count.sum()):,} predictions in {len(losses.count):,} contexts"
    if not losses.count.sum():
        return tuple(unavailable(key, GROUP, "no context has a prediction to judge") for key in KEYS)
    note = "position 0 is not replaced" if "first" in excluded else ""
    means = [
        Score(key, GROUP, *bootstrap.ratio(losses.loss[:, i], losses.count), "nats", on, "lower", note)
        for i, key in enumerate(LOSSES)
    ]
    recovered = [_recovered(losses, ablation, bootstrap, on) for ablation in ("zero", "mean")]
    divergence = bootstrap.ratio(losses.divergence, losses.count)
    return (
        *means,
        *recovered,
        Score("kl_divergence", GROUP, *divergence, "nats", on, "lower", "KL(original ‖ spliced)"),
    )


def _recovered(losses: Losses, ablation: str, bootstrap: Bootstrap, on: str) -> Score:
    clean, spliced, ablated = losses.loss[:, 0], losses.loss[:, 1], losses.loss[:, RUNS.index(ablation)]
    key, harm = f"loss_recovered_{ablation}", ablated - clean
    per_token = harm.sum() / losses.count.sum()
    if per_token <= 1e-3:
        why = f"{ablation} ablation raises the loss by {per_token:.1e} nats a token: there is nothing to recover"
        return unavailable(key, GROUP, why)
    value = bootstrap.ratio(ablated - spliced, harm)
    return Score(key, GROUP, *value, "fraction", on, "higher", f"1 is the model's own loss, 0 {ablation} ablation")


def _tokens(contexts: Any) -> tuple[Int[Tensor, "n_context n_token"], Int[Tensor, " n_context"]]:
    """Return token ids and lengths.

    The input is `Contexts`, or a tensor of full contexts.
    """
    if hasattr(contexts, "lengths"):
        return contexts.tokens.long(), contexts.lengths.long()
    tokens = torch.as_tensor(contexts)
    if tokens.ndim != 2 or tokens.is_floating_point() or tokens.shape[1] < 2 or len(tokens) == 0:
        raise UsageError(
            f"Contexts are token ids (n_context, n_token) with two tokens or more, not {tuple(tokens.shape)}."
        )
    return tokens.long(), torch.full((len(tokens),), tokens.shape[1])


def _hooks(sae: SAE) -> tuple[str, str]:
    """Return the input hook and the replaced hook."""
    reads = sae.metadata.get("hook_name")
    writes = sae.metadata.get("hook_name_out") if sae.variant == "transcoder" else reads
    if not reads or not writes:
        missing = "hook_name" if not reads else "hook_name_out"
        raise UsageError(f"The autoencoder's metadata do not say where it belongs: set sae.metadata[{missing!r}].")
    return str(reads), str(writes)
