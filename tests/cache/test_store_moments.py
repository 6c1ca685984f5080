"""Statistics that merge: the same as of all rows at once, in any order, whatever is common to them."""

from __future__ import annotations

import torch

from interp.cache.moments import Moments


def test_moments_survive_a_large_common_part():
    """A mean of 1e6 with deviations of 1, as massive activations have it: plain float32 sums would lose them."""
    rows = torch.randn(3000, 5, generator=torch.Generator().manual_seed(0)) + 1e6
    parts = [Moments.of(part) for part in rows.split(37)]
    merged = parts[0]
    for part in parts[1:]:
        merged = merged.merge(part)
    backwards = parts[-1]
    for part in parts[-2::-1]:
        backwards = backwards.merge(part)
    exact = rows.double()
    for result in (merged, backwards, Moments.read(merged.saved())):
        # The rows themselves are float32 at 1e6 (steps of 0.06); their float64 statistics keep 16 - 6 digits.
        torch.testing.assert_close(result.mean, exact.mean(0), rtol=1e-14, atol=0)
        torch.testing.assert_close(result.squares, (exact - exact.mean(0)).square().sum(0), rtol=1e-9, atol=0)
    naive = rows.square().sum(0) - len(rows) * rows.mean(0).square()
    assert not torch.allclose(naive.double(), merged.squares, rtol=0.1)
