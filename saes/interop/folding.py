"""Folding of input scales and decoder norms into the weights."""

from __future__ import annotations

from torch import Tensor

LATENT_BIASES = ("b_enc", "b_gate", "b_mag", "threshold")
"""Parameters in the units of a pre-activation. r_mag is the logarithm of a ratio and has no units."""


def fold_scale(tensors: dict[str, Tensor], scale: float, *, threshold_is_of_output: bool) -> dict[str, Tensor]:
    """Fold the scaling of the activations into the weights.

    The returned weights read x instead of scale · x and write x̂ instead of scale · x̂. W_enc · scale, W_dec / scale
    and b_dec / scale are all needed for correct reconstructions. Pre-activations, latents, biases and thresholds do not
    change, except a `topk_threshold` that is compared with pre-activation times decoder norm
    (`threshold_is_of_output`), which is scaled with the decoder. W_skip has no units.

    >>> weights = {name: torch.ones(1, 1) for name in ("W_enc", "W_dec", "b_enc", "b_dec")}
    >>> {name: tensor.item() for name, tensor in fold_scale(weights, 2.0, threshold_is_of_output=False).items()}
    {'W_enc': 2.0, 'W_dec': 0.5, 'b_enc': 1.0, 'b_dec': 0.5}
    """
    if scale == 1:
        return tensors
    folded = dict(tensors)
    folded["W_enc"] = folded["W_enc"] * scale
    folded["W_dec"] = folded["W_dec"] / scale
    folded["b_dec"] = folded["b_dec"] / scale
    if threshold_is_of_output:
        folded["topk_threshold"] = folded["topk_threshold"] / scale
    return folded


def fold_decoder_norm(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return weights with decoder rows of length 1.

    The latents are scaled by the former length, and the reconstructions are the same.

    >>> weights = {name: 2 * torch.ones(1, 1) for name in ("W_enc", "W_dec", "b_enc", "b_dec")}
    >>> {name: tensor.item() for name, tensor in fold_decoder_norm(weights).items()}
    {'W_enc': 4.0, 'W_dec': 1.0, 'b_enc': 4.0, 'b_dec': 2.0}
    """
    norm = tensors["W_dec"].norm(dim=1).clamp_min(1e-8)
    folded = tensors | {"W_dec": tensors["W_dec"] / norm[:, None], "W_enc": tensors["W_enc"] * norm}
    return folded | {name: tensors[name] * norm for name in LATENT_BIASES if name in tensors}
