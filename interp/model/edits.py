"""Edits of a run: what changes at a hook point, and at which positions.

An edit is made without a model (see `interp.edit`) and bound to one by `Model.edited`, where it is checked. Every run
of the edited model then places its functions at the hooks (`interp.model.hooks`) and takes them away again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from jaxtyping import Bool
from torch import Tensor

from interp.errors import UsageError
from interp.model.hooks import Hooked, Place, nearest_hook

if TYPE_CHECKING:
    from interp.model.model import Model

Positions: TypeAlias = "int | Sequence[int] | slice | None"
"""Positions of a prompt: numbers (negative ones from its end), a slice, or None for every one."""


@dataclass(frozen=True)
class Step:
    """One forward pass of a run: `n_token` positions from `start` on.

    The run has `n_prompt` positions in all.

    `lengths` (batch,) are the rows' own lengths where some are padded. A run computes its whole prompt at once; text is
    generated in several steps, whose positions lie behind the prompt.
    """

    n_token: int
    n_prompt: int
    start: int = 0
    lengths: Tensor | None = None
    generating: bool = False

    @classmethod
    def of(cls, tokens: Tensor, attention_mask: Tensor | None) -> Step:
        """Return the only step of a run over `tokens`."""
        n_token = tokens.shape[1]
        return cls(n_token, n_token, lengths=None if attention_mask is None else attention_mask.sum(1))

    def at(self, positions: Positions, device: torch.device) -> Bool[Tensor, "batch n_token"]:
        """Return a mask of the columns at `positions`.

        It has one row for all where no row is padded.

        Raises `UsageError` for a position that the prompt does not have.
        """
        columns = torch.arange(self.start, self.start + self.n_token, device=device)[None]
        ends = columns.new_tensor([[self.n_prompt]]) if self.lengths is None else self.lengths.to(device)[:, None]
        if isinstance(positions, slice):
            first, last = (self._resolved(edge, ends) for edge in (positions.start or 0, positions.stop))
            return columns >= first if last is None else (columns >= first) & (columns < last)
        chosen = torch.zeros(len(ends), self.n_token, dtype=torch.bool, device=device)
        for position in positions if isinstance(positions, Sequence) else [positions]:
            place = self._resolved(position, ends)
            if not self.generating and ((place < 0) | (place >= ends)).any():
                raise UsageError(f"Position {position} is outside the prompt, which has {int(ends.min())} tokens.")
            chosen |= columns == place
        return chosen

    @staticmethod
    def _resolved(position: Any, ends: Tensor) -> Any:
        if position is None:
            return None
        return ends + position if position < 0 else torch.full_like(ends, position)


Change = Callable[[Tensor, Step], Tensor]
"""The new value at a hook, from the value there and the step that computes it."""


@dataclass(frozen=True, repr=False)
class Edit:
    """Change of the value at one hook point, described by `text`.

    `bind` checks the edit against a model and gives the function that does it. `local`: the change of a position
    depends on that position alone, so that text can be generated without computing earlier positions again. `affine`:
    the new value is x A + c, with A and c that do not depend on x.

    >>> edit.zero("blocks.1.attn.hook_z", head=2)  # made by the functions of `interp.edit`
    zero(blocks.1.attn.hook_z, head=2)
    """

    hook: str
    text: str
    bind: Callable[[Model, Place], Change]
    local: bool = True
    affine: bool = False

    def __repr__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Bound:
    """Edit checked against a model: its place there and its function."""

    edit: Edit
    place: Place
    change: Change


@dataclass(frozen=True)
class Selection:
    """Entries of a value that an edit changes.

    They are chosen by head, position and index of the last axis.
    """

    head: int | Sequence[int] | None = None
    position: Positions = None
    neuron: int | Sequence[int] | None = None

    def check(self, hook: str, place: Place) -> None:
        """Raise `UsageError` for an axis or index missing from the value."""
        check_positions(self.position)
        if self.head is not None:
            if place.head_axis is None:
                raise UsageError(f'"{hook}" has no heads: its value is {place.axes}. Heads are at attn.hook_z.')
            check_indices("Head", self.head, place.axes[place.head_axis])
        if self.neuron is not None:
            if not isinstance(place.axes[-1], int):
                raise UsageError(f'"{hook}" has no neurons: its value is {place.axes}. Neurons are at mlp.hook_post.')
            check_indices("Neuron", self.neuron, place.axes[-1])

    def keep(self, new: Tensor, value: Tensor, place: Place, step: Step) -> Tensor:
        """Return `new` at the selected entries, `value` at all others."""
        for axis, index in ((place.head_axis, self.head), (value.ndim - 1, self.neuron)):
            if index is not None and axis is not None:
                chosen = torch.zeros(value.shape[axis], dtype=torch.bool, device=value.device)
                chosen[index if isinstance(index, int) else list(index)] = True
                new = torch.where(_along(chosen[None], 0, axis, value.ndim), new, value)
        if self.position is not None:
            chosen = step.at(self.position, value.device)
            new = torch.where(_along(chosen, 0, place.position_axis, value.ndim), new, value)
        return new


def bind(model: Model, edits: Iterable[Edit]) -> tuple[Bound, ...]:
    """Return the edits, each checked against the model.

    Raises `UsageError` for something else than an edit, an unknown hook (with the nearest), or values that do not fit.
    """
    bound = []
    for edit in edits:
        if not isinstance(edit, Edit):
            raise UsageError(f"model.edited takes edits, such as interp.edit.zero(hook), not {type(edit).__name__}.")
        place = model.places.get(edit.hook)
        if place is None:
            raise UsageError(
                f'The value at "{edit.hook}" cannot be replaced{nearest_hook(edit.hook, list(model.places))}.'
            )
        bound.append(Bound(edit, place, edit.bind(model, place)))
    return tuple(bound)


def stream_before(layer: int, stream: Tensor) -> Edit:
    """Return an edit that replaces the stream before a block by copies of `stream`, as many as the batch holds."""

    def given(value: Tensor, _: Any) -> Tensor:
        return stream.repeat(len(value) // len(stream), 1, 1)

    return Edit(f"blocks.{layer}.hook_resid_pre", f"resumed({layer})", lambda *_: given)


def functions(bound: Sequence[Bound], step: Step) -> list[Hooked]:
    """Return the functions to place at the hooks for one step."""
    return [(one.place, partial(_applied, one, step)) for one in bound]


def _applied(bound: Bound, step: Step, value: Tensor) -> Tensor:
    new = bound.change(value, step)
    if not isinstance(new, Tensor) or new.shape != value.shape:
        given = tuple(new.shape) if isinstance(new, Tensor) else type(new).__name__
        raise UsageError(f"{bound.edit} gave {given}, but the value there is {tuple(value.shape)}: return one alike.")
    return new.to(value.dtype)


def _along(chosen: Tensor, batch_axis: int, axis: int, n_axis: int) -> Tensor:
    """Reshape a (batch, n) mask along two axes of a larger tensor.

    The tensor has `n_axis` axes.
    """
    shape = [1] * n_axis
    shape[batch_axis], shape[axis] = chosen.shape
    return chosen.reshape(shape)


def check_indices(what: str, index: object, size: object) -> None:
    """Raise `UsageError` unless `index` contains valid indices.

    Indices are whole numbers from 0 to size − 1.
    """
    several = list(index) if isinstance(index, Sequence) and not isinstance(index, str) else [index]
    for one in several:
        if not isinstance(one, int) or isinstance(one, bool) or not 0 <= one < int(str(size)):
            raise UsageError(f"{what} {one!r} does not exist: give numbers from 0 to {int(str(size)) - 1}.")
    if not several:
        raise UsageError(f"No {what.lower()} is given: name at least one, or leave it out for all.")


def check_positions(positions: Positions) -> None:
    """Raise `UsageError` unless `positions` is a valid choice of positions."""
    if positions is None or isinstance(positions, slice):
        if isinstance(positions, slice) and positions.step not in (None, 1):
            raise UsageError("A slice of positions has no step: list the positions instead.")
        return
    several = list(positions) if isinstance(positions, Sequence) and not isinstance(positions, str) else [positions]
    if not several or not all(isinstance(one, int) and not isinstance(one, bool) for one in several):
        raise UsageError(f"Positions are whole numbers, a list of them or a slice, not {positions!r}.")
