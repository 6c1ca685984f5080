"""The trainers that `benchmarks/saes.py` compares, with one interface; peers run their own step.

A peer that is not installed is left out, with the command that installs it.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from io import StringIO
from typing import Any, Protocol

import torch
from torch import Tensor

import saes

INSTALL = {
    "sae_lens": "pip install sae-lens",
    "sparsify": "pip install --no-deps eai-sparsify natsort simple-parsing docstring-parser schedulefree",
    "dictionary_learning": "pip install --no-deps dictionary-learning nnsight",
}


@dataclass(frozen=True)
class Task:
    """What every trainer is given.

    Attributes:
        d: of the activations.
        width: number of latents.
        k: active latents.
        steps: of the whole run; schedules depend on it.
        lr: learning rate.
        window: steps without firing after which a latent is dead, and the auxiliary loss takes it up.
        seed: of the initial weights.
        first: the first batch.
    """

    d: int
    width: int
    k: int
    steps: int
    lr: float
    window: int
    seed: int
    first: Tensor

    @property
    def rise(self) -> int:
        """Steps of warm-up: the same for all who have one."""
        return max(self.steps // 20, 1)

    @property
    def fall(self) -> int:
        """Steps of decay at the end."""
        return max(self.steps // 5, 1)


class Trainer(Protocol):
    """One method."""

    def step(self, x: Tensor) -> None:
        """Train on a batch."""
        ...

    def decoder(self) -> Tensor:
        """(width, d)."""
        ...

    def reconstruct(self, x: Tensor) -> tuple[Tensor, float]:
        """The reconstruction and the mean number of active latents."""
        ...

    def dead(self) -> float:
        """Fraction of latents dead by the trainer's own count."""
        ...


class Ours:
    """`saes.Trainer`."""

    def __init__(self, task: Task, architecture: str, precision: str, **changes: float) -> None:
        self.batch = task.first
        config = saes.Config(
            architecture=architecture,
            width=task.width,
            k=task.k,
            steps=task.steps,
            batch_size=len(task.first),
            lr=task.lr,
            seed=task.seed,
            dead_after=task.window,
            precision=precision,
            lr_warmup=0.05,
        )
        self.config = replace(config, **changes)
        self.trainer = saes.Trainer(self.config, self._batches)
        self.metrics: dict[str, float] = {}

    def _batches(self) -> Iterator[Tensor]:
        while True:
            yield self.batch

    def step(self, x: Tensor) -> None:
        """See `Trainer`. The source gives whatever batch is current; the first eight are looked at before training."""
        self.batch = x
        self.metrics = self.trainer.step()

    def decoder(self) -> Tensor:
        """See `Trainer`."""
        return self.trainer.weights["decoder"]

    def reconstruct(self, x: Tensor) -> tuple[Tensor, float]:
        """See `Trainer`."""
        sae = self.trainer.finish()
        code = sae.encode(x)
        return sae.decode(code), float((code > 0).sum(1).float().mean())

    def dead(self) -> float:
        """See `Trainer`."""
        return self.metrics["dead"] / self.config.width


class SaeLens:
    """`SAETrainer.step`, as its `fit` calls it."""

    def __init__(self, task: Task, architecture: str) -> None:
        from sae_lens.config import SAETrainerConfig
        from sae_lens.registry import get_sae_training_class
        from sae_lens.training.sae_trainer import SAETrainer

        torch.manual_seed(task.seed)
        name = {"matryoshka": "matryoshka_batchtopk"}.get(architecture, architecture)
        sae_class, config_class = get_sae_training_class(name)
        own: dict[str, Any] = {"k": task.k} if "topk" in name else {}
        if architecture == "matryoshka":
            own["matryoshka_widths"] = [task.width // 16, task.width // 4, task.width]
        if architecture == "jumprelu":
            own["pre_act_loss_coefficient"] = 3e-6
        config = config_class(d_in=task.d, d_sae=task.width, device="cpu", dtype="float32", **own)
        sae = sae_class(config)
        with torch.no_grad():
            sae.b_dec.copy_(task.first.mean(0))
        count = len(task.first)
        settings = SAETrainerConfig(
            total_training_samples=task.steps * count,
            train_batch_size_samples=count,
            lr=task.lr,
            lr_end=task.lr / 10,
            lr_warm_up_steps=task.rise,
            lr_decay_steps=task.fall,
            dead_feature_window=task.window,
        )
        self.trainer = SAETrainer(cfg=settings, sae=sae, data_provider=iter(()))

    def step(self, x: Tensor) -> None:
        """See `Trainer`."""
        self.trainer.step(x)
        self.trainer.n_training_steps += 1

    def decoder(self) -> Tensor:
        """See `Trainer`."""
        return self.trainer.sae.W_dec.detach()

    @torch.no_grad()
    def reconstruct(self, x: Tensor) -> tuple[Tensor, float]:
        """See `Trainer`."""
        code = self.trainer.sae.encode(x)
        return self.trainer.sae.decode(code), float((code > 0).sum(1).float().mean())

    def dead(self) -> float:
        """See `Trainer`."""
        return float(self.trainer.dead_neurons.float().mean())


class Sparsify:
    """`SparseCoder` with the body of `sparsify.Trainer.fit`, and Adam.

    The trainer's own loop needs a language model.
    """

    def __init__(self, task: Task) -> None:
        with redirect_stdout(StringIO()):  # it prints that Triton is missing
            from sparsify.config import SparseCoderConfig
            from sparsify.sparse_coder import SparseCoder
        from transformers import get_linear_schedule_with_warmup

        torch.manual_seed(task.seed)
        self.coder = SparseCoder(task.d, SparseCoderConfig(num_latents=task.width, k=task.k))
        self.coder.b_dec.data = task.first.mean(0)
        self.adam = torch.optim.Adam(self.coder.parameters(), lr=task.lr)
        self.schedule = get_linear_schedule_with_warmup(self.adam, task.rise, task.steps)
        self.silent = torch.zeros(task.width, dtype=torch.long)
        self.window = task.window

    def step(self, x: Tensor) -> None:
        """See `Trainer`."""
        self.coder.set_decoder_norm_to_unit_norm()
        result = self.coder(x, dead_mask=self.silent > self.window)
        (result.fvu + result.auxk_loss / 32).backward()
        self.coder.remove_gradient_parallel_to_decoder_directions()
        self.adam.step()
        self.adam.zero_grad()
        self.schedule.step()
        self.silent += 1
        self.silent[result.latent_indices.flatten()] = 0

    def decoder(self) -> Tensor:
        """See `Trainer`."""
        return self.coder.W_dec.detach()

    @torch.no_grad()
    def reconstruct(self, x: Tensor) -> tuple[Tensor, float]:
        """See `Trainer`."""
        result = self.coder(x)
        return result.sae_out, float((result.latent_acts > 0).sum(1).float().mean())

    def dead(self) -> float:
        """See `Trainer`."""
        return float((self.silent > self.window).float().mean())


class DictionaryLearning:
    """`TopKTrainer.update`."""

    def __init__(self, task: Task) -> None:
        from dictionary_learning.trainers.top_k import TopKTrainer

        self.trainer = TopKTrainer(
            steps=task.steps,
            activation_dim=task.d,
            dict_size=task.width,
            k=task.k,
            layer=0,
            lm_name="none",
            lr=task.lr,
            warmup_steps=task.rise,
            decay_start=task.steps - task.fall,
            seed=task.seed,
            device="cpu",
        )
        self.trainer.dead_feature_threshold = task.window * len(task.first)
        self.number = 0

    def step(self, x: Tensor) -> None:
        """See `Trainer`."""
        self.trainer.update(self.number, x)
        self.number += 1

    def decoder(self) -> Tensor:
        """See `Trainer`."""
        return self.trainer.ae.decoder.weight.detach().T

    @torch.no_grad()
    def reconstruct(self, x: Tensor) -> tuple[Tensor, float]:
        """See `Trainer`."""
        code = self.trainer.ae.encode(x, use_threshold=False)
        return self.trainer.ae.decode(code), float((code > 0).sum(1).float().mean())

    def dead(self) -> float:
        """See `Trainer`."""
        return max(self.trainer.dead_features, 0) / self.trainer.ae.dict_size


Make = Callable[[Task], Trainer]


def methods(architectures: tuple[str, ...], precisions: tuple[str, ...]) -> tuple[dict[str, Make], list[str]]:
    """Return makers by name, and print a line for each peer that is not installed."""
    result: dict[str, Make] = {}
    for name in architectures:
        for precision in precisions:
            result[f"ours {name} {precision}"] = lambda task, n=name, p=precision: Ours(task, n, p)
        result[f"sae-lens {name}"] = lambda task, n=name: SaeLens(task, n)
    if "topk" in architectures:
        result["sparsify topk"] = Sparsify
        result["dictionary-learning topk"] = DictionaryLearning
    missing = [m for m in INSTALL if importlib.util.find_spec(m) is None]
    names = {m.replace("_", "-"): INSTALL[m] for m in missing}
    available = {name: make for name, make in result.items() if name.split()[0] not in names}
    return available, [f"{name} is not installed and left out: {how}" for name, how in names.items()]
