"""Activations of statements: one vector for each position, layer and statement."""

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
    """Residual stream of a model on statements, as returned by `collect`.

    Attributes:
        data: the statements.
        layers: layer l is the residual stream after block l, before the final norm; -1 is the embedding.
        positions: names of the position rules, such as "last"; after `position="all"` one per token: "0", "1", …
        values: (position, layer, n, d) float32; after `position="all"`, zero after the end of a statement.
        lengths: (n,) number of tokens of each statement, including BOS if there is one.
        identity: "model", "weights_sha256", "tokenizer", "dtype" and "device" of the model, and "prepend_bos".

    Example:
        >>> acts.at(layer=1).shape  # acts = probes.collect(model, data)
        torch.Size([80, 16])
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
        """Return whether every token was collected (`position="all"`)."""
        return all(name.isdigit() for name in self.positions)

    def at(self, layer: int | str, position: str | int | None = None) -> Float[Tensor, "n d"]:
        """Return the activations (n, d) of one layer and position, float32.

        Args:
            layer: a collected layer; -1 or "embed" is the embedding.
            position: a collected position rule; may be omitted if only one was collected.

        Raises:
            UsageError: a layer or position that was not collected, or a token that some statements do not have.

        Example:
            >>> acts.at("embed", "last").shape  # acts = probes.collect(model, data)
            torch.Size([80, 16])
        """
        index = self._position(position)
        if self.whole and (short := int((self.lengths <= int(self.positions[index])).sum())):
            raise UsageError(
                f"{short} of {len(self)} statements have no token {self.positions[index]}: use tokens({layer}), "
                'or collect position="last".'
            )
        return self.values[index, self._layer(layer)]

    def tokens(self, layer: int | str) -> tuple[Float[Tensor, "n token d"], Bool[Tensor, "n token"]]:
        """Return all tokens' activations of one layer, with a token mask.

        Returns:
            Activations (n, token, d), zero after the end of a statement, and a mask (n, token) of existing tokens.

        Raises:
            UsageError: the activations were not collected with `position="all"`.

        Example:
            >>> data = probes.read_statements([{"statement": f"the tower is in {w}", "label": w == "a"} for w in "ab"])
            >>> values, mask = probes.collect(model, data, layers=[1], position="all").tokens(layer=1)
            >>> values.shape, mask.sum(1).tolist()
            (torch.Size([2, 5, 24]), [5, 5])
        """
        if not self.whole:
            raise UsageError(
                f'Only the positions {", ".join(self.positions)} were collected: collect with position="all".'
            )
        values = self.values[:, self._layer(layer)].transpose(0, 1)
        return values, torch.arange(values.shape[1]) < self.lengths[:, None]

    def hook(self, layer: int | str) -> str:
        """Return the transformer_lens hook name of a layer.

        >>> acts.hook(1), acts.hook("embed")  # acts = probes.collect(model, data)
        ('blocks.1.hook_resid_post', 'blocks.0.hook_resid_pre')
        """
        return hook_of(self.layers[self._layer(layer)])

    def take(self, rows: Bool[np.ndarray, " n"] | Int[np.ndarray, " m"] | Sequence[int]) -> Activations:
        """Return the rows selected by a mask or by 0-based indices.

        The rows of the result are in the order of the indices.

        >>> acts.take([3, 0]).data.statements  # acts = probes.collect(model, data)
        ('Thing 1 is kind 757.', 'Thing 0 is kind 0.')
        """
        chosen = torch.from_numpy(np.arange(len(self))[np.asarray(rows)])
        return replace(self, data=self.data.take(rows), values=self.values[:, :, chosen], lengths=self.lengths[chosen])

    def check_same_model(self, other: Activations) -> None:
        """Check that both have the same weights, dtype and BOS setting.

        Raises `UsageError` otherwise.

        >>> acts.check_same_model(acts.take([0, 1]))  # acts = probes.collect(model, data)
        """
        check_identity(self.identity, other.identity, self.data.name, other.data.name)

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write the statements and `activations.safetensors` into `folder`.

        Raises `UsageError` if the folder cannot be written to.

        >>> acts.save(folder)  # acts = probes.collect(model, data); folder = "out/activations"
        >>> sorted(file.name for file in folder.iterdir())
        ['activations.safetensors', 'arrays.safetensors', 'result.json']
        """
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
        """Load the activations saved in `folder`.

        Raises:
            MissingInputError: the folder has no activations.
            DamagedFileError: the files were altered since they were written.

        Example:
            >>> acts.save(folder)  # folder = "out/activations"
            >>> probes.Activations.load(folder)
            Activations(planted: 80 statements, 4 layers, last, d 16)
        """
        from pathlib import Path

        from safetensors import SafetensorError, safe_open

        file = Path(folder) / FILE
        if not file.is_file():
            raise MissingInputError(f"No activations in {folder}: the file {FILE} is missing.")
        data = Statements.load(folder)
        try:
            with safe_open(file, framework="pt") as content:
                about = json.loads((content.metadata() or {})["probes.activations"])
                values, lengths = content.get_tensor("values"), content.get_tensor("lengths")
            if about["format"] not in (1, FORMAT):
                raise ValueError(f"format {about['format']} is unknown to this version")
            if about["data_sha256"] != data.sha256():
                raise ValueError("it belongs to other statements than those in the same folder")
            layers = tuple(layer - (about["format"] == 1) for layer in about["layers"])
            return cls(data, layers, tuple(about["positions"]), values, lengths, about["identity"])
        except (SafetensorError, OSError, KeyError, ValueError) as error:
            raise DamagedFileError(f"{file} is damaged ({error}): collect the activations again.") from error

    def _layer(self, layer: int | str) -> int:
        layer = EMBEDDING if layer == EMBED else layer
        if layer not in self.layers:
            raise UsageError(f"Layer {layer} was not collected. Collected layers: {', '.join(map(str, self.layers))}.")
        return self.layers.index(layer)

    def _position(self, position: str | int | None) -> int:
        if position is None and len(self.positions) == 1:
            return 0
        known = ", ".join(self.positions)
        if position is None:
            raise UsageError(f"{len(self.positions)} positions were collected: name one of {known}.")
        if isinstance(position, float) or str(position) not in self.positions:
            raise UsageError(f'Position "{position}" was not collected. Collected positions: {known}.')
        return self.positions.index(str(position))


def check_identity(ours: dict[str, Any], theirs: dict[str, Any], us: str = "these", them: str = "those") -> None:
    """Raise `UsageError` unless weights, dtype and BOS setting are equal.

    >>> check_identity(acts.identity, other.identity)  # the same weights, dtype and BOS setting
    """
    for key, words in (("weights_sha256", "weights"), ("prepend_bos", "BOS setting"), ("dtype", "dtype")):
        if ours[key] != theirs[key]:
            left, right = (_shown(key, side) for side in (ours, theirs))
            raise UsageError(
                f"{us} and {them} have different {words}: {left} and {right}. A probe applies only to activations "
                "collected the same way as those it was trained on."
            )


def _shown(key: str, identity: dict[str, Any]) -> str:
    if key == "prepend_bos":
        return "with BOS" if identity[key] else "without BOS"
    if key == "weights_sha256":
        return f"{identity['model']} ({identity[key][:12]})"
    return str(identity[key])
