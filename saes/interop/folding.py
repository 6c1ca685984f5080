"""Moving what a format keeps beside the weights into them: input scales and decoder norms."""

from __future__ import annotations

from torch import Tensor

LATENT_BIASES = ("b_enc", "b_gate", "b_mag", "threshold")
"""In the units of a pre-activation. r_mag is the logarithm of a ratio, and has none."""


def fold_scale(tensors: dict[str, Tensor], scale: float, *, threshold_is_of_output: bool) -> dict[str, Tensor]:
    """Weights that read x instead of scale · x, and give x̂ instead of scale · x̂.

    W_enc · scale, W_dec / scale, b_dec / scale: all three, or reconstructions are off by the bias. Pre-activations
    stay what they were, and so do latents, biases and thresholds; except `topk_threshold` where it is compared with
    pre-activation times decoder norm (`threshold_is_of_output`), which shrinks with the decoder. W_skip has no units.
    """
    if scale == 1:
        return tensors
    found = dict(tensors)
    found["W_enc"] = found["W_enc"] * scale
    found["W_dec"] = found["W_dec"] / scale
    found["b_dec"] = found["b_dec"] / scale
    if threshold_is_of_output:
        found["topk_threshold"] = found["topk_threshold"] / scale
    return found


def fold_decoder_norm(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Decoder rows of length 1 and latents multiplied by the length they had: the same reconstructions."""
    norm = tensors["W_dec"].norm(dim=1).clamp_min(1e-8)
    found = tensors | {"W_dec": tensors["W_dec"] / norm[:, None], "W_enc": tensors["W_enc"] * norm}
    return found | {name: tensors[name] * norm for name in LATENT_BIASES if name in tensors}
