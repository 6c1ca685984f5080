"""Harvest: what is stored is what the model computes; sizes known before; each failure one sentence, nothing lost."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from interp import cache
from interp.cache.config import EXCLUDED
from interp.cache.plan import depth, flops, seconds
from interp.errors import CheckFailedError, InterpError, UsageError
from interp.model import capture
from tests import models

HOOK = "blocks.1.hook_resid_post"
HOOKS = (HOOK, "blocks.0.attn.hook_z", "blocks.1.hook_mlp_out")
IDS = models.tokens(22, 10)
CONFIG = cache.Config(hooks=HOOKS, context=10, batch_size=3, shard_megabytes=0.02)
RAGGED = [row[: 1 + i % 10].tolist() for i, row in enumerate(IDS)]


@pytest.fixture(scope="module")
def model():
    return models.load("llama", text=True)


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def rows_of(store, hook):
    return store.tensor(hook, 0, len(store))


@pytest.mark.parametrize("name", ["llama", "gpt2", "neox", "gemma2"])
def test_what_is_stored_is_what_run_with_cache_gives(name, tmp_path):
    model = models.load(name)
    config = replace(CONFIG, exclude=())
    store = cache.harvest(model, IDS, config, tmp_path)
    assert store.manifest.n_shard > 2
    _, all_at_once = model.run_with_cache(IDS, HOOKS)
    for hook in HOOKS:
        # Two batch sizes: matrix products of other shapes may add in another order, a few float32 roundings.
        torch.testing.assert_close(
            rows_of(store, hook), all_at_once[hook].flatten(2).flatten(0, 1), rtol=1e-5, atol=1e-5
        )
        in_batches = torch.cat([model.run_with_cache(ids, hook)[1][hook] for ids in IDS.split(3)])
        assert torch.equal(rows_of(store, hook), in_batches.flatten(2).flatten(0, 1))  # the same batches: the same bits


def test_position_0_and_padding_are_left_out_and_the_manifest_says_so(model, tmp_path):
    padded = cache.harvest(model, RAGGED, CONFIG, tmp_path / "a")
    assert padded.manifest.exclude == EXCLUDED and not padded.manifest.packed
    where = [(i, at) for i, row in enumerate(RAGGED) for at in range(1, len(row))]
    assert padded.places().tolist() == [list(place) for place in where]
    assert len(padded) == len(where) == padded.manifest.tokens - len(RAGGED)
    with_first = cache.harvest(model, RAGGED, replace(CONFIG, exclude=("padding",)), tmp_path / "b")
    assert len(with_first) == sum(map(len, RAGGED)) and with_first.places()[0].tolist() == [0, 0]
    every = cache.harvest(model, RAGGED, replace(CONFIG, exclude=()), tmp_path / "c")
    assert len(every) == 220


def test_padding_and_batches_do_not_matter(model, tmp_path):
    """Each context alone, without any padding, against padded batches of 1, 3 and 50: float32 rounding of sums."""
    alone = [model.run_with_cache(torch.tensor([row]), HOOK)[1][HOOK][0, 1:] for row in RAGGED]
    for batch in (1, 3, 50):
        store = cache.harvest(model, RAGGED, replace(CONFIG, batch_size=batch), tmp_path / str(batch))
        torch.testing.assert_close(rows_of(store, HOOK), torch.cat(alone), rtol=1e-5, atol=1e-5)


def test_another_context_does_matter(model):
    """The control of the invariances: were rows taken from the wrong context or position, they would differ by far."""
    (rows,) = cache.activations(model, cache.Contexts(IDS.int(), torch.full((22,), 10)), (HOOK,), batch_size=50)
    assert (rows[HOOK][9:] - rows[HOOK][:-9]).abs().mean() > 0.1
    assert (rows[HOOK][1:] - rows[HOOK][:-1]).abs().mean() > 0.1


@pytest.mark.parametrize(("hook", "blocks"), [("hook_embed", 0), ("blocks.0.attn.hook_z", 1), (HOOK, 2)])
def test_no_block_beyond_the_last_hook_is_run(hook, blocks, model, tmp_path):
    started = []
    handles = [
        block.register_forward_pre_hook(lambda *_, at=at: started.append(at))
        for at, block in enumerate(model.parts.blocks)
    ]
    cache.harvest(model, IDS, replace(CONFIG, hooks=(hook,)), tmp_path)
    for handle in handles:
        handle.remove()
    assert set(started) == set(range(blocks)) and depth((hook,), 3) == blocks


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_statistics_are_those_of_the_stored_rows(dtype, model, tmp_path):
    store = cache.harvest(model, RAGGED, replace(CONFIG, dtype=dtype), tmp_path)
    for hook in HOOKS:
        rows = rows_of(store, hook)
        assert rows.dtype == getattr(torch, dtype)
        rows, result = rows.double(), store.statistics(hook)
        assert result.count == len(rows)
        # Both in float64, in another order of summation: about 1e2 roundings of 1e-16.
        torch.testing.assert_close(torch.tensor(result.mean, dtype=torch.float64), rows.mean(0), rtol=1e-12, atol=1e-13)
        squares = torch.tensor(result.squares, dtype=torch.float64)
        torch.testing.assert_close(squares, (rows - rows.mean(0)).square().sum(0), rtol=1e-12, atol=0)
        assert result.norm == pytest.approx(float(rows.norm(dim=1).mean()), rel=1e-13)
        assert result.variance == pytest.approx(float(rows.var(0, correction=0).sum()), rel=1e-12)
        scaled = (rows * result.scale).norm(dim=1).mean()
        assert float(scaled) == pytest.approx(rows.shape[1] ** 0.5, rel=1e-12)


def test_the_plan_is_what_happens(model, tmp_path):
    planned = cache.plan(model, RAGGED, CONFIG)
    store = cache.harvest(model, RAGGED, CONFIG, tmp_path)
    assert planned.manifest.settings() == store.manifest.settings()
    on_disk = sum(file.stat().st_size for file in tmp_path.glob("shard-*"))
    assert 0 <= on_disk - planned.disk_bytes <= 600 * planned.manifest.n_shard
    assert planned.table()["shards"] == len(list(tmp_path.glob("shard-*"))) > 2
    assert planned.memory_bytes > sum(value.nbytes for value in model.hf.parameters())
    assert seconds(model, planned) > 0


def test_arithmetic_is_counted_as_written_in_its_docstring(model):
    block = sum(value.numel() for value in model.parts.blocks[0].parameters())
    assert flops(model, (HOOK,), 7, 10) == 7 * 2 * (2 * block + 4 * 10 * 4 * 8)
    assert flops(model, ("hook_embed",), 7, 10) == 0


def test_max_tokens_and_the_order_of_documents(model, tmp_path):
    store = cache.harvest(model, IDS, replace(CONFIG, max_tokens=75), tmp_path)
    assert torch.equal(store.contexts().tokens, IDS[:7].int())


def test_progress_reports_rate_and_time_left(model, tmp_path):
    output = []
    cache.harvest(model, IDS, CONFIG, tmp_path, progress=lambda *what: output.append(what))
    assert [done for done, _, _ in output] == [*range(30, 220, 30), 220] and {total for _, total, _ in output} == {220}
    assert output[-1][2].endswith(" tokens/s, 0 s left")


REFUSED = {
    "unknown hook": (dict(hooks=("blocks.1.hook_residpost",)), r'no hook "blocks.1.hook_residpost"'),
    "pattern": (dict(hooks=("blocks.1.attn.hook_pattern",)), "holds no vector a position"),
    "too large": (dict(max_gigabytes=1e-5), "take more than max_gigabytes=1e-05 .*set max_tokens"),
    "too long": (dict(context=9), "Row 0 of the source has 10 tokens"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_harvest_that_cannot_be_is_refused_before_it_starts(name, model, tmp_path):
    change, message = REFUSED[name]
    with pytest.raises(UsageError, match=message):
        cache.harvest(model, IDS, replace(CONFIG, **change), tmp_path / "new")
    assert not (tmp_path / "new").exists()


SETTINGS = {
    "a lone name": (dict(hooks=HOOK), "hooks is a tuple"),
    "no hook": (dict(hooks=()), "hooks is a tuple"),
    "dtype": (dict(dtype="float61"), r'cannot hold "float61"; .*"float16"'),
    "excluded": (dict(exclude=("padded",)), r'"padded" cannot be excluded; .*"padding"'),
    "batch": (dict(batch_size=0), "batch_size must be above zero, not 0"),
    "size": (dict(max_gigabytes=float("nan")), "max_gigabytes must be above zero, not nan"),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_a_setting_that_cannot_be(name):
    change, message = SETTINGS[name]
    with pytest.raises(UsageError, match=message):
        cache.Config(**{"hooks": HOOKS, **change})


def test_a_text_without_end_is_refused_without_reading_it_all(model, tmp_path):
    read = []

    def endless():
        while True:
            read.append(1)
            yield IDS[0]

    with pytest.raises(UsageError, match="max_gigabytes"):
        cache.harvest(model, endless(), replace(CONFIG, max_gigabytes=1e-5), tmp_path)
    assert len(read) < 20


def test_only_first_positions_leave_nothing(model, tmp_path):
    with pytest.raises(UsageError, match="No position is left to store"):
        cache.harvest(model, [[1], [2]], CONFIG, tmp_path)


def test_an_intervention_on_the_bridge_is_not_harvested(tmp_path):
    model = models.load("llama")
    model.bridge.add_hook(HOOK, lambda value, hook: value * 0)
    assert capture.bridge_is_hooked(model)
    with pytest.raises(UsageError, match="those of an intervention: remove them"):
        cache.harvest(model, IDS, CONFIG, tmp_path)


def test_a_full_disk_is_refused_before_it_starts(model, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=10_000_000))
    with pytest.raises(UsageError, match=r"needs 0\.05 GB, but .* has 0\.01 GB free"):
        cache.harvest(model, IDS, CONFIG, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("after", [0, 1, 2, 5, 6])
def test_a_disk_that_fills_up_loses_nothing(after, model, tmp_path, monkeypatch):
    """Whichever write fails, shard or manifest, the folder is valid and the harvest continues when there is space."""
    whole = cache.harvest(model, IDS, CONFIG, tmp_path / "whole").folder
    written, sync = [], os.fsync

    def full(handle):
        written.append(handle)
        if len(written) > after:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(handle)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        whole_shards = f".*{(after - 1) // 2} of 4 shards are whole; resume" if after > 1 else ""
        with pytest.raises(UsageError, match=f"No space left on device{whole_shards}"):
            cache.harvest(model, IDS, CONFIG, tmp_path / "full")
    assert not list((tmp_path / "full").glob(".*"))
    assert bool(list((tmp_path / "full").iterdir())) == (after > 1)  # before the first shard there is nothing to resume
    cache.harvest(model, IDS, CONFIG, tmp_path / "full", resume=True)
    assert contents(tmp_path / "full") == contents(whole)


def test_an_interrupt_loses_nothing_written(model, tmp_path):
    def interrupt(done, total, what):
        if done == 150:
            raise KeyboardInterrupt

    whole = cache.harvest(model, IDS, CONFIG, tmp_path / "whole").folder
    with pytest.raises(KeyboardInterrupt):
        cache.harvest(model, IDS, CONFIG, tmp_path / "stopped", progress=interrupt)
    left = contents(tmp_path / "stopped")
    assert left.keys() == {"manifest.json", "shard-00000.safetensors", "shard-00001.safetensors"}
    cache.harvest(model, IDS, CONFIG, tmp_path / "stopped", resume=True)
    assert contents(tmp_path / "stopped") == contents(whole)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_an_activation_that_is_not_finite_stops_the_harvest(value, tmp_path):
    model = models.load("llama")
    model.parts.embed.weight.data[63] = value
    ids = torch.where(IDS == 63, 62, IDS)
    ids[13, 4] = 63
    with pytest.raises(InterpError, match=r"is nan at context 13, position \d\..*2 of 4 shards are whole"):
        cache.harvest(model, ids, CONFIG, tmp_path)
    assert (tmp_path / "shard-00001.safetensors").exists() and not (tmp_path / "shard-00002.safetensors").exists()


def test_a_number_too_large_for_float16(tmp_path):
    model = models.load("llama")
    model.parts.embed.weight.data[:, 3] = 1e5
    with pytest.raises(InterpError, match=r"hook_embed is inf at context 0, position 1\. float16 ends at 65,504"):
        cache.harvest(model, IDS, replace(CONFIG, hooks=("hook_embed",), dtype="float16"), tmp_path / "half")
    store = cache.harvest(model, IDS, replace(CONFIG, hooks=("hook_embed",), dtype="bfloat16"), tmp_path / "brain")
    assert store.tensor("hook_embed", 0, 1)[0, 3] == torch.tensor(1e5).bfloat16()


def test_a_harvest_is_never_written_over(model, tmp_path):
    cache.harvest(model, IDS, CONFIG, tmp_path)
    before = contents(tmp_path)
    with pytest.raises(UsageError, match="holds a store already: choose another folder, or resume"):
        cache.harvest(model, IDS, CONFIG, tmp_path)
    cache.harvest(model, IDS, CONFIG, tmp_path, resume=True)
    assert contents(tmp_path) == before
    (tmp_path / "manifest.json").unlink()
    for resume in (True, False):
        with pytest.raises(UsageError, match=r"shard-0000\d\.safetensors but no manifest\.json"):
            cache.harvest(model, IDS, CONFIG, tmp_path, resume=resume)
    assert len(contents(tmp_path)) == len(before) - 1


OTHERS = {
    "hooks": (dict(config=replace(CONFIG, hooks=(HOOK,))), "hooks"),
    "batch": (dict(config=replace(CONFIG, batch_size=2)), "batch = 3, but this one has 2"),
    "dtype": (dict(config=replace(CONFIG, dtype="bfloat16")), 'dtype = "float32", but this one has "bfloat16"'),
    "tokens": (dict(source=IDS.flip(1)), "token_sha256 = "),
    "fewer tokens": (dict(source=IDS[:-1]), "contexts = 22"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_another_harvest_does_not_go_on_from_this_one(name, model, tmp_path):
    change, message = OTHERS[name]
    cache.harvest(model, IDS, CONFIG, tmp_path)
    before = contents(tmp_path)
    with pytest.raises(UsageError, match=rf"was started with .*{message}"):
        cache.harvest(model, change.get("source", IDS), change.get("config", CONFIG), tmp_path, resume=True)
    assert contents(tmp_path) == before


def test_another_model_does_not_go_on_from_this_one(model, tmp_path):
    cache.harvest(model, IDS, CONFIG, tmp_path)
    with pytest.raises(UsageError, match=r"was started with model\.weights_sha256 = "):
        cache.harvest(models.load("llama", seed=5, text=True), IDS, CONFIG, tmp_path, resume=True)


@pytest.mark.parametrize("damage", ["missing", "truncated", "last altered"])
def test_a_damaged_shard_is_made_again_and_the_others_are_not(damage, model, tmp_path):
    folder = cache.harvest(model, IDS, CONFIG, tmp_path).folder
    before = contents(folder)
    victim = folder / ("shard-00003.safetensors" if damage == "last altered" else "shard-00001.safetensors")
    content = bytearray(victim.read_bytes())
    content[-5] ^= 1
    if damage == "missing":
        victim.unlink()
    else:
        victim.write_bytes(content[:-9] if damage == "truncated" else content)
    written = (folder / "shard-00000.safetensors").stat().st_mtime_ns
    output = []
    cache.harvest(model, IDS, CONFIG, folder, resume=True, progress=lambda *what: output.append(what))
    assert contents(folder) == before and (folder / "shard-00000.safetensors").stat().st_mtime_ns == written
    assert [done for done, _, _ in output] == ([30, 40] if damage == "last altered" else [30, 60])


def test_a_shard_that_comes_out_different_is_a_failed_check(model, tmp_path, monkeypatch):
    folder = cache.harvest(model, IDS, CONFIG, tmp_path).folder
    (folder / "shard-00001.safetensors").unlink()
    monkeypatch.setattr(sys.modules["interp.cache.harvest"], "activations", lambda *a, **k: (
        {name: rows + 1e-3 for name, rows in batch.items()} for batch in cache.activations(*a, **k)
    ))  # fmt: skip
    with pytest.raises(CheckFailedError, match="made again, but came out different"):
        cache.harvest(model, IDS, CONFIG, folder, resume=True)


MEASURED = """
import resource, sys, torch
from interp import cache
from tests import models

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

torch.set_num_threads(1)
model = models.load("llama")
hooks = tuple(f"blocks.{l}.hook_{n}" for l in range(3) for n in ("resid_pre", "resid_mid", "resid_post", "mlp_out"))
config = cache.Config(hooks=hooks, context=40, batch_size=8, shard_megabytes=1)
ids = models.tokens(1200, 40)
def use(n, name):
    store = cache.harvest(model, ids[:n], config, f"{sys.argv[1]}/{name}")
    seen = sum(len(batch) for batch in store.batches(512, seed=0, hook=hooks[3]))
    assert seen == len(store)
    for _ in cache.stream(model, ids[:n], hooks[3], seed=0, buffer=4096, context=40): pass
    return store
use(100, "small")
before = peak()
store = use(1200, "large")
print(peak() - before, store.manifest.bytes / 2**20)
"""


def test_memory_does_not_grow_with_the_store(tmp_path):
    """A harvest, an epoch and a stream of 53 MB, after the same of 4 MB: less than a quarter more at the peak."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path.cwd())}
    command = [sys.executable, "-c", MEASURED, str(tmp_path)]
    run = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    grown, stored = map(float, run.stdout.split())
    assert stored > 40
    assert grown < stored / 4


@pytest.mark.real
def test_the_attention_sink_of_the_real_model_is_left_out(smollm2, tmp_path):
    """Position 0 has a norm of about 22,700 behind blocks 11 to 27 and would be most of the mean norm."""
    hook, ids = (
        "blocks.11.hook_resid_post",
        torch.randint(100, 40_000, (4, 16), generator=torch.Generator().manual_seed(0)),
    )
    config = cache.Config(hooks=(hook,), context=16, batch_size=2)
    without = cache.harvest(smollm2, ids, config, tmp_path / "without")
    every = cache.harvest(smollm2, ids, replace(config, exclude=()), tmp_path / "every")
    assert every.tensor(hook, 0, 1).norm() > 10_000
    assert without.statistics().norm < 500 < every.statistics().norm
    _, exact = smollm2.run_with_cache(ids, hook)
    torch.testing.assert_close(rows_of(without, hook), exact[hook][:, 1:].flatten(0, 1), rtol=1e-4, atol=1e-2)
