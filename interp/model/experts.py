"""Mixtures of experts: the choice of the router, the shares, and the outputs of experts.

With x the normalised stream, a position's scores are r = x W_R + b_R, and its `n_expert_used` best experts C are run:

    share_e = exp(r_e) / Σ exp(r),      the sum over C, or over all experts where `Spec.expert_shares` says so
    write   = Σ_{e in C} share_e · ((pre_e · multiplier_e) W_out,e + b_out,e)

Only the chosen experts' weights are ever read, one expert at a time, so a run needs no more memory than one of them.
Mixtral (arXiv 2401.04088), Qwen3 (2505.09388) and gpt-oss (2508.10925) compute this.
"""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Bool, Float, Int
from torch import Tensor

from interp.model.spec import Spec


@dataclass(frozen=True)
class Routing:
    """Experts that ran at each position, with their shares and outputs.

    They are ordered best first.

    Outputs are those before the share.

    `scores` are the router's, of every expert.
    """

    scores: Float[Tensor, "*batch n_token n_expert"]
    chosen: Int[Tensor, "*batch n_token n_used"]
    shares: Float[Tensor, "*batch n_token n_used"]
    outputs: Float[Tensor, "*batch n_token n_used d_model"]

    @property
    def write(self) -> Float[Tensor, "*batch n_token d_model"]:
        """The sum of what the experts add."""
        return (self.shares[..., None] * self.outputs).sum(-2)

    def of_expert(self, expert: int) -> Float[Tensor, "*batch n_token d_model"]:
        """Return what one expert adds to the stream.

        It is share times output where the expert was chosen, else zero.
        """
        return ((self.shares * (self.chosen == expert))[..., None] * self.outputs).sum(-2)


def route(
    spec: Spec, scores: Float[Tensor, "*batch n_expert"]
) -> tuple[Int[Tensor, "*batch n_used"], Float[Tensor, "*batch n_used"]]:
    """Return the best experts by score, and their shares."""
    best, chosen = scores.topk(spec.n_expert_used, dim=-1)
    if spec.expert_shares == "chosen":
        return chosen, best.softmax(-1)
    return chosen, scores.softmax(-1).gather(-1, chosen)


def by_expert(
    x: Float[Tensor, "*batch n_used d_in"],
    weight: Float[Tensor, "n_expert d_in d_out"],
    chosen: Int[Tensor, "*place n_used"],
) -> Float[Tensor, "*batch n_used d_out"]:
    """Multiply each row by the weight of its expert.

    Experts are computed one after another.

    `x` may have axes before those of `chosen`.
    """
    flat = x.reshape(*x.shape[: x.ndim - 1 - chosen.ndim], chosen.numel(), x.shape[-1])
    result = flat.new_empty(*flat.shape[:-1], weight.shape[-1])
    for expert, rows in rows_of(chosen.flatten()):
        result[..., rows, :] = flat[..., rows, :] @ weight[expert].detach()
    return result.reshape(*x.shape[:-1], weight.shape[-1])


def rows_of(experts: Int[Tensor, " n"]) -> list[tuple[int, Int[Tensor, " m"]]]:
    """Return each expert that has rows, with its rows."""
    return [(int(expert), (experts == expert).nonzero()[:, 0]) for expert in experts.unique()]


def spread(
    slots: Float[Tensor, "*batch n_used width"], chosen: Int[Tensor, "*place n_used"], experts: Int[Tensor, " n"]
) -> Float[Tensor, "*batch n width"]:
    """Return slot values arranged by expert, zero where not chosen."""
    here: Bool[Tensor, "*place n n_used"] = chosen[..., None, :] == experts[:, None]
    return here.to(slots.dtype) @ slots
