"""`DictionarySet`: the dictionaries of a model by the hook they read, weights loaded when first used."""

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
    """Sparse autoencoders and transcoders of one model: {hook that is read: dictionary}, in the order of layers.

    A dictionary that encodes the hook x (`sae.reads`) reconstructs the value of the hooks in `sae.writes`:

        autoencoder   reads "blocks.5.hook_resid_post", writes the same hook
        transcoder    reads the input of the MLP, "blocks.5.mlp.hook_in" (after the norm and its gain), and writes
                      "blocks.5.hook_mlp_out"; some of other libraries read "blocks.5.ln2.hook_normalized" (before
                      the gain)
        crosslayer    one layer's part of a cross-layer transcoder: reads the same, writes the MLP outputs of its own
                      and of later layers; its reconstruction is (..., layer, d), in the order of `writes`

    No layer has to be there. Weights are read when a dictionary is first asked for; hooks, layers and sizes are known
    without them.

    Example:
        >>> import torch, saes
        >>> x = torch.randn(256, 16)
        >>> config = saes.Config(width=32, k=4, steps=2, batch_size=64)
        >>> sae = saes.train(config, x, metadata={"hook_name": "blocks.5.hook_resid_post"})
        >>> dictionaries = saes.DictionarySet([sae])
        >>> dictionaries
        DictionarySet(1 topk autoencoder: layer 5, 32 latents)
        >>> dictionaries["blocks.5.hook_resid_post"].encode(x).shape
        torch.Size([256, 32])
    """

    def __init__(self, dictionaries: Iterable[SAE] | Mapping[str, SAE]) -> None:
        require(dictionaries, Iterable, "dictionaries")
        named = dict(dictionaries) if isinstance(dictionaries, Mapping) else None
        given: Iterable[Any] = dictionaries if named is None else named.values()
        self._fill([_held(sae) for sae in given])
        for hook in named or ():
            if hook not in self:
                raise UsageError(f'No dictionary given under "{hook}" reads that hook: name each by what it reads.')

    @classmethod
    def of(cls, members: Iterable[Member], missing: tuple[str, ...] = ()) -> Self:
        """Return a set of dictionaries that are not read yet; `missing` are hooks whose folder is gone."""
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
        """Open the set in `folder`.

        Read are what `save` and `saes.train_set` write; the sets of circuit-tracer (`config.yaml` and a file for each
        layer), cross-layer transcoders included, those of Gemma Scope 2 too; and any folder below which there are
        dictionaries that `saes.load` reads, each of which is read once to know its sizes.

        Args:
            folder: of the set.
            device: where weights go.
            dtype: of the weights; None keeps what they were saved in.
            only: a pattern of the folders that are read, such as "*/width_16k/*", where several hold dictionaries of
                the same hook.

        Raises:
            MissingInputError: no set there.
            DamagedFileError: an index that is not what was written; weights are checked when they are read.
        """
        from saes.sets import folders

        return folders.load(cls, Path(folder), device, dtype, only)

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write every dictionary into a folder of its own, then the index, and return `folder`.

        Raises `UsageError` when the folder cannot be written to, or holds another set.
        """
        from saes.sets import folders

        return folders.save(self._members.values(), Path(folder))

    def __getitem__(self, hook: str) -> SAE:
        if hook not in self._loaded:
            if hook not in self._members:
                held = f"this set has {len(self)} dictionaries, for {_spans(self.layers)}"
                raise KeyError(f'No dictionary reads "{hook}"{nearest(str(hook), self._members)}; {held}.')
            self._loaded[hook] = self._members[hook].load()
        return self._loaded[hook]

    def __iter__(self) -> Iterator[str]:
        return iter(self._members)

    def __len__(self) -> int:
        return len(self._members)

    @property
    def hooks(self) -> tuple[str, ...]:
        """The hooks that are read, in the order of layers."""
        return tuple(self._members)

    @property
    def layers(self) -> tuple[int, ...]:
        """The layers that are read, each once; -1 is the embedding."""
        return tuple(dict.fromkeys(entry.layer for entry in self.entries))

    @property
    def entries(self) -> tuple[Entry, ...]:
        """Hooks and sizes of every dictionary, known without reading weights."""
        return tuple(member.entry for member in self._members.values())

    @property
    def missing(self) -> tuple[str, ...]:
        """Hooks that the index lists and whose folders are gone."""
        return self._missing

    def writers(self, hook: str) -> tuple[str, ...]:
        """Return the hooks read by the dictionaries that write `hook`."""
        return tuple(entry.reads for entry in self.entries if hook in entry.writes)

    def select(self, layers: Iterable[int] | None = None, hooks: Iterable[str] | None = None) -> Self:
        """Return the set of those dictionaries that read one of `layers` and one of `hooks`; None takes all."""
        wanted = set(self.layers if layers is None else layers)
        named = set(self.hooks if hooks is None else hooks)
        for unknown in (*(wanted - set(self.layers)), *(named - set(self.hooks))):
            raise UsageError(f"This set has no dictionary for {unknown!r}: it has those of {_spans(self.layers)}.")
        kept = [m for hook, m in self._members.items() if hook in named and m.entry.layer in wanted]
        chosen = self.of(kept)
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
        """One row a dictionary: layer, hooks, kind and sizes."""
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
                f"Two dictionaries read {twice[0]}: a set has one for each hook. When a folder is loaded, "
                "only= chooses among its folders."
            )
        self._members = {member.entry.reads: member for member in ordered}
        self._loaded: dict[str, SAE] = {}
        self._missing = missing


def _held(sae: Any) -> Member:
    """A dictionary that is in memory already."""
    require(sae, SAE, "each dictionary")
    return Member(Entry.of(sae), lambda: sae)


def _spans(layers: tuple[int, ...]) -> str:
    """Layers in words: "layers 0 to 5, 7"."""
    runs: list[list[int]] = []
    for layer in sorted(layers):
        if runs and layer == runs[-1][-1] + 1:
            runs[-1].append(layer)
        else:
            runs.append([layer])
    parts = [str(run[0]) if len(run) == 1 else f"{run[0]} to {run[-1]}" for run in runs]
    return f"layer{'s' * (len(layers) > 1)} {', '.join(parts)}" if parts else "no layer"
