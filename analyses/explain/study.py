"""Explanation of one prediction of a model.

It freezes the prompt, decomposes the target and looks at the strongest heads.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from analyses.explain.counterfactual import contrasted
from analyses.explain.result import GROUPS, PATTERN_TOKENS, Config, Explanation, HeadView, Hop
from interp import attribution
from interp.arguments import checked
from interp.attribution import TunedLens
from interp.attribution.frozen import Frozen
from interp.attribution.paths import PathTree
from interp.attribution.results import Direct, Verification
from interp.attribution.targets import LogitTarget
from interp.errors import UsageError
from interp.model import Model
from interp.progress import Progress, stages
from interp.provenance import Stopwatch

EXPANSIONS = 300
"""Number of nodes of the path tree that are expanded without `certify`."""
MAX_ORDER = 12
"""Largest number of components with an entry of its own in `orders`; longer paths share one entry."""
LENS = "lens.safetensors"
"""File name of the lens in a folder that `interp lens` wrote."""
STEPS = (
    "freezing the prompt",
    "direct contributions",
    "logit lens",
    "heads",
    "sweeps",
    "paths",
    "cutting paths",
    "the counterfactual",
    "done",
)


@checked
def run(
    model: Model,
    config: Config,
    *,
    command: str | None = None,
    seed: int | None = None,
    progress: Progress | None = None,
) -> Explanation:
    """Explain one prediction of a model.

    The decomposition draws nothing at random; `seed` is for the test of the paths, and is recorded.

    Args:
        model: a model with a tokenizer.
        config: the prompt, the explained tokens, and what is shown.
        command: the command that the user typed, for the provenance.
        seed: seed of the test of the paths.
        progress: called with (steps done, steps in all, what is done).

    Returns:
        `Explanation` whose contributions, in logits, sum to the explained logit (or difference of logits).

    Raises:
        UsageError: an empty prompt, one beyond the context, a position outside it, or a target that is not one token.
        CheckFailedError: a decomposition that does not sum to what it decomposes.

    Example:
        >>> from analyses import explain
        >>> study = explain.run(model, explain.Config("the tower is in", " Paris", " London", max_expansions=5))
        >>> [(name, round(value, 2)) for name, value in study.direct.top(3)]
        [('MLP1', 3.69), ('L1H1', 1.05), ('MLP2', -0.67)]
    """
    if config.group not in GROUPS:
        raise UsageError(f'group must be one of {", ".join(GROUPS)}, not "{config.group}".')
    watch, step = Stopwatch(), stages(progress, STEPS)
    model = model.with_cached_weights()
    tokens = _tokens(model, config)
    given = None if config.target is None else _target(model, config, config.target)
    step(0)
    frozen = attribution.freeze(model, tokens)
    position = frozen.position(config.position)
    target = given or _target(model, config, int(frozen.logits_at(position).argmax()))
    config = replace(config, target=model.labels(torch.tensor(target.tokens[:1]))[0])
    step(1)
    direct = attribution.direct(frozen, target)
    step(2)
    trained, read = _trained(model, config), partial(attribution.logit_lens, model, tokens, target.tokens)
    lens = read(position=position)
    tuned = None if trained is None else read(position=position, lens=trained)
    step(3)
    heads = _heads(frozen, target, direct, config.top)
    step(4)
    sources, orders = attribution.sources(frozen, target), attribution.orders(frozen, target, max_order=MAX_ORDER)
    step(5)
    tree = _tree(frozen, target, config)
    step(6)
    verification = _verification(model, tree, frozen, config.top, seed or 0)
    next_tokens, next_probabilities = _continuations(frozen, position)
    step(7)
    contrast = None
    if config.counterfactual is not None:
        contrast = contrasted(model, tokens, config.counterfactual, target, tree, config.top, seed or 0)
    step(8)
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
        sources=sources,
        orders=orders,
        tree=tree,
        hops=_hops(frozen, tree, config.top),
        verification=verification,
        contrasted=contrast,
        tuned=tuned,
        patchscope=None if trained is None else attribution.patchscope(model, tokens, position),
    )


def _target(model: Model, config: Config, token: str | int) -> LogitTarget:
    if config.versus is None:
        return attribution.logit(model, token, config.position)
    return attribution.logit_difference(model, token, config.versus, config.position)


def _trained(model: Model, config: Config) -> TunedLens | None:
    """Load the tuned lens of the given file or folder."""
    if config.lens is None:
        return None
    place = Path(config.lens)
    return TunedLens.load(place / LENS if place.is_dir() else place, model)


def _tokens(model: Model, config: Config) -> torch.Tensor:
    if not config.prompt:
        raise UsageError("The prompt is empty: give the text whose continuation is to be explained.")
    return model.check_tokens(model.to_tokens(config.prompt))


def _tree(frozen: Frozen, target: LogitTarget, config: Config) -> PathTree:
    if config.certify:
        return attribution.path_tree(frozen, target, config.max_expansions, top=config.top)
    return attribution.path_tree(frozen, target, config.max_expansions or EXPANSIONS)


def _heads(frozen: Frozen, target: LogitTarget, direct: Direct, top: int) -> tuple[HeadView, ...]:
    """Return the heads with the largest direct contributions, largest first."""
    contributions = torch.from_numpy(direct.by_head())
    order = contributions.abs().flatten().argsort(descending=True, stable=True)[:top].tolist()
    views = []
    for layer, head in (divmod(index, contributions.shape[1]) for index in order):
        split = attribution.by_source(frozen, target, layer, head)
        pattern = frozen.blocks[layer].pattern[head].cpu().numpy()
        row, whole = pattern[frozen.position(target.position)], pattern if len(pattern) <= PATTERN_TOKENS else None
        views.append(HeadView(f"L{layer}H{head}", float(contributions[layer, head]), row, whole, split))
    return tuple(views)


def _verification(model: Model, tree: PathTree, frozen: Frozen, top: int, seed: int) -> Verification | None:
    """Cut the largest paths and measure the effects.

    Return None where the tree has no path that begins at an embedding.
    """
    begins = any(tree.components[c].endswith("embed") for c in tree.component.tolist() if c >= 0)
    # The mean over the positions of one token is what it writes: replacing it by that would change nothing.
    baseline = "mean" if frozen.n_token > 1 else "zero"
    return attribution.verify(model, tree, top, baseline=baseline, frozen=frozen, seed=seed) if begins else None


def _hops(frozen: Frozen, tree: PathTree, top: int) -> tuple[Hop, ...]:
    """Return the steps through heads on the `top` largest paths.

    Each step is listed once, in the order of the paths.
    """
    steps: dict[tuple[int, int, int], None] = {}
    for row in tree.largest(top).tolist():
        rows = tree.rows_above(row)
        for reader, source in zip(rows[1:], rows, strict=False):
            component = int(tree.component[reader])
            if frozen.layout.components[component].kind == "head":
                steps[component, int(tree.position[reader]), int(tree.position[source])] = None
    return tuple(_hop(frozen, *step) for step in list(steps)[:top])


def _hop(frozen: Frozen, component: int, query: int, key: int, pairs: int = 8) -> Hop:
    head = frozen.layout.components[component]
    by_pair = attribution.scores(frozen, head.layer, head.head, query, key)
    n = len(by_pair.writers)
    order = np.argsort(-np.abs(by_pair.array), kind="stable")[:pairs].tolist()
    return Hop(
        head=head.name,
        query=query,
        key=key,
        attention=frozen.blocks[head.layer].pattern[head.head, query].cpu().numpy(),
        score=by_pair.value,
        top_pairs=tuple((by_pair.writers[i // n], by_pair.writers[i % n], float(by_pair.array[i])) for i in order),
        error=by_pair.error,
    )


def _continuations(frozen: Frozen, position: int, k: int = 10) -> tuple[tuple[str, ...], tuple[float, ...]]:
    probabilities, ids = frozen.logits_at(position).softmax(-1).topk(k)
    return tuple(frozen.model.to_str_tokens(ids)), tuple(probabilities.tolist())
