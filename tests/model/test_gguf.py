"""What a GGUF file says of its tokenizer."""

from __future__ import annotations

import struct
import warnings

import pytest

from interp.errors import DamagedFileError
from interp.model import gguf
from tests import models


def _text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


def _file(path, pre: str):
    """The head of a GGUF file: a number, an array of texts and of numbers, then the pre-tokenizer."""
    fields = [
        _text("general.file_type") + struct.pack("<II", 4, 3),
        _text("tokenizer.ggml.tokens") + struct.pack("<IIQ", 9, 8, 2) + _text("a") + _text("naïve"),
        _text("tokenizer.ggml.scores") + struct.pack("<IIQ3f", 9, 6, 3, 1, 2, 3),
        _text("tokenizer.ggml.pre") + struct.pack("<I", 8) + _text(pre),
    ]
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 0, len(fields)) + b"".join(fields))
    return path


def test_metadata_are_read_past_arrays(tmp_path):
    file = _file(tmp_path / "model.gguf", "smollm")
    assert gguf.metadata(file, "tokenizer.ggml.pre") == "smollm"
    assert gguf.metadata(file, "tokenizer.ggml.model") is None


def test_digits_are_set_apart_first(tmp_path):
    tokenizer = gguf.with_pre_tokenizer(models.tokenizer(), _file(tmp_path / "model.gguf", "smollm"))
    pieces = tokenizer.backend_tokenizer.pre_tokenizer.pre_tokenize_str("ab123")
    assert [piece for piece, _ in pieces] == ["ab", "1", "2", "3"]


def test_an_unknown_pre_tokenizer_is_a_warning_and_a_known_one_is_not(tmp_path):
    with pytest.warns(UserWarning, match='names the pre-tokenizer "tekken", which is not known here'):
        gguf.with_pre_tokenizer(models.tokenizer(), _file(tmp_path / "model.gguf", "tekken"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gguf.with_pre_tokenizer(models.tokenizer(), _file(tmp_path / "model.gguf", "gpt-2"))


@pytest.mark.parametrize("content", [b"", b"GGML1234", b"GGUF\x03\x00", b"GGUF" + struct.pack("<IQQ", 3, 0, 9)])
def test_a_damaged_file_is_one_sentence(tmp_path, content):
    (tmp_path / "model.gguf").write_bytes(content)
    with pytest.raises(DamagedFileError, match=r"model.gguf is (not a GGUF file|damaged)"):
        gguf.metadata(tmp_path / "model.gguf", "tokenizer.ggml.pre")
