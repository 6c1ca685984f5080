"""Every comparison of the benchmarks' table runs on tiny sizes, and both of its sides compute the same."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmarks import _work, table
from interp.errors import CheckFailedError


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("threads")
def test_every_comparison_computes_the_same_on_both_sides(capsys, tmp_path):
    table.main(["--quick", "--out", str(tmp_path / "table.md")])
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ") and "| work |" not in line]
    assert len(rows) == 17 and "nan" not in "".join(rows)
    assert (tmp_path / "table.md").read_text().count("\n| ") == 18


def test_a_side_that_computes_something_else_ends_the_run():
    work = _work.Work("sum", lambda: np.ones(3), lambda: np.ones(3), "itself", _work.relative, 1e-6)
    assert _work.compared(work, 1).startswith("| sum |")
    for wrong in (1.001, np.nan):
        with pytest.raises(CheckFailedError, match="sum: both sides differ"):
            _work.compared(replace(work, peer=lambda wrong=wrong: np.full(3, wrong)), 1)
