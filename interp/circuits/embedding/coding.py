"""`sparse_code`: a residual vector as a few tokens (orthogonal matching pursuit, Pati et al. 1993)."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from interp import coding
from interp.circuits.embedding.results import SparseCode
from interp.circuits.factors import working
from interp.errors import UsageError, require, whole
from interp.model import Model


@torch.no_grad()
def sparse_code(
    model: Model,
    vector: Float[Tensor, " d_model"],
    k: int = 5,
    dictionary: Literal["unembedding", "embedding"] = "unembedding",
) -> SparseCode:
    """Express a vector as a sum of a few token vectors.

    The k token vectors, one after another, are those that leave least of `vector` unexplained. Each step takes the row
    (of length 1) most aligned with the residual, of either sign, and fits all chosen rows again.

    Args:
        model: the model.
        vector: (d_model,), such as `cache["blocks.10.hook_resid_post"][0, -1]`.
        k: how many tokens.
        dictionary: "unembedding" (the final norm's gain folded in) or "embedding".

    Returns:
        The tokens, with their coefficients and the share left unexplained.

    Raises:
        UsageError: another dictionary, a vector of the wrong size or all zeros, or k outside 1 to d_model.

    >>> vector = model.weights.W_E[3] + 0.5 * model.weights.W_E[7]
    >>> code = sparse_code(model, vector, k=2, dictionary="embedding")
    >>> code.tokens == model.labels(torch.tensor([3, 7])), code.left.round(3)
    (True, array([0.204, 0.   ]))
    """
    require(model, Model, "model")
    require(vector, Tensor, "vector")
    k = whole(k, "k")
    rows = normalize(_rows(model, dictionary), dim=-1)
    if tuple(vector.shape) != (model.spec.d_model,) or not bool(vector.any()):
        raise UsageError(
            f"sparse_code takes one vector of {model.spec.d_model} numbers, not all zero, not {tuple(vector.shape)}."
        )
    if not 1 <= k <= min(rows.shape):
        raise UsageError(f"k={k} tokens were asked for; there can be 1 to {min(rows.shape)}.")
    code = coding.pursue(vector.to(rows)[None], rows, k)
    coherence, recovery = coding.exact_recovery(rows, code.support[0])
    return SparseCode(
        dictionary=dictionary,
        tokens=model.labels(code.support[0]),
        coefficients=code.values[0].cpu().numpy(),
        left=code.left[0].double().cpu().numpy(),
        coherence=coherence,
        recovery=recovery,
    )


def _rows(model: Model, dictionary: str) -> Float[Tensor, "d_vocab d_model"]:
    if dictionary == "embedding":
        return working(model.weights.W_E)
    if dictionary == "unembedding":
        return working(model.weights.W_U).T
    raise UsageError(f'There is no dictionary "{dictionary}": choose "unembedding" or "embedding".')
