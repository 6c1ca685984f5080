"""Description of a run, run.json.

With it, different runs are never mixed in one folder.

It has the configuration, the identity of the activations (a digest, independent of their path) and the metadata of the
SAE. A run is resumed only if all three are the same. At the end the file is rewritten with the provenance.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

from interp.cache.source import open_source
from interp.errors import DamagedFileError
from interp.fields import read_fields
from interp.files import check_same, read_json, write_atomic
from saes.config import Config

NAME = "run.json"
KIND = "interp sae run"


@dataclass(frozen=True)
class Record:
    """Description of a run.

    Attributes:
        sae: fields of its `Config`.
        data: identity of the activations; see `interp.cache.source.Source.identity`.
        metadata: metadata of the SAE.
        finished: whether the final weights are in the folder.
        provenance: provenance of the process that finished the run; empty before.

    Example:
        >>> Record(sae={"width": 512}, data={}, metadata={}).finished
        False
    """

    sae: dict[str, Any]
    data: dict[str, Any]
    metadata: dict[str, Any]
    finished: bool = False
    provenance: dict[str, Any] | None = None

    @classmethod
    def of(cls, config: Config, activations: Any, metadata: dict[str, Any]) -> Self:
        """Return the record of a new run."""
        return cls(
            *(json.loads(json.dumps(part)) for part in (asdict(config), open_source(activations).identity(), metadata))
        )

    def check_same(self, fresh: Record, folder: Path) -> None:
        """Raise `UsageError` unless `fresh` is the run in `folder`.

        The error names the first difference.
        """
        check_same(f"The run in {folder}", self._compared(), fresh._compared())

    def _compared(self) -> dict[str, Any]:
        """Return what must be equal in the same run.

        The digest of the weights identifies a model, so that its name is ignored.
        """
        data, metadata = dict(self.data), dict(self.metadata)
        if data.get("weights_sha256"):
            data.pop("model", None)
        if metadata.get("model_weights_sha256"):
            metadata.pop("model_name", None)
        return {"sae": self.sae, "data": data, "metadata": metadata}

    def done(self, provenance: dict[str, Any]) -> Record:
        """Return the record of the finished run."""
        return replace(self, finished=True, provenance=provenance)

    def save(self, folder: Path) -> None:
        """Write the record atomically."""
        write_atomic(folder / NAME, json.dumps({"kind": KIND, "format": 1, **asdict(self)}, indent=1).encode())

    @classmethod
    def load(cls, folder: Path) -> Self | None:
        """Load the record in `folder`, or return None.

        Raises `DamagedFileError` if the record cannot be read.
        """
        file = folder / NAME
        if not file.is_file():
            return None
        document = read_json(file)
        if not isinstance(document, dict) or document.pop("kind", None) != KIND or document.pop("format", None) != 1:
            raise DamagedFileError(f"{file} is not the record of a run of this version: restore it.")
        return read_fields(cls, document, file)
