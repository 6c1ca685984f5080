"""Text to token ids and back, with the tokenizer's own default for BOS."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from interp.errors import UsageError

BLANK_MARK = "▁"
"""SentencePiece's mark for a leading blank, which decoding a lone token drops."""


@dataclass(frozen=True)
class Tokens:
    """The tokenizer of a model."""

    tokenizer: Any

    @property
    def prepends_bos(self) -> bool:
        """Return whether the tokenizer puts its BOS token first by default.

        Llama's does, SmolLM2's does not.
        """
        bos = self.tokenizer.bos_token_id
        ids = self.tokenizer("a").input_ids
        return bos is not None and len(ids) > 0 and ids[0] == bos

    def encode(self, text: str | list[str], prepend_bos: bool | None = None) -> Int[Tensor, "batch n_token"]:
        """Return token ids; `prepend_bos=None` follows the tokenizer.

        True and False put BOS first or leave it out.

        Texts of different lengths are padded on the right with the pad token, which later positions of a causal
        model never influence. Raises `UsageError` for an empty text, or for True without a BOS token.
        """
        texts = [text] if isinstance(text, str) else text
        if not isinstance(texts, list | tuple) or not all(isinstance(one, str) for one in texts):
            raise UsageError(f"A text is a string, or a list of several, not {_kind(text)}.")
        rows = [self._row(one, prepend_bos) for one in texts]
        if not rows or min(map(len, rows)) == 0:
            raise UsageError("The text is empty: give at least one token.")
        longest = max(map(len, rows))
        pad = self._pad_id() if min(map(len, rows)) < longest else 0
        return torch.tensor([row + [pad] * (longest - len(row)) for row in rows], dtype=torch.long)

    def texts(self, ids: Int[Tensor, " n_token"]) -> list[str]:
        """Return the text of each token alone, with its leading blank."""
        return [self._text(int(i)) for i in ids.flatten()]

    def single(self, text: str) -> int:
        """Return the id of a text that is one token.

        Raises `UsageError` naming the pieces of a text that is none or several, or for one that the vocabulary lacks.
        """
        if not isinstance(text, str):
            raise UsageError(f"A token is given by its text or its id, not by {_kind(text)}.")
        ids = self.tokenizer(text, add_special_tokens=False).input_ids
        if len(ids) == 1 and ids[0] == self.tokenizer.unk_token_id and text != self.tokenizer.unk_token:
            raise UsageError(f"{text!r} is not in the vocabulary: it becomes {self.tokenizer.unk_token}.")
        if len(ids) == 1:
            return ids[0]
        pieces = ", ".join(repr(self._text(i)) for i in ids) or "nothing"
        with_blank = self.tokenizer(f" {text}", add_special_tokens=False).input_ids
        hint = f" Most words begin with a blank: try {' ' + text!r}." if text and len(with_blank) == 1 else ""
        raise UsageError(f"{text!r} is not one token but {len(ids)}: {pieces}.{hint}")

    def _row(self, text: str, prepend_bos: bool | None) -> list[int]:
        if prepend_bos is None:
            return self.tokenizer(text).input_ids
        ids = self.tokenizer(text, add_special_tokens=False).input_ids
        if not prepend_bos:
            return ids
        if self.tokenizer.bos_token_id is None:
            raise UsageError("prepend_bos=True, but this tokenizer has no BOS token.")
        return [self.tokenizer.bos_token_id, *ids]

    def _pad_id(self) -> int:
        pad, eos = self.tokenizer.pad_token_id, self.tokenizer.eos_token_id
        if pad is None and eos is None:
            raise UsageError(
                "Texts of different lengths need padding, but this tokenizer has neither pad nor EOS token."
            )
        return eos if pad is None else pad

    def _text(self, token: int) -> str:
        text = self.tokenizer.decode([token], clean_up_tokenization_spaces=False)
        raw = self.tokenizer.convert_ids_to_tokens(token)
        dropped = isinstance(raw, str) and raw.startswith(BLANK_MARK) and not text.startswith(" ")
        return f" {text}" if dropped else text


def _kind(value: object) -> str:
    if isinstance(value, list | tuple):
        other = next((one for one in value if not isinstance(one, str)), None)
        return f"a {type(value).__name__} with {type(other).__name__}"
    return type(value).__name__
