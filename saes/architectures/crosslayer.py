"""Cross-layer transcoder over TopK.

Latents of layer l read its MLP's input and write the outputs of layers l, l+1, ...

    f_l = relu(x_l·encoder_l + b_enc_l) at the k largest of layer l, 0 elsewhere
    ŷ_m = Σ_{l ≤ m} f_l decoder_{l→m} + b_dec_m          loss: Σ_m |ŷ_m − y_m|² + AuxK of each layer

Described in transformer-circuits.pub/2025/attribution-graphs (methods); AuxK in arXiv 2406.04093. Layers are
concatenated: x is (n, layer · d_in), y (n, layer · d_out); `encoder` is (layer · width, d_in), `decoder` is (layer ·
width, layer · d_out) with zeros where a latent would write an earlier layer. Rows of the decoder have length 1 over all
that they write.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from saes.architectures.auxiliary import revive
from saes.architectures.base import Batch, StepResult
from saes.architectures.topk import TopK
from saes.kernels.select import rows_of
from saes.kernels.support import Sparse


class CrossLayer(TopK):
    """Cross-layer transcoder architecture over TopK.

    >>> CrossLayer().latents
    ('b_enc',)
    """

    def step(self, batch: Batch) -> StepResult:
        """Run the forward and backward pass of a batch."""
        parts = [_layer(batch, at) for at in range(layers_of(batch))]
        chosen = [self.choose(part) for part in parts]
        support, pre = _joined(chosen)
        f = torch.relu(pre).reshape(-1)
        residual = batch.reconstruct(support, f) - batch.y
        outer = residual * (2 * batch.unit)
        d_f = support.at(outer, batch.weights["decoder"])
        d_pre = d_f * (f > 0)
        result = StepResult(
            self._gradients(batch, [one for one, _ in chosen], support, d_pre, f, outer),
            parallel=support.sum_inputs(f * d_f),
            fired=support.sum_inputs((f > 0).to(f.dtype)),
            residual=residual,
            losses={},
        )
        for at, part in enumerate(parts):
            self._revive(part, result, at)
        return result

    def _gradients(
        self, batch: Batch, supports: list[Sparse], support: Sparse, d_pre: Tensor, f: Tensor, outer: Tensor
    ) -> dict[str, Tensor]:
        """Return the gradients of all weights; zero for writes to earlier layers."""
        width, d_out = batch.config.width, batch.y.shape[1] // len(supports)
        encoder, decoder = batch.weights["encoder"], batch.weights["decoder"]
        d_encoder = batch.scratch.get("d_encoder", tuple(encoder.shape), encoder)
        by_layer = d_pre.view(len(batch.x), len(supports), -1)
        for at, one in enumerate(supports):
            one.spread(by_layer[:, at].reshape(-1), _input(batch, at), d_encoder[at * width : (at + 1) * width])
        d_decoder = support.spread(f, outer, batch.scratch.get("d_decoder", tuple(decoder.shape), decoder))
        for at in range(1, len(supports)):
            d_decoder[at * width : (at + 1) * width, : at * d_out] = 0
        gradients = {"encoder": d_encoder, "decoder": d_decoder}
        return gradients | {"b_enc": support.sum_inputs(d_pre), "b_dec": outer.sum(0)}

    def _revive(self, part: Batch, result: StepResult, at: int) -> None:
        """Add the auxiliary loss of a layer's dead latents.

        They reconstruct the residual of the layers that they write.
        """
        width = part.config.width
        mine, first = slice(at * width, (at + 1) * width), result.residual.shape[1] - part.y.shape[1]
        gradients = {name: result.gradients[name][mine] for name in ("encoder", "b_enc")}
        gradients["decoder"] = result.gradients["decoder"][mine, first:]
        layer = StepResult(gradients, result.parallel[mine], result.fired[mine], result.residual[:, first:], {})
        revive(part, layer)
        if "auxiliary" in layer.losses:
            before = result.losses.get("auxiliary", torch.zeros_like(layer.losses["auxiliary"]))
            result.losses["auxiliary"] = before + layer.losses["auxiliary"]


def layers_of(batch: Batch) -> int:
    """Return the number of layers in a batch."""
    return batch.x.shape[1] // batch.weights["encoder"].shape[1]


def _input(batch: Batch, at: int) -> Tensor:
    d_in = batch.weights["encoder"].shape[1]
    return batch.x[:, at * d_in : (at + 1) * d_in].contiguous()


def _layer(batch: Batch, at: int) -> Batch:
    """Return the part of a batch for one layer.

    It is what the latents of the layer read and write.
    """
    width, d_out = batch.config.width, batch.y.shape[1] // layers_of(batch)
    mine, weights = slice(at * width, (at + 1) * width), batch.weights
    own = {"encoder": weights["encoder"][mine], "b_enc": weights["b_enc"][mine]}
    own["decoder"] = weights["decoder"][mine, at * d_out :]
    dead = None if batch.dead is None or not bool(batch.dead[mine].any()) else batch.dead[mine]
    return replace(batch, x=_input(batch, at), y=batch.y[:, at * d_out :], weights=own, dead=dead)


def _joined(chosen: list[tuple[Sparse, Tensor]]) -> tuple[Sparse, Tensor]:
    """Return the pairs of all layers and their pre-activations.

    The pre-activations are (n, layer · k).
    """
    n, width = chosen[0][0].n, chosen[0][0].width
    columns = torch.cat([one.columns.view(n, -1) + at * width for at, (one, _) in enumerate(chosen)], dim=1)
    return rows_of(columns, width * len(chosen)), torch.cat([pre.view(n, -1) for _, pre in chosen], dim=1)
