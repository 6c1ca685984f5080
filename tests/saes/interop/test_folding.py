"""Moving scales and norms into the weights: nothing changes but the numbers they are stored in."""

from __future__ import annotations

import pytest
import torch

import saes
from saes.interop.folding import fold_decoder_norm, fold_scale
from tests.saes.interop import planted

X = planted.inputs().double()
SCALE = 0.37


def parts(architecture):
    sae = planted.sae(architecture).double()
    return {name: value.detach().clone() for name, value in sae.named_parameters()}, sae.settings


def built(architecture, tensors, settings):
    return saes.build(architecture, "autoencoder", tensors, settings)


@pytest.mark.parametrize("architecture", planted.ARCHITECTURES)
def test_a_folded_scale_is_applied_to_inputs_and_taken_from_outputs(architecture):
    tensors, settings = parts(architecture)
    scaled = built(architecture, tensors, settings)
    folded = built(architecture, fold_scale(tensors, SCALE, threshold_is_of_output=False), settings)
    torch.testing.assert_close(folded.encode(X), scaled.encode(X * SCALE))
    torch.testing.assert_close(folded(X), scaled(X * SCALE) / SCALE)


@pytest.mark.parametrize("forgotten", ["W_enc", "W_dec", "b_dec"])
def test_each_part_of_the_fold_is_needed(forgotten):
    """The control: leaving out any one of the three, the bias among them, is seen by the test above."""
    tensors, settings = parts("jumprelu")
    folded = fold_scale(tensors, SCALE, threshold_is_of_output=False) | {forgotten: tensors[forgotten]}
    wanted = built("jumprelu", tensors, settings)(X * SCALE) / SCALE
    assert (built("jumprelu", folded, settings)(X) - wanted).abs().max() > 0.1


@pytest.mark.parametrize("architecture", ["standard", "gated", "jumprelu", "batchtopk", "matryoshka"])
def test_folded_norms_change_no_reconstruction(architecture):
    tensors, settings = parts(architecture)
    before, after = built(architecture, tensors, settings), built(architecture, fold_decoder_norm(tensors), settings)
    norm = tensors["W_dec"].norm(dim=1)
    assert (norm - 1).abs().min() > 1e-3  # there is something to fold
    torch.testing.assert_close(after.W_dec.norm(dim=1), torch.ones_like(norm))
    torch.testing.assert_close(after(X), before(X))
    torch.testing.assert_close(after.encode(X), before.encode(X) * norm)


def test_a_threshold_that_is_not_folded_changes_which_latents_fire():
    tensors, settings = parts("jumprelu")
    folded = fold_decoder_norm(tensors) | {"threshold": tensors["threshold"]}
    fired = [built("jumprelu", t, settings).encode(X) != 0 for t in (tensors, folded)]
    assert (fired[0] != fired[1]).any()
