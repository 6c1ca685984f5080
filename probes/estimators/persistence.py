"""Persistence of fitted probes, with the origin of their activations.

A probe's folder is a result folder (`interp.results`): arrays as safetensors and the rest as JSON, with checksums,
written completely or not at all. Nothing is pickled, and loading runs no stored code. A loaded probe refuses
activations of another model, layer or position.
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
"""Classes that a probe's folder may name; each is a public name of `probes`."""


@dataclass(frozen=True, eq=False)
class Origin(Layered):
    """Description of the activations that a probe was fitted on.

    Attributes:
        identity: "model", "weights_sha256", "dtype", "prepend_bos" and more of the model.
        hook: hook name.
        layer: layer number.
        position: position rule.
        data: name of the statements.
        data_sha256: digest of the statements.
        split: salt of the split whose train side was used; empty if every row was used.

    Example:
        >>> _ = probes.MassMean().fit(acts.at(1), data.labels).save(folder, acts, layer=1)  # folder = "out/probe"
        >>> probes.load(folder).origin.hook
        'blocks.1.hook_resid_post'
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
    """Fitted probe as plain values: class, parameters and fitted attributes.

    >>> _ = probes.MassMean().fit([[0.0, 1.0], [2.0, 1.0]], [0, 1]).save(folder)  # folder = "out/probe"
    >>> SavedProbe.load(folder).kind
    'MassMean'
    """

    kind: str
    parameters: dict[str, Any]
    fitted: dict[str, Any]
    origin: Origin | None
    provenance: Provenance


class Saved:
    """Mixin for probes that can be saved and applied again.

    A probe applies to activations of the same kind as those of its fit.

    Attributes:
        origin: the activations of the fit; None unless the probe was loaded with one.

    Example:
        >>> print(probes.MassMean().origin)  # not saved yet
        None
    """

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
        """Save the fitted probe with the layer and position of its fit.

        Without `acts` the existing origin is written, if any. A probe without an origin can be loaded and used on
        arrays, but not by `apply`.

        Args:
            folder: folder to write into.
            acts: the activations of the fit.
            layer: their layer.
            position: their position, if several were collected.
            split: salt of the split whose train side was used.

        Returns:
            The folder.

        Raises:
            UsageError: a layer or position that was not collected, or a class outside `probes`.

        Example:
            >>> _ = probes.MassMean().fit(acts.at(1), data.labels).save(folder, acts, layer=1)  # folder = "out/probe"
            >>> origin = probes.load(folder).origin
            >>> origin.layer, origin.position, origin.hook
            (1, 'last', 'blocks.1.hook_resid_post')
        """
        from sklearn.utils.validation import check_is_fitted

        check_is_fitted(self)
        if not _is_ours(self):
            raise UsageError(
                f"{type(self).__module__}.{type(self).__name__} is not a class of probes and could not be loaded "
                "again: save it with your own code."
            )
        origin = self.origin if acts is None else _origin(acts, layer, position, split)
        parameters = {name: _plain(value) for name, value in self.get_params(deep=False).items()}  # pyright: ignore
        fitted = {k: _plain(v) for k, v in vars(self).items() if k.endswith("_") and not k.startswith("_")}
        saved = SavedProbe(type(self).__name__, parameters, fitted, origin, Stopwatch().provenance())
        return saved.save(folder)

    @checked
    def check(self, acts: Activations, layer: int, position: str | None = None) -> None:
        """Check that activations match those of the fit.

        Weights, dtype and BOS setting of the model, the hook and the position rule are compared.

        Args:
            acts: the activations.
            layer: their layer.
            position: their position, if several were collected.

        Raises:
            UsageError: they do not match, or the origin of the probe is not known.

        Example:
            >>> _ = probes.MassMean().fit(acts.at(1), data.labels).save(folder, acts, layer=1)  # folder = "out/probe"
            >>> probes.load(folder).check(acts, layer=1)  # raises for another layer or another model
        """
        from probes.activations import check_identity

        if self.origin is None:
            raise UsageError(
                "This probe does not know the activations of its fit: save it with acts= and layer=, or score an array."
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
        """Return the scores (n,) of all statements.

        The activations are read at the layer and position of the fit. Raises `UsageError` if `check` does, and for a
        layer that was not collected.

        >>> probe = probes.MassMean().fit(acts.at(1), data.labels)  # acts = probes.collect(model, data)
        >>> _ = probe.save(folder, acts, layer=1)  # folder = "out/probe"
        >>> probes.load(folder).apply(acts)[:3].round(1).tolist()
        [1.9, 8.1, -8.1]
        """
        layer = EMBEDDING if self.origin is None else self.origin.layer
        position = self.origin.position if self.origin and self.origin.position in acts.positions else None
        self.check(acts, layer, position)
        return self._score(acts, layer, position)

    def _score(self, acts: Activations, layer: int, position: str | None) -> np.ndarray:
        return self.decision_function(acts.at(layer, position))  # pyright: ignore


@checked
def load(folder: str | os.PathLike[str]) -> Any:
    """Load a fitted probe from a folder.

    It predicts exactly like the probe that was saved. Its `.origin` says which activations it was fitted on.

    Raises:
        MissingInputError: the folder has no probe.
        DamagedFileError: the files were altered or belong to another version.

    Example:
        >>> X, y = [[0.0, 1.0], [2.0, 1.0]], [0, 1]
        >>> _ = probes.MassMean().fit(X, y).save(folder)  # folder = "out/probe"
        >>> probes.load(folder).direction_.tolist()
        [2.0, 0.0]
    """
    import probes

    saved = SavedProbe.load(folder)
    if saved.kind not in KINDS:
        raise DamagedFileError(f"{folder} contains a {saved.kind}, which is not a probe of this version.")
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
        raise UsageError("Give the layer of acts that the probe was fitted on: save(folder, acts=acts, layer=13).")
    position = _only(acts.positions, position)
    acts.at(layer, position)  # raises if the layer or position was not collected
    return Origin(dict(acts.identity), acts.hook(layer), layer, position, acts.data.name, acts.data.sha256(), split)


def _only(positions: tuple[str, ...], position: str | None) -> str:
    if position is not None:
        return str(position)
    if all(name.isdigit() for name in positions):
        return "all"
    if len(positions) > 1:
        raise UsageError(f"{len(positions)} positions were collected: name one of {', '.join(positions)}.")
    return "".join(positions)


def _plain(value: Any) -> Any:
    """Convert a value to one that a result can have.

    Arrays of names become tuples, numpy numbers Python's.
    """
    if isinstance(value, np.ndarray) and value.dtype.kind in "OUS":
        return {"names": tuple(value.tolist())}
    if isinstance(value, np.generic):
        return value.item()
    return tuple(value) if isinstance(value, list) else value


def _restored(value: Any) -> Any:
    if isinstance(value, dict) and set(value) == {"names"}:
        return np.array(value["names"])
    return value
