"""Comparisons of sparse autoencoders and toy models."""

from __future__ import annotations

import importlib.util
import tempfile
import time
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch

import saes
from benchmarks import paths, saes as saes_benchmark
from benchmarks._saes_peers import Make, Task, Trainer, methods
from benchmarks._work import Call, Sizes, Work, relative
from interp import toy


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
    product, adam = saes_benchmark.floor(width, "float32", time.process_time)
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


def toys(sizes: Sizes) -> list[Work]:
    """Compare toy models of ten densities, as one batch and one by one."""
    density = tuple(float(p) for p in np.logspace(0, -1.5, 10))
    config = toy.Config(5, 2, density=density, steps=sizes.steps, batch_size=1024)

    def one_by_one() -> np.ndarray:
        return np.concatenate([toy.train(replace(config, density=(p,))).features_in for p in density])

    ours = lambda: toy.train(config).features_in  # noqa: E731
    return [Work(f"10 toy models, {sizes.steps} steps", ours, one_by_one, "one by one", relative, 0.0)]
