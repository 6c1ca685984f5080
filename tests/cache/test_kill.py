"""Killed with SIGKILL, at random and between any two steps, and resumed: byte for byte the harvest that was not.

One process loads the model; each attempt is a fork of it that is killed for real.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.limits import SECONDS

PREPARED = """
import os, random, signal, sys, time
from pathlib import Path
import torch
from interp import cache
from tests import models

torch.set_num_threads(1)
model, ids, root = models.load("llama"), models.tokens(240, 12), Path(sys.argv[1])
config = cache.Config(
    hooks=("blocks.1.hook_resid_post", "blocks.0.hook_mlp_out"), context=12, batch_size=2, shard_megabytes=0.02
)

def attempt(folder, during):
    '''Harvest in a fork in which `during` was arranged; how the fork ended.'''
    child = os.fork()
    if child == 0:
        progress = during(os.getpid())
        cache.harvest(model, ids, config, folder, resume=True, progress=progress)
        os._exit(0)
    return child

def ended(child):
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

def contents(folder):
    return {file.name: file.read_bytes() for file in Path(folder).iterdir()}

whole = contents(cache.harvest(model, ids, config, root / "whole").folder)
assert len(whole) > 20
"""

AT_RANDOM = """
def slowly(_):
    return lambda *_: time.sleep(0.004)  # 120 batches, so that no attempt ends before it is killed

for seed in (0, 1):
    draw, folder = random.Random(seed), root / f"killed-{seed}"
    for _ in range(6):
        child = attempt(folder, slowly)
        time.sleep(draw.uniform(0.0, 0.07))
        os.kill(child, signal.SIGKILL)
        assert ended(child) == -signal.SIGKILL
    assert ended(attempt(folder, lambda _: None)) == 0
    assert contents(folder) == whole
    cache.verify(folder)
print("whole")
"""

BETWEEN = """
def killed_at(step, moment):
    def during(process):
        true, count = os.replace, [0]
        def replace(*paths):
            count[0] += 1
            if count[0] == step and moment == "before": os.kill(process, signal.SIGKILL)
            true(*paths)
            if count[0] == step and moment == "after": os.kill(process, signal.SIGKILL)
        os.replace = replace
    return during

# The first replacements: the empty manifest, a shard, the manifest, a shard; then somewhere in the middle.
for step in (1, 2, 3, 4, 9):
    for moment in ("before", "after"):
        folder = root / f"{step}-{moment}"
        assert ended(attempt(folder, killed_at(step, moment))) == -signal.SIGKILL
        left = contents(folder)
        assert moment == "after" or any(name.startswith(".") for name in left)
        listed = cache.Manifest.load(folder).shards if "manifest.json" in left else ()
        assert len(listed) == max(step - 2 + (moment == "after"), 0) // 2
        assert all(left[shard.file] == whole[shard.file] for shard in listed)
        assert ended(attempt(folder, lambda _: None)) == 0
        assert contents(folder) == whole
print("whole")
"""


def python(code: str, folder: Path) -> str:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path.cwd())}
    command = [sys.executable, "-W", "ignore", "-c", PREPARED + code, str(folder)]
    run = subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=SECONDS)
    assert run.returncode == 0, run.stderr
    return run.stdout.strip()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_killed_at_random_moments_and_resumed_it_ends_as_if_it_never_was(tmp_path: Path) -> None:
    assert python(AT_RANDOM, tmp_path) == "whole"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_killed_between_any_two_steps_it_is_whole_up_to_its_manifest(tmp_path: Path) -> None:
    assert python(BETWEEN, tmp_path) == "whole"
