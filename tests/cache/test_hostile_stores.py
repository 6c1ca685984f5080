"""Stores and tokens that are not what they should be: refused with one sentence before anything is computed on them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from interp import cache
from interp.cache import Store
from interp.cache.manifest import Manifest, _checksum
from interp.errors import DamagedFileError, InterpError, UsageError
from interp.files import check_same, locked
from tests import models

HOOK = "blocks.1.hook_resid_post"
CONFIG = cache.Config(hooks=(HOOK,), context=10, batch_size=4, shard_megabytes=0.02)
IDS = models.tokens(21, 10)


@pytest.fixture(scope="module")
def model():
    return models.load("llama")


@pytest.fixture
def store(model, tmp_path):
    return cache.harvest(model, IDS, CONFIG, tmp_path / "acts")


def edited(store, change):
    """The manifest changed, with a checksum that is right again."""
    file = store.folder / "manifest.json"
    document = json.loads(file.read_text())
    document.pop("checksum")
    change(document)
    file.write_text(json.dumps({"checksum": _checksum(document), **document}))
    return store.folder


@pytest.mark.parametrize("value", [2**32 + 5, 2**31, -1, 10**6])
def test_a_token_id_that_is_none_is_not_taken_for_another(model, tmp_path, value):
    ids = IDS.clone().long()
    ids[3, 2] = value
    given = (ids, ids.numpy(), cache.Contexts(ids, torch.full((21,), 10)), [row.numpy() for row in ids])
    for source in given:
        with pytest.raises(UsageError, match=rf"has the token id {value}; this model's are 0 to"):
            cache.harvest(model, source, CONFIG, tmp_path / "acts")
        assert not (tmp_path / "acts").exists()
    with pytest.raises(UsageError, match=f"token id {value}"):
        next(cache.stream(model, ids, HOOK, seed=0, batch_size=4, context=10))


def test_ids_of_any_integer_type_are_the_same_ids(model, tmp_path):
    kinds = (np.uint16, np.int64, np.uint64)
    digests = {cache.plan(model, IDS.numpy().astype(kind), CONFIG).manifest.token_sha256 for kind in kinds}
    assert digests == {cache.plan(model, IDS, CONFIG).manifest.token_sha256}


def test_a_context_that_the_model_cannot_read_leaves_nothing(model, tmp_path):
    long = cache.Config(hooks=(HOOK,), context=model.spec.n_ctx + 1)
    with pytest.raises(UsageError, match=r"context=\d+ is longer than the \d+ tokens"):
        cache.harvest(model, torch.zeros(2, long.context, dtype=torch.long), long, tmp_path / "acts")
    assert not (tmp_path / "acts").exists()


def test_a_harvest_that_fails_before_its_first_shard_leaves_no_manifest(tmp_path):
    model = models.load("llama")
    model.parts.embed.weight.data[int(IDS[0, 3])] = float("nan")
    with pytest.raises(InterpError, match="is nan at context 0") as raised:
        cache.harvest(model, IDS, CONFIG, tmp_path)
    assert "resume" not in str(raised.value) and not list(tmp_path.iterdir())


def test_a_flipped_bit_is_detected_when_the_shard_is_first_read(store):
    file = store.folder / store.manifest.shards[1].file
    content = bytearray(file.read_bytes())
    content[-5] ^= 1
    file.write_bytes(content)
    again = Store.open(store.folder)
    assert len(again.tensor(HOOK, 0, 3)) == 3  # the first shard is whole
    with pytest.raises(DamagedFileError, match=r"shard-00001\.safetensors was altered"):
        list(again.batches(8, seed=0))
    content[-5] ^= 1
    file.write_bytes(content)
    assert sum(map(len, again.batches(8, seed=0))) == len(again)


def test_a_shard_is_read_through_once_a_process(store, monkeypatch):
    from interp.cache import shards

    read, fault = [], shards.fault
    monkeypatch.setattr(shards, "fault", lambda *about: read.append(about) or fault(*about))
    shards._check_bytes.cache_clear()
    again = Store.open(store.folder)
    for seed in range(3):
        list(again.batches(8, seed=seed))
    assert len(read) == store.manifest.n_shard
    os.utime(store.folder / store.manifest.shards[0].file)  # written again, perhaps with other bytes
    list(again.batches(8, seed=0))
    assert len(read) == store.manifest.n_shard + 1


CHANGES = {
    "hooks": lambda m: m["hooks"].append(m["hooks"][0]),
    "statistics": lambda m: m["statistics"][HOOK]["mean"].pop(),
    "shards": lambda m: m["shards"][0].update(file="../elsewhere.safetensors"),
    "sizes": lambda m: m.update(shard_contexts=0),
    "rows": lambda m: m.update(rows=m["rows"] + 1),
    "dtype and exclude": lambda m: m.update(dtype="float8"),
    "model": lambda m: m["model"].pop("weights_sha256"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_manifest_whose_fields_do_not_fit_is_refused(store, name):
    with pytest.raises(DamagedFileError, match=rf"manifest\.json is damaged: its {name} do not fit"):
        Store.open(edited(store, CHANGES[name]))


FIELDS = [field for field in Manifest.__dataclass_fields__ if field not in ("separator", "prepend_bos")]


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("value", [None, "text", -1.5, [[]], {"a": {}}, 10**30])
def test_a_field_of_another_kind_is_named_with_its_file(store, field, value):
    kinds = {str: ("dtype", "token_sha256"), dict: (), float: ()}
    if field in kinds.get(type(value), ()):
        pytest.skip("is of that kind")
    with pytest.raises(DamagedFileError, match=rf"manifest\.json is damaged or not of this version: {field}"):
        Store.open(edited(store, lambda m: m.update({field: value})))


def test_the_same_weights_under_another_name_go_on(model, tmp_path):
    whole = cache.harvest(model, IDS, CONFIG, tmp_path / "whole")
    (tmp_path / "whole" / whole.manifest.shards[-1].file).unlink()
    other = models.load("llama")
    other.name = "elsewhere/llama"
    again = cache.harvest(other, IDS, CONFIG, tmp_path / "whole", resume=True)
    assert again.manifest == whole.manifest
    with pytest.raises(UsageError, match=r"started with model\.weights_sha256"):
        cache.harvest(models.load("llama", seed=1), IDS, CONFIG, tmp_path / "whole", resume=True)


def test_a_difference_is_shown_where_it_begins():
    same = {"data": {"text": "x" * 200 + "one", "k": 3}}
    check_same("The run", same, same)
    other = {"data": {"text": "x" * 200 + "another", "k": 3}}
    with pytest.raises(UsageError, match=r'started with data\.text = \.\.\.x{19,20}one", but .* \.\.\.x+another"'):
        check_same("The run", same, other)


def test_a_folder_has_one_lock_and_the_error_names_its_process(tmp_path):
    refused = pytest.raises(UsageError, match=rf"is in use by process {os.getpid()} on ")
    with locked(tmp_path / "run"), refused, locked(tmp_path / "run"):
        pass
    with locked(tmp_path / "run"):
        assert [file.name for file in (tmp_path / "run").iterdir()] == [".interp.lock"]
    assert not list((tmp_path / "run").iterdir())


def test_a_lock_ends_with_the_process_that_was_killed(tmp_path: Path):
    child = os.fork()
    if child == 0:
        holder = locked(tmp_path)
        holder.__enter__()
        os._exit(0)
    os.waitpid(child, 0)
    assert (tmp_path / ".interp.lock").exists()
    with locked(tmp_path):
        pass
