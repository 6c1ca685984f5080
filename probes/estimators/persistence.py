"""Saving probes with where they come from, and refusing to apply one where it does not belong.

A probe's folder is a result folder (`interp.results`): the arrays as safetensors, everything else as JSON, written
whole or not at all, with checksums. Nothing is pickled and nothing stored is run.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from interp.arguments import checked
from interp.errors import DamagedFileError, UsageError
from interp.provenance import Provenance, Stopwatch
from interp.results import Result
from probes.layers import EMBEDDING, Layered

if TYPE_CHECKING:
    from probes.activations import Activations

KINDS = ("LogisticRegression", "MassMean", "LDA", "Ridge", "CCS", "CRC", "TTPD", "SAPLMA", "AttentionPooled")
"""The classes a probe's folder may name; each is a name of `probes`."""


@dataclass(frozen=True, eq=False)
class Origin(Layered):
    """The activations a probe was fitted on.

    `identity` holds the model's name, the sha256 of its weights, its number format and its BOS habit ("model",
    "weights_sha256", "dtype", "prepend_bos", …); `position` is the rule by which tokens were chosen; `split` is the
    salt of the split whose train side was used, empty when every row was.
    """

    identity: dict[str, Any]
    hook: str
    layer: int
    position: str
    data: str
    data_sha256: str
    split: str = ""


@dataclass(frozen=True, eq=False)
class SavedProbe(Result):
    """A fitted probe as plain values: the class, its parameters and its fitted attributes."""

    kind: str
    parameters: dict[str, Any]
    fitted: dict[str, Any]
    origin: Origin | None
    provenance: Provenance


class Saved:
    """What a probe can do with the activations it belongs to; `origin` is None unless it was loaded with one."""

    origin: Origin | None = None

    @checked
    def save(
        self,
        folder: str | os.PathLike[str],
        acts: Activations | None = None,
        layer: int | None = None,
        position: str | None = None,
        split: str = "",
    ) -> Path:
        """Write the fitted probe into `folder`, with the layer and position of `acts` it was fitted on.

        Without `acts` the origin the probe already has is written, if any; a probe without an origin can be loaded
        and used on arrays, but not by `apply`. Raises `UsageError` for a layer or position that `acts` lacks.
        """
        from sklearn.utils.validation import check_is_fitted

        check_is_fitted(self)
        if not _is_ours(self):
            raise UsageError(
                f"{type(self).__module__}.{type(self).__name__} is not a class of probes, so that it could not be "
                "loaded again: save it as your own class is saved."
            )
        origin = self.origin if acts is None else _origin(acts, layer, position, split)
        parameters = {name: _plain(value) for name, value in self.get_params(deep=False).items()}  # pyright: ignore
        fitted = {k: _plain(v) for k, v in vars(self).items() if k.endswith("_") and not k.startswith("_")}
        saved = SavedProbe(type(self).__name__, parameters, fitted, origin, Stopwatch().provenance())
        return saved.save(folder)

    @checked
    def check(self, acts: Activations, layer: int, position: str | None = None) -> None:
        """Raise `UsageError` unless `acts` at `layer` and `position` are of the kind this probe was fitted on.

        Compared: weights, number format and BOS habit of the model, the hook and the position rule.
        """
        from probes.activations import check_identity

        if self.origin is None:
            raise UsageError(
                "This probe does not know where it was fitted: save it with acts= and layer=, or score an array."
            )
        check_identity(self.origin.identity, acts.identity, "The probe's activations", f'those of "{acts.data.name}"')
        position = _only(acts.positions, position)
        if acts.hook(layer) != self.origin.hook:
            raise UsageError(
                f"This probe was fitted at layer {self.origin.layer} ({self.origin.hook}), not at layer {layer} "
                f"({acts.hook(layer)}): apply it to layer {self.origin.layer}."
            )
        if position != self.origin.position:
            raise UsageError(
                f'This probe was fitted at position "{self.origin.position}", not at "{position}": '
                f'collect position="{self.origin.position}".'
            )

    @checked
    def apply(self, acts: Activations) -> np.ndarray:
        """The scores of all statements in `acts`, at the layer and position the probe was fitted on.

        Raises `UsageError` where `check` does, and for a layer that was not collected.
        """
        layer = EMBEDDING if self.origin is None else self.origin.layer
        position = self.origin.position if self.origin and self.origin.position in acts.positions else None
        self.check(acts, layer, position)
        return self._score(acts, layer, position)

    def _score(self, acts: Activations, layer: int, position: str | None) -> np.ndarray:
        return self.decision_function(acts.at(layer, position))  # pyright: ignore


@checked
def load(folder: str | os.PathLike[str]) -> Any:
    """The probe saved in `folder`, fitted, its `.origin` set; it predicts exactly as the one that was saved.

    Raises `MissingInputError` if there is none, `DamagedFileError` if it was altered or is of another version.
    """
    import probes

    saved = SavedProbe.load(folder)
    if saved.kind not in KINDS:
        raise DamagedFileError(f"{folder} holds a {saved.kind}, which is no probe of this version.")
    probe = getattr(probes, saved.kind)(**{name: _restored(value) for name, value in saved.parameters.items()})
    for name, value in saved.fitted.items():
        setattr(probe, name, _restored(value))
    if saved.origin is not None:
        probe.origin = saved.origin
    return probe


def _is_ours(probe: Any) -> bool:
    import probes

    name = type(probe).__name__
    return name in KINDS and getattr(probes, name) is type(probe)


def _origin(acts: Activations, layer: int | None, position: str | None, split: str) -> Origin:
    if layer is None:
        raise UsageError("Say which layer of acts the probe was fitted on: save(folder, acts=acts, layer=13).")
    position = _only(acts.positions, position)
    acts.at(layer, position)  # raises the sentence about what was collected
    return Origin(dict(acts.identity), acts.hook(layer), layer, position, acts.data.name, acts.data.sha256(), split)


def _only(positions: tuple[str, ...], position: str | None) -> str:
    if position is not None:
        return str(position)
    if all(name.isdigit() for name in positions):
        return "all"
    if len(positions) > 1:
        raise UsageError(f"{len(positions)} positions were collected, say which one: {', '.join(positions)}.")
    return "".join(positions)


def _plain(value: Any) -> Any:
    """A value a result may hold: arrays of names become tuples, numpy's numbers Python's own."""
    if isinstance(value, np.ndarray) and value.dtype.kind in "OUS":
        return {"names": tuple(value.tolist())}
    if isinstance(value, np.generic):
        return value.item()
    return tuple(value) if isinstance(value, list) else value


def _restored(value: Any) -> Any:
    if isinstance(value, dict) and set(value) == {"names"}:
        return np.array(value["names"])
    return value
