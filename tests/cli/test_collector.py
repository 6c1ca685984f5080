from __future__ import annotations

import gc
import weakref

import pytest

from interp.cli import collector
from interp.cli.main import main


class Cycle:
    def __init__(self):
        self.itself = self


def test_a_pause_ends_and_what_was_made_in_it_is_ignored_until_the_command_ends():
    with collector.resumed():
        with collector.paused():
            assert not gc.isenabled()
            ignored = weakref.ref(Cycle())
        seen = weakref.ref(Cycle())
        assert gc.isenabled()
        gc.collect()
        assert ignored() is not None
        assert seen() is None
    gc.collect()
    assert ignored() is None


def test_a_pause_ends_with_an_error_and_leaves_a_disabled_collector_disabled():
    gc.disable()
    try:
        with pytest.raises(ValueError, match="stop"), collector.paused():
            raise ValueError("stop")
        assert not gc.isenabled()
    finally:
        gc.enable()
        gc.unfreeze()


def test_a_command_leaves_nothing_frozen():
    gc.freeze()
    assert main(["--version"]) == 0
    assert gc.get_freeze_count() == 0
