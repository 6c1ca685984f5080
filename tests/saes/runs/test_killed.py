"""Killed with SIGKILL, in the harvest, in training and while a checkpoint is written, then resumed: the same bytes.

One process imports everything and makes a small model; each attempt is a fork of it that is killed for real.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.limits import SECONDS

PREPARED = """
import json, os, random, signal, sys, time
from pathlib import Path
import torch
from saes import Config
from saes.runs import activations
from saes.runs.loop import Place
from saes.runs.settings import Data, Run, Settings
from saes.runs.start import start
from tests import models

torch.set_num_threads(1)
model, root = models.load("llama", text=True), Path(sys.argv[1])
activations.load_model = lambda data, device: model
harvest_config = activations.harvest_config
def small_shards(*args):
    from dataclasses import replace
    return replace(harvest_config(*args), batch_size=2, shard_megabytes=0.01)
activations.harvest_config = small_shards
draw = random.Random(0)
text = root / "text.txt"
words = ["the", " tower", " is", " in", " Paris", " London", " a", " b"]
text.write_text("".join(draw.choice(words) for _ in range(2000)))
settings = Settings(
    Config(architecture=sys.argv[2], width=32, k=4, steps=90, batch_size=64, lr=3e-3, dead_after=5, average=0.9),
    Data(text=(str(text),), hook=("blocks.1.hook_resid_post",), context=20),
    Run(checkpoint_every=4, log_every=3),
)

def attempt(folder, during):
    '''Run in a fork in which `during` was arranged; its process id.'''
    child = os.fork()
    if child == 0:
        step_done = during(os.getpid())
        start(settings, Place(folder, resume=True), harvested=lambda *_: step_done(), progress=lambda *_: step_done())
        os._exit(0)
    return child

def ended(child):
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

def outcome(folder):
    '''What must be equal: the weights' bytes, the log without its times, and the names of all files.'''
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    log = [{key: value for key, value in line.items() if key != "seconds"} for line in lines]
    return (folder / "sae_weights.safetensors").read_bytes(), log, sorted(file.name for file in folder.rglob("*"))

def undisturbed(_):
    return lambda: None

assert ended(attempt(root / "whole", undisturbed)) == 0
whole = outcome(root / "whole")
assert len(whole[1]) == 30 and sum("shard" in name for name in whole[2]) > 5
"""

AT_RANDOM = """
import threading

def some_time_after(event, seconds):
    '''Killed `seconds` after a number of batches harvested and steps trained.'''
    def during(process):
        count = [0]
        def step_done():
            count[0] += 1
            if count[0] == event: threading.Timer(seconds, os.kill, (process, signal.SIGKILL)).start()
        return step_done
    return during

stages = set()
for seed in (0, 1, 2):
    draw, folder = random.Random(seed), root / f"killed-{seed}"
    for _ in range(4):
        assert ended(attempt(folder, some_time_after(draw.randint(5, 30), draw.uniform(0, 0.005)))) == -signal.SIGKILL
        stages.add("training" if (folder / "checkpoint.safetensors").exists() else "harvest")
    assert ended(attempt(folder, undisturbed)) == 0
    assert outcome(folder) == whole
assert stages == {"harvest", "training"}, stages
print("whole")
"""

WHILE_SAVING = """
def killed_at(name, number, moment):
    '''Killed around the number-th os.replace of a file of that name, or when it is half written.'''
    def during(process):
        replace, fsync, count = os.replace, os.fsync, [0]
        def counted(source, target):
            count[0] += Path(target).name == name
            if count[0] == number and moment == "before": os.kill(process, signal.SIGKILL)
            replace(source, target)
            if count[0] == number and moment == "after": os.kill(process, signal.SIGKILL)
        def torn(handle):
            path = os.readlink(f"/proc/self/fd/{handle}")
            if moment == "half" and f".{name}." in path and count[0] == number - 1:
                os.ftruncate(handle, os.fstat(handle).st_size // 2)
                os.kill(process, signal.SIGKILL)
            fsync(handle)
        os.replace, os.fsync = counted, torn
        return lambda: None
    return during

for name, number, moments in (
    ("config.toml", 1, ["half", "after"]), ("run.json", 1, ["half", "after"]), ("metrics.jsonl", 1, ["half"]),
    ("checkpoint.safetensors", 1, ["half"]), ("checkpoint.safetensors", 5, ["before", "half", "after"]),
    ("sae_weights.safetensors", 1, ["half", "after"]), ("run.json", 2, ["half"]),
):
    for moment in moments:
        folder = root / f"{name}-{number}-{moment}"
        assert ended(attempt(folder, killed_at(name, number, moment))) == -signal.SIGKILL, (name, number, moment)
        assert ended(attempt(folder, undisturbed)) == 0
        assert outcome(folder) == whole, (name, number, moment)
print("whole")
"""


def python(code: str, folder: Path, architecture: str) -> str:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path.cwd())}
    command = [sys.executable, "-W", "ignore", "-c", PREPARED + code, str(folder), architecture]
    run = subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=SECONDS)
    assert run.returncode == 0, run.stderr
    return run.stdout.strip()


pytestmark = pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="forks, and reads /proc")


@pytest.mark.parametrize("architecture", ["topk", "batchtopk"])
def test_killed_at_random_moments_and_resumed_it_ends_as_if_it_never_was(tmp_path: Path, architecture: str) -> None:
    assert python(AT_RANDOM, tmp_path, architecture) == "whole"


def test_killed_around_every_write_of_its_folder_it_ends_as_if_it_never_was(tmp_path: Path) -> None:
    assert python(WHILE_SAVING, tmp_path, "topk") == "whole"
