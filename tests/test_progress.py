"""Progress: what a callback receives for stages and for counted work."""

from __future__ import annotations

import pytest

from interp import progress
from interp.progress import Rate, advance, stages


def test_stages_are_counted_to_the_last() -> None:
    seen: list[tuple[int, int, str]] = []
    step = stages(lambda *values: seen.append(values), ("read", "fit", "done"))
    for index in range(3):
        step(index)
    assert seen == [(0, 2, "read"), (1, 2, "fit"), (2, 2, "done")]


def test_a_callback_is_optional() -> None:
    advance(None, 1, 2, "read")
    stages(None, ("read", "done"))(1)
    Rate(None, 3, "tokens").add(1)


def test_the_rate_counts_from_what_was_done_before(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter((100.0, 102.0, 104.0))
    monkeypatch.setattr(progress.time, "perf_counter", lambda: next(clock))
    seen: list[tuple[int, int, str]] = []
    rate = Rate(lambda *values: seen.append(values), 100, "tokens", size=10, done=40)
    rate.add(10)  # 10 steps of 10 tokens in 2 s
    rate.reach(80, "fvu 0.1")  # 40 steps in 4 s
    assert seen == [(50, 100, "50 tokens/s, 10 s left"), (80, 100, "fvu 0.1, 100 tokens/s, 2 s left")]
