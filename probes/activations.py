"""Activations of statements: one vector for each position rule, layer and statement."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from interp.errors import DamagedFileError, MissingInputError, UsageError
from interp.results import writable_folder, write_atomic
from probes.layers import EMBED, EMBEDDING, hook_of
from probes.statements import Statements

FILE = "activations.safetensors"
FORMAT = 2
"""In format 1 layer 0 was the embedding and layer l the output of block l - 1."""
ALL_TOKENS = "all"


@dataclass(frozen=True, eq=False)
class Activations:
    """What a model holds while it reads statements. Made by `collect`.

    Attributes:
        data: the statements.
        layers: l is the residual stream after block l, before the final norm; -1 is the embedding.
        positions: the rules by which tokens were chosen, such as "last"; for "all", one for each token: "0", "1", …
        values: (position, layer, n, d) float32; for "all", zero behind the end of a statement.
        lengths: (n,) tokens of each statement, BOS included where there is one.
        identity: "model", "weights_sha256", "tokenizer", "dtype" and "device" of the model, and "prepend_bos".
    """

    data: Statements
    layers: tuple[int, ...]
    positions: tuple[str, ...]
    values: Float[Tensor, "position layer n d"]
    lengths: Int[Tensor, " n"]
    identity: dict[str, Any]

    def __len__(self) -> int:
        return len(self.data)

    def __repr__(self) -> str:
        positions = "every token" if self.whole else ", ".join(self.positions)
        shape = f"{len(self)} statements, {len(self.layers)} layers, {positions}, d {self.values.shape[-1]}"
        return f"Activations({self.data.name}: {shape})"

    @property
    def whole(self) -> bool:
        """Whether every token is here (`position="all"`)."""
        return all(name.isdigit() for name in self.positions)

    def at(self, layer: int | str, position: str | int | None = None) -> Float[Tensor, "n d"]:
        """Return the activations of one layer and position rule, float32; one rule need not be named.

        The embedding is layer -1, or "embed".

        Raises `UsageError` for a layer or position that was not collected, or a token that some statements lack.
        """
        index = self._position(position)
        if self.whole and (short := int((self.lengths <= int(self.positions[index])).sum())):
            raise UsageError(
                f"{short} of {len(self)} statements have no token {self.positions[index]}: use tokens({layer}), "
                'or collect position="last".'
            )
        return self.values[index, self._layer(layer)]

    def tokens(self, layer: int | str) -> tuple[Float[Tensor, "n token d"], Bool[Tensor, "n token"]]:
        """(every token's activation of one layer, zero behind the end; which tokens there are): for `position="all"`.

        Raises `UsageError` if other positions were collected.
        """
        if not self.whole:
            raise UsageError(f'Only the positions {", ".join(self.positions)} are here: collect position="all".')
        values = self.values[:, self._layer(layer)].transpose(0, 1)
        return values, torch.arange(values.shape[1]) < self.lengths[:, None]

    def hook(self, layer: int | str) -> str:
        """The transformer_lens name of a layer's hook."""
        return hook_of(self.layers[self._layer(layer)])

    def take(self, rows: Bool[np.ndarray, " n"] | Int[np.ndarray, " m"] | Sequence[int]) -> Activations:
        """The rows of a mask or of these numbers (from 0), in that order."""
        chosen = torch.from_numpy(np.arange(len(self))[np.asarray(rows)])
        return replace(self, data=self.data.take(rows), values=self.values[:, :, chosen], lengths=self.lengths[chosen])

    def check_same_model(self, other: Activations) -> None:
        """`UsageError` unless both come from the same weights, number format and BOS habit."""
        check_identity(self.identity, other.identity, self.data.name, other.data.name)

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write the statements (as a result) and `activations.safetensors` into `folder`; see `Activations.load`."""
        from safetensors.torch import save

        target = writable_folder(folder)
        about = {
            "format": FORMAT,
            "layers": self.layers,
            "positions": self.positions,
            "identity": self.identity,
            "data_sha256": self.data.sha256(),
        }
        content = save(
            {"values": self.values.contiguous(), "lengths": self.lengths},
            metadata={"probes.activations": json.dumps(about)},
        )
        self.data.save(target)
        write_atomic(target / FILE, content)

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Self:
        """Activations saved in `folder`.

        Raises `MissingInputError` if there are none, `DamagedFileError` if they are not what was written.
        """
        from pathlib import Path

        from safetensors import SafetensorError, safe_open

        file = Path(folder) / FILE
        if not file.is_file():
            raise MissingInputError(f"No activations in {folder}: it has no {FILE}.")
        data = Statements.load(folder)
        try:
            with safe_open(file, framework="pt") as opened:
                about = json.loads((opened.metadata() or {})["probes.activations"])
                values, lengths = opened.get_tensor("values"), opened.get_tensor("lengths")
            if about["format"] not in (1, FORMAT):
                raise ValueError(f"format {about['format']} is unknown to this version")
            if about["data_sha256"] != data.sha256():
                raise ValueError("its statements are not those beside it")
            layers = tuple(layer - (about["format"] == 1) for layer in about["layers"])
            return cls(data, layers, tuple(about["positions"]), values, lengths, about["identity"])
        except (SafetensorError, OSError, KeyError, ValueError) as error:
            raise DamagedFileError(f"{file} is damaged ({error}): collect the activations again.") from error

    def _layer(self, layer: int | str) -> int:
        layer = EMBEDDING if layer == EMBED else layer
        if layer not in self.layers:
            raise UsageError(f"Layer {layer} was not collected; these were: {', '.join(map(str, self.layers))}.")
        return self.layers.index(layer)

    def _position(self, position: str | int | None) -> int:
        if position is None and len(self.positions) == 1:
            return 0
        known = ", ".join(self.positions)
        if position is None:
            raise UsageError(f"{len(self.positions)} positions were collected, say which one: {known}.")
        if isinstance(position, float) or str(position) not in self.positions:
            raise UsageError(f'Position "{position}" was not collected; these were: {known}.')
        return self.positions.index(str(position))


def check_identity(ours: dict[str, Any], theirs: dict[str, Any], us: str = "these", them: str = "those") -> None:
    """`UsageError` unless weights, number format and BOS habit are the same on both sides."""
    for key, words in (("weights_sha256", "weights"), ("prepend_bos", "BOS habit"), ("dtype", "number format")):
        if ours[key] != theirs[key]:
            left, right = (_shown(key, side) for side in (ours, theirs))
            raise UsageError(
                f"{us} and {them} differ in {words}: {left} against {right}. A probe reads only activations "
                "collected in the way it was trained on."
            )


def _shown(key: str, identity: dict[str, Any]) -> str:
    if key == "prepend_bos":
        return "with BOS" if identity[key] else "without BOS"
    if key == "weights_sha256":
        return f"{identity['model']} ({identity[key][:12]})"
    return str(identity[key])
