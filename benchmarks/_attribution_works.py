"""Comparisons of path trees, edges, composition of heads and patches."""

from __future__ import annotations

from contextlib import redirect_stderr
from io import StringIO
from typing import Any

import numpy as np
import torch
import transformers

import interp
from benchmarks import paths
from benchmarks._work import Sizes, Work, rate, relative
from interp import attribution, circuits, discovery, patching, tasks


def path_tree(sizes: Sizes) -> list[Work]:
    """Compare the largest paths, in sweeps and one node at a time."""
    model = sizes.model
    tokens = paths.prompt(model, sizes.n_token)
    frozen, target = attribution.freeze(model, tokens), attribution.logit_difference(model, " Paris", " London")
    folded, n = paths.Folded(model), sizes.expansions

    def values(tree: Any, plain: Any) -> float:
        return relative([tree.value[row] for row in tree.largest(10)], [value for value, _ in plain.paths[:10]])

    floor = paths.flops(frozen, attribution.path_tree(frozen, target, n)) / rate()
    ours, plain = lambda: attribution.path_tree(frozen, target, n), lambda: paths.plain_loop(frozen, folded, target, n)
    return [Work(f"path tree, {n} expansions", ours, plain, "plain loop", values, 1e-3, floor)]


def edge_scores(sizes: Sizes) -> list[Work]:
    """Scores of all edges on indirect objects, by secants and by five integrated gradients; compared by correlation."""
    task = tasks.ioi(sizes.model, n=3, seed=0)

    def apart(ours: Any, peer: Any) -> float:
        return 1 - float(np.corrcoef(ours.array, peer.array)[0, 1])

    secant, gradients = (lambda m=m: discovery.score(sizes.model, task, m) for m in ("secant", "eap-ig-inputs"))
    return [Work(f"scores of edges, {len(task)} pairs", secant, gradients, "EAP-IG-inputs, 5 steps", apart, 0.15)]


def composition(sizes: Sizes) -> list[Work]:
    """Compare K-composition of all pairs of heads of a random model.

    Its norms have gains of 1.
    """
    small = 64 if sizes.model.spec.d_model < 64 else 512
    config = transformers.LlamaConfig(
        vocab_size=256, hidden_size=small, intermediate_size=small, num_hidden_layers=4,
        num_attention_heads=8, num_key_value_heads=8,
    )  # fmt: skip
    torch.manual_seed(0)
    model = interp.load(transformers.LlamaForCausalLM(config), tokenizer=sizes.model.tokenizer)

    def theirs() -> np.ndarray:
        result = model.bridge.all_composition_scores("K")
        return result.detach().float().reshape(32, 32).numpy()

    def causal(ours: Any, peer: np.ndarray) -> float:
        return relative(ours.array[ours.possible], peer[ours.possible])

    ours = lambda: circuits.composition(model, "K")  # noqa: E731
    return [Work("K-composition, 1,024 pairs", ours, theirs, "transformer-lens", causal, 1e-3)]


def patches(sizes: Sizes) -> list[Work]:
    """Compare patching of the stream, at every layer and position, with whole runs of transformer-lens."""
    from transformer_lens import patching as theirs

    model = sizes.model
    clean, corrupted = (model.to_tokens(text) for text in (paths.CLEAN, paths.CORRUPTED))
    target = attribution.logit_difference(model, " Mary", " John")
    mary, john = model.token_id(" Mary"), model.token_id(" John")

    def whole() -> np.ndarray:
        bridge: Any = model.bridge
        _, kept = bridge.run_with_cache(clean)
        metric = lambda logits: logits[0, -1, mary] - logits[0, -1, john]  # noqa: E731
        with redirect_stderr(StringIO()):  # a bar of progress
            return theirs.get_act_patch_resid_pre(bridge, corrupted, kept, metric).detach().numpy()

    def same(result: Any, peer: np.ndarray) -> float:
        return relative(result.array[:-1], peer)

    ours = lambda: patching.patch_residual(model, clean, corrupted, target)  # noqa: E731
    floor = paths.patching_flops(model, clean, corrupted)["patch_residual"] / rate()
    count = f"{model.spec.n_layer} x {clean.shape[1]}"
    return [Work(f"stream patched at {count} places", ours, whole, "transformer-lens", same, 1e-3, floor)]
