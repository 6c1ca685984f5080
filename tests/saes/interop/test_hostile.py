"""Folders whose settings or weights are of other kinds than they should be: one sentence that names file and field."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

import saes
from interp.errors import DamagedFileError, UsageError


def sae():
    draw = torch.Generator().manual_seed(0)
    tensors = {"W_enc": torch.randn(4, 8, generator=draw), "W_dec": torch.randn(8, 4, generator=draw)}
    return saes.build("topk", "autoencoder", tensors | {"b_enc": torch.zeros(8), "b_dec": torch.zeros(4)}, {"k": 2})


@pytest.fixture
def theirs(tmp_path):
    """A SAELens folder without our own file."""
    folder = sae().save(tmp_path / "sae")
    (folder / "interp.json").unlink()
    return folder


WRONG = {
    "apply_b_dec_to_input": ("false", 1, []),
    "rescale_acts_by_decoder_norm": ("no", 0),
    "normalize_activations": ([], {}, True),
    "metadata": ("text", 3, [1]),
    "dtype": (3, None, ["float32"]),
    "architecture": (["topk"], 3),
    "k": ("2", 2.0, True, 0, 10**30),
    "d_in": ("4", -4, None),
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in WRONG.items() for value in values])
def test_a_setting_of_another_kind_is_named(theirs, name, value):
    file = theirs / "cfg.json"
    config = json.loads(file.read_text())
    assert saes.load(theirs).width == 8
    file.write_text(json.dumps(config | {name: value}))
    with pytest.raises((DamagedFileError, UsageError), match=rf"cfg\.json.*{name}|{name}|k=10{{30}}"):
        saes.load(theirs)


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.uint8])
def test_integers_are_not_weights(theirs, dtype):
    file = theirs / "sae_weights.safetensors"
    save_file(load_file(file) | {"b_enc": torch.ones(8, dtype=dtype)}, file)
    with pytest.raises(DamagedFileError, match=r"b_enc holds torch\.\w+ numbers, which are not weights"):
        saes.load(theirs)
    with pytest.raises(UsageError, match="floating-point numbers"):
        tensors = {name: value.detach() for name, value in sae().named_parameters()}
        saes.build("topk", "autoencoder", tensors | {"b_enc": torch.ones(8, dtype=dtype)}, {"k": 2})


@pytest.mark.parametrize(
    ("name", "value"),
    [("files", ["a"]), ("files", {"../x": "0"}), ("settings", []), ("metadata", "x"), ("architecture", 3)],
)
def test_our_own_file_is_read_by_its_fields(tmp_path, name, value):
    folder = sae().save(tmp_path / "sae")
    file = folder / "interp.json"
    document = json.loads(file.read_text())
    file.write_text(json.dumps(document | {name: value}))
    with pytest.raises(DamagedFileError, match=rf"interp\.json.*{name}|\.\./x is not the file"):
        saes.load(folder)


@pytest.mark.parametrize("settings", [{"k": "2"}, {"k": True}, {"k": 2.5}, {"k": 2, "apply_b_dec_to_input": "no"}])
def test_settings_of_another_kind_are_refused(settings):
    tensors = {name: value.detach() for name, value in sae().named_parameters()}
    with pytest.raises(UsageError, match=r"The setting .* must be"):
        saes.build("topk", "autoencoder", tensors, settings)
