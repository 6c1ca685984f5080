"""OMP, matching pursuit and IHT: agreement with scikit-learn, recovery below the coherence bound, what is conserved."""

import itertools

import pytest
import torch

from interp import coding
from interp.errors import UsageError


def planted(k, count=2000, seed=0):
    """Signals of exactly k atoms of [I | H] in 64 dimensions, coefficients of magnitude 0.5 to 1.5."""
    generator = torch.Generator().manual_seed(seed)
    dictionary = torch.cat([torch.eye(64, dtype=torch.float64), coding.hadamard(64)])
    support = torch.rand(count, 128, generator=generator).topk(k).indices
    size = 0.5 + torch.rand(count, k, generator=generator, dtype=torch.float64)
    sign = torch.randint(0, 2, (count, k), generator=generator) * 2 - 1
    codes = torch.zeros(count, 128, dtype=torch.float64).scatter_(1, support, size * sign)
    return codes @ dictionary, dictionary, codes


@pytest.fixture(scope="module")
def noisy():
    generator = torch.Generator().manual_seed(3)
    dictionary = coding.random_dictionary(128, 64, generator=generator, dtype=torch.float64)
    return torch.randn(100, 64, generator=generator, dtype=torch.float64), dictionary


def test_omp_equals_scikit_learn(noisy):
    from sklearn.linear_model import orthogonal_mp

    signals, dictionary = noisy
    theirs = orthogonal_mp(dictionary.numpy().T, signals.numpy().T, n_nonzero_coefs=6).T
    # Both solve small well-conditioned least squares in float64; 1e-9 is the promise, 1e-14 what is seen.
    assert abs(coding.omp(signals, dictionary, 6).numpy() - theirs).max() < 1e-9


@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_omp_recovers_every_support_below_the_coherence_bound(k):
    signals, dictionary, codes = planted(k)
    assert k < coding.support_bound(coding.coherence(dictionary))
    # float64 and supports of at most four nearly orthogonal atoms: errors of a few ulp.
    assert (coding.omp(signals, dictionary, k) - codes).abs().max() < 1e-12


def test_omp_fails_far_above_the_bound_and_with_a_wrong_dictionary():
    signals, dictionary, codes = planted(24)
    result = coding.omp(signals, dictionary, 24)
    assert ((result.abs() > 1e-9) == (codes != 0)).all(1).double().mean() < 0.9
    signals, _, codes = planted(2)
    other = coding.random_dictionary(128, 64, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    result = coding.omp(signals, other, 2)
    assert ((result != 0) == (codes != 0)).all(1).double().mean() < 0.01


def test_omp_residual_is_orthogonal_to_its_atoms_and_shrinks_with_k(noisy):
    signals, dictionary = noisy
    before = signals.norm(dim=1)
    for k in (1, 3, 8):
        codes = coding.omp(signals, dictionary, k)
        residual = signals - codes @ dictionary
        assert ((codes != 0).sum(1) == k).all()
        assert ((residual @ dictionary.T).abs() * (codes != 0)).max() < 1e-12
        assert (residual.norm(dim=1) < before).all()
        before = residual.norm(dim=1)


def test_omp_does_not_depend_on_the_lengths_of_atoms_or_on_the_batch(noisy):
    signals, dictionary = noisy
    scale = torch.linspace(0.1, 9, 128, dtype=torch.float64)[:, None]
    codes = coding.omp(signals, dictionary, 5)
    assert torch.allclose(coding.omp(signals, dictionary * scale, 5) * scale.T, codes, atol=1e-12)
    assert torch.allclose(coding.omp(signals[7:8], dictionary, 5), codes[7:8], atol=1e-12)


def test_omp_survives_repeated_atoms_and_zero_signals():
    dictionary = torch.eye(3, dtype=torch.float64)[[0, 0, 1, 2]]
    signals = torch.tensor([[1.0, 2, 0], [0, 0, 0], [0, 0, 3]], dtype=torch.float64)
    codes = coding.omp(signals, dictionary, 3)
    assert torch.isfinite(codes).all()
    assert torch.allclose(codes @ dictionary, signals, atol=1e-14)
    assert (codes[1] == 0).all()


def test_matching_pursuit_conserves_energy_round_by_round(noisy):
    signals, dictionary = noisy
    previous = torch.zeros(len(signals), 128, dtype=torch.float64)
    for steps in range(1, 6):
        codes = coding.matching_pursuit(signals, dictionary, steps)
        energy = [(signals - c @ dictionary).square().sum(1) for c in (previous, codes)]
        assert torch.allclose(energy[0], energy[1] + (codes - previous).square().sum(1), atol=1e-12)
        previous = codes


def test_matching_pursuit_takes_the_same_first_atom_as_omp_and_is_never_better_for_the_same_atoms(noisy):
    signals, dictionary = noisy
    assert torch.allclose(coding.matching_pursuit(signals, dictionary, 1), coding.omp(signals, dictionary, 1))


def test_iht_uses_k_atoms_recovers_planted_ones_and_never_gets_worse():
    signals, dictionary, codes = planted(2, count=200)
    errors = []
    for steps in (1, 5, 50, 300):
        result = coding.iht(signals, dictionary, 2, steps=steps)
        assert ((result != 0).sum(1) <= 2).all()
        errors.append((signals - result @ dictionary).norm(dim=1))
    assert all((late <= early + 1e-12).all() for early, late in itertools.pairwise(errors))
    assert (result - codes).abs().max() < 1e-6


@pytest.mark.parametrize(
    ("signals", "dictionary", "k", "message"),
    [
        (torch.ones(2, 3), torch.eye(4), 1, "one d"),
        (torch.ones(2, 4), torch.eye(4), 5, "from 1 to 4"),
        (torch.ones(2, 4), torch.eye(4), 0, "from 1 to 4"),
        (torch.ones(2, 4) * torch.nan, torch.eye(4), 1, "NaN"),
        (torch.ones(2, 4), torch.zeros(4, 4), 1, "zero"),
        (torch.ones(2, 4), torch.eye(4, dtype=torch.float64), 1, "convert one"),
    ],
)
def test_what_cannot_be_coded_is_refused_in_one_sentence(signals, dictionary, k, message):
    with pytest.raises(UsageError, match=message):
        coding.omp(signals, dictionary, k)


def test_the_steps_of_a_pursuit_are_its_code_and_what_each_leaves() -> None:
    draw = torch.Generator().manual_seed(5)
    atoms, signals = torch.randn(30, 12, generator=draw).double(), torch.randn(7, 12, generator=draw).double()
    result = coding.pursue(signals, atoms, 4)
    codes = coding.omp(signals, atoms, 4)
    assert torch.equal(torch.zeros(7, 30).double().scatter(1, result.support, result.values), codes)
    for k in (1, 2, 3):  # the first k steps of four are those of a pursuit of k
        residual = signals - coding.omp(signals, atoms, k) @ atoms
        left = residual.square().sum(1) / signals.square().sum(1)
        assert torch.allclose(result.left[:, k - 1], left, atol=1e-12)  # rounding of float64
    assert (result.left.diff(dim=1) < 0).all()


def test_exact_recovery_says_when_pursuit_must_succeed() -> None:
    draw = torch.Generator().manual_seed(6)
    atoms = coding.packed_dictionary(24, 16, generator=draw, dtype=torch.float64)
    coherence, number = coding.exact_recovery(atoms, torch.tensor([3, 11]))
    assert coherence <= coding.coherence(atoms) + 1e-12
    assert number < 1
    mixed = atoms[3] - 2 * atoms[11]
    assert coding.omp(mixed[None], atoms, 2)[0].nonzero().squeeze(1).tolist() == [3, 11]
    twin = torch.cat([atoms, (atoms[3] + atoms[11])[None]])  # an atom that is the sum of the two
    assert coding.exact_recovery(twin, torch.tensor([3, 11]))[1] > 1
