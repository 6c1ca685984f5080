"""Linear systems of several fits, solved together, against the dense solution of each."""

from __future__ import annotations

import pytest
import torch

from probes.batched import conjugate_gradients
from probes.batched.conjugate_gradients import Spectrum


@pytest.mark.parametrize("n", [40, 12])  # more rows than dimensions, and fewer
def test_every_fit_reaches_its_own_accuracy(n: int) -> None:
    generator = torch.Generator().manual_seed(0)
    rows = torch.cat([torch.randn(n, 20, generator=generator), torch.ones(n, 1)], dim=1)
    curvature = torch.rand(5, n, generator=generator)
    ridge = torch.tensor([100.0, 10.0, 1.0, 1.0, 0.1])
    penalty = ridge[:, None] * torch.cat([torch.rand(5, 20, generator=generator) + 0.5, torch.zeros(5, 1)], dim=1)
    target = torch.nn.functional.normalize(torch.randn(5, 21, generator=generator))
    accuracy = torch.tensor([1e-1, 1e-5, 1e-5, 1e-3, 1e-4])  # the first leaves before the others
    inverse = Spectrum.build(rows[:, :-1], curvature.mean(0)).preconditioner(curvature, ridge)
    result, steps = conjugate_gradients.solve(rows, curvature, penalty, target, inverse, accuracy)
    matrices = torch.einsum("ni,fn,nj->fij", rows, curvature, rows) + torch.diag_embed(penalty)
    residual = torch.einsum("fij,fj->fi", matrices, result) - target
    assert 1 < steps < conjugate_gradients.STEPS
    # The residual is updated, not computed again, so that float32 adds its rounding.
    assert (residual.norm(dim=1) < accuracy + 1e-5).all()
    exact = torch.linalg.solve(matrices[1:3].double(), target[1:3].double())
    torch.testing.assert_close(result[1:3].double(), exact, rtol=1e-3, atol=1e-4)
    # A fit solved by itself has the same solution: fits do not mix when some of them leave.
    one = torch.tensor([2])
    alone, _ = conjugate_gradients.solve(
        rows, curvature[one], penalty[one], target[one], inverse.of(one), accuracy[one]
    )
    torch.testing.assert_close(alone[0], result[2], rtol=1e-4, atol=1e-5)
