"""The study itself: freeze the prompt, decompose the target, look at the heads that matter."""

from __future__ import annotations

from collections.abc import Callable

import torch

from analyses.explain.result import Config, Explanation, HeadView
from interp import attribution
from interp.attribution.frozen import Frozen
from interp.attribution.results import Direct
from interp.attribution.targets import LogitTarget
from interp.errors import UsageError
from interp.model import Model
from interp.provenance import Stopwatch

Progress = Callable[[int, int, str], None]
STEPS = ("freezing the prompt", "direct contributions", "logit lens", "heads", "done")


def run(
    model: Model,
    config: Config,
    *,
    command: str | None = None,
    seed: int | None = None,
    progress: Progress | None = None,
) -> Explanation:
    """Explain one prediction of a model; nothing is drawn at random, `seed` is only recorded.

    Raises:
        UsageError: an empty prompt, one beyond the context, a position outside it, or a target that is not one token.
        CheckFailedError: a decomposition that does not sum to what it decomposes.
    """
    watch, step = Stopwatch(), _steps(progress)
    target = _target(model, config)
    tokens = _tokens(model, config)
    step(0)
    frozen = attribution.freeze(model, tokens)
    position = frozen.position(config.position)
    step(1)
    direct = attribution.direct(frozen, target)
    step(2)
    lens = attribution.logit_lens(model, tokens, [token for token in (config.target, config.versus) if token])
    step(3)
    heads = _heads(frozen, target, direct, config.top)
    next_tokens, next_probabilities = _continuations(frozen, position)
    step(4)
    return Explanation(
        config=config,
        provenance=watch.provenance(command=command, seed=seed, **model.identity()),
        tokens=frozen.labels,
        position=position,
        next_tokens=next_tokens,
        next_probabilities=next_probabilities,
        logit_error=frozen.error,
        direct=direct,
        lens=lens,
        heads=heads,
    )


def _target(model: Model, config: Config) -> LogitTarget:
    if config.versus is None:
        return attribution.logit(model, config.target, config.position)
    return attribution.logit_difference(model, config.target, config.versus, config.position)


def _tokens(model: Model, config: Config) -> torch.Tensor:
    if not config.prompt:
        raise UsageError("The prompt is empty: give the text whose continuation is to be explained.")
    return model.check_tokens(model.to_tokens(config.prompt))


def _heads(frozen: Frozen, target: LogitTarget, direct: Direct, top: int) -> tuple[HeadView, ...]:
    """The heads with the largest direct contributions, largest first."""
    contributions = torch.from_numpy(direct.by_head())
    order = contributions.abs().flatten().argsort(descending=True, stable=True)[:top].tolist()
    found = []
    for layer, head in (divmod(index, contributions.shape[1]) for index in order):
        split = attribution.by_source(frozen, target, layer, head)
        pattern = frozen.blocks[layer].pattern[head].cpu().numpy()
        found.append(HeadView(f"L{layer}H{head}", float(contributions[layer, head]), pattern, split))
    return tuple(found)


def _continuations(frozen: Frozen, position: int, k: int = 10) -> tuple[tuple[str, ...], tuple[float, ...]]:
    probabilities, ids = frozen.logits[position].softmax(-1).topk(k)
    return tuple(frozen.model.to_str_tokens(ids)), tuple(probabilities.tolist())


def _steps(progress: Progress | None) -> Callable[[int], None]:
    def step(done: int) -> None:
        if progress is not None:
            progress(done, len(STEPS) - 1, STEPS[done])

    return step
