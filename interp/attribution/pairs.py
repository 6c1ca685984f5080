"""Clean and counterfactual prompts of a contrast: checked, labelled, and the memory that they need."""

from __future__ import annotations

from numbers import Real

import torch
from jaxtyping import Int
from torch import Tensor

from interp.attribution.components import Layout
from interp.attribution.edited_run import refuse_edits
from interp.attribution.frozen import TOLERANCE
from interp.errors import UsageError, require
from interp.model import Model


def bytes_needed(model: Model, n_pair: int, n_token: int) -> int:
    """Return the memory of a contrast.

    Writes, secants of every block, and the logits and streams of both runs.

    n_pair · T · (n_component·d_model + n_layer·(5·n_head·T + 2·d_mlp + 8·d_model)) + 5·n_pair·d_vocab numbers at most,
    each expert being a component and each of those that run at a position having its d_mlp and d_model. SmolLM2 in
    float32: about 1.5 MB a token and 6 kB a pair of tokens, so 25 MB for a pair of 14 tokens.
    """
    spec = model.spec
    n_ran = max(1, spec.n_expert_used)
    block = 5 * spec.n_head * n_token + 2 * n_ran * spec.d_mlp + (7 + n_ran) * spec.d_model + 3 * spec.n_expert
    each = len(Layout(spec).components) * spec.d_model + spec.n_layer * block
    return n_pair * (n_token * each + 5 * spec.d_vocab) * model.parts.W_U.element_size()


def checked_pairs(
    model: Model, clean: Tensor, counterfactual: Tensor, max_gigabytes: float
) -> Int[Tensor, "2 pair n_token"]:
    """Return both sides as (clean or counterfactual, pair, n_token), checked."""
    require(model, Model, "model")
    require(max_gigabytes, Real, "max_gigabytes")
    refuse_edits(model, "A contrast")
    clean, counterfactual = model.check_tokens(clean), model.check_tokens(counterfactual)
    if clean.shape[1] != counterfactual.shape[1]:
        raise UsageError(unequal(model, clean[0], counterfactual[0]))
    if len(clean) != len(counterfactual):
        raise UsageError(
            f"There are {len(clean)} clean prompts but {len(counterfactual)} counterfactual ones: give as many of both."
        )
    if model.dtype not in TOLERANCE:
        raise UsageError(f"A decomposition in {model.dtype} would mean nothing: load the model in float32 or float64.")
    needed = bytes_needed(model, *clean.shape) / 1e9
    if needed > max_gigabytes:
        raise UsageError(
            f"A contrast of {len(clean)} pairs of {clean.shape[1]} tokens needs {needed:.1f} GB, more than "
            f"max_gigabytes={max_gigabytes:g}: take fewer or shorter pairs at a time, or pass a larger max_gigabytes."
        )
    return torch.stack([clean, counterfactual])


def unequal(model: Model, clean: Int[Tensor, " n"], counterfactual: Int[Tensor, " m"]) -> str:
    """Return the message for two prompts of different length.

    It shows both tokenisations.
    """
    shown = [" | ".join(model.labels(tokens)) for tokens in (clean, counterfactual)]
    return (
        f"The clean prompt has {len(clean)} tokens and the counterfactual {len(counterfactual)}; positions can only be "
        f"compared where both have as many.\n  clean:          {shown[0]}\n  counterfactual: {shown[1]}\n"
        "Swap words for ones of as many tokens."
    )


def pair_labels(model: Model, tokens: Int[Tensor, "run *pair n_token"]) -> tuple[str, ...]:
    """Name each position by its token.

    "clean|counterfactual" where the two differ, its number where those of a batch do.
    """
    columns = tokens.flatten(0, -2).unflatten(0, (2, -1))
    same = (columns == columns[:, :1]).all(dim=1).all(dim=0).tolist()
    names = zip(*(model.labels(run) for run in columns[:, 0]), strict=True)
    joined = [first if first == second else f"{first}|{second.strip()}" for first, second in names]
    return tuple(name if alike else str(i) for i, (name, alike) in enumerate(zip(joined, same, strict=True)))
