"""Add or remove a direction and read the model's answers.

The direction is added to the residual stream of statements, or removed from it.

The rest of the network runs normally: norms, attention patterns and gates react. As in `interp.patching`, a run starts
from the saved residual stream at the first changed layer and, as no position sees later ones, from the first changed
position. Long prompts with examples therefore cost little more than short ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from interp.errors import InterpError, UsageError
from interp.model import trace
from interp.model.capture import bridge_is_hooked
from interp.progress import Progress, advance
from interp.provenance import Stopwatch
from probes.inputs import check_kind, check_whole
from probes.intervention.config import InterventionConfig
from probes.intervention.prompts import Prompts, prompts_of
from probes.intervention.results import MODES, Intervention
from probes.layers import EMBEDDING, read_layers
from probes.statements import Statements

if TYPE_CHECKING:
    from interp.model import Model


@torch.no_grad()
def intervene(  # noqa: PLR0913 (all but the first three are keyword-only)
    model: Model,
    direction: Any,
    data: Statements,
    *,
    layers: int | str | Sequence[int | str],
    mode: str = "add",
    strengths: Sequence[float] = (-1.0, 1.0),
    config: InterventionConfig | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Intervention:
    """Measure a model's answers about statements while a direction w is changed.

    With ŵ = w / |w|, at each chosen layer and position, and for each strength s,

        "add":     x ← x + s · step · ŵ
        "remove":  x ← x − s · (x · ŵ − c) ŵ       c the mean of x · ŵ over these statements; s = 1 removes it

    The same is done for `config.n_controls` directions drawn uniformly, with the same step, as a control. Strength 0 is
    always included.

    Args:
        model: the model.
        direction: a fitted linear probe, or a vector (d_model,) that points towards "true".
        data: the statements to ask about, of both classes.
        layers: layer l is the residual stream after block l; -1 or "embed" is the embedding.
        mode: "add" or "remove".
        strengths: multiples of the step.
        config: changed tokens, step, question and number of random directions; see `InterventionConfig`.
        seed: seed of the random directions.
        progress: called after every direction.

    Returns:
        `Intervention` with log-probabilities (direction, strength, n, answer) in nats.

    Raises:
        UsageError: a direction of the wrong length or zero, a layer or position that does not exist, one class only.
        InterpError: an answer whose probability is NaN or infinite.

    Example:
        >>> text = probes.read_statements([{"statement": f"the tower {w}", "label": w == "a"} for w in "ab"])
        >>> config = probes.InterventionConfig(question=probes.Question("{statement} is", (" a", " b")), n_controls=2)
        >>> probes.intervene(model, np.eye(24)[0], text, layers=1, config=config).log_probabilities.shape
        (3, 3, 2, 2)
    """
    watch = Stopwatch()
    config = InterventionConfig() if config is None else config
    check_kind(data, Statements, "data", "probes.read_statements")
    check_kind(config, InterventionConfig, "config", "probes.InterventionConfig")
    check_whole(seed, "seed")
    chosen = tuple(sorted(read_layers(layers, model.spec.n_layer)))
    _check(model, data, mode, strengths)
    unit, name = _unit(direction, model)
    question, positions = config.question, config.positions
    prompts = prompts_of(model, data, question, positions, config.prepend_bos)
    doses = tuple(sorted({0.0, *map(float, strengths)}))
    runs = [_Run.of(model, prompts, rows, chosen) for rows in prompts.batches(config.batch_size)]
    steps = _steps(runs, unit, data.labels, chosen)
    if config.step is not None:
        steps = dict.fromkeys(chosen, float(config.step))
    directions = [unit, *_random(len(unit), config.n_controls, seed)]
    answers = []
    for done, one in enumerate(directions, 1):
        edit = _Edit(mode, one.to(model.device, model.dtype), steps, _means(runs, one, chosen))
        clean = answers[0][doses.index(0.0)] if answers else None  # strength 0 is the same for every direction
        answers.append(np.stack([_answers(runs, edit, dose, clean) for dose in doses]))
        advance(progress, done, len(directions), "changing directions")
    return Intervention(
        direction=name,
        mode=mode,
        layers=chosen,
        positions=(positions,) if isinstance(positions, str) else tuple(map(str, positions)),
        strengths=doses,
        steps=np.array([steps[layer] for layer in chosen]),
        prompt=question.ask("{statement}")[0],
        answers=question.answers,
        read=question.read,
        data=data.name,
        labels=data.labels,
        groups=data.groups,
        log_probabilities=np.stack(answers),
        provenance=watch.provenance(seed=seed, **model.identity()),
    )


@dataclass(frozen=True)
class _Edit:
    """Change at a layer and position.

    `unit` has length 1, `means` is the c of each layer.
    """

    mode: str
    unit: Float[Tensor, " d"]
    steps: dict[int, float]
    means: dict[int, float]

    def __call__(self, x: Float[Tensor, "n d"], layer: int, strength: float) -> Float[Tensor, "n d"]:
        if self.mode == "add":
            return x + strength * self.steps[layer] * self.unit
        return x - strength * ((x @ self.unit) - self.means[layer])[:, None] * self.unit


@dataclass(frozen=True, eq=False)
class _Run:
    """Batch of prompts from the first changed position on.

    It reuses parts of the clean run of the prompts.

    Attributes:
        model: the model.
        prompts: the batch.
        start: the first position changed in any row; earlier positions are the same in every run.
        entered: the residual stream from `start` on, at the first changed layer.
        past: keys and values before `start`, for each later block.
        rows, columns: indices of the changed tokens in `entered`.
        clean: activations of these tokens in the clean run, by layer.
    """

    model: Model
    prompts: Prompts
    start: int
    entered: Float[Tensor, "row n_end d"]
    past: dict[int, trace.KeysValues]
    rows: Tensor
    columns: Tensor
    clean: dict[int, Float[Tensor, "place d"]]

    @classmethod
    def of(cls, model: Model, prompts: Prompts, rows: slice, layers: tuple[int, ...]) -> _Run:
        numbers = range(len(prompts.tokens))[rows]
        width = max(int(prompts.ends[i]) for i in numbers) + max(map(len, prompts.reading.tails))
        batch = replace(
            prompts, tokens=prompts.tokens[rows, :width], places=prompts.places[rows], ends=prompts.ends[rows]
        )
        pairs = [(i, at) for i, places in enumerate(batch.places) for at in places]
        row, column = torch.tensor(pairs, device=model.device).T
        start = int(column.min())
        streams, past = {}, {}
        x = trace.embed(model.weights, batch.tokens)
        for layer in range(EMBEDDING, model.spec.n_layer):
            if layer != EMBEDDING:
                block = trace.run_block(model.weights, layer, x, folded=False)
                x, key, value = block.resid_post, block.attention.key, block.attention.value
                if layer > layers[0]:  # copies, so that the full tensors are freed
                    past[layer] = (key[:, :, :start].clone(), value[:, :, :start].clone())
            if layer in layers:
                streams[layer] = x
        clean = {layer: stream[row, column] for layer, stream in streams.items()}
        return cls(model, batch, start, streams[layers[0]][:, start:], past, row, column - start, clean)

    def answers(self, edit: _Edit, strength: float) -> Float[Tensor, "statement answer"]:
        """Return the log-probability of each answer with the edit.

        The edit is applied at every chosen layer.
        """
        x, first = self.entered, min(self.clean)
        for layer in range(first, self.model.spec.n_layer):
            if layer > first:
                block = trace.run_block(self.model.weights, layer, x, folded=False, past=self.past[layer])
                x = block.resid_post
            if layer in self.clean:
                x = x.clone()
                x[self.rows, self.columns] = edit(x[self.rows, self.columns], layer, strength)
        return self._read(x)

    def _read(self, x: Float[Tensor, "row n_token d"]) -> Float[Tensor, "statement answer"]:
        how = self.prompts.reading
        n_tail, columns = len(how.tails), []
        for run, tokens in zip(how.run, how.tokens, strict=True):
            rows = torch.arange(run, len(x), n_tail, device=x.device)
            starts = self.prompts.ends[run::n_tail].to(x.device) - 1 + how.skipped - self.start
            total = torch.zeros(len(rows), dtype=torch.float64, device=x.device)
            for i, token in enumerate(tokens):
                logits, _ = trace.unembed(self.model.weights, x[rows, starts + i][:, None], folded=False)
                total += logits[:, 0].double().log_softmax(-1)[:, token]
            columns.append(total)
        return torch.stack(columns, dim=1)


def _answers(runs: list[_Run], edit: _Edit, strength: float, clean: np.ndarray | None) -> np.ndarray:
    if strength == 0 and clean is not None:
        return clean
    answers = torch.cat([run.answers(edit, strength) for run in runs])
    if not torch.isfinite(answers).all():
        raise InterpError(
            f"The probability of an answer is not finite at strength {strength:g}: use smaller strengths."
        )
    return answers.cpu().numpy()


def _means(runs: list[_Run], unit: Float[Tensor, " d"], layers: tuple[int, ...]) -> dict[int, float]:
    return {layer: float(_projections(runs, unit, layer).mean()) for layer in layers}


def _steps(
    runs: list[_Run], unit: Float[Tensor, " d"], labels: np.ndarray, layers: tuple[int, ...]
) -> dict[int, float]:
    """Return the distance between the two classes' mean projections at each layer."""
    n_tail = len(runs[0].prompts.reading.tails)
    places = [places for run in runs for places in run.prompts.places]
    true = torch.from_numpy(np.repeat(np.repeat(labels, n_tail), [len(p) for p in places]) == 1)
    steps = {}
    for layer in layers:
        projections = _projections(runs, unit, layer)
        steps[layer] = abs(float(projections[true].mean() - projections[~true].mean()))
    return steps


def _projections(runs: list[_Run], unit: Float[Tensor, " d"], layer: int) -> Float[Tensor, " place"]:
    return torch.cat([run.clean[layer].cpu().double() @ unit for run in runs])


def _random(d: int, n: int, seed: int) -> list[Float[Tensor, " d"]]:
    drawn = torch.randn(n, d, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return list(drawn / drawn.norm(dim=1, keepdim=True))


def _unit(direction: Any, model: Model) -> tuple[Float[Tensor, " d"], str]:
    """Return the direction with length 1 in float64, and its name."""
    name = type(direction).__name__ if hasattr(direction, "direction_") else "direction"
    try:
        vector = torch.as_tensor(getattr(direction, "direction_", direction), dtype=torch.float64).cpu().flatten()
    except (TypeError, ValueError, RuntimeError) as error:
        raise UsageError(
            f"The direction is a {type(direction).__name__}: give a fitted linear probe, or a vector of "
            f"{model.spec.d_model} numbers."
        ) from error
    if vector.shape != (model.spec.d_model,):
        raise UsageError(f"The direction has {len(vector)} numbers, but the residual stream has {model.spec.d_model}.")
    norm = float(vector.norm())
    if not np.isfinite(norm) or norm == 0:
        raise UsageError("The direction is zero or contains NaN: give a vector of positive, finite length.")
    return vector / norm, name


def _check(model: Model, data: Statements, mode: str, strengths: Sequence[float]) -> None:
    if mode not in MODES:
        raise UsageError(f'mode="{mode}" is unknown: choose "add" or "remove".')
    if len(set(data.labels.tolist())) < 2:
        raise UsageError(f"{data.name} has one class only, but the answers to true and false statements are compared.")
    doses = strengths if isinstance(strengths, Sequence | np.ndarray) and not isinstance(strengths, str) else (None,)
    if not len(doses) or not all(isinstance(dose, Real) and np.isfinite(float(dose)) for dose in doses):
        raise UsageError(f"strengths={strengths!r} is not valid: give at least one finite number.")
    if bridge_is_hooked(model):
        raise UsageError("model.bridge has hooks, which an intervention would ignore: remove them first.")
