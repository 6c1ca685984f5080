"""The manifest of a store: its origin, and checksums of its shards; imports no torch.

It is rewritten, whole, after every shard: a store is always complete up to what its manifest lists. It carries no
clock time, so that a harvest that was killed and resumed ends with the bytes of one that was not.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from interp.cache.config import EXCLUDED, ITEM_BYTES
from interp.errors import DamagedFileError, MissingInputError, UsageError, nearest
from interp.fields import read_fields
from interp.files import digest, read_json, write_atomic

NAME = "manifest.json"
FORMAT = 1
KIND = "interp activation store"


@dataclass(frozen=True)
class Hook:
    """Name of a hook, and its value's shape at one position.

    It is stored flat, with prod(shape) values a row.
    """

    name: str
    shape: tuple[int, ...]

    @property
    def width(self) -> int:
        """Return the number of values in a row."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Shard:
    """One file of a store.

    It has a number of contexts and the rows stored of them.
    """

    file: str
    contexts: int
    rows: int
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Statistics:
    """Statistics of all rows of one hook.

    They are in float64, from the numbers as stored.

    Attributes:
        count: rows.
        mean: (d,) their mean.
        squares: (d,) the sum over rows of (x - mean)².
        norm: the mean over rows of |x|.

    >>> statistics = store.statistics("blocks.1.hook_resid_post")
    >>> statistics.count, statistics.norm, statistics.scale
    (360, 31.208, 0.157)
    """

    count: int
    mean: tuple[float, ...]
    squares: tuple[float, ...]
    norm: float

    @property
    def scale(self) -> float:
        """Return the factor that gives rows a mean norm of sqrt(d).

        It is sqrt(d) / mean norm; 1 if all are zero.
        """
        return math.sqrt(len(self.mean)) / self.norm if self.norm > 0 else 1.0

    @property
    def variance(self) -> float:
        """Total variance, the mean over rows of |x - mean|².

        It is the denominator of the fraction of variance unexplained.
        """
        return sum(self.squares) / self.count


@dataclass(frozen=True)
class Manifest:
    """Description of a store: everything that a reader needs.

    For the settings see `Config`.

    Attributes:
        model: its name ("model"), "weights_sha256", "tokenizer" and the "dtype" it computed in.
        hooks: what is stored.
        dtype: of the stored numbers.
        context: positions a context.
        packed: whether every context is full; where not, the rest is padding.
        prepend_bos: whether contexts begin with BOS; None if that is not known or differs between them.
        separator: the id between packed documents, None if there is none or tokens were given.
        exclude: "first": position 0 is left out; "padding" likewise.
        batch: contexts a forward pass.
        contexts: how many, in all shards once complete.
        tokens: how many, padding not counted.
        rows: how many positions are stored of them.
        token_sha256: of all contexts, see `Contexts.sha256`.
        shard_contexts: contexts a shard, the last one but.
        versions: of what computed it.
        shards: those written, in order.
        statistics: by hook name, of the shards written.

    >>> manifest = store.manifest
    >>> manifest.tokens, manifest.rows, manifest.hooks[0].width
    (400, 360, 24)
    """

    model: dict[str, str]
    hooks: tuple[Hook, ...]
    dtype: str
    context: int
    packed: bool
    prepend_bos: bool | None
    separator: int | None
    exclude: tuple[str, ...]
    batch: int
    contexts: int
    tokens: int
    rows: int
    token_sha256: str
    shard_contexts: int
    versions: dict[str, str]
    shards: tuple[Shard, ...] = ()
    statistics: dict[str, Statistics] = field(default_factory=dict)

    @property
    def n_shard(self) -> int:
        """Return the number of shards of the finished store."""
        return -(-self.contexts // self.shard_contexts)

    @property
    def complete(self) -> bool:
        """Whether every shard has been written."""
        return len(self.shards) == self.n_shard

    @property
    def bytes(self) -> int:
        """Bytes of the shards on disk.

        Those still to come are counted without their headers.
        """
        return self.payload(self.rows, self.contexts)

    def payload(self, rows: int, contexts: int) -> int:
        """Return the bytes of some rows and some contexts' token ids.

        Rows are counted for every hook.

        >>> manifest.payload(rows=100, contexts=10)
        29240
        """
        return rows * sum(h.width for h in self.hooks) * ITEM_BYTES[self.dtype] + contexts * (self.context + 1) * 4

    def hook(self, name: str | None = None) -> Hook:
        """Return the hook with this name, or the only one.

        Raises `UsageError` if there is no such hook, or several to choose from.

        >>> manifest.hook("blocks.1.hook_resid_post")
        Hook(name='blocks.1.hook_resid_post', shape=(24,))
        """
        names = [hook.name for hook in self.hooks]
        if name is None and len(names) == 1:
            return self.hooks[0]
        if name is None:
            raise UsageError(f"The store holds {len(names)} hooks, say which one: {', '.join(names)}.")
        if name not in names:
            raise UsageError(f'The store has no hook "{name}"{nearest(name, names)}. It holds: {", ".join(names)}.')
        return self.hooks[names.index(name)]

    def bounds(self, shard: int) -> tuple[int, int]:
        """Return the first context of a shard, and of the next one.

        >>> manifest.bounds(0)
        (0, 40)
        """
        start = shard * self.shard_contexts
        return start, min(start + self.shard_contexts, self.contexts)

    def settings(self) -> dict[str, Any]:
        """Return what a resumed harvest must have in common with this one.

        >>> sorted(manifest.settings())[:4]
        ['batch', 'context', 'contexts', 'dtype']
        """
        body = asdict(self)
        for name in ("versions", "shards", "statistics"):
            del body[name]
        return body

    def origin(self) -> dict[str, Any]:
        """Return `settings` without the name of the model, which its weights identify.

        >>> sorted(manifest.origin()["model"])
        ['dtype', 'tokenizer', 'weights_sha256']
        """
        body = self.settings()
        return body | {"model": {key: value for key, value in self.model.items() if key != "model"}}

    def with_shard(self, shard: Shard, statistics: dict[str, Statistics]) -> Manifest:
        """Return the manifest after one more shard.

        >>> longer = manifest.with_shard(manifest.shards[0], manifest.statistics)
        >>> len(manifest.shards), len(longer.shards)
        (1, 2)
        """
        return replace(self, shards=(*self.shards, shard), statistics=statistics)

    def check_model(self, name: str, weights_sha256: str, dtype: str) -> None:
        """Raise `UsageError` for another model, other weights or another number format.

        Args:
            name: of the model.
            weights_sha256: digest of its weights.
            dtype: what it computes in.

        Raises:
            UsageError: another model, other weights or another number format.

        >>> manifest.check_model(model.name, model.weights_sha256, "float32")
        """
        ours = self.model
        if weights_sha256 != ours["weights_sha256"]:
            raise UsageError(
                f"This store was harvested from {ours['model']} ({ours['dtype']}, weights "
                f"{ours['weights_sha256'][:12]}), but the model given is {name} ({dtype}, weights "
                f"{weights_sha256[:12]}): load the one it was harvested from, in {ours['dtype']}."
            )

    def save(self, folder: Path) -> None:
        """Write the manifest into `folder` atomically.

        >>> manifest.save(folder)
        """
        body = asdict(self)
        document = {"kind": KIND, "format": FORMAT, "complete": self.complete, **body}
        text = json.dumps({"checksum": _checksum(document), **document}, indent=1, allow_nan=False)
        write_atomic(folder / NAME, text.encode())

    @classmethod
    def load(cls, folder: str | Path) -> Manifest:
        """Load the manifest in `folder`.

        Raises `MissingInputError` if there is none, `DamagedFileError` if it was altered.

        >>> cache.Manifest.load(store.folder).contexts
        40
        """
        file = Path(folder) / NAME
        if not file.is_file():
            raise MissingInputError(
                f"No store in {folder}: it has no {NAME}. Give the folder that `interp cache run` wrote."
            )
        document = read_json(file)
        if not isinstance(document, dict) or document.get("kind") != KIND or document.get("format") != FORMAT:
            raise DamagedFileError(f"{file} is not the manifest of a store of this version (format {FORMAT}).")
        if document.pop("checksum", None) != _checksum(document):
            raise DamagedFileError(
                f"{file} is damaged: it does not match its checksum. Restore it, or harvest again into another folder."
            )
        body = {key: value for key, value in document.items() if key not in {"kind", "format", "complete"}}
        manifest = read_fields(cls, body, file)
        _check_sound(manifest, file)
        return manifest


def name_of(index: int) -> str:
    """Return the name of the file of a shard."""
    return f"shard-{index:05d}.safetensors"


def _check_sound(manifest: Manifest, file: Path) -> None:
    """Raise `DamagedFileError` unless the manifest is consistent.

    All fields must be consistent and names stay in the folder.
    """
    wrong = next(_faults(manifest), None)
    if wrong is not None:
        raise DamagedFileError(f"{file} is damaged: its {wrong} do not fit the rest. Restore it, or harvest again.")


def _faults(manifest: Manifest) -> Iterator[str]:
    """Yield the names of fields with impossible values."""
    widths = {hook.name: hook.width for hook in manifest.hooks}
    if not {"model", "weights_sha256", "dtype"} <= manifest.model.keys():
        yield "model"
    if not widths or len(widths) < len(manifest.hooks) or min(widths.values()) < 1:
        yield "hooks"
    if manifest.dtype not in ITEM_BYTES or any(word not in EXCLUDED for word in manifest.exclude):
        yield "dtype and exclude"
    if min(manifest.context, manifest.batch, manifest.contexts, manifest.shard_contexts) < 1:
        yield "sizes"
    bounds = (manifest.bounds(index) for index in range(len(manifest.shards)))
    named = [(name_of(index), stop - start) for index, (start, stop) in enumerate(bounds)]
    if [(shard.file, shard.contexts) for shard in manifest.shards] != named or len(named) > manifest.n_shard:
        yield "shards"
    rows = sum(shard.rows for shard in manifest.shards)
    if any(shard.rows < 0 for shard in manifest.shards) or (manifest.complete and rows != manifest.rows):
        yield "rows"
    lengths = {name: {len(one.mean), len(one.squares)} for name, one in manifest.statistics.items()}
    counts = {one.count for one in manifest.statistics.values()}
    of_rows = counts == {rows} or not manifest.complete
    if rows and not (of_rows and lengths == {name: {width} for name, width in widths.items()}):
        yield "statistics"


def _checksum(document: dict[str, Any]) -> str:
    return digest(json.dumps(document, sort_keys=True))
