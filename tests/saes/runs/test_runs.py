"""`saes.train` with a folder: what is written and refused, and that an interrupted run ends like any other."""

from __future__ import annotations

import errno
import json
import os
import signal

import pytest
import torch

import saes
from interp.errors import DamagedFileError, InterpError, UsageError
from saes.runs import checkpoint
from saes.runs.loop import Place, train
from saes.runs.settings import Run
from saes.runs.stop import Stopped

CONFIG = saes.Config(width=32, k=4, steps=20, batch_size=16, lr=3e-3, dead_after=5)
OFTEN = Run(checkpoint_every=6, log_every=4)


def rows(seed=0, n=300):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, 12, generator=generator) @ torch.randn(12, 12, generator=generator)


def go(folder, resume=False, progress=None, config=CONFIG, activations=None):
    data = rows() if activations is None else activations
    return train(config, data, Place(folder, resume), run=OFTEN, progress=progress)


def at(step, action):
    def reported(metrics):
        if metrics["step"] == step:
            action()

    return reported


def kill():
    signal.raise_signal(signal.SIGINT)  # to this very thread, before the next statement; os.kill may come later


def interrupted(*_):
    raise KeyboardInterrupt


def log(folder):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


def test_the_folder_holds_the_sae_its_log_and_what_it_is(tmp_path):
    reported = []
    sae = saes.train(CONFIG, rows(), folder=tmp_path / "run", progress=lambda metrics: reported.append(metrics["step"]))
    assert reported == list(range(1, 21))
    again = saes.load(tmp_path / "run")
    assert torch.equal(again.W_enc, sae.W_enc) and torch.equal(again.encode(rows()), sae.encode(rows()))
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["finished"] and record["provenance"]["seed"] == 0 and record["sae"]["k"] == 4
    assert [line["step"] for line in log(tmp_path / "run")] == [10, 20]


def test_without_a_folder_the_result_is_the_same(tmp_path):
    assert torch.equal(saes.train(CONFIG, rows()).W_enc, go(tmp_path).W_enc)
    with pytest.raises(UsageError, match="resume=True needs the folder"):
        saes.train(CONFIG, rows(), resume=True)


@pytest.mark.parametrize("architecture", ["batchtopk", "gated", "jumprelu", "standard", "matryoshka"])
def test_interrupted_and_resumed_it_ends_with_the_same_bytes(tmp_path, architecture):
    config = saes.Config(architecture=architecture, width=32, k=4, steps=20, batch_size=16, lr=3e-3, average=0.9)
    go(tmp_path / "whole", config=config)
    with pytest.raises(Stopped, match="interrupted at step 9 of 20"):
        go(tmp_path / "cut", progress=at(9, kill), config=config)
    state = checkpoint.load(tmp_path / "cut")
    assert state is not None and state[1]["step"] == 9
    go(tmp_path / "cut", resume=True, config=config)
    for name in ("sae_weights.safetensors",):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert log(tmp_path / "cut") == log(tmp_path / "whole")


def test_a_stream_that_is_cut_short_before_its_last_save_is_resumed(tmp_path, monkeypatch):
    """The last checkpoint is there but not the SAE: batchtopk's threshold is measured again on the last batches."""
    config = saes.Config(architecture="batchtopk", width=32, k=4, steps=20, batch_size=16, lr=3e-3)
    batches = lambda: iter(rows().split(16)[:-1])  # noqa: E731
    whole = go(tmp_path / "whole", config=config, activations=batches)
    with monkeypatch.context() as patched:
        patched.setattr("saes.autoencoder.SAE.save", interrupted)
        with pytest.raises(KeyboardInterrupt):
            go(tmp_path / "cut", config=config, activations=batches)
    again = go(tmp_path / "cut", resume=True, config=config, activations=batches)
    assert torch.equal(again.threshold, whole.threshold) and torch.equal(again.W_dec, whole.W_dec)


def test_a_finished_run_is_loaded_and_another_is_refused(tmp_path):
    first = go(tmp_path)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    assert torch.equal(go(tmp_path, resume=True).W_enc, first.W_enc)
    with pytest.raises(UsageError, match="already has a finished run"):
        go(tmp_path)
    with pytest.raises(UsageError, match=r"started with sae\.k = 4, but this one has 5"):
        go(tmp_path, resume=True, config=saes.Config(**(vars(CONFIG) | {"k": 5})))
    with pytest.raises(UsageError, match=r"started with data\.sha256"):
        go(tmp_path, resume=True, activations=rows(seed=1))
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_nan_leaves_the_last_checkpoint_and_is_located(tmp_path):
    data = rows(n=20 * 1024)  # more than what the scale is measured on, which is checked before the first step
    data[18 * 1024 + 7, 3] = float("nan")
    config = saes.Config(**(vars(CONFIG) | {"batch_size": 1024}))
    with pytest.raises(UsageError) as raised:
        go(tmp_path, config=config, activations=lambda: iter(data.split(1024)))
    assert "batch 19 hold NaN or infinite values in 1 of 1024 rows (row 7" in str(raised.value)
    assert "is complete: resume from it" in str(raised.value)
    state = checkpoint.load(tmp_path)
    assert state is not None and state[1]["step"] == 18
    assert all(torch.isfinite(tensor).all() for tensor in state[0].values() if tensor.is_floating_point())


def test_an_altered_or_truncated_checkpoint_is_refused(tmp_path):
    with pytest.raises(Stopped):
        go(tmp_path, progress=at(9, kill))
    file = tmp_path / checkpoint.NAME
    whole = file.read_bytes()
    for damaged, reported in (
        (whole[:-9], "damaged or truncated"),
        (whole[:-1] + bytes([whole[-1] ^ 1]), "was altered"),
    ):
        file.write_bytes(damaged)
        with pytest.raises(DamagedFileError, match=reported):
            go(tmp_path, resume=True)
    file.write_bytes(whole)
    go(tmp_path, resume=True)


def test_a_disk_that_fills_up_costs_no_more_than_since_the_last_checkpoint(tmp_path, monkeypatch):
    """Simulated: from step 15 on, fsync reports that no space is left."""
    fsync = os.fsync

    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(UsageError, match="No space left on device") as raised:
        go(tmp_path / "cut", progress=at(15, lambda: monkeypatch.setattr(os, "fsync", full)))
    assert "is complete: resume from it" in str(raised.value)
    monkeypatch.setattr(os, "fsync", fsync)
    state = checkpoint.load(tmp_path / "cut")
    assert state is not None and state[1]["step"] == 12
    assert not list((tmp_path / "cut").glob(".*"))
    go(tmp_path / "cut", resume=True)
    go(tmp_path / "whole")
    name = "sae_weights.safetensors"
    assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_too_little_disk_is_an_error_before_anything_is_computed(tmp_path, monkeypatch):
    from collections import namedtuple

    usage = namedtuple("usage", "free")
    monkeypatch.setattr("interp.files.shutil.disk_usage", lambda _: usage(1000))
    with pytest.raises(UsageError, match=r"needs 0\.05 GB"):
        go(tmp_path / "run")
    assert not (tmp_path / "run" / "run.json").exists()


def test_a_second_ctrl_c_does_not_wait(tmp_path):
    def twice():
        kill()
        kill()

    with pytest.raises(KeyboardInterrupt) as raised:
        go(tmp_path, progress=at(8, twice))
    assert not isinstance(raised.value, Stopped)
    assert issubclass(Stopped, KeyboardInterrupt) and not issubclass(Stopped, InterpError)
    state = checkpoint.load(tmp_path)
    assert state is not None and state[1]["step"] == 6


def test_two_runs_do_not_share_a_folder(tmp_path):
    def second():
        before = log(tmp_path)
        with pytest.raises(UsageError, match=f"is in use by process {os.getpid()}"):
            go(tmp_path, resume=True)
        assert log(tmp_path) == before

    go(tmp_path, progress=at(9, second))
    assert [line["step"] for line in log(tmp_path)] == [4, 8, 12, 16, 20]
    assert not list(tmp_path.glob(".*"))


def test_a_batch_larger_than_all_activations_is_refused(tmp_path):
    config = saes.Config(**(vars(CONFIG) | {"batch_size": 301}))
    with pytest.raises(UsageError, match="batch_size=301 is larger than the 300 activations"):
        go(tmp_path / "run", config=config)
    assert not list((tmp_path / "run").iterdir())
    go(tmp_path / "run", config=saes.Config(**(vars(CONFIG) | {"batch_size": 300})))


@pytest.mark.parametrize("part", ["sae", "data", "metadata", "finished", "provenance"])
@pytest.mark.parametrize("value", ["text", [1], 3])
def test_a_record_of_another_kind_is_one_sentence(tmp_path, part, value):
    go(tmp_path)
    record = json.loads((tmp_path / "run.json").read_text())
    (tmp_path / "run.json").write_text(json.dumps(record | {part: value}))
    with pytest.raises(DamagedFileError, match=rf"run\.json is damaged or not of this version: {part} is "):
        go(tmp_path, resume=True)


@pytest.mark.parametrize("line", ["[]", "{}", '{"step": "x"}', "null", "[" * 100_000, "1" * 10_000])
def test_a_log_of_another_kind_has_no_metrics(tmp_path, line):
    from saes.runs import metrics

    go(tmp_path)
    assert metrics.last(tmp_path)["step"] == 20
    (tmp_path / "metrics.jsonl").write_text(line)
    assert metrics.last(tmp_path) == {}


def test_the_time_of_a_huge_batch_is_planned_from_a_smaller_one():
    from saes.runs.plan import MEASURED, _step_seconds

    config = saes.Config(width=16, k=2, steps=2, batch_size=10**12)
    seconds, parameters = _step_seconds(config, 4, 4, 1, "cpu")
    assert seconds > 1e12 / MEASURED * 1e-6 and parameters == 16 * 8 + 4 + 16  # no memory for 10^12 rows was asked
