"""The secants of a mixture of experts between two runs.

An expert that runs at a position in both adds share · f, which changes by the product rule, and its share by the secant
of the softmax: with Δr the change of the router's scores, and l the logarithmic means of the shares (see
`secants.SoftmaxSecant`),

    Δ(share · f) = share̅ Δf + f̄ Δshare,      Δshareₑ = lₑ (Δrₑ − Σ l Δr / Σ l) + lₑ / Σ l · Σ Δshare

the sums over the experts of both runs. The last term, `switched`, is the change of their shares because other
experts were chosen; it is zero if both runs choose the same ones, or if shares are those of all experts. An expert of
one run only adds its whole write. No direction on the stream explains a choice, so both are constants of the expert.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from interp.attribution.secants import SoftmaxSecant, chord, logarithmic_mean, softmax_secant
from interp.model import Spec, trace as forward
from interp.model.arithmetic import activate, limited


@dataclass(frozen=True)
class ExpertSecants:
    """Secants of the experts `chosen` in the clean run.

    Everything is zero for those that the counterfactual did not choose.

    `both` marks every expert that runs in both. `share` and `output` are means of the two runs, `softmax` turns changes
    of all scores into changes of shares.
    """

    chosen: Int[Tensor, "*pair n_token n_used"]
    both: Bool[Tensor, "*pair n_token n_expert"]
    share: Float[Tensor, "*pair n_token n_used"]
    output: Float[Tensor, "*pair n_token n_used d_model"]
    switched: Float[Tensor, "*pair n_token n_used"]
    softmax: SoftmaxSecant

    def at(self, pair: int) -> ExpertSecants:
        """Return one pair of a batch, as views."""
        names = ("chosen", "both", "share", "output", "switched")
        parts = {name: getattr(self, name)[pair] for name in names}
        return ExpertSecants(**parts, softmax=self.softmax.map(lambda x: x[pair]))


def mlp_secants(
    spec: Spec, pre: tuple[Tensor, Tensor], gate: tuple[Tensor, Tensor] | None
) -> tuple[Tensor | None, Tensor]:
    """Return `up` and `gated` of `SecantBlock`.

    From both runs' values before the activation.
    """

    def act(z: Tensor) -> Tensor:
        return activate(z, spec.activation, spec.activation_limit)

    if gate is None:
        return None, chord(act, *pre)
    factors, acted = (limited(each, spec.activation_limit) for each in pre), [act(each) for each in gate]
    up = (acted[0] + acted[1]) / 2
    if spec.activation_limit is not None:
        up = up * chord(lambda z: limited(z, spec.activation_limit), *pre)
    return up, sum(factors) / 2 * chord(act, *gate)


def expert_secants(spec: Spec, mlp: forward.MlpTrace, n: int) -> tuple[ExpertSecants, Tensor | None, Tensor]:
    """Return the experts' secants, `up` and `gated` of a batch.

    Its first `n` rows are the clean inputs, its last the others.
    """
    routing = mlp.routing
    assert routing is not None
    chosen, others = routing.chosen[:n], routing.chosen[-n:]
    same = chosen[..., :, None] == others[..., None, :]
    both, slot = same.any(-1), same.int().argmax(-1)

    def matched(x: Tensor) -> tuple[Tensor, Tensor]:
        """Return both runs' values of the clean run's experts.

        Where the other did not choose one, those of some other.
        """
        clean, other = x[:n], x[-n:]
        index = slot.reshape(*slot.shape, *[1] * (x.ndim - slot.ndim)).expand(*slot.shape, *x.shape[slot.ndim :])
        return clean, other.gather(slot.ndim - 1, index)

    shares = [each * both for each in matched(routing.shares)]
    softmax = _softmax(spec, routing.scores, chosen, shares, both)
    weight = softmax.weight.gather(-1, chosen) * both
    switched = torch.zeros_like(weight)
    if spec.expert_shares == "chosen":
        moved = (shares[0] - shares[1]).sum(-1, keepdim=True)
        switched = weight / weight.sum(-1, keepdim=True).clamp_min(torch.finfo(weight.dtype).tiny) * moved
    secants = ExpertSecants(
        chosen=chosen,
        both=torch.zeros_like(softmax.weight, dtype=torch.bool).scatter(-1, chosen, both),
        share=(shares[0] + shares[1]) / 2,
        output=sum(matched(routing.outputs)) / 2 * both[..., None],
        switched=switched,
        softmax=softmax,
    )
    gate = None if mlp.gate is None else matched(mlp.gate)
    return secants, *mlp_secants(spec, matched(mlp.pre), gate)


def _softmax(spec: Spec, scores: Tensor, chosen: Tensor, shares: list[Tensor], both: Tensor) -> SoftmaxSecant:
    """Return the secant of the shares.

    Over all experts, or over those of both runs.
    """
    clean, other = scores[: len(chosen)], scores[-len(chosen) :]
    if spec.expert_shares == "all":
        return softmax_secant(clean, other)
    logs = (each.double().clamp_min(torch.finfo(torch.float64).tiny).log() for each in shares)
    weight = logarithmic_mean(*logs).to(clean) * both
    return SoftmaxSecant(torch.zeros_like(clean).scatter(-1, chosen, weight))
