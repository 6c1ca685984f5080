"""A set of dictionaries: what it says without weights, saved and loaded equal, layers missing, files altered."""

from __future__ import annotations

import json
import shutil

import pytest
import torch

import saes
from interp.errors import DamagedFileError, MissingInputError, UsageError
from saes.sets import folders
from tests.saes.interop import planted


def transcoder(layer: int, architecture: str = "topk", *, skip: bool = False) -> saes.SAE:
    sae = planted.sae(architecture, "transcoder", skip=skip)
    named = {"hook_name": f"blocks.{layer}.mlp.hook_in", "hook_name_out": f"blocks.{layer}.hook_mlp_out"}
    sae.metadata = {**sae.metadata, **named}
    return sae


def residual(layer: int) -> saes.SAE:
    sae = planted.sae("jumprelu")
    sae.metadata = {**sae.metadata, "hook_name": f"blocks.{layer}.hook_resid_post"}
    return sae


@pytest.fixture
def mixed() -> saes.DictionarySet:
    """Transcoders of layers 10, 0 and 2, one of them with a skip path, and an autoencoder of layer 2."""
    return saes.DictionarySet([transcoder(10), transcoder(0), residual(2), transcoder(2, "jumprelu", skip=True)])


def test_hooks_and_layers_are_in_the_order_of_the_model(mixed):
    assert mixed.layers == (0, 2, 10)
    assert mixed.hooks == (
        *("blocks.0.mlp.hook_in", "blocks.2.hook_resid_post", "blocks.2.mlp.hook_in", "blocks.10.mlp.hook_in"),
    )
    assert list(mixed) == list(mixed.hooks)
    assert len(mixed) == 4
    assert mixed["blocks.2.mlp.hook_in"].writes == ("blocks.2.hook_mlp_out",)
    assert mixed["blocks.2.hook_resid_post"].writes == ("blocks.2.hook_resid_post",)
    assert mixed.writers("blocks.2.hook_mlp_out") == ("blocks.2.mlp.hook_in",)
    assert mixed.writers("blocks.3.hook_mlp_out") == ()


def test_saved_and_loaded_equal(mixed, tmp_path):
    again = saes.DictionarySet.load(mixed.save(tmp_path / "set"))
    assert again.entries == mixed.entries
    assert repr(again) == repr(mixed)
    x = planted.inputs()
    for hook, sae in again.items():
        assert torch.equal(sae(x), mixed[hook](x)), hook
        assert sae.metadata == mixed[hook].metadata
    double = saes.DictionarySet.load(tmp_path / "set", dtype="float64")
    assert double["blocks.10.mlp.hook_in"].W_enc.dtype == torch.float64


def test_weights_are_read_when_they_are_first_used(mixed, tmp_path, monkeypatch):
    folder, read, before = mixed.save(tmp_path / "set"), [], folders._read

    def counted(place, *rest):
        read.append(place.name)
        return before(place, *rest)

    monkeypatch.setattr(folders, "_read", counted)
    opened = saes.DictionarySet.load(folder)
    assert repr(opened) in opened.table().to_text()
    assert opened.select(layers=[2]).layers == (2,)
    assert not read
    assert opened["blocks.0.mlp.hook_in"] is opened["blocks.0.mlp.hook_in"]
    assert read == ["blocks.0.mlp.hook_in"]


def test_any_layer_may_be_missing(mixed, tmp_path):
    folder = mixed.save(tmp_path / "set")
    shutil.rmtree(folder / "blocks.0.mlp.hook_in")
    opened = saes.DictionarySet.load(folder)
    assert opened.layers == (2, 10)
    assert opened.missing == ("blocks.0.mlp.hook_in",)
    assert repr(opened).endswith("1 missing)")
    for hook in opened:
        shutil.rmtree(folder / hook)
    with pytest.raises(MissingInputError, match="none of their folders"):
        saes.DictionarySet.load(folder)


def test_one_line_and_a_table(mixed):
    assert "\n" not in repr(mixed)
    assert repr(mixed.select(hooks=["blocks.0.mlp.hook_in", "blocks.10.mlp.hook_in"])) == (
        "DictionarySet(2 topk transcoders: layers 0, 10, 40 latents)"
    )
    assert repr(saes.DictionarySet([])) == "DictionarySet(empty)"
    table = mixed.table()
    assert [row[0] for row in table.rows] == [0, 2, 2, 10]
    assert [row[-1] for row in table.rows] == [False, False, True, False]


def test_what_cannot_be_a_set_is_refused(mixed):
    with pytest.raises(UsageError, match=r"Two dictionaries read blocks\.0"):
        saes.DictionarySet([transcoder(0), transcoder(0, "jumprelu")])
    nameless = planted.sae("topk")
    nameless.metadata = {}
    with pytest.raises(UsageError, match="must name the hook"):
        saes.DictionarySet([nameless])
    with pytest.raises(UsageError, match="must name the hook that it writes"):
        saes.DictionarySet([planted.sae("topk", "transcoder")])
    with pytest.raises(UsageError, match="crosscoder reads several"):
        saes.DictionarySet([planted.sae("topk", "crosscoder")])
    with pytest.raises(UsageError, match="name each one by its input hook"):
        saes.DictionarySet({"blocks.1.mlp.hook_in": transcoder(0)})
    with pytest.raises(UsageError, match="each dictionary must be a SAE"):
        saes.DictionarySet([torch.ones(3)])  # pyright: ignore[reportArgumentType]
    with pytest.raises(KeyError, match=r'nearest is "blocks\.10\.mlp\.hook_in"'):
        mixed["blocks.10.mlp.hook_ir"]
    with pytest.raises(UsageError, match="no dictionary for 7"):
        mixed.select(layers=[7])


def test_what_is_in_the_folder_is_checked(mixed, tmp_path):
    with pytest.raises(MissingInputError, match="No set of dictionaries"):
        saes.DictionarySet.load(tmp_path / "nothing")
    folder = mixed.save(tmp_path / "set")
    with pytest.raises(UsageError, match="already has a set of dictionaries"):
        mixed.save(folder)
    index = folder / folders.NAME
    document = json.loads(index.read_text())
    for change, message in (
        ({"format": 9}, "not the index of a set of this version"),
        ({"dictionaries": [{**document["dictionaries"][0], "folder": "../elsewhere"}]}, "is not inside"),
        ({"dictionaries": [{"folder": "a"}]}, "entry is missing"),
    ):
        index.write_text(json.dumps(document | change))
        with pytest.raises(DamagedFileError, match=message):
            saes.DictionarySet.load(folder)
    document["dictionaries"][0]["folder"], document["dictionaries"][-1]["folder"] = (
        document["dictionaries"][-1]["folder"],
        document["dictionaries"][0]["folder"],
    )
    index.write_text(json.dumps(document))
    with pytest.raises(DamagedFileError, match="one of them was replaced"):
        saes.DictionarySet.load(folder)["blocks.0.mlp.hook_in"]
