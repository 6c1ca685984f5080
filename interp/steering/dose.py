"""`dose_response`: how a behaviour, and everything else, changes with the strength of a steering vector."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from interp.errors import NotFiniteError, UsageError, require, whole
from interp.model import Model
from interp.model.generation import batch_ids
from interp.model.suffix import Suffix
from interp.progress import Progress, Rate
from interp.provenance import Stopwatch
from interp.steering.measures import Judged, Measure, measure_of
from interp.steering.neutral import NEUTRAL
from interp.steering.prompts import BATCH, Prompts
from interp.steering.response import DoseResponse
from interp.steering.vectors import Vector

STRENGTHS = (-0.6, -0.3, -0.1, 0.1, 0.3, 0.6)
"""Strengths by default, in norms of the stream."""
TOKENS = 4096
"""Positions a forward pass."""
WRITTEN, LENGTH = 4, 20
"""Prompts that are continued at every strength to measure repetition, and by how many tokens."""


def dose_response(  # noqa: PLR0913 (all but the first four are keyword-only)
    model: Model,
    v: Vector | Sequence[Vector],
    prompts: Any,
    measure: Any = None,
    *,
    strengths: Sequence[float] = STRENGTHS,
    off_target: Mapping[str, tuple[Any, Any]] | None = None,
    neutral: Any = NEUTRAL,
    n_controls: int = 100,
    positions: int | slice | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> DoseResponse:
    """Measure behaviour, side effects and controls for every vector and strength.

    At strength s the stream after the vector's block becomes x + s · stream_norm · direction / |direction|. The blocks
    below run once for each batch of prompts.

    Args:
        model: the model, edited or not.
        v: a vector, or several of different layers.
        prompts: texts, token ids without padding, or a task (whose own answers are then the measure).
        measure: what is measured of every prompt: a pair of answers (right, wrong), each a token or a list of them,
            whose log odds log Σ p(right) − log Σ p(wrong) after the prompt are read, in nats; or a function from the
            text that the model adds (20 tokens, greedy) to a number, which costs about forty times as much.
        strengths: of every vector, in units of its `stream_norm`; 0 is added.
        off_target: name → (prompts, measure) of behaviours that should not change.
        neutral: texts on which the cost is measured: KL divergence from the unsteered model and loss, in nats per
            token.
        n_controls: random directions of the same norm in every layer, the control of the measure.
        positions: where the vector is added, as in `edit.add`; at every position by default.
        seed: of the random directions, and of the half of the prompts that chooses the layer.
        progress: called with (conditions done, conditions in all, what is being done).

    Returns:
        The measure under every vector at every strength, with controls, side effects and cost.

    Raises:
        UsageError: two vectors of one layer, no strength but 0, answers that are not tokens, or a function that gives
            something else than a number.
        NotFiniteError: a measure that is not finite.

    >>> v = steering.vector(model, ["a b", "the tower"], ["is in", "London Paris"], layer=1)
    >>> kwargs = {"strengths": (-0.5, 0.5), "neutral": ["the tower is in"], "n_controls": 3}
    >>> dose_response(model, v, ["the tower is", "a b is"], (" Paris", " London"), **kwargs).slope
    (-0.781, -1.044, -0.519)
    """
    watch = Stopwatch()
    require(model, Model, "model")
    several = _checked_vectors(model, v)
    doses = _checked_strengths(strengths)
    n_controls = whole(n_controls, "n_controls", 0)
    target = _Behaviour.of(model, "target", prompts, measure)
    others = [_Behaviour.of(model, name, *pair) for name, pair in (off_target or {}).items()]
    text = Prompts.of(model, neutral, "neutral")
    rng = np.random.default_rng(seed)
    n_runs = n_controls + max(len(one.shuffled) for one in several) + len(others) + 3
    rate = Rate(progress, len(several) * len(doses) * n_runs, "conditions")
    measured: list[_Layer] = []
    for one in several:
        control = _controls(one, n_controls, rng)
        steer = _Steered(model, one, doses, positions, rate)
        measured.append(_Layer.of(steer, target, others, text, control, n_controls))
    return DoseResponse(
        **_stacked(measured),
        layers=tuple(one.layer for one in several),
        strengths=tuple(doses),
        vectors=several,
        measure=target.measure.text,
        prompts=target.prompts.texts,
        off_target=tuple(other.name for other in others),
        off_target_values=tuple(np.stack([each.others[i] for each in measured]) for i in range(len(others))),
        written_prompts=target.prompts.texts[:WRITTEN],
        written=tuple(each.written for each in measured),
        seed=seed,
        provenance=watch.provenance(seed=seed, **model.identity()),
    )


@dataclass(frozen=True)
class _Behaviour:
    name: str
    prompts: Prompts
    measure: Measure | Judged

    @classmethod
    def of(cls, model: Model, name: str, prompts: Any, measure: Any) -> _Behaviour:
        return cls(name, Prompts.of(model, prompts), measure_of(model, prompts, measure))


@dataclass(frozen=True)
class _Steered:
    """Model steered along directions at each of the doses.

    They have the norm that `vector` has; see `doses`.
    """

    model: Model
    vector: Vector
    doses: tuple[float, ...]
    positions: int | slice | None
    rate: Rate

    def added(self, directions: Float[np.ndarray, "k d_model"]) -> Float[Tensor, "k dose d_model"]:
        """Return what is added to the stream, for each direction at each dose."""
        units = directions / np.linalg.norm(directions, axis=1, keepdims=True)
        scaled = units[:, None] * (np.array(self.doses)[:, None] * self.vector.stream_norm)
        return torch.from_numpy(scaled).to(self.model.device, self.model.dtype)

    def measured(
        self, behaviour: _Behaviour, directions: Float[np.ndarray, "k d_model"]
    ) -> Float[np.ndarray, "k dose n"]:
        """Return the measure of every prompt along every direction at every dose."""
        added, zero = self.added(directions), self.doses.index(0.0)
        others = [dose for dose in range(len(self.doses)) if dose != zero]
        # Without steering all directions are one: it is measured once.
        once = torch.cat([added[:1, zero], added[:, others].flatten(0, 1)])
        if isinstance(behaviour.measure, Judged):
            judged = self._judged(behaviour.prompts, behaviour.measure, once)
        else:
            judged = self._read(behaviour.prompts, behaviour.measure, once)
        if not np.isfinite(judged).all():
            raise NotFiniteError(f"The measure of {behaviour.name} is not finite: is a strength too large?")
        values = np.empty((len(directions), len(self.doses), judged.shape[1]))
        values[:, zero], values[:, others] = judged[0], judged[1:].reshape(len(directions), len(others), -1)
        self.rate.add(len(directions) * len(self.doses))
        return values

    def _read(self, prompts: Prompts, measure: Measure, added: Tensor) -> np.ndarray:
        rows, start = [], 0
        for part in prompts.batches():
            suffix = self.suffix(part)
            values = [
                measure(self.model, self._ends(suffix, part, some), start)
                for some in added.split(max(1, TOKENS // part.tokens.numel()))
            ]
            rows.append(torch.cat(values).double().cpu().numpy())
            start += len(part)
        return np.concatenate(rows, 1)

    def _ends(self, suffix: Suffix, part: Prompts, added: Tensor) -> Float[Tensor, "k n d_model"]:
        final = suffix.final(self.steered(suffix, part, added)).unflatten(0, (len(added), -1))
        ends = (part.lengths - 1).to(final.device)
        return final[:, torch.arange(len(part), device=final.device), ends]

    def suffix(self, part: Prompts) -> Suffix:
        return Suffix.of(self.model, part.tokens, self.vector.layer, part.mask)

    def steered(self, suffix: Suffix, part: Prompts, added: Tensor) -> Float[Tensor, "rows n_token d_model"]:
        """Return a batch's streams with each vector added, one copy of the batch per vector."""
        from interp.model.edits import Step

        step = Step.of(part.tokens, part.mask)
        where = step.at(slice(None) if self.positions is None else self.positions, suffix.stream.device)
        return (suffix.stream + added[:, None, None] * where[..., None].to(added)).flatten(0, 1)

    def _judged(self, prompts: Prompts, measure: Judged, added: Tensor) -> np.ndarray:
        values = np.full((len(added), len(prompts)), math.nan)
        for row, column, text in self.written(prompts, added, measure.n_token):
            values[row, column] = measure(text)
        return values

    def written(self, prompts: Prompts, added: Tensor, n_token: int) -> Iterator[tuple[int, int, str]]:
        """Yield the continuation of every prompt under every vector.

        As (row of `added`, prompt, text); it is greedy.
        """
        from interp import edit

        for columns, part in prompts.by_length():
            for start in range(0, len(added), max(1, BATCH * 2 // len(part))):
                some = added[start : start + max(1, BATCH * 2 // len(part))]
                rows = some.repeat_interleave(len(part), 0)[:, None]
                edited = self.model.edited(edit.add(self.vector.hook, rows, positions=self.positions))
                ids = batch_ids(edited, part.tokens.repeat(len(some), 1), n_token)
                for i, one in enumerate(ids):
                    row, column = divmod(i, len(part))
                    yield start + row, columns[column], "".join(self.model.labels(one))


@dataclass(frozen=True)
class _Layer:
    """Measurements of one vector: arrays of (dose, …)."""

    values: np.ndarray
    random: np.ndarray
    shuffled: np.ndarray
    others: list[np.ndarray]
    kl: np.ndarray
    loss: np.ndarray
    written: tuple[tuple[str, ...], ...]

    @classmethod
    def of(
        cls,
        steer: _Steered,
        target: _Behaviour,
        others: list[_Behaviour],
        text: Prompts,
        control: np.ndarray,
        n_random: int,
    ) -> _Layer:
        along = steer.vector.direction[None]
        controls = (
            steer.measured(target, control) if len(control) else np.zeros((0, len(steer.doses), len(target.prompts)))
        )
        kl, loss = _cost(steer, text)
        return cls(
            values=steer.measured(target, along)[0],
            random=controls[:n_random].astype(np.float32),
            shuffled=controls[n_random:].astype(np.float32),
            others=[steer.measured(other, along)[0] for other in others],
            kl=kl,
            loss=loss,
            written=_written(steer, target.prompts),
        )


def _controls(one: Vector, n_random: int, rng: np.random.Generator) -> Float[np.ndarray, "k d_model"]:
    return np.concatenate([rng.standard_normal((n_random, len(one.direction))), one.shuffled])


@torch.no_grad()
def _cost(steer: _Steered, text: Prompts) -> tuple[np.ndarray, np.ndarray]:
    """Return the cost of each dose on neutral text.

    (KL divergence from the unsteered model, loss), each (dose, n_text), nats per token.
    """
    added, kl, loss = steer.added(steer.vector.direction[None])[0], [], []
    for part in text.batches(4):
        suffix = steer.suffix(part)
        before = _log_probabilities(steer, suffix.final(suffix.stream))
        rows = [
            _compared(before, _log_probabilities(steer, suffix.final(x)), part)
            for x in _each(steer, suffix, part, added)
        ]
        kl.append(torch.stack([row[0] for row in rows]))
        loss.append(torch.stack([row[1] for row in rows]))
    steer.rate.add(len(added))
    return torch.cat(kl, 1).double().cpu().numpy(), torch.cat(loss, 1).double().cpu().numpy()


def _each(steer: _Steered, suffix: Suffix, part: Prompts, added: Tensor) -> Iterator[Tensor]:
    return (steer.steered(suffix, part, one[None]) for one in added)


def _log_probabilities(steer: _Steered, final: Tensor) -> Tensor:
    from interp.model import trace

    return trace.unembed(steer.model.weights, final, folded=False)[0].log_softmax(-1)


def _compared(before: Tensor, after: Tensor, part: Prompts) -> tuple[Tensor, Tensor]:
    """Return (mean KL(before ‖ after), mean loss) of each text.

    Over its own tokens.
    """
    columns = torch.arange(before.shape[1])
    own = (columns < part.lengths[:, None]).to(before)
    kl = ((before.exp() * (before - after)).sum(-1) * own).sum(1) / own.sum(1)
    given = -after[:, :-1].gather(2, part.tokens[:, 1:, None])[..., 0]
    return kl, (given * own[:, 1:]).sum(1) / own[:, 1:].sum(1)


def _written(steer: _Steered, prompts: Prompts) -> tuple[tuple[str, ...], ...]:
    """Return the text added to a few prompts at each dose: (dose, prompt)."""
    some = prompts[: min(WRITTEN, len(prompts))]
    texts = [[""] * len(some) for _ in steer.doses]
    for row, column, text in steer.written(some, steer.added(steer.vector.direction[None])[0], LENGTH):
        texts[row][column] = text
    steer.rate.add(len(steer.doses))
    return tuple(map(tuple, texts))


def _stacked(measured: list[_Layer]) -> dict[str, Any]:
    n_shuffled = min(len(each.shuffled) for each in measured)
    return {
        "values": np.stack([each.values for each in measured]),
        "random": np.stack([each.random for each in measured]),
        "shuffled": np.stack([each.shuffled[:n_shuffled] for each in measured]),
        "kl": np.stack([each.kl for each in measured]),
        "loss": np.stack([each.loss for each in measured]),
    }


def _checked_vectors(model: Model, v: Vector | Sequence[Vector]) -> tuple[Vector, ...]:
    several = (v,) if isinstance(v, Vector) else tuple(v)
    if not several or not all(isinstance(one, Vector) for one in several):
        raise UsageError("Give a vector made by steering.vector, or several of different layers.")
    layers = [one.layer for one in several]
    if len(set(layers)) != len(layers) or max(layers) >= model.spec.n_layer:
        raise UsageError(
            f"The vectors are of layers {layers}: give one for each layer of a model of {model.spec.n_layer}."
        )
    if any(len(one.direction) != model.spec.d_model for one in several):
        raise UsageError(f"A vector was made for a stream of another width than {model.spec.d_model}.")
    return several


def _checked_strengths(strengths: Sequence[float]) -> tuple[float, ...]:
    given = sorted({0.0, *(float(strength) for strength in strengths)})
    if len(given) < 2 or not np.isfinite(given).all():
        raise UsageError(f"strengths={tuple(strengths)}: give at least one finite number other than 0.")
    return tuple(given)
