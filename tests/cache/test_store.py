"""The reader: every row once in any batch size, the same order from the same seed, each damage detected and named."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

import interp
from interp import cache
from interp.cache import Store, store as reading
from interp.errors import CheckFailedError, DamagedFileError, MissingInputError, UsageError
from tests import models

HOOK, OTHER = "blocks.1.hook_resid_post", "blocks.0.attn.hook_z"
CONFIG = cache.Config(hooks=(HOOK, OTHER), context=10, batch_size=4, shard_megabytes=0.02)
IDS = models.tokens(41, 10)


@pytest.fixture(scope="module")
def model():
    return models.load("llama", text=True)


@pytest.fixture(scope="module")
def store(model, tmp_path_factory):
    """Six shards of 369 rows in all; read only."""
    result = cache.harvest(model, IDS, CONFIG, tmp_path_factory.mktemp("store"))
    assert result.manifest.n_shard > 4
    return result


@pytest.fixture
def damaged(model, tmp_path):
    return cache.harvest(model, IDS, CONFIG, tmp_path / "acts").folder


def order(store, batch_size, seed, hook=HOOK, **options):
    return torch.cat(list(store.batches(batch_size, seed=seed, hook=hook, **options)))


def as_sorted(rows):
    return rows[rows[:, 0].argsort()]


@pytest.mark.parametrize("pool", [(16, 1024), (4, 8), (1, 3)], ids=["one pool", "many pools", "tiny"])
def test_each_row_once_in_one_order_for_any_batch_size(pool, store, monkeypatch):
    monkeypatch.setattr(reading, "RUN", pool[0])
    monkeypatch.setattr(reading, "MIXED", pool[1])
    stored = store.tensor(HOOK, 0, len(store))
    assert len(stored.unique(dim=0)) == len(store)  # no two rows have equal values
    whole = order(store, len(store), seed=0)
    for batch_size in (1, 7, 64, 1000):
        batches = list(store.batches(batch_size, seed=0, hook=HOOK))
        assert [len(batch) for batch in batches[:-1]] == [batch_size] * (len(batches) - 1)
        assert torch.equal(torch.cat(batches), whole)
    assert torch.equal(as_sorted(whole), as_sorted(stored))
    assert not torch.equal(order(store, 64, seed=1), whole)
    assert torch.equal(order(store, 64, seed=None), stored)


def test_an_epoch_goes_on_where_it_was_left(store, monkeypatch):
    monkeypatch.setattr(reading, "MIXED", 5)
    for seed in (3, None):
        whole = order(store, 32, seed=seed)
        for start in (0, 1, 79, 80, 81, 300, len(store) - 1):
            assert torch.equal(order(store, 32, seed=seed, start=start), whole[start:])
    assert list(store.batches(32, seed=0, hook=HOOK, start=len(store))) == []


def test_the_order_is_mixed_and_not_only_turned(store):
    """Neighbours in the text are neighbours in an epoch about as often as chance has it: 2 in 369."""
    stored = store.tensor(HOOK, 0, len(store))
    place = {tuple(row.tolist()): at for at, row in enumerate(stored)}
    at = torch.tensor([place[tuple(row.tolist())] for row in order(store, 64, seed=0)])
    assert ((at.diff().abs() == 1).float().mean()) < 0.05
    # A rank correlation of shuffled ranks has standard deviation 1/sqrt(368) = 0.05.
    assert abs(torch.corrcoef(torch.stack([at.float(), torch.arange(len(at)).float()]))[0, 1]) < 0.2


def test_two_hooks_read_with_one_seed_stay_aligned(store, model):
    mixed, other = (order(store, 50, seed=4, hook=hook) for hook in (HOOK, OTHER))
    stored = torch.cat([store.tensor(HOOK, 0, len(store)), store.tensor(OTHER, 0, len(store))], dim=1)
    assert torch.equal(as_sorted(torch.cat([mixed, other], dim=1)), as_sorted(stored))


def test_rows_by_number_across_shards(store):
    whole = torch.cat([load_file(store.folder / shard.file)[HOOK] for shard in store.manifest.shards])
    assert torch.equal(store.tensor(HOOK, 0, len(store)), whole)
    for start, stop in ((0, 0), (0, 1), (70, 75), (100, 369)):
        assert torch.equal(store.tensor(HOOK, start, stop), whole[start:stop])


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_is_stored_unchanged_and_read_in_the_requested_dtype(dtype, store, model, tmp_path):
    half = cache.harvest(model, IDS, replace(CONFIG, dtype=dtype), tmp_path)
    exact = store.tensor(HOOK, 0, len(store))
    assert torch.equal(half.tensor(HOOK, 0, len(half)), exact.to(getattr(torch, dtype)))
    assert torch.equal(order(half, 50, 0), order(store, 50, 0).to(getattr(torch, dtype)).float())
    assert order(half, 50, 0, dtype=torch.float64).dtype == torch.float64
    assert half.manifest.bytes < 0.6 * store.manifest.bytes


def test_tokens_come_back(store):
    assert torch.equal(store.contexts().tokens, IDS.int())
    assert torch.equal(store.contexts(5, 30).tokens, IDS[5:30].int())
    assert store.contexts().sha256() == store.manifest.token_sha256
    with pytest.raises(UsageError, match="No contexts from 41 to 41: the store has 41"):
        store.contexts(41)


def test_each_row_knows_its_place(store, model):
    places = store.places()
    assert places.tolist() == [[i, at] for i in range(41) for at in range(1, 10)]
    assert torch.equal(store.places(60, 200), places[60:200])
    context, position = places[123].tolist()
    _, result = model.run_with_cache(IDS[context], HOOK)
    torch.testing.assert_close(store.tensor(HOOK, 123, 124)[0], result[HOOK][0, position], rtol=1e-5, atol=1e-5)


def test_mean_and_scale_of_one_hook(model, tmp_path, store):
    single = cache.harvest(model, IDS, replace(CONFIG, hooks=(HOOK,)), tmp_path)
    rows = single.tensor(HOOK, 0, len(single)).double()
    torch.testing.assert_close(single.mean, rows.mean(0), rtol=1e-12, atol=1e-13)
    assert float((rows * single.scale).norm(dim=1).mean()) == pytest.approx(24**0.5, rel=1e-12)
    assert len(list(single.batches(100, seed=0))) == 4
    with pytest.raises(
        UsageError, match=r"holds 2 hooks, say which one: blocks\.1\.hook_resid_post, blocks\.0\.attn\.hook_z"
    ):
        _ = store.mean


def test_a_question_that_has_no_answer(store):
    with pytest.raises(UsageError, match=r'no hook "blocks.1.hook_resid_pst"; .*"blocks.1.hook_resid_post"'):
        store.tensor("blocks.1.hook_resid_pst", 0, 1)
    with pytest.raises(UsageError, match="Rows 360 to 370 do not exist: the store has rows 0 to 369"):
        store.tensor(HOOK, 360, 370)
    with pytest.raises(UsageError, match="batch_size=0"):
        store.batches(0, seed=0, hook=HOOK)
    with pytest.raises(UsageError, match="start=370"):
        store.batches(1, seed=0, hook=HOOK, start=370)


def test_a_store_is_of_one_model(store, model):
    assert len(Store.open(store.folder, model)) == 369
    with pytest.raises(UsageError, match=r"harvested from .* \(float32, weights .*but the model given is"):
        Store.open(store.folder, models.load("llama", seed=3, text=True))
    with pytest.raises(UsageError, match=r"\(float64, .*load the one it was harvested from, in float32"):
        store.check_model(interp.load(models.build("llama"), dtype=torch.float64))


def test_a_store_says_what_it_holds(store):
    text = json.loads((store.folder / "manifest.json").read_text())
    assert text["exclude"] == ["first", "padding"] and text["complete"] is True
    assert text["prepend_bos"] is False and text["context"] == 10 and text["dtype"] == "float32"
    assert cache.verify(store.folder) == store.manifest == cache.Manifest.load(store.folder)


def shard_of(folder, index=1):
    return folder / f"shard-{index:05d}.safetensors"


def test_a_truncated_shard(damaged):
    shard_of(damaged).write_bytes(shard_of(damaged).read_bytes()[:-10])
    with pytest.raises(DamagedFileError, match=r"shard-00001.safetensors is truncated: \d+ of \d+ bytes.*resume"):
        Store.open(damaged)
    with pytest.raises(CheckFailedError, match=r"1 of 6 shards .*shard-00001.safetensors \(\d+ of \d+ bytes\)"):
        cache.verify(damaged)


def test_a_missing_shard(damaged):
    shard_of(damaged).unlink()
    with pytest.raises(MissingInputError, match=r"shard-00001.safetensors is missing .*resume"):
        Store.open(damaged)
    with pytest.raises(CheckFailedError, match=r"shard-00001.safetensors \(missing\)"):
        cache.verify(damaged)


@pytest.mark.parametrize("at", [9, -1, 1000])
def test_an_altered_byte(at, damaged):
    content = bytearray(shard_of(damaged).read_bytes())
    content[at] ^= 16
    shard_of(damaged).write_bytes(content)
    Store.open(damaged)
    with pytest.raises(CheckFailedError, match=r"1 of 6 shards .*shard-00001.safetensors \(altered\).*Delete them and"):
        cache.verify(damaged)


def test_an_altered_header_is_not_followed(damaged):
    content = shard_of(damaged).read_bytes()
    for old, new in ((b'"F32"', b'"F39"'), (b"hook_resid_post", b"hook_resid_pest"), (b'{"blocks', b'X"blocks')):
        assert old in content
        shard_of(damaged).write_bytes(content.replace(old, new, 1))
        opened = Store.open(damaged)
        with pytest.raises(DamagedFileError, match=r"shard-00001.safetensors (was altered|does not hold)"):
            for hook in (HOOK, OTHER):
                opened.tensor(hook, 0, len(opened))


def test_a_missing_or_altered_manifest(damaged, tmp_path):
    with pytest.raises(MissingInputError, match=r"No store in .*it has no manifest\.json"):
        Store.open(tmp_path)
    file = damaged / "manifest.json"
    text = file.read_text()
    for changed in (
        text.replace('"batch": 4', '"batch": 5'),
        text[:-30],
        "[]",
        text.replace('"format": 1', '"format": 9'),
    ):
        file.write_text(changed)
        with pytest.raises(DamagedFileError, match=r"manifest\.json is (damaged|not the manifest)"):
            Store.open(damaged)
        with pytest.raises(CheckFailedError, match=r"manifest\.json is (damaged|not the manifest)"):
            cache.verify(damaged)


def test_a_harvest_that_was_stopped_is_not_a_store(damaged):
    manifest = cache.Manifest.load(damaged)
    replace(manifest, shards=manifest.shards[:2]).save(damaged)
    for call in (Store.open, cache.verify):
        with pytest.raises(MissingInputError, match=r"stopped \(2 of 6 shards.*resume"):
            call(damaged)
