"""The plainest sparse autoencoders, a batch of seeds at once, for comparison with classical dictionary learning."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Autoencoders:
    """f = act((h − b_dec) W_enc + b_enc), ĥ = f W_dec + b_dec, for every seed; `k` keeps the largest k, else ReLU."""

    encoder: Float[Tensor, "seeds d atoms"]
    decoder: Float[Tensor, "seeds atoms d"]
    b_enc: Float[Tensor, "seeds 1 atoms"]
    b_dec: Float[Tensor, "seeds 1 d"]
    k: int | None

    def encode(self, h: Float[Tensor, "seeds n d"]) -> Float[Tensor, "seeds n atoms"]:
        """Latents."""
        f = torch.baddbmm(self.b_enc, h - self.b_dec, self.encoder).relu()
        if self.k is None:
            return f
        kept = f.topk(self.k, dim=2)
        return torch.zeros_like(f).scatter(2, kept.indices, kept.values)

    def decode(self, f: Float[Tensor, "seeds n atoms"]) -> Float[Tensor, "seeds n d"]:
        """Reconstructions."""
        return torch.baddbmm(self.b_dec, f, self.decoder)


def fit(
    batches: Callable[[], Float[Tensor, "seeds n d"]],
    atoms: int,
    *,
    k: int | None,
    l1: float = 0.0,
    steps: int = 2000,
    lr: float = 3e-3,
    generator: torch.Generator,
) -> Autoencoders:
    """Adam on mean ‖h − ĥ‖² + l1 Σ f, decoder rows kept at length 1; encoders start as the transposed decoders."""
    first = batches()
    seeds, _, d = first.shape
    decoder = torch.nn.functional.normalize(torch.randn(seeds, atoms, d, generator=generator), dim=2)
    start = (decoder.transpose(1, 2).clone(), decoder, torch.zeros(seeds, 1, atoms), torch.zeros(seeds, 1, d))
    weights = [w.requires_grad_() for w in start]
    model = Autoencoders(*weights, k=k)
    optimiser = torch.optim.Adam(weights, lr=lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(steps):
        h = batches()
        f = model.encode(h)
        loss = (h - model.decode(f)).square().sum(2).mean(1).sum() + l1 * f.sum(2).mean(1).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        with torch.no_grad():
            decoder /= decoder.norm(dim=2, keepdim=True)
    return Autoencoders(*(w.detach() for w in weights), k=k)
