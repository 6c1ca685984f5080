"""Groups and their bases: tables are groups, energies sum to 1, planted embeddings are recovered, random ones not."""

import numpy as np
import pytest
import torch

from interp.errors import UsageError
from interp.toy import modular


@pytest.mark.parametrize("table", [modular.addition_table(7), modular.permutation_table()])
def test_tables_are_groups(table):
    n = len(table)
    assert all(sorted(row) == list(range(n)) for row in (*table, *table.T))
    assert (table[table] == table[:, table]).all()  # (ab)c = a(bc)
    assert (table[0] == np.arange(n)).all()


def test_a_cosine_has_one_key_and_noise_has_most():
    token = np.arange(31)
    wave = np.stack([np.cos(2 * np.pi * 4 * token / 31), np.sin(2 * np.pi * 4 * token / 31)])
    energy = modular.fourier_energy(wave)
    assert energy.argmax() == 3
    assert energy[3] == pytest.approx(1)
    assert modular.keys(energy) == 1
    noise = modular.fourier_energy(np.random.default_rng(0).normal(size=(32, 31)))
    assert noise.sum() == pytest.approx(1)
    assert modular.keys(noise) >= 12


def test_irreps_are_orthogonal_projectors_and_parity_is_one_of_them():
    projectors = modular.irrep_projectors()
    assert np.allclose(projectors.sum(0), np.eye(24))
    assert np.allclose([np.trace(p) for p in projectors], [1, 1, 4, 9, 9])
    for a, first in enumerate(projectors):
        for b, second in enumerate(projectors):
            assert np.allclose(first @ second, first if a == b else 0)
    # The projectors commute with multiplication by any element.
    table = modular.permutation_table()
    shift = np.eye(24)[table[5]]
    assert np.allclose(projectors @ shift, shift @ projectors)
    parity = np.linalg.eigh(projectors[1])[1][:, -1]
    assert set(np.round(parity * np.sqrt(24)).astype(int)) == {-1, 1}
    assert modular.irrep_energy(parity[None])[1] == pytest.approx(1)
    noise = modular.irrep_energy(np.random.default_rng(0).normal(size=(400, 24)))
    # The mean share of a random function is rank / 24; 400 draws.
    assert np.allclose(noise, np.array([1, 1, 4, 9, 9]) / 24, atol=0.03)


def test_an_even_modulus_is_refused():
    with pytest.raises(UsageError, match="modulus is 8"):
        modular.addition_table(8)


def test_a_table_is_learned_and_an_untrained_network_does_not_know_it():
    one = torch.ones(1)
    price = modular.Price(0.1 * one, one, one.bool())
    table = modular.addition_table(5)
    trained, fresh = (modular.learn_table(table, price, [3], hidden=24, width=8, steps=n, lr=0.01) for n in (300, 0))
    assert trained.loss[0] < 0.5 < fresh.loss[0]
    assert np.array_equal(fresh.embedding, trained.start)
