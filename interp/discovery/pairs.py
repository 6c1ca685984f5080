"""Both runs of a batch of pairs: every write, and the measure at the end."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from weakref import WeakSet

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.attribution.edited_run import refuse_edits
from interp.attribution.secant_map import SecantMap, secant_map
from interp.discovery.forward import Forward, Rules, plain
from interp.discovery.graph import Graph
from interp.errors import CheckFailedError, UsageError, require
from interp.model import Model, trace
from interp.model.spec import require_fixed_rotations
from interp.tasks.pairs import Pairs
from interp.tasks.task import NO_TOKEN, Task, log_odds

LIMIT = 2**28
"""Bytes that the writes of a batch of pairs may take, (n_writer, batch, T, d_model); pairs are streamed within it."""
DTYPES = (torch.float32, torch.float64)
TOLERANCE = {torch.float32: 1e-3, torch.float64: 1e-9}
"""By how much the measure of the run written out may miss the model's own, relative to it or to one nat."""
_REPRODUCED: WeakSet[Model] = WeakSet()


class PairRuns:
    """Clean and counterfactual runs of some pairs, from the first difference on."""

    def __init__(
        self,
        model: Model,
        graph: Graph,
        task: Task,
        rules: Rules | None = None,
        start: int | None = None,
        segments: int = 1,
    ):
        self.model, self.graph, self.task = model, graph, task
        self.clean_tokens, self.other_tokens = (
            model.check_tokens(tokens) for tokens in (task.clean, task.counterfactual)
        )
        self.start = first_difference(task) if start is None else start
        self.rules, self.segments = Rules() if rules is None else rules, segments
        self.forward = Forward.after(model, graph, self.clean_tokens[:, : self.start], self.rules)

    def __len__(self) -> int:
        return len(self.task)

    @cached_property
    def embedded(self) -> Float[Tensor, "run batch n_token d_model"]:
        """The clean and the counterfactual embedding."""
        both = (self.clean_tokens, self.other_tokens)
        return torch.stack([trace.embed(self.model.weights, tokens)[:, self.start :] for tokens in both])

    @cached_property
    @torch.no_grad()
    def clean(self) -> Written:
        """What was written in the clean run."""
        return written(self, self.embedded[0])

    @cached_property
    @torch.no_grad()
    def other(self) -> Written:
        """What was written in the counterfactual run."""
        return written(self, self.embedded[1])

    @cached_property
    def difference(self) -> Float[Tensor, "batch n_writer n_token d_model"]:
        """What corrupting a writer adds: counterfactual − clean."""
        return self.other.writes - self.clean.writes

    @cached_property
    @torch.no_grad()
    def secants(self) -> SecantMap:
        """Secant maps between the two runs.

        With several segments, those of each segment of the line between their embeddings.

        The pairs of each segment lie together, from the clean end on.
        """
        moved = (self.clean_tokens != self.other_tokens).cumsum(dim=1)[:, self.start :] > 0
        copies = self.graph.n_key // self.graph.n_kv_head
        past = [(key[:, ::copies], value[:, ::copies]) for key, value in self.forward.past]
        clean, other = self.embedded
        between = (clean + i / self.segments * (other - clean) for i in range(1, self.segments))
        return secant_map(self.model, torch.stack([clean, *between, other]), moved, past)

    @property
    def ends(self) -> Float[Tensor, "run batch"]:
        """The measure in the clean and in the counterfactual run."""
        return torch.stack([self.clean.measure, self.other.measure])

    @cached_property
    def end(self) -> Int[Tensor, " batch"]:
        """Where the answer is read, counted from `start`."""
        return (self.task.end - self.start).to(self.model.device)

    @cached_property
    def answers(self) -> Answers:
        """The tokens that are right or wrong in any of the pairs."""
        return Answers.of(self.model, self.task)

    def measure(self, x: Float[Tensor, "batch n_token d_model"]) -> Float[Tensor, " batch"]:
        """Compute the log odds of the right answers.

        `x` is the stream the logits read.
        """
        at_end = x[torch.arange(len(x), device=x.device), self.end]
        logits = self.forward.final(at_end, self.answers.columns, self.answers.bias)
        return log_odds(logits, self.answers.right, self.answers.wrong)


@dataclass(frozen=True)
class Written:
    """One run: what every writer wrote at every position, and the measure."""

    writes: Float[Tensor, "batch n_writer n_token d_model"]
    measure: Float[Tensor, " batch"]


@dataclass(frozen=True)
class Answers:
    """Unembedding of the answers: folded `columns` and `bias`, and their indices."""

    columns: Float[Tensor, "d_model n_answer"]
    bias: Float[Tensor, " n_answer"]
    right: Int[Tensor, "batch ..."]
    wrong: Int[Tensor, "batch ..."]

    @classmethod
    def of(cls, model: Model, task: Task) -> Answers:
        """Gather the answers of every pair."""
        ids = torch.cat([task.right.flatten(), task.wrong.flatten()]).to(model.device)
        tokens = ids[ids != NO_TOKEN].unique()
        columns, bias = model.weights.unembed(tokens)
        right, wrong = (_places(tokens, answers.to(model.device)) for answers in (task.right, task.wrong))
        return cls(columns.detach(), bias.detach(), right, wrong)


def written(runs: PairRuns, embedded: Tensor) -> Written:
    """Run one side and collect what is written."""
    batch, n_token, width = embedded.shape
    writes = embedded.new_empty(batch, len(runs.graph.writers), n_token, width)

    def keep(writers: slice, values: Tensor) -> Tensor:
        writes[:, writers] = values
        return values

    return Written(writes, runs.measure(runs.forward.run(embedded, plain, keep)))


def batches(  # noqa: PLR0913 (all but the first three are keyword-only)
    model: Model,
    graph: Graph,
    task: Task,
    rules: Rules | None = None,
    *,
    start: int | None = None,
    copies: int = 2,
    limit: int = LIMIT,
    segments: int = 1,
) -> Iterator[PairRuns]:
    """Yield the pairs in batches whose writes fit into `limit` bytes.

    `copies` is how often the writes of a pair count, for each of its segments.
    """
    require(model, Model, "model")
    require(graph, Graph, "graph")
    require(task, Task, "task")
    n_token = task.clean.shape[1] - (first_difference(task) if start is None else start)
    bytes_each = copies * segments * len(graph.writers) * n_token * model.spec.d_model * model.parts.W_U.element_size()
    for part in task.batches(max(1, limit // bytes_each)):
        yield PairRuns(model, graph, part, rules, start, segments)


def first_difference(task: Task) -> int:
    """Return the first position at which any pair differs.

    0 if none does.
    """
    return int(task.differs.any(0).int().argmax())


def checked(model: Model, task: Task | Pairs) -> Task:
    """Return a task on the model's device.

    Raises `UsageError` for edits or a dtype in which differences mean nothing, `CheckFailedError` for a model that does
    not compute what its weights say.
    """
    require(model, Model, "model")
    refuse_edits(model, "Discovery")
    if model.dtype not in DTYPES:
        raise UsageError(f"Differences of runs in {model.dtype} mean little: load the model in float32 or float64.")
    task = task.encode(model) if isinstance(task, Pairs) else task
    if not isinstance(task, Task):
        raise UsageError(f"Give a task, such as interp.tasks.ioi(model), not {type(task).__name__}.")
    require_fixed_rotations(model.spec, task.clean.shape[1], "discovery, which runs the beginning of a prompt apart,")
    _check_reproduced(model, task)
    return task


@torch.no_grad()
def _check_reproduced(model: Model, task: Task) -> None:
    """Raise `CheckFailedError` unless the written-out run gives the model's measure.

    It is checked once for each model.
    """
    if model in _REPRODUCED:
        return
    one = task[:1]
    ours = float(PairRuns(model, Graph.of(model.spec), one).clean.measure)
    theirs = float(one.measure(model(one.clean)))
    if not abs(ours - theirs) <= TOLERANCE[model.dtype] * max(1.0, abs(theirs)):
        raise CheckFailedError(
            f"Run from its weights, {model.name} has a log odds of {ours:.4f} where its own is {theirs:.4f}, and "
            "discovery needs the weights to say what the model computes: is there an adapter or a hook on it? "
            "interp.patching.patch runs the model with these."
        )
    _REPRODUCED.add(model)


def numbers(values: Tensor) -> np.ndarray:
    """Return a tensor as float64 numbers."""
    return values.detach().double().cpu().numpy()


def _places(tokens: Tensor, answers: Tensor) -> Tensor:
    indices = torch.searchsorted(tokens, answers.clamp_min(0))
    return torch.where(answers == NO_TOKEN, NO_TOKEN, indices)
