"""The pre-tokenizer of a GGUF file, which the conversion by `transformers` leaves out.

The file names a pre-tokenizer: the rule that cuts text into pieces before the vocabulary is applied. `transformers`
has the byte-level rule of GPT-2 for every name.
"""

from __future__ import annotations

import struct
import warnings
from pathlib import Path
from typing import Any, BinaryIO

from interp.errors import DamagedFileError

PRE_TOKENIZER = "tokenizer.ggml.pre"
AS_CONVERTED = ("default", "gpt-2")
"""Pre-tokenizers that the conversion does not change."""
DIGITS_FIRST = ("smollm",)
"""Those that set every digit apart first, then cut as GPT-2 does."""
_SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_STRING, _ARRAY = 8, 9


def with_pre_tokenizer(tokenizer: Any, file: Path) -> Any:
    """Give a converted tokenizer the pre-tokenizer that its GGUF file names.

    Warns of a name whose rule is not known here: the same text may then become other tokens than the model was trained
    on.
    """
    name = metadata(file, PRE_TOKENIZER)
    if name in DIGITS_FIRST:
        from tokenizers import pre_tokenizers

        backend = tokenizer.backend_tokenizer
        backend.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), backend.pre_tokenizer]
        )
    elif name is not None and name not in AS_CONVERTED:
        warnings.warn(
            f'{file.name} names the pre-tokenizer "{name}", which is not known here: some text may become other tokens '
            "than the model was trained on. Pass the model's own tokenizer: interp.load(..., tokenizer=...).",
            stacklevel=2,
        )
    return tokenizer


def metadata(file: Path, key: str) -> str | None:
    """Return a text from the metadata of a GGUF file.

    It is None without that key.

    Reads the file only up to the key.

    Raises `DamagedFileError` for a file that is not GGUF or ends too early.
    """
    try:
        with file.open("rb") as opened:
            if opened.read(4) != b"GGUF":
                raise DamagedFileError(f"{file} is not a GGUF file.")
            _, _, count = struct.unpack("<IQQ", opened.read(20))
            for _ in range(count):
                name = _text(opened)
                (kind,) = struct.unpack("<I", opened.read(4))
                if name == key and kind == _STRING:
                    return _text(opened)
                _skip(opened, kind)
    except (struct.error, KeyError, UnicodeDecodeError) as error:
        raise DamagedFileError(f"{file} is damaged: its metadata cannot be read ({error}).") from error
    return None


def _text(opened: BinaryIO) -> str:
    (length,) = struct.unpack("<Q", opened.read(8))
    return opened.read(length).decode()


def _skip(opened: BinaryIO, kind: int) -> None:
    if kind == _STRING:
        (length,) = struct.unpack("<Q", opened.read(8))
        opened.seek(length, 1)
    elif kind == _ARRAY:
        inner, count = struct.unpack("<IQ", opened.read(12))
        if inner in (_STRING, _ARRAY):
            for _ in range(count):
                _skip(opened, inner)
        else:
            opened.seek(count * _SIZES[inner], 1)
    else:
        opened.seek(_SIZES[kind], 1)
