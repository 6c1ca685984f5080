"""`DictionarySet`: dictionaries of a model by input hook.

Weights are loaded on first use.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import torch

from interp.errors import UsageError, nearest, require
from saes.autoencoder import SAE
from saes.sets.entry import Entry, Member

if TYPE_CHECKING:
    from interp.report import Table


class DictionarySet(Mapping[str, SAE]):
    """Sparse autoencoders and transcoders of one model, by input hook.

    They are in the order of layers.

    A dictionary that encodes a hook (`sae.reads`) reconstructs the values of the hooks in `sae.writes`:

        autoencoder   reads "blocks.5.hook_resid_post", writes the same hook
        transcoder    reads the input of the MLP, "blocks.5.mlp.hook_in" (after the norm and its gain), and writes
                      "blocks.5.hook_mlp_out"; some from other libraries read "blocks.5.ln2.hook_normalized" (before
                      the gain)
        crosslayer    one layer's part of a cross-layer transcoder: reads the same, writes the MLP outputs of its own
                      and later layers; its reconstruction is (..., layer, d), in the order of `writes`

    Layers may be missing. Weights are loaded when a dictionary is first used; hooks, layers and sizes are known
    without them.

    >>> dictionaries  # dictionaries = saes.DictionarySet.load("folder")
    DictionarySet(3 topk autoencoders: layers 0 to 2, 48 latents)
    >>> dictionaries["blocks.1.hook_resid_post"]
    SAE(topk autoencoder, 48 latents of 24, blocks.1.hook_resid_post)
    """

    def __init__(self, dictionaries: Iterable[SAE] | Mapping[str, SAE]) -> None:
        require(dictionaries, Iterable, "dictionaries")
        named = dict(dictionaries) if isinstance(dictionaries, Mapping) else None
        given: Iterable[Any] = dictionaries if named is None else named.values()
        self._fill([_in_memory(sae) for sae in given])
        for hook in named or ():
            if hook not in self:
                raise UsageError(
                    f'The dictionary named "{hook}" does not read that hook: name each one by its input hook.'
                )

    @classmethod
    def of(cls, members: Iterable[Member], missing: tuple[str, ...] = ()) -> Self:
        """Return a set of dictionaries that are not loaded yet.

        `missing` are hooks whose folder does not exist.

        >>> saes.DictionarySet.of([], missing=("blocks.0.hook_mlp_out",)).missing
        ('blocks.0.hook_mlp_out',)
        """
        made = cls.__new__(cls)
        made._fill(members, missing)
        return made

    @classmethod
    def load(
        cls,
        folder: str | os.PathLike[str],
        device: str | torch.device = "cpu",
        dtype: torch.dtype | str | None = None,
        *,
        only: str = "*",
    ) -> Self:
        """Open the set in a folder.

        Supported are folders written by `save` and `saes.train_set`; sets of circuit-tracer (`config.yaml` and one file
        per layer), including cross-layer transcoders and those of Gemma Scope 2; and any folder that contains
        dictionaries which `saes.load` reads, each of which is read once for its sizes.

        Args:
            folder: folder of the set.
            device: device of the weights.
            dtype: dtype of the weights; None for the saved one.
            only: pattern of the folders to read, such as "*/width_16k/*", if several have dictionaries of one hook.

        Returns:
            The set, whose weights are not loaded yet.

        Raises:
            MissingInputError: the folder has no set.
            DamagedFileError: an altered index; weights are checked when they are loaded.

        Example:
            >>> _ = dictionaries.save(folder)  # folder = "out/dictionaries"
            >>> saes.DictionarySet.load(folder).hooks[:2]
            ('blocks.0.hook_resid_post', 'blocks.1.hook_resid_post')
        """
        from saes.sets import folders

        return folders.load(cls, Path(folder), device, dtype, only)

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Save every dictionary in its own subfolder, then the index.

        Returns the folder. Raises `UsageError` if the folder cannot be written to or has another set.

        >>> sorted(file.name for file in dictionaries.save(folder).iterdir())  # folder = "out/dictionaries"
        ['blocks.0.hook_resid_post', 'blocks.1.hook_resid_post', 'blocks.2.hook_resid_post', 'dictionaries.json']
        """
        from saes.sets import folders

        return folders.save(self._members.values(), Path(folder))

    def __getitem__(self, hook: str) -> SAE:
        if hook not in self._loaded:
            if hook not in self._members:
                available = f"this set has {len(self)} dictionaries, for {_spans(self.layers)}"
                raise KeyError(f'No dictionary reads "{hook}"{nearest(str(hook), self._members)}; {available}.')
            self._loaded[hook] = self._members[hook].load()
        return self._loaded[hook]

    def __iter__(self) -> Iterator[str]:
        return iter(self._members)

    def __len__(self) -> int:
        return len(self._members)

    @property
    def hooks(self) -> tuple[str, ...]:
        """Input hooks, in the order of layers."""
        return tuple(self._members)

    @property
    def layers(self) -> tuple[int, ...]:
        """Layers of the input hooks, each once; -1 is the embedding."""
        return tuple(dict.fromkeys(entry.layer for entry in self.entries))

    @property
    def entries(self) -> tuple[Entry, ...]:
        """Hooks and sizes of every dictionary, known without loading weights."""
        return tuple(member.entry for member in self._members.values())

    @property
    def missing(self) -> tuple[str, ...]:
        """Hooks that the index lists and whose folders do not exist."""
        return self._missing

    def writers(self, hook: str) -> tuple[str, ...]:
        """Return the input hooks of the dictionaries that write `hook`.

        >>> dictionaries.writers("blocks.1.hook_resid_post")  # dictionaries = saes.DictionarySet.load("folder")
        ('blocks.1.hook_resid_post',)
        """
        return tuple(entry.reads for entry in self.entries if hook in entry.writes)

    def select(self, layers: Iterable[int] | None = None, hooks: Iterable[str] | None = None) -> Self:
        """Return the subset with the given layers and hooks.

        A dictionary is selected if it reads one of `layers` and one of `hooks`; None selects all.

        Raises `UsageError` for a layer or hook without a dictionary.

        >>> dictionaries.select(layers=[0, 2])  # dictionaries = saes.DictionarySet.load("folder")
        DictionarySet(2 topk autoencoders: layers 0, 2, 48 latents)
        """
        wanted = set(self.layers if layers is None else layers)
        named = set(self.hooks if hooks is None else hooks)
        for unknown in (*(wanted - set(self.layers)), *(named - set(self.hooks))):
            raise UsageError(f"This set has no dictionary for {unknown!r}: it has those of {_spans(self.layers)}.")
        selected = [m for hook, m in self._members.items() if hook in named and m.entry.layer in wanted]
        chosen = self.of(selected)
        chosen._loaded = {hook: sae for hook, sae in self._loaded.items() if hook in chosen}
        return chosen

    def __repr__(self) -> str:
        kinds = Counter(f"{entry.architecture} {entry.variant}" for entry in self.entries)
        what = ", ".join(f"{count:,} {kind}{'s' * (count > 1)}" for kind, count in kinds.items()) or "empty"
        widths = sorted({entry.width for entry in self.entries})
        size = "" if not widths else f", {widths[0]:,} latents" if len(widths) == 1 else f", {widths[0]:,} to "
        size += f"{widths[-1]:,} latents" if len(widths) > 1 else ""
        gone = f", {len(self.missing)} missing" if self.missing else ""
        return f"DictionarySet({what}{f': {_spans(self.layers)}' if self.layers else ''}{size}{gone})"

    def table(self) -> Table:
        """Return a table with one row per dictionary.

        Columns are layer, hooks, architecture and sizes.

        >>> dictionaries.table().rows[0]  # dictionaries = saes.DictionarySet.load("folder")
        (0, 'blocks.0.hook_resid_post', 'blocks.0.hook_resid_post', 'topk', 'autoencoder', 48, 24, 24, False)
        """
        from interp.report import Table

        columns = ("layer", "reads", "writes", "architecture", "variant", "latents", "d_in", "d_out", "skip")
        rows = tuple(
            (e.layer, e.reads, ", ".join(e.writes), e.architecture, e.variant, e.width, e.d_in, e.d_out, e.skip)
            for e in self.entries
        )
        return Table(columns, rows, repr(self), {"latents": ","})

    def _fill(self, members: Iterable[Member], missing: tuple[str, ...] = ()) -> None:
        ordered = sorted(members, key=lambda member: (member.entry.layer, member.entry.reads))
        twice = [hook for hook, n in Counter(member.entry.reads for member in ordered).items() if n > 1]
        if twice:
            raise UsageError(
                f"Two dictionaries read {twice[0]}, but a set has one for each hook. When loading a folder, select "
                "among its subfolders with only=."
            )
        self._members = {member.entry.reads: member for member in ordered}
        self._loaded: dict[str, SAE] = {}
        self._missing = missing


def _in_memory(sae: Any) -> Member:
    """Return the member for a dictionary in memory."""
    require(sae, SAE, "each dictionary")
    return Member(Entry.of(sae), lambda: sae)


def _spans(layers: tuple[int, ...]) -> str:
    """Return layers as text: "layers 0 to 5, 7"."""
    runs: list[list[int]] = []
    for layer in sorted(layers):
        if runs and layer == runs[-1][-1] + 1:
            runs[-1].append(layer)
        else:
            runs.append([layer])
    parts = [str(run[0]) if len(run) == 1 else f"{run[0]} to {run[-1]}" for run in runs]
    return f"layer{'s' * (len(layers) > 1)} {', '.join(parts)}" if parts else "no layer"
