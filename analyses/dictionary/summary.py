"""Short descriptions of autoencoders and measures, for pages and the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from saes.evaluation.scores import Score

NAMES = {
    "topk": "TopK",
    "batchtopk": "BatchTopK",
    "jumprelu": "JumpReLU",
    "matryoshka": "Matryoshka",
    "gated": "gated",
    "standard": "standard (L1)",
}


def kind(sae: dict[str, Any]) -> str:
    """Return a description such as "TopK autoencoder of 2,304 latents"."""
    return f"{architecture(sae)} {sae['variant']} of {sae['width']:,} latents"


def architecture(sae: dict[str, Any]) -> str:
    """Return the name of the architecture, such as "TopK"."""
    return NAMES.get(sae["architecture"], str(sae["architecture"]))


def place(sae: dict[str, Any]) -> str:
    """Return what the autoencoder reads, such as "smollm2 at blocks.10.hook_resid_post"."""
    about = sae["metadata"]
    hooks = about.get("hook_names") or (about.get("hook_name") or "an unnamed hook",)
    return f"{about.get('model_name') or 'an unnamed model'} at {' and '.join(map(str, hooks))}"


def number(score: Score) -> str:
    """Return a value with its interval, or why there is none."""
    if score.value is None:
        return f"not computed ({score.why})"
    interval = "" if score.low is None or score.high is None else f" ({plain(score.low)} to {plain(score.high)})"
    return plain(score.value) + interval


def plain(value: float | None) -> str:
    """Return a value to four significant digits."""
    return "none" if value is None else f"{value:.4g}"
