"""`interp sae train`, in this process, over a small model and over planted faults."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import signal
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from interp.cli.main import main
from tests import models

HOOK = "blocks.1.hook_resid_post"
SMALL = ("--width", "32", "--k", "4", "--steps", "12", "--batch-size", "64", "--set", "run.log_every=4")


@pytest.fixture(scope="module")
def small():
    """Two models that differ in their weights only."""
    return {name: models.load("llama", text=True, seed=seed) for seed, name in enumerate(("smollm2", "other"))}


@pytest.fixture
def run(capsys, monkeypatch, small):
    def load(name, *, dtype, device):
        return small[name]

    monkeypatch.setattr("interp.load", load, raising=False)
    monkeypatch.setattr("interp.model.load", load)

    def ended(*words):
        capsys.readouterr()
        code = main(["sae", "train", *map(str, words)])
        output = capsys.readouterr()
        return code, output.out, output.err

    return ended


@pytest.fixture
def text(tmp_path):
    file = tmp_path / "text.txt"
    file.write_text("the tower is in Paris a b the tower is in London " * 200)
    return file


@pytest.fixture
def store(run, text, tmp_path):
    words = ["cache", "run", str(text), "--hook", HOOK, "--context", "16", "--batch", "2", "-q"]
    assert main([*words, "--out", str(tmp_path / "acts")]) == 0
    return tmp_path / "acts"


def one_error(ended, code, *parts):
    """The command ended with that code and one sentence on stderr that holds all parts."""
    assert ended[0] == code and ended[1] == ""
    assert ended[2].startswith("error: ") and ended[2].count("\n") == 1 and "unexpected" not in ended[2]
    for part in parts:
        assert part in ended[2]


def log(folder):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


def test_from_text_with_a_file_and_flags_to_a_folder_that_loads(run, text, tmp_path):
    out, file = tmp_path / "run", tmp_path / "run.toml"
    file.write_text(f'[sae]\nwidth = 64\nk = 3\nsteps = 12\nbatch_size = 64\n[data]\ntext = "{text}"\ncontext = 16\n')
    code, output, error = run(file, "--hook", HOOK, "--set", "sae.k=4", "--width", 32, "--out", out, "--json")
    assert code == 0 and error == "", error
    output = json.loads(output)
    assert (output["width"], output["d_in"], output["metrics"]["step"], output["already_finished"]) == (
        32,
        24,
        12,
        False,
    )
    import saes

    sae = saes.load(out)
    assert (sae.settings["k"], sae.width, sae.metadata["hook_name"], sae.metadata["context_size"]) == (4, 32, HOOK, 16)
    assert "k = 4" in (out / "config.toml").read_text() and (out / "activations" / "manifest.json").exists()
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    code, output, error = run("--resume", "--out", out)
    assert code == 0 and error == "" and "already finished (12 steps)" in output
    assert before == {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    one_error(run(file, "--hook", HOOK, "--out", out), 2, "already has a run: resume it")
    one_error(run("--resume", "--k", 5, "--out", out), 2, "started with sae.k = 4, but this one has 5")


def test_a_store_and_a_stream_train_too_and_ctrl_c_says_how_to_go_on(run, store, text, tmp_path, monkeypatch):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert run("--store", store, *SMALL, "--out", whole, "-q") == (0, f"{whole}\n", "")
    from saes.training.trainer import Trainer

    step = Trainer.step

    def interrupted(self):
        if self.step_number == 6:
            os.kill(os.getpid(), signal.SIGINT)
        return step(self)

    monkeypatch.setattr(Trainer, "step", interrupted)
    output = run("--store", store, *SMALL, "--out", cut)
    one_error(output, 130, "interrupted at step 7 of 12", f"continue with: interp sae train --resume --out {cut}")
    monkeypatch.setattr(Trainer, "step", step)
    code, output, _ = run("--resume", "--out", cut)
    assert code == 0 and "topk of 24 values and 32 latents" in output and output.endswith(f"{cut}\n")
    name = "sae_weights.safetensors"
    assert (cut / name).read_bytes() == (whole / name).read_bytes() and log(cut) == log(whole)
    words = ("--text", text, "--hook", HOOK, "--context", 16, "--set", "data.stream=true", *SMALL)
    assert run(*words, "--out", tmp_path / "stream", "-q")[0] == 0
    assert not (tmp_path / "stream" / "activations").exists()


def test_transcoder_and_crosscoder(run, text, tmp_path):
    import saes

    words = ("--text", text, "--hook", "blocks.0.hook_resid_post", "--context", 16, *SMALL, "-q")
    two = ("--set", "sae.variant=transcoder", "--target", HOOK, "--out", tmp_path / "trans")
    assert run(*words, *two)[0] == 0
    assert saes.load(tmp_path / "trans").metadata["hook_name_out"] == HOOK
    assert run(*words, "--hook", HOOK, "--set", "sae.variant=crosscoder", "--out", tmp_path / "cross")[0] == 0
    one_error(run(*words, "--hook", HOOK, "--out", tmp_path / "no"), 2, 'is for sae.variant="crosscoder"')


def test_a_set_says_what_it_takes_trains_every_layer_and_goes_on(run, text, tmp_path, monkeypatch):
    import saes
    from saes.training.trainer import Trainer

    words = ("--text", text, "--hooks", "blocks.*.mlp", "--variant", "transcoder", "--context", 16, *SMALL)
    code, output, _ = run(*words, "--out", tmp_path / "whole")
    assert code == 0 and output.endswith(f"{tmp_path / 'whole'}\n")
    assert "shapes  3 dictionaries of 24 values to 32 latents to 24" in output and "time    about" in output
    assert "DictionarySet(3 topk transcoders: layers 0 to 2, 32 latents)" in output
    assert "blocks.2.mlp.hook_in         fvu 0." in output
    whole = saes.DictionarySet.load(tmp_path / "whole")
    assert whole["blocks.1.mlp.hook_in"].metadata["dataset_path"] == str(text)
    step, steps = Trainer.step, []

    def interrupted(self):
        steps.append(self)
        if len(steps) == 18:
            os.kill(os.getpid(), signal.SIGINT)
        return step(self)

    monkeypatch.setattr(Trainer, "step", interrupted)
    cut = tmp_path / "cut"
    output = run(*words, "--out", cut, "-q")
    one_error(output, 130, "interrupted at step 6 of 12", f"continue with: interp sae train --resume --out {cut}")
    monkeypatch.setattr(Trainer, "step", step)
    code, output, _ = run("--resume", "--out", cut, "--json")
    assert code == 0 and [one["reads"] for one in json.loads(output)["dictionaries"]] == list(whole)
    for hook in whole:
        name = "sae_weights.safetensors"
        assert (cut / hook / name).read_bytes() == (tmp_path / "whole" / hook / name).read_bytes()
    code, output, _ = run("--resume", "--out", cut)
    assert code == 0 and "this run is already finished" in output
    assert run(*words, "--set", "data.stream=true", "--out", tmp_path / "stream", "-q")[0] == 0
    assert not (tmp_path / "stream" / "activations").exists()
    one_error(run(*words, "--hook", HOOK, "--out", tmp_path / "no"), 2, "data.hooks names a set")
    one_error(run(*words, "--set", "sae.variant=crosscoder", "--out", tmp_path / "no"), 2, "not a crosscoder")
    assert not (tmp_path / "no").exists()


def test_a_dry_run_prints_sizes_and_time_and_writes_nothing(run, text, store, tmp_path):
    out = tmp_path / "run"
    words = ("--text", text, "--hook", HOOK, "--context", 16, *SMALL, "--out", out, "--dry-run")
    code, output, error = run(*words)
    assert code == 0 and error == "" and not out.exists()
    for part in (
        "24 values to 32 latents",
        "tokens,",
        "12 steps of 64",
        "FLOPs",
        "disk ",
        "memory ",
        "a few real steps",
    ):
        assert part in output
    body = json.loads(run(*words, "--json")[1])
    rows = body["rows"]
    assert body["flops"] == 2 * 12 * 64 * (24 * 32 + 4 * (2 * 24 + 3 * 24))
    assert body["parameters"] == 2 * 24 * 32 + 24 + 32 and body["epochs"] == 12 * 64 / rows
    assert body["harvest_bytes"] == rows * 24 * 4 + body["tokens"] // 16 * 17 * 4 and body["train_seconds"] > 0
    body = json.loads(run("--store", store, *SMALL, "--out", out, "--dry-run", "--json")[1])
    assert (body["rows"], body["tokens"], body["harvest_bytes"]) == (rows, 0, 0) and not out.exists()


def test_slips_are_one_sentence_and_leave_nothing_behind(run, text, store, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)  # as where it is not installed
    out, file = tmp_path / "run", tmp_path / "run.toml"
    file.write_text("[sae]\nwidht = 3\n")
    words = ("--text", text, "--context", 16, *SMALL, "--out", out)
    one_error(run(file, *words), 2, str(file), 'unknown key "sae.widht"; the nearest is "width"')
    one_error(run(tmp_path / "none.toml", *words), 3, "There is no configuration file")
    one_error(run("--resume", "--out", out), 3, "There is no run in", "to continue")
    one_error(run(*words), 2, "data.text needs data.hook")
    one_error(run("--hook", "blocks.1.hook_resid_pots", *words), 2, "blocks.1.hook_resid_pots", "hook_resid_post")
    one_error(run("--hook", HOOK, *words, "--k", "33"), 2, "k=33 is larger than the width of 32 latents")
    one_error(run("--hook", HOOK, *words, "--text", tmp_path / "none.txt"), 3, "There is no file or folder")
    one_error(run("--store", tmp_path / "none", *SMALL, "--out", out), 3, "No store in")
    one_error(
        run("--store", store, "--hook", "blocks.9.hook_mlp_out", *SMALL, "--out", out), 2, "The store has no hook"
    )
    one_error(run("--store", store, "--model", "other", *SMALL, "--out", out), 2, "was harvested from")
    one_error(run(*words, "--hook", HOOK, "--wandb", "x"), 2, "wandb is not installed", "--wandb")
    assert not out.exists()


def test_names_of_other_libraries_are_known(run, store, tmp_path):
    words = ("--store", store, *SMALL, "--out", tmp_path / "run")
    one_error(run(*words, "--set", "sae.learning_rate=1"), 2, 'unknown key "sae.learning_rate"; here it is "sae.lr"')
    one_error(run(*words, "--learning-rate", "1"), 2, 'unknown option "--learning-rate"; here it is "--lr"')
    one_error(run(*words, "--d-sae", "64"), 2, 'here it is "--width"')
    one_error(run(*words, "--widht", "64"), 2, 'the nearest is "--width"')


def test_curves_are_written_for_tensorboard(run, store, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    out = tmp_path / "run"
    code, _, error = run("--store", store, "--hook", HOOK, *SMALL, "--out", out, "--tensorboard")
    assert (code, error) == (0, "")
    events = EventAccumulator(str(out / "tensorboard")).Reload()
    shown = [(event.step, event.value) for event in events.Scalars("fvu")]
    assert shown == [(line["step"], pytest.approx(line["fvu"])) for line in log(out)]
    assert [step for step, _ in shown] == [4, 8, 12]


def test_tensorboard_that_is_missing_is_one_sentence(run, store, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)  # as where tensorboard is not installed
    out = tmp_path / "run"
    one_error(run("--store", store, *SMALL, "--out", out, "--tensorboard"), 2, "tensorboard is not installed")
    assert not out.exists()


def test_rows_with_their_text_in_another_column(run, tmp_path):
    rows = tmp_path / "rows.csv"
    rows.write_text("id,body\n" + '1,"the tower is in Paris a b, London"\n' * 200)
    words = ("--hook", HOOK, "--context", "16", *SMALL, "--out", tmp_path / "run")
    one_error(run("--text", rows, *words), 3, 'has no column "text" (it has: id, body)', "--column")
    code, _, error = run("--text", rows, "--column", "body", *words)
    assert (code, error) == (0, "")
    about = json.loads((tmp_path / "run" / "cfg.json").read_text())["metadata"]
    assert about["dataset_column"] == "body" and about["dataset_path"] == str(rows)


def test_a_truncated_shard_is_named_and_the_store_is_unchanged(run, store, tmp_path):
    shard = store / "shard-00000.safetensors"
    shard.write_bytes(shard.read_bytes()[:-10])
    left = {path.name: path.stat().st_size for path in store.iterdir()}
    one_error(run("--store", store, *SMALL, "--out", tmp_path / "run"), 3, str(shard), "is truncated")
    assert left == {path.name: path.stat().st_size for path in store.iterdir()} and not (tmp_path / "run").exists()


def test_nan_in_a_store_is_located_by_shard_row_and_place(run, store, tmp_path):
    """Planted in a shard and its checksum, as a fault of memory before the shard was written would leave it."""
    from safetensors.torch import load_file, save

    from interp.cache.manifest import Manifest

    shard = store / "shard-00000.safetensors"
    tensors = load_file(shard)
    tensors[HOOK][47, 5] = float("nan")
    shard.write_bytes(save(tensors))
    one_error(run("--store", store, *SMALL, "--out", tmp_path / "run"), 3, f"{shard} was altered")
    manifest = Manifest.load(store)
    first = replace(manifest.shards[0], sha256=hashlib.sha256(shard.read_bytes()).hexdigest())
    replace(manifest, shards=(first, *manifest.shards[1:])).save(store)
    output = run("--store", store, *SMALL, "--out", tmp_path / "run")
    one_error(output, 2, "NaN or infinite values", f"row 47 of {shard}", "context 3, position 3", "interp cache verify")


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("mount") is None, reason="mounts a small file system")
def test_a_disk_that_is_really_full(run, store, tmp_path):
    """A file system of 200 kB, which is too full for the first checkpoint."""
    small = tmp_path / "small"
    small.mkdir()
    if os.system(f"mount -t tmpfs -o size=52m tmpfs {small} 2>/dev/null"):
        pytest.skip("mounting is not permitted")
    try:
        words = ("--store", store, *SMALL, "--set", "run.checkpoint_every=4", "--out", small / "run")
        (small / "ballast").write_bytes(bytes(40_000_000))
        one_error(run(*words), 2, "with its checkpoints, needs", "free some space")
        (small / "ballast").unlink()
        assert run(*words, "-q")[0] == 0
    finally:
        os.system(f"umount {small}")


def test_a_disk_that_fills_up_while_training(run, store, tmp_path, monkeypatch):
    """Simulated by fsync, from the third checkpoint on: the second remains, and the run continues from it."""
    fsync, out = os.fsync, tmp_path / "run"
    from saes.training.trainer import Trainer

    step = Trainer.step

    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def filling(self):
        if self.step_number == 9:
            monkeypatch.setattr(os, "fsync", full)
        return step(self)

    monkeypatch.setattr(Trainer, "step", filling)
    words = ("--store", store, *SMALL, "--set", "run.checkpoint_every=4")
    one_error(run(*words, "--out", out), 2, "No space left on device", "is complete: resume from it")
    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Trainer, "step", step)
    assert run("--resume", "--out", out, "-q")[0] == 0
    assert run(*words, "--out", tmp_path / "whole", "-q")[0] == 0
    name = "sae_weights.safetensors"
    assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert torch.isfinite(torch.tensor([line["loss"] for line in log(out)])).all()


def test_a_page_of_curves_is_there_while_it_trains_and_after(run, store, tmp_path, monkeypatch):
    from interp.cli import training_page

    out, steps = tmp_path / "run", []
    write = training_page.TrainingPage.write

    def noted(page):
        write(page)
        result = out / training_page.NAME
        steps.append("at step 8 of 12" in result.read_text() if result.exists() else None)

    monkeypatch.setattr(training_page, "EVERY", 0.0)
    monkeypatch.setattr(training_page.TrainingPage, "write", noted)
    code = run("--store", store, *SMALL, "--out", out)[0]
    assert code == 0
    assert steps[:3] == [None] * 3  # one logged step is not a curve
    assert True in steps
    text = (out / training_page.NAME).read_text()
    assert "The run is finished" in text and "curve-fvu" in text
    assert not (out / "index.html").exists()  # only a folder made for studies has an index


def test_the_index_of_the_folder_above_lists_the_page_of_curves(run, store, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run("--store", store, *SMALL, "--out", "out/sae")[0] == 0
    assert 'href="sae/training.html"' in Path("out/index.html").read_text(encoding="utf-8")


def test_a_page_that_cannot_be_written_does_not_stop_the_training(run, store, tmp_path, monkeypatch):
    monkeypatch.setattr("interp.cli.training_page.EVERY", 0.0)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "training.html").mkdir()
    code, _, error = run("--store", store, *SMALL, "--out", tmp_path / "run")
    assert (code, error) == (0, "")
