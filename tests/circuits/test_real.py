"""The real model: the numbers that this package is accepted by."""

from __future__ import annotations

import numpy as np
import pytest

from interp import circuits

pytestmark = pytest.mark.real


def test_all_heads_of_the_real_model_are_rebuilt(smollm2) -> None:
    result = circuits.check(smollm2)
    assert result.pattern.shape == (30, 9)
    assert float(result.pattern.max()) < 1e-5
    assert float(result.writes.max()) < 1e-5
    assert result.worst < 1e-5


def test_no_query_key_map_is_semidefinite(smollm2) -> None:
    result = circuits.definiteness(smollm2)
    assert (result.positive == 64).all()
    assert (result.negative == 64).all()
    fraction, share = result.symmetric_fraction, result.positive_share
    # Known to three digits from an independent computation.
    assert (fraction.min(), fraction.max(), np.median(fraction)) == pytest.approx((0.433, 0.791, 0.512), abs=6e-4)
    assert (share.min(), share.max()) == pytest.approx((0.260, 0.863), abs=6e-4)
    assert result.null_fraction == pytest.approx((0.5, 0.001), abs=2e-3)


def test_the_induction_heads_are_identified(smollm2) -> None:
    result = circuits.head_scores(smollm2, n_text=8)
    named = [head[0] for head in result.named("induction")]
    assert named[0] == "L18H6"
    assert set(named[1:4]) == {"L17H3", "L17H4", "L17H5"}  # their intervals overlap
    assert result.error < 1e-5
    (name, *_), *_ = result.named("previous", "natural")
    assert name == "L16H0"


def test_composition_is_the_dense_formula_on_a_sample_of_pairs(smollm2) -> None:
    result = circuits.composition(smollm2, "K")
    assert result.array.shape == (270, 270)
    for writer, reader in ((0, 40), (5 * 9 + 2, 18 * 9 + 6), (17 * 9 + 8, 18 * 9 + 7)):
        moves = circuits.ov(smollm2, *divmod(writer, 9)).matrix.double()
        form = circuits.qk(smollm2, *divmod(reader, 9)).matrix().double()
        expected = float((moves @ form.T).norm() / moves.norm() / form.norm())
        assert result.array[writer, reader] == pytest.approx(expected, abs=1e-6)
    # Half of the pairs lie within a few standard deviations of heads rotated at random, the strongest far outside.
    assert abs(np.median(result.z[result.possible])) < 10
    assert result.table(1).rows[0][3] > 100
