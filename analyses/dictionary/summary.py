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
    """Return a description such as "TopK autoencoder of 2,304 latents".

    >>> kind(study.sae)  # study = dictionary.run(sae, store, model=model)
    'TopK autoencoder of 48 latents'
    """
    return f"{architecture(sae)} {sae['variant']} of {sae['width']:,} latents"


def architecture(sae: dict[str, Any]) -> str:
    """Return the name of the architecture, such as "TopK".

    >>> architecture(study.sae)  # study = dictionary.run(sae, store, model=model)
    'TopK'
    """
    return NAMES.get(sae["architecture"], str(sae["architecture"]))


def place(sae: dict[str, Any]) -> str:
    """Return what the autoencoder reads, such as "smollm2 at blocks.10.hook_resid_post".

    >>> place(study.sae)  # study = dictionary.run(sae, store, model=model)
    'an unnamed model at blocks.1.hook_resid_post'
    """
    about = sae["metadata"]
    hooks = about.get("hook_names") or (about.get("hook_name") or "an unnamed hook",)
    return f"{about.get('model_name') or 'an unnamed model'} at {' and '.join(map(str, hooks))}"


def number(score: Score) -> str:
    """Return a value with its interval, or why there is none.

    >>> number(study.evaluation.score("l0"))  # study = dictionary.run(sae, store, model=model)
    '8 (8 to 8)'
    """
    if score.value is None:
        return f"not computed ({score.why})"
    interval = "" if score.low is None or score.high is None else f" ({plain(score.low)} to {plain(score.high)})"
    return plain(score.value) + interval


def plain(value: float | None) -> str:
    """Return a value to four significant digits.

    >>> plain(0.123456)
    '0.1235'
    """
    return "none" if value is None else f"{value:.4g}"
