"""Every comparison in one table: our time, that of a peer or a plain loop, and the floor.

    python -m benchmarks.table [--quick] [--works paths logistic] [--repeats 5]

Both sides run in turn on one thread, in an order that changes; given are medians of processor seconds, which other work
on the machine does not lengthen as it does the clock. Before anything is timed both sides' results are compared, and a
difference beyond the tolerance of the work ends the run: no time counts for another computation. The floor is what no
method can go below: the multiplications that must be done, at the rate of one large product measured in the same run,
or the bare forward pass that is part of the work.

`--quick` does the same with a random model of two blocks and tiny sizes, to see that all sides still run and agree;
its times mean nothing.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import platform
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

import interp
import probes
import saes
from benchmarks import collect, forward, paths, probes as logistic, saes as saes_benchmark
from benchmarks._saes_peers import Make, Task, Trainer, methods
from interp import attribution, cache, circuits, discovery, tasks, toy
from interp.errors import CheckFailedError
from probes import passes as reading

Call = Callable[[], Any]


@dataclass(frozen=True)
class Work:
    """Two ways to compute the same.

    Attributes:
        name: what is computed.
        ours: this toolkit's way.
        peer: the other way.
        peer_name: what that is.
        difference: of both sides' results, the largest relative one.
        tolerance: the largest difference that rounding explains.
        floor: seconds below which nothing can go; None where the peer is the floor or there is none.
    """

    name: str
    ours: Call
    peer: Call
    peer_name: str
    difference: Callable[[Any, Any], float]
    tolerance: float
    floor: float | None = None


@dataclass(frozen=True)
class Sizes:
    """How large the works are."""

    model: interp.Model
    n_token: int
    expansions: int
    rows: int
    layers: int
    steps: int
    width: int

    @staticmethod
    def of(quick: bool) -> Sizes:
        """Return the real model, or a random one of two blocks with the same tokenizer."""
        real = interp.load("smollm2", dtype=torch.float32)
        if not quick:
            return Sizes(real, 64, 2000, 400, 8, 300, 4608)
        config = transformers.LlamaConfig(
            vocab_size=len(real.tokenizer),
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
        )
        torch.manual_seed(0)
        tiny = interp.load(transformers.LlamaForCausalLM(config), tokenizer=real.tokenizer)
        return Sizes(tiny, 16, 40, 24, 2, 8, 64)


def relative(measured: Any, expected: Any) -> float:
    """Return the largest difference of two arrays, relative to the largest of the second."""
    measured, expected = np.asarray(measured, float), np.asarray(expected, float)
    return float(np.abs(measured - expected).max() / np.abs(expected).max())


def path_tree(sizes: Sizes) -> list[Work]:
    """Compare the largest paths, in rounds and one node at a time."""
    model = sizes.model
    tokens = paths.prompt(model, sizes.n_token)
    frozen, target = attribution.freeze(model, tokens), attribution.logit_difference(model, " Paris", " London")
    folded, n = paths.Folded(model), sizes.expansions

    def values(tree: Any, plain: Any) -> float:
        return relative([tree.value[row] for row in tree.largest(10)], [value for value, _ in plain[:10]])

    floor = paths.flops(frozen, attribution.path_tree(frozen, target, n)) / _rate()
    ours, plain = lambda: attribution.path_tree(frozen, target, n), lambda: paths.plain_loop(frozen, folded, target, n)
    return [Work(f"path tree, {n} expansions", ours, plain, "plain loop", values, 1e-3, floor)]


def passes(sizes: Sizes) -> list[Work]:
    """Compare a hook's value and a frozen input with the forward passes they contain."""
    model = sizes.model
    hook = f"blocks.{min(forward.LAYER, model.spec.n_layer - 1)}.hook_resid_post"
    ids = torch.randint(0, model.spec.d_vocab, (1, sizes.n_token), generator=torch.Generator().manual_seed(0))
    bare = forward.truncated(model.hf)

    @torch.no_grad()
    def cut() -> torch.Tensor:
        return bare(input_ids=ids, use_cache=False).last_hidden_state

    return [
        Work("one hook", lambda: model.run_with_cache(ids, hook)[1][hook], cut, "bare blocks", relative, 0.0),
        Work("freeze", lambda: attribution.freeze(model, ids), lambda: model(ids), "forward", _own_error, 1e-4),
    ]


def _own_error(frozen: Any, _: Any) -> float:
    """Return how far the frozen map ends from the model's logits."""
    return float(frozen.error)


def activations(sizes: Sizes) -> list[Work]:
    """Compare collecting activations with the bare model over the same tokens."""
    model, data = sizes.model, collect._statements(sizes.rows)
    run, _ = collect._bare(model, data)
    last, ids = model.spec.n_layer - 1, model.to_tokens(data.statements[0])
    hook = f"blocks.{last}.hook_resid_post"
    contexts = torch.randint(0, model.spec.d_vocab, (16, sizes.n_token), generator=torch.Generator().manual_seed(1))

    @torch.no_grad()
    def bare(rows: torch.Tensor) -> torch.Tensor:
        return model.hf.model(input_ids=rows, use_cache=False, output_hidden_states=True).hidden_states[-2]

    def harvested() -> np.ndarray:
        config = cache.Config(hooks=(f"blocks.{last - 1}.hook_resid_post",), context=sizes.n_token, batch_size=16)
        with tempfile.TemporaryDirectory() as folder:
            store = cache.harvest(model, contexts, config, folder)
            return torch.cat(list(store.batches(4096, seed=None, hook=config.hooks[0]))).numpy()

    def first(acts: Any, _: Any) -> float:
        _, cached = model.run_with_cache(ids, hook)
        return relative(acts.at(last)[0], cached[hook][0, -1])

    rows = contexts[:, 1:].shape
    return [
        Work(f"collect {len(data)} statements", lambda: probes.collect(model, data), run, "bare model", first, 1e-4),
        Work(f"harvest {rows[0] * rows[1]} rows", harvested, lambda: bare(contexts)[:, 1:].flatten(0, 1), "bare model",
             relative, 0.0),
    ]  # fmt: skip


def regressions(sizes: Sizes) -> list[Work]:
    """Compare logistic regressions of every layer, fold and strength."""
    d = sizes.model.spec.d_model
    X, y = logistic.random_rows(sizes.layers, max(2 * sizes.rows, 60), d)
    masks = torch.stack([torch.arange(len(y)) // 2 % 4 != k for k in range(4)]).double()

    def ours() -> np.ndarray:
        path = probes.batched.logistic_path(X, y, logistic.STRENGTHS, masks)
        return path.directions.numpy()

    def theirs() -> np.ndarray:
        options = logistic.SOLVERS["lbfgs"]
        result = [logistic.loop(layer.double().numpy(), y.numpy(), masks.numpy(), options) for layer in X]
        return np.stack(result, 1)

    floor = logistic.gradient_floor(X, len(masks)) * len(logistic.STRENGTHS)
    fits = len(X) * len(masks) * len(logistic.STRENGTHS)
    return [Work(f"{fits} logistic regressions", ours, theirs, "scikit-learn lbfgs", relative, 1e-3, floor)]


def toys(sizes: Sizes) -> list[Work]:
    """Compare toy models of ten densities, as one batch and one by one."""
    density = tuple(float(p) for p in np.logspace(0, -1.5, 10))
    config = toy.Config(5, 2, density=density, steps=sizes.steps, batch_size=1024)

    def one_by_one() -> np.ndarray:
        return np.concatenate([toy.train(replace(config, density=(p,))).features_in for p in density])

    ours = lambda: toy.train(config).features_in  # noqa: E731
    return [Work(f"10 toy models, {sizes.steps} steps", ours, one_by_one, "one by one", relative, 0.0)]


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


def codes(sizes: Sizes) -> list[Work]:
    """Compare codes of a topk autoencoder with the library that reads the same folder."""
    try:
        from sae_lens import SAE
    except ImportError:
        print("sae-lens is not installed: its codes are left out")
        return []
    d, width = sizes.model.spec.d_model, sizes.width
    generator = torch.Generator().manual_seed(0)
    tensors = {"W_enc": torch.randn(d, width, generator=generator), "b_enc": torch.zeros(width)}
    tensors |= {"W_dec": tensors["W_enc"].T.contiguous(), "b_dec": torch.zeros(d)}
    sae = saes.build("topk", "autoencoder", tensors, {"k": 8})
    with tempfile.TemporaryDirectory() as folder:
        sae.save(folder)
        peer: Any = SAE.load_from_disk(folder)
    x = torch.randn(2048, d, generator=generator)
    product = min(paths.timed(lambda: x @ tensors["W_enc"], 3).cpu for _ in range(2))
    theirs = lambda: peer.encode(x).detach().to_dense()  # noqa: E731
    return [Work(f"codes of 2,048 rows, width {width}", lambda: sae.encode(x), theirs, "sae-lens", relative, 1e-5,
                 product)]  # fmt: skip


def features(sizes: Sizes) -> list[Work]:
    """Codes and reconstructions of a topk autoencoder, without the zeros and with them."""
    d, width = sizes.model.spec.d_model, 4 * sizes.width
    generator = torch.Generator().manual_seed(0)
    encoder = torch.randn(d, width, generator=generator)
    tensors = {"W_enc": encoder, "b_enc": torch.zeros(width), "W_dec": encoder.T.contiguous(), "b_dec": torch.zeros(d)}
    sae = saes.build("topk", "autoencoder", tensors, {"k": 32})
    x = torch.randn(512 if width > 1000 else 16, d, generator=generator)
    product = min(paths.timed(lambda: x @ encoder, 3).cpu for _ in range(2))
    return [Work(f"features of {len(x)} rows, width {width:,}", lambda: sae.run_sparse(x)[1], lambda: sae.run(x)[1],
                 "dense codes", relative, 1e-5, product)]  # fmt: skip


def statements(sizes: Sizes) -> list[Work]:
    """Activations and log-probabilities of statements in pairs that begin alike, in one pass and in two."""
    data = probes.generate("capitals", seed=0)
    data = data.take(np.arange(min(len(data), sizes.rows)))

    def apart() -> tuple[Any, Any]:
        """Every token of every statement, once for the activations and once for the logits."""
        before, reading.can_share = reading.can_share, lambda *_: False
        try:
            return probes.collect(sizes.model, data), probes.log_probs(sizes.model, data)
        finally:
            reading.can_share = before

    def both(ours: Any, peer: Any) -> float:
        return max(relative(ours[0].values, peer[0].values), relative(ours[1], peer[1]))

    ours = lambda: probes.collect_with_log_probs(sizes.model, data)  # noqa: E731
    return [Work(f"{len(data)} statements with log-probabilities", ours, apart, "whole statements", both, 1e-4)]


def stream(sizes: Sizes) -> list[Work]:
    """A discriminant of a stream of rows, from its statistics and from all rows at once."""
    d = sizes.model.spec.d_model
    X, y = logistic.random_rows(1, 20 * sizes.rows, d)
    rows = X[0].double()  # their mean is large: float32 would leave other roundings on both sides

    def ours() -> np.ndarray:
        statistics = probes.Statistics(d)
        for part, labels in zip(rows.split(1024), y.split(1024), strict=True):
            statistics.update(part, labels)
        return probes.streaming.fit(probes.LDA(shrinkage="oas"), statistics).direction_

    theirs = lambda: probes.LDA(shrinkage="oas").fit(rows, y).direction_  # noqa: E731
    gram = min(paths.timed(lambda: rows.T @ rows, 3).cpu for _ in range(2))
    return [Work(f"LDA of {len(rows):,} streamed rows", ours, theirs, "all rows at once", relative, 1e-5, gram)]


def edge_scores(sizes: Sizes) -> list[Work]:
    """Scores of all edges on indirect objects, by secants and by five integrated gradients; compared by correlation."""
    task = tasks.ioi(sizes.model, n=3, seed=0)

    def apart(ours: Any, peer: Any) -> float:
        return 1 - float(np.corrcoef(ours.array, peer.array)[0, 1])

    secant, gradients = (lambda m=m: discovery.score(sizes.model, task, m) for m in ("secant", "eap-ig-inputs"))
    return [Work(f"scores of edges, {len(task)} pairs", secant, gradients, "EAP-IG-inputs, 5 steps", apart, 0.15)]


def training(sizes: Sizes) -> list[Work]:
    """Four steps of sparse autoencoders of fixed sparsity on planted features, by us and by sae-lens.

    Both begin at weights of their own and have trained for equally many steps. What is compared is quality: ours may
    leave a tenth more of the variance of other rows unexplained, not more. Kinds with a sparsity loss are left to
    `benchmarks.saes`.
    """
    if importlib.util.find_spec("sae_lens") is None:
        print("sae-lens is not installed: training is left out")
        return []
    small = sizes.width < 4608
    truth, width, rows = saes_benchmark.Truth(), 256 if small else sizes.width, 128 if small else saes_benchmark.BATCH
    batches = [truth.batch()[:rows] for _ in range(5)]
    product, adam = saes_benchmark.floor(width, "float32")
    least = 4 * (product * rows / saes_benchmark.BATCH + adam)

    def steps(make: Make) -> Call:
        trainer = make(Task(saes_benchmark.D, width, 32, 1000, 1e-3, window=1000, seed=17, first=batches[0]))

        def run() -> Trainer:
            for batch in batches[:4]:
                trainer.step(batch)
            return trainer

        run()  # the first steps load libraries and allocate
        return run

    works = []
    for kind in ("topk", "batchtopk", "matryoshka"):
        makers, _ = methods((kind,), ("float32",))
        ours, peer = steps(makers[f"ours {kind} float32"]), steps(makers[f"sae-lens {kind}"])
        worse = partial(_more_unexplained, batches[4])
        works.append(Work(f"4 steps of {kind}, width {width:,}", ours, peer, "sae-lens", worse, 0.1, least))
    return works


def _more_unexplained(x: torch.Tensor, ours: Trainer, peer: Trainer) -> float:
    """By what fraction the error of our reconstruction of rows exceeds the peer's."""
    error, theirs = (float((one.reconstruct(x)[0] - x).square().sum()) for one in (ours, peer))
    return max(0.0, error / theirs - 1)


WORKS: dict[str, Callable[[Sizes], list[Work]]] = {
    "paths": path_tree,
    "passes": passes,
    "activations": activations,
    "logistic": regressions,
    "toy": toys,
    "composition": composition,
    "codes": codes,
    "features": features,
    "statements": statements,
    "stream": stream,
    "edges": edge_scores,
    "training": training,
}


def compared(work: Work, repeats: int) -> str:
    """Return one row of the table; raise `CheckFailedError` where both sides did not compute the same."""
    difference = work.difference(work.ours(), work.peer())
    if not difference <= work.tolerance:
        raise CheckFailedError(f"{work.name}: both sides differ by {difference:.1e}, more than {work.tolerance:.0e}.")
    seconds: dict[Call, list[float]] = {work.ours: [], work.peer: []}
    for repeat in range(repeats):
        for call in (work.ours, work.peer) if repeat % 2 else (work.peer, work.ours):
            started = time.process_time()
            call()
            seconds[call].append(time.process_time() - started)
    ours, peer = (max(float(np.median(result)), 1e-9) for result in seconds.values())
    floor, over = ("", "") if work.floor is None else (f"{work.floor:.3f}", f"{ours / work.floor:.1f}")
    times = f"{ours:.3f} | {peer:.3f} | {peer / ours:.2f} | {floor} | {over}"
    return f"| {work.name} | {times} | {work.peer_name} | {difference:.0e} |"


def _rate() -> float:
    """Return floating-point operations a processor second of one thread, at best."""
    matrix = torch.randn(1024, 1024)
    return 2 * 1024**3 / paths.timed(lambda: matrix @ matrix, 5).cpu


def main(words: list[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="tiny sizes: do all sides run and agree?")
    parser.add_argument("--works", nargs="+", choices=WORKS, default=list(WORKS))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, help="a file that receives the table too")
    options = parser.parse_args(words)
    torch.set_num_threads(1)
    sizes = Sizes.of(options.quick)
    lines = [
        f"{platform.machine()}, {os.cpu_count()} cores, one thread, Python {platform.python_version()}, torch "
        f"{torch.__version__}, load {os.getloadavg()[0]:.1f}; processor seconds\n",
        "| work | ours | peer | peer / ours | floor | ours / floor | peer is | largest difference |",
        "|---|---|---|---|---|---|---|---|",
    ]
    print("\n".join(lines), flush=True)
    for name in options.works:
        for work in WORKS[name](sizes):
            lines.append(compared(work, 1 if options.quick else options.repeats))
            print(lines[-1], flush=True)
    if options.out:
        options.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
