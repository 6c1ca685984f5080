"""Learning dictionaries, and their coherence."""

import pytest
import torch

from interp import coding
from interp.coding.ksvd import _refit_at_once, _refit_atom_by_atom
from interp.errors import UsageError


def matched_cosine(true, atoms):
    from scipy.optimize import linear_sum_assignment

    cosine = (true @ atoms.T).abs().numpy()
    rows, columns = linear_sum_assignment(-cosine)
    return cosine[rows, columns].sum() / len(true)


def planted(seed, count=4000):
    generator = torch.Generator().manual_seed(seed)
    true = coding.packed_dictionary(64, 32, generator=generator)
    active = torch.rand(count, 64, generator=generator) < 0.05
    return active * (torch.rand(count, 64, generator=generator) + 0.5) @ true, true, generator


@pytest.mark.parametrize("seed", [0, 1])
def test_ksvd_finds_64_directions_in_32_dimensions(seed):
    signals, true, generator = planted(seed)
    learned = coding.ksvd(signals, 64, 4, generator=generator)
    chance = matched_cosine(true, coding.random_dictionary(64, 32, generator=generator))
    assert matched_cosine(true, learned.dictionary) > 0.98
    assert chance < 0.5
    assert torch.allclose(learned.dictionary.norm(dim=1), torch.ones(64), atol=1e-5)
    assert ((learned.codes != 0).sum(1) <= 4).all()


def test_ksvd_finds_nothing_in_noise():
    generator = torch.Generator().manual_seed(5)
    true = coding.packed_dictionary(64, 32, generator=generator, steps=50)
    learned = coding.ksvd(torch.randn(2000, 32, generator=generator), 64, 4, iterations=5, generator=generator)
    chance = matched_cosine(true, coding.random_dictionary(64, 32, generator=generator))
    # Chance itself moves by about 0.01 from one random dictionary to the next.
    assert abs(matched_cosine(true, learned.dictionary) - chance) < 0.05


def test_mod_learns_too():
    signals, true, generator = planted(2)
    assert matched_cosine(true, coding.mod(signals, 64, 4, generator=generator).dictionary) > 0.9


@pytest.mark.parametrize("refit", [_refit_atom_by_atom, _refit_at_once])
def test_the_dictionary_step_never_increases_the_error(refit):
    signals, _, generator = planted(0, count=500)
    signals = signals.double()
    dictionary = coding.random_dictionary(64, 32, generator=generator, dtype=torch.float64)
    codes = coding.omp(signals, dictionary, 3)
    before, support = (signals - codes @ dictionary).square().sum(), codes != 0
    dictionary = refit(signals, codes, dictionary)
    after = (signals - codes @ dictionary).square().sum()
    assert after < before
    assert not (codes != 0)[~support].any()


def test_the_same_generator_learns_the_same_dictionary():
    signals, _, _ = planted(0, count=300)
    twice = [coding.ksvd(signals, 16, 2, iterations=3, generator=torch.Generator().manual_seed(1)) for _ in range(2)]
    assert torch.equal(twice[0].dictionary, twice[1].dictionary)


def test_too_few_signals_are_refused():
    with pytest.raises(UsageError, match="cannot start 8 atoms"):
        coding.ksvd(torch.eye(4), 8, 1, generator=torch.Generator().manual_seed(0))


def test_no_dictionary_is_below_the_welch_bound():
    generator = torch.Generator().manual_seed(0)
    for atoms, d in [(5, 2), (8, 3), (20, 10), (64, 32), (40, 64)]:
        bound = coding.welch_bound(atoms, d)
        for dictionary in (
            coding.random_dictionary(atoms, d, generator=generator),
            coding.packed_dictionary(atoms, d, generator=generator, steps=50),
        ):
            assert coding.coherence(dictionary) >= bound - 1e-6


def test_coherence_of_known_dictionaries():
    both = torch.cat([torch.eye(64, dtype=torch.float64), coding.hadamard(64)])
    assert coding.coherence(both) == pytest.approx(1 / 8, abs=1e-12)
    assert coding.support_bound(coding.coherence(both)) == pytest.approx(4.5, abs=1e-9)
    # The Mercedes star is three lines at 60 degrees: an equiangular tight frame, which meets Welch's bound.
    angle = torch.tensor([0.0, 2, 4], dtype=torch.float64) * torch.pi / 3
    star = torch.stack([angle.cos(), angle.sin()], dim=1)
    assert coding.coherence(star) == pytest.approx(coding.welch_bound(3, 2), abs=1e-12)
    assert coding.coherence(torch.cat([star, star[:1] * -7])) == pytest.approx(1)
    assert coding.coherence(torch.eye(3)) == 0
    assert torch.allclose(coding.hadamard(8) @ coding.hadamard(8).T, torch.eye(8, dtype=torch.float64))


def test_what_has_no_coherence_is_refused():
    with pytest.raises(UsageError, match="two atoms"):
        coding.coherence(torch.ones(1, 3))
    with pytest.raises(UsageError, match="power of two"):
        coding.hadamard(12)
