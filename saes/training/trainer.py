"""The training loop, one for every architecture.

    trainer = Trainer(config, activations)
    while trainer.step_number < config.steps:
        trainer.step()
    sae = trainer.finish()

A step: a batch, scaled; the architecture's forward and backward pass; the part of the decoder gradient that would only
change lengths is taken out; clipping; one fused pass of Adam; decoder rows back to length 1.
"""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import Tensor

from interp.arguments import checked
from interp.cache.tensors import check_finite
from interp.devices import available
from interp.errors import UsageError
from saes.architectures import architecture
from saes.architectures.base import Batch, Memory, StepResult, Weights
from saes.autoencoder import SAE, build
from saes.config import METRICS, Config
from saes.kernels.distributed_topk import TrainingGroup
from saes.kernels.encode import Scratch, half_is_quicker
from saes.training import schedule
from saes.training.data import FIX, Activations, Source, open_source
from saes.training.fold import fold, split_layers, threshold_for
from saes.training.initial import Scaling, first_weights, measure

EPSILON = 1e-10
"""Adam's: rare latents have gradients of 1e-8 when the loss is of order one."""


class Trainer:
    """Training in progress.

    A run that continues from its `state()` ends with identical bits.

    Args:
        config: configuration of the run.
        source: activations (n, d_in), pairs (x, y) for a transcoder, a store, or an iterable of batches.
        device: device of the weights.
        metadata: origin of the activations, for the metadata of the SAE.
        group: the processes that share each batch; None for one process.

    Attributes:
        config: configuration of the run.
        weights: weights by name, in the layout of training (see `saes.architectures.base`).
        step_number: number of batches so far.

    Example:
        >>> config = saes.Config(width=32, k=4, steps=2, batch_size=64)
        >>> trainer = saes.Trainer(config, torch.randn(256, 16, generator=torch.Generator().manual_seed(0)))
        >>> trainer.step()["l0"]
        4.0
    """

    @checked
    def __init__(
        self,
        config: Config,
        source: Activations,
        *,
        device: str | torch.device = "cpu",
        metadata: dict[str, Any] | None = None,
        group: TrainingGroup | None = None,
    ) -> None:
        self.config, self.device, self.group = config, available(device), group
        self._rule = architecture(config.architecture, config.variant)
        self._half = half_is_quicker(config.precision, self.device)
        self._source: Source = open_source(config, source)
        self._metadata = self._source.metadata | (metadata or {})
        sample = self._source.recent(0)
        self._scaling, bias = measure(config, sample, self._source.layers, self.device)
        self.weights: Weights = first_weights(config, self._rule, self._scaling, bias, sample, self._source.layers)
        self._average = {name: weight.clone() for name, weight in self.weights.items()} if config.average else None
        self._adam = torch.optim.Adam(list(self.weights.values()), lr=config.lr, eps=EPSILON, fused=True)
        self._silent = torch.zeros(len(self.weights["decoder"]), dtype=torch.long, device=self.device)
        self._memory, self._scratch = Memory(), Scratch()
        self.step_number, self._seconds = 0, 0.0
        self._history: list[list[float]] = []
        self._batches = None
        self._usual = torch.ones(0)

    def step(self) -> dict[str, float]:
        """Train on one batch and return its metrics (`METRICS`).

        Raises:
            UsageError: NaN or infinite activations, or an iterable that ended; no weight has changed then.

        Example:
            >>> list(trainer.step())  # trainer = saes.Trainer(config, activations)
            ['step', 'loss', 'fvu', 'l0', 'dead', 'lr', 'sparsity', 'norm', 'seconds']
        """
        started = time.perf_counter()
        batch = self._next()
        result = self._rule.step(batch)
        if self.group is not None:
            self.group.average([*result.gradients.values(), result.parallel, result.fired])
        norm = self._update(result)
        self._silent = torch.where(result.fired > 0, 0, self._silent + 1)
        active = float(result.fired.sum()) / len(batch.x)
        self._memory.density = active / self.config.width
        self.step_number += 1
        self._seconds += time.perf_counter() - started
        by_row, added = result.residual.square().sum(1), sum(result.losses.values(), result.residual.new_zeros(()))
        squares, usual_squares, usual = by_row.sum(), (by_row * self._usual).sum(), self._usual.sum()
        if self.group is not None:
            self.group.average([squares, added, usual_squares, usual])
        loss = squares * batch.unit + added
        fvu = usual_squares / usual.clamp(min=1) / self._scaling.variance
        dead = (self._silent >= self.config.dead_after).sum()
        row = [float(v) for v in (loss, fvu, active, dead)]
        row = [self.step_number, *row, self._adam.param_groups[0]["lr"], batch.sparsity, float(norm), self._seconds]
        self._history.append(row)
        return dict(zip(METRICS, row, strict=True))

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return tensors and plain values from which training continues exactly.

        >>> tensors, plain = trainer.state()  # trainer = saes.Trainer(config, activations)
        >>> sorted(plain), tensors["weights.decoder"].shape
        (['density', 'guess', 'seconds', 'step'], torch.Size([32, 16]))
        """
        tensors = {f"weights.{name}": weight for name, weight in self.weights.items()}
        for name, weight in self.weights.items():
            moments = self._adam.state.get(weight, {})
            tensors |= {f"adam.{name}.{kind}": moments[kind] for kind in ("exp_avg", "exp_avg_sq") if kind in moments}
        tensors |= {f"average.{name}": weight for name, weight in (self._average or {}).items()}
        tensors |= {f"scaling.{name}": value for name, value in vars(self._scaling).items()}
        tensors["silent"] = self._silent
        tensors["history"] = torch.tensor(self._history, dtype=torch.float64).reshape(-1, len(METRICS))
        plain = {"step": self.step_number, "seconds": self._seconds, **asdict(self._memory)}
        return {name: tensor.detach().clone() for name, tensor in tensors.items()}, plain

    def load_state(self, tensors: dict[str, Tensor], plain: dict[str, Any]) -> None:
        """Continue from a `state()` of the same run.

        That run had the same configuration and data.

        >>> trainer.load_state(*trainer.state())  # trainer = saes.Trainer(config, activations)
        """
        mine = {f"weights.{name}": weight for name, weight in self.weights.items()}
        for name, weight in mine.items():
            if name not in tensors or tensors[name].shape != weight.shape:
                raise UsageError(f"The saved state does not fit this configuration: {name} is missing or misshapen.")
            weight.copy_(tensors[name])
        self.step_number, self._seconds = int(plain["step"]), float(plain["seconds"])
        for name, weight in self.weights.items():
            if self.step_number:
                self._adam.state[weight] = {
                    "step": torch.tensor(float(self.step_number), device=self.device),
                    **{kind: tensors[f"adam.{name}.{kind}"].to(weight).clone() for kind in ("exp_avg", "exp_avg_sq")},
                }
            if self._average is not None:
                self._average[name].copy_(tensors[f"average.{name}"])
        endless = torch.tensor(torch.inf)  # for states saved before sinks were excluded
        scaling = {name: tensors.get(f"scaling.{name}", endless).to(self.device) for name in vars(self._scaling)}
        self._scaling = Scaling(**scaling)
        self._silent.copy_(tensors["silent"])
        self._memory = Memory(guess=float(plain["guess"]), density=float(plain["density"]))
        self._history = tensors["history"].tolist()
        self._batches = None

    def finish(self) -> SAE:
        """Return the SAE of the final weights, in data units.

        If there is a running average of the weights, it is used instead.

        >>> trainer.finish()  # trainer = saes.Trainer(config, activations)
        SAE(topk autoencoder, 32 latents of 16)
        """
        config, weights = self.config, self._final()
        if config.architecture in ("batchtopk", "matryoshka"):
            weights["threshold"] = self._threshold(weights).expand(config.width).clone()
        shared = config.variant != "transcoder"
        tensors = fold(weights, self._scaling, shared_bias=shared, unit=config.architecture != "topk")
        settings: dict[str, Any] = {"apply_b_dec_to_input": shared}
        if config.architecture == "topk":
            settings["k"] = config.k
        if config.prefixes:
            settings["groups"] = list(config.prefixes)
        if config.variant == "crosscoder":
            settings["layers"] = self._source.layers
        training = {**asdict(config), "groups": list(config.groups)}
        sae = build(config.architecture, config.variant, tensors, settings, {**self._metadata, "training": training})
        sae.history = self.history
        return sae

    def parts(self) -> list[SAE]:
        """Return each layer's part of a cross-layer transcoder.

        The parts are in units of the data.

        >>> config = saes.Config(width=8, k=2, steps=1, batch_size=16, variant="crosslayer")
        >>> x = torch.randn(64, 2, 4, generator=torch.Generator().manual_seed(0))
        >>> [part.variant for part in saes.Trainer(config, (x, x)).parts()]
        ['crosslayer', 'crosslayer']
        """
        config, weights, layers = self.config, self._final(), self._source.layers
        training = {**asdict(config), "groups": list(config.groups)}
        named = {"hook_names": [None] * layers, "hook_names_out": [None] * layers} | self._metadata
        rest = {name: value for name, value in self._metadata.items() if not name.startswith("hook_name")}
        result = []
        for at, one in enumerate(split_layers(weights, layers)):
            tensors = fold(one, self._scaling.of_layer(at, layers, later=True), shared_bias=False, unit=False)
            hooks = {"hook_name": named["hook_names"][at], "hook_names_out": list(named["hook_names_out"][at:])}
            settings = {"k": config.k, "layers": layers - at}
            sae = build("topk", "crosslayer", tensors, settings, rest | hooks | {"training": training})
            sae.history = self.history
            result.append(sae)
        return result

    def _final(self) -> Weights:
        """Return the weights or their running average.

        Decoder rows have length 1 if the architecture has unit decoder rows.
        """
        weights = dict(self._average or self.weights)
        if self._rule.unit_decoder:
            length = torch.linalg.vector_norm(weights["decoder"], dim=1, keepdim=True)
            weights["decoder"] = weights["decoder"] / length
        return weights

    @property
    def history(self) -> dict[str, np.ndarray]:
        """Metrics of every step by name."""
        table = np.array(self._history, dtype=np.float64).reshape(-1, len(METRICS))
        return {name: table[:, i] for i, name in enumerate(METRICS)}

    def _next(self) -> Batch:
        """Return the next batch, checked and scaled."""
        if self._batches is None:
            self._batches = self._source.batches(self.step_number)
        pair = next(self._batches)
        x, y = pair[0].to(self.device, non_blocking=True), pair[1].to(self.device, non_blocking=True)
        check_finite(x, f"inputs of batch {self.step_number + 1}", fix=FIX)
        if y is not x:
            check_finite(y, f"outputs of batch {self.step_number + 1}", fix=FIX)
        if x.shape[1] != len(self._scaling.scale_in) or y.shape[1] != len(self._scaling.scale_out):
            raise UsageError(
                f"Batch {self.step_number + 1} has rows of {x.shape[1]} and {y.shape[1]} values; those before had "
                f"{len(self._scaling.scale_in)} and {len(self._scaling.scale_out)}."
            )
        usual = self._scaling.usual((x, y))
        if self.config.max_norm is not None:
            x, y, usual = self._without_sinks(x, y, usual)
        x, y = self._scaling.apply((x, y))
        if self.group is not None:
            x, y, usual = (self.group.part(rows) for rows in (x, y, usual))
        self._usual = usual.to(x)
        dead = self._silent >= self.config.dead_after
        return Batch(
            x=x,
            y=y,
            weights=self.weights,
            config=self.config,
            sparsity=schedule.sparsity(self.config, self.step_number),
            dead=dead if bool(dead.any()) else None,
            half=self._half,
            scratch=self._scratch,
            memory=self._memory,
            group=self.group,
        )

    def _without_sinks(self, x: Tensor, y: Tensor, usual: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the rows that are not sinks.

        Raises `UsageError` if all rows are sinks.
        """
        if bool(usual.all()):
            return x, y, usual
        if not bool(usual.any()):
            raise UsageError(
                f"Batch {self.step_number + 1} has no row below max_norm={self.config.max_norm}: raise it."
            )
        rows = x[usual]
        return rows, rows if y is x else y[usual], usual[usual]

    def _update(self, result: StepResult) -> Tensor:
        """Make one step of Adam.

        Returns the norm of the gradient before clipping.
        """
        decoder, gradients = self.weights["decoder"], result.gradients
        if self._rule.unit_decoder:
            gradients["decoder"].addcmul_(decoder, -result.parallel.unsqueeze(1))
        norm = torch.stack([torch.linalg.vector_norm(g) for g in gradients.values()]).norm()
        if not torch.isfinite(norm):
            raise UsageError(f"The gradient of step {self.step_number + 1} is not finite: lower lr={self.config.lr}.")
        self._adam.param_groups[0]["lr"] = schedule.lr(self.config, self.step_number)
        if self.config.clip:  # Adam divides by this while it reads the gradient, as it does for torch.amp's scaler
            self._adam.grad_scale = (norm / self.config.clip).clamp(min=1.0)  # pyright: ignore[reportAttributeAccessIssue]
            self._adam.found_inf = torch.zeros_like(norm)  # pyright: ignore[reportAttributeAccessIssue]
        for name, weight in self.weights.items():
            weight.grad = gradients[name]
        self._adam.step()
        if self._rule.unit_decoder:
            decoder.div_(torch.linalg.vector_norm(decoder, dim=1, keepdim=True))
        if "threshold" in self.weights:
            self.weights["threshold"].clamp_(min=0.0)
        if self._average is not None:
            for name, mean in self._average.items():
                mean.lerp_(self.weights[name], 1 - self.config.average)
        return norm

    def _threshold(self, weights: Weights) -> Tensor:
        """Return the threshold above which k latents fire on average.

        It is computed from the last batches.
        """
        k, largest = self.config.k, []
        for pair in self._source.recent(self.step_number):
            x, y = pair[0].to(self.device), pair[1].to(self.device)
            if self.config.max_norm is not None:
                x, y, _ = self._without_sinks(x, y, self._scaling.usual((x, y)))
            x, _ = self._scaling.apply((x, y))
            pre = torch.addmm(weights["b_enc"], x, weights["encoder"].T)
            largest.append(pre.topk(min(8 * k, self.config.width), dim=1, sorted=False).values)
        return threshold_for(largest, k)
