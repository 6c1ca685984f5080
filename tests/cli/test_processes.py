"""Commands in several processes, with groups of which this process is the one member."""

from __future__ import annotations

from argparse import Namespace
from contextlib import contextmanager

import pytest
import torch

from interp.cli.main import main
from interp.cli.processes import run_in_group
from interp.errors import UsageError
from saes.runs import processes
from tests import models

HOOK = "blocks.1.hook_resid_post"


class Member:
    """The one member of a group, whatever its rank."""

    device, size = torch.device("cpu"), 1

    def __init__(self, rank, first_to_report=True):
        self.rank, self.first_to_report = rank, first_to_report

    def gather(self, value):
        return [value]

    def claim(self):
        return self.first_to_report


@pytest.fixture
def join(monkeypatch):
    def join(member):
        @contextmanager
        def joined(_device):
            yield member

        monkeypatch.setattr(processes, "started", lambda: True)
        monkeypatch.setattr(processes, "joined", joined)

    return join


def test_a_harvest_in_a_group_is_that_of_one_process(monkeypatch, capsys, tmp_path, join):
    model = models.load("llama", text=True)
    monkeypatch.setattr("interp.model.load", lambda *_, **__: model)
    text = tmp_path / "text.txt"
    text.write_text("the tower is in Paris a b the tower is in London " * 20)
    words = ["cache", "run", str(text), "--hook", HOOK, "--context", "16", "-q"]
    assert main([*words, "--out", str(tmp_path / "alone")]) == 0
    join(Member(0))
    capsys.readouterr()
    assert main([*words, "--out", str(tmp_path / "group")]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'group'}\n"
    stores = [{file.name: file.read_bytes() for file in (tmp_path / name).iterdir()} for name in ("alone", "group")]
    assert stores[0] == stores[1] and len(stores[0]) > 1
    assert main(["cache", "run", "-", "--hook", HOOK, "--out", str(tmp_path / "other")]) == 2
    assert "cannot read the same standard input" in capsys.readouterr().err


def test_only_the_first_process_prints_and_one_of_them_reports_an_error(join):
    def fail(_group):
        raise UsageError("It is wrong.")

    for rank, first_to_report in ((0, True), (1, False)):
        args = Namespace(quiet=False)
        join(Member(rank, first_to_report))
        assert run_in_group(args, "cpu", lambda group: group.rank) == rank
        assert args.quiet is (rank == 1)
        if first_to_report:
            with pytest.raises(UsageError, match="It is wrong"):
                run_in_group(args, "cpu", fail)
        else:
            assert run_in_group(args, "cpu", fail) == UsageError("").exit_code
