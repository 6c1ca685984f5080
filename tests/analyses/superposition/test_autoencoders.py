"""The plain autoencoders of the ladder: what each keeps, and that one finds a planted basis."""

import torch

from analyses.superposition.autoencoders import fit


def batches(generator, features=8):
    def draw():
        active = torch.rand(2, 128, features, generator=generator) < 0.1
        return active * (0.5 + torch.rand(2, 128, features, generator=generator))

    return draw


def test_topk_keeps_k_and_turns_its_atoms_of_length_one_to_an_orthogonal_basis():
    along = []
    for steps in (1, 600):
        generator = torch.Generator().manual_seed(0)
        draw = batches(generator)
        model = fit(draw, 8, k=1, steps=steps, generator=generator)
        assert ((model.encode(draw()) != 0).sum(2) <= 1).all()
        assert torch.allclose(model.decoder.norm(dim=2), torch.ones(2, 8), atol=1e-5)
        along.append(float(model.decoder.abs().amax(dim=1).mean()))
    # The best atom's cosine with each axis, mean of both seeds: random directions in 8 dimensions have about 0.65.
    assert along[0] < 0.75
    assert along[1] > 0.8


def test_a_larger_penalty_makes_fewer_latents_fire():
    counts = []
    for l1 in (0.01, 0.5):
        generator = torch.Generator().manual_seed(0)
        draw = batches(generator)
        counts.append((fit(draw, 8, k=None, l1=l1, steps=400, generator=generator).encode(draw()) > 0).double().mean())
    assert counts[1] < counts[0]
