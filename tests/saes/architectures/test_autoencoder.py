"""What an SAE computes in inference, and what `build` refuses."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import saes
from interp.errors import NotFiniteError, UsageError
from saes import autoencoder
from saes.architectures import architecture
from saes.config import ARCHITECTURES
from saes.sparse_codes import SparseCodes

D_IN, WIDTH = 6, 10


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def tensors(name: str, d_out: int = D_IN) -> dict[str, Tensor]:
    """Random weights with every latent parameter away from zero."""
    result = {"W_enc": normal(D_IN, WIDTH), "W_dec": normal(WIDTH, d_out, seed=1), "b_dec": normal(d_out, seed=2)}
    latents = {latent: normal(WIDTH, seed=i + 3) / 2 for i, latent in enumerate(architecture(name).latents)}
    if "threshold" in latents:
        latents["threshold"] = latents["threshold"].abs()
    return result | latents


def settings(name: str, **more: Any) -> dict[str, Any]:
    return ({"k": 3} if name == "topk" else {}) | more


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("centred", [True, False])
def test_encode_is_the_formula_of_its_architecture(name: str, centred: bool) -> None:
    w, x = tensors(name), normal(4, 5, D_IN, seed=9)  # leading axes of any number
    sae = saes.build(name, "autoencoder", w, settings(name, apply_b_dec_to_input=centred))
    z = (x - w["b_dec"] if centred else x) @ w["W_enc"]
    if name == "gated":
        magnitude = torch.relu(w["r_mag"].exp() * z + w["b_mag"])
        expected = torch.where(z + w["b_gate"] > 0, magnitude, torch.zeros_like(z))
    elif name == "topk":
        pre = z + w["b_enc"]
        least = pre.sort(-1, descending=True).values[..., 2:3]
        expected = torch.where(pre >= least, torch.relu(pre), torch.zeros_like(pre))
    else:
        pre = z + w["b_enc"]
        expected = torch.where(pre > w.get("threshold", torch.zeros(WIDTH)), torch.relu(pre), torch.zeros_like(pre))
    code = sae.encode(x)
    torch.testing.assert_close(code, expected)
    assert 0 < (code > 0).double().mean() < 1
    torch.testing.assert_close(sae(x), expected @ w["W_dec"] + w["b_dec"])
    assert (sae.d_in, sae.d_out, sae.width, sae.architecture) == (D_IN, D_IN, WIDTH, name)


def test_topk_can_choose_by_the_length_of_what_is_written() -> None:
    w, x = tensors("topk"), normal(20, D_IN, seed=9)
    plain = saes.build("topk", "autoencoder", w, {"k": 3})
    rescaled = saes.build("topk", "autoencoder", w, {"k": 3, "rescale_acts_by_decoder_norm": True})
    norms = w["W_dec"].norm(dim=1)
    folded = w | {"W_enc": w["W_enc"] * norms, "b_enc": w["b_enc"] * norms, "W_dec": w["W_dec"] / norms[:, None]}
    expected = saes.build("topk", "autoencoder", folded, {"k": 3})
    torch.testing.assert_close(rescaled.encode(x), expected.encode(x))
    torch.testing.assert_close(rescaled(x), expected(x))
    assert not torch.allclose(plain(x), rescaled(x))


def test_a_transcoder_writes_another_space_and_may_skip() -> None:
    w, skip, x = tensors("standard", d_out=4), normal(4, D_IN, seed=8), normal(7, D_IN, seed=9)
    without = saes.build("standard", "transcoder", w, {})
    with_skip = saes.build("standard", "transcoder", w | {"W_skip": skip}, {})
    torch.testing.assert_close(without.encode(x), torch.relu(x @ w["W_enc"] + w["b_enc"]))  # b_dec is of the output
    torch.testing.assert_close(with_skip(x), without(x) + x @ skip.T)
    assert without(x).shape == (7, 4)


def test_a_crosscoder_reads_and_writes_layers() -> None:
    w, x = tensors("standard"), normal(7, 2, 3, seed=9)
    sae = saes.build("standard", "crosscoder", w, {"layers": 2})
    flat = saes.build("standard", "autoencoder", w, {})
    assert torch.equal(sae(x), flat(x.flatten(1)).unflatten(1, (2, 3)))


REFUSED: list[tuple[str, str, dict[str, Any], dict[str, Any], str]] = [
    ("topkk", "autoencoder", {}, {}, 'architecture "topkk" is not known; the nearest is "topk"'),
    ("topk", "transcode", {}, {"k": 3}, 'variant "transcode" is not known; the nearest is "transcoder"'),
    ("topk", "autoencoder", {}, {}, 'needs the setting "k"'),
    ("topk", "autoencoder", {}, {"k": 11}, "k=11 must be from 1 to the width of 10"),
    ("topk", "autoencoder", {}, {"k": 3, "layer": 2}, 'setting "layer" is not known; the nearest is "layers"'),
    ("topk", "crosscoder", {}, {"k": 3}, 'needs the setting "layers"'),
    ("topk", "crosscoder", {}, {"k": 3, "layers": 4}, "d_out=6 is not a multiple of the 4 layers"),
    ("standard", "transcoder", {}, {"apply_b_dec_to_input": True}, "not for a transcoder"),
    ("standard", "autoencoder", {"threshold": normal(WIDTH)}, {}, "has the tensors W_enc, W_dec, b_dec, b_enc; given"),
    ("standard", "autoencoder", {"b_enc": None}, {}, "has the tensors"),
    (
        "standard",
        "autoencoder",
        {"b_enc": normal(9)},
        {},
        r"b_enc has shape \(9,\), but with W_enc \(6, 10\) it must be \(10,\)",
    ),
    ("standard", "autoencoder", {"W_dec": normal(9, 6)}, {}, r"W_dec has shape \(9, 6\)"),
    ("standard", "autoencoder", {"W_enc": normal(6)}, {}, r"W_enc must be \(d_in, width\)"),
    ("standard", "autoencoder", {"W_dec": normal(10, 4), "b_dec": normal(4)}, {}, "d_in=6 and d_out=4"),
    ("standard", "autoencoder", {"W_skip": normal(6, 6)}, {}, "has the tensors"),
]


@pytest.mark.parametrize(("name", "variant", "changed", "given", "says"), REFUSED)
def test_weights_that_do_not_fit_are_refused(
    name: str, variant: str, changed: dict[str, Any], given: dict[str, Any], says: str
) -> None:
    w = tensors(name if name in ARCHITECTURES else "topk") | changed
    with pytest.raises(UsageError, match=says):
        saes.build(name, variant, {key: tensor for key, tensor in w.items() if tensor is not None}, given)


def test_inputs_and_codes_of_another_size_are_refused() -> None:
    sae = saes.build("standard", "autoencoder", tensors("standard"), {})
    with pytest.raises(UsageError, match=r"shape \(2, 5\) do not fit this autoencoder: expected \(\.\.\., 6\)"):
        sae.encode(normal(2, 5))
    with pytest.raises(UsageError, match=r"shape \(2, 9\) does not fit 10 latents"):
        sae.decode(normal(2, 9))
    with pytest.raises(UsageError, match="takes inputs of shape"):
        sae.encode_sparse(normal(2, 3, 6))


def test_inputs_and_codes_of_any_dtype_are_taken_in_that_of_the_weights() -> None:
    w, skip = {name: tensor.float() for name, tensor in tensors("standard").items()}, normal(6, 6, seed=8).float()
    x = normal(4, 6, seed=9).to(torch.bfloat16)  # exact in every wider dtype
    for variant, more in (("autoencoder", {}), ("transcoder", {"W_skip": skip})):
        sae = saes.build("standard", variant, w | more, {})
        expected = sae(x.float())
        for dtype in (torch.bfloat16, torch.float32, torch.float64):
            result = sae(x.to(dtype))
            assert result.dtype == torch.float32 and torch.equal(result, expected)
        assert torch.equal(sae.decode(sae.encode(x).double()), sae.decode(sae.encode(x)))
    with pytest.raises(UsageError, match="Inputs must be a tensor, not list"):
        sae.encode([1.0])  # pyright: ignore[reportArgumentType]


def test_configurations_need_no_torch() -> None:
    import subprocess
    import sys

    code = "import sys, saes; saes.Config(); assert 'torch' not in sys.modules; assert 'train' in dir(saes)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_inputs_that_are_not_finite_are_refused_and_named(name: str, value: float) -> None:
    sae = saes.build(name, "autoencoder", tensors(name), settings(name))
    x = normal(7, D_IN, seed=9)
    sae(x)  # finite ones pass
    x[4, 2] = value
    for call in (sae.encode, sae, sae.run):
        with pytest.raises(NotFiniteError, match=r"inputs hold NaN or infinite values in 1 of 7 rows \(row 4\)"):
            call(x)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_overflow_is_not_silent(name: str) -> None:
    half = {key: value.half() for key, value in tensors(name).items()}
    sae = saes.build(name, "autoencoder", half, settings(name))
    with pytest.raises(NotFiniteError, match=r"pre-activations hold .* they overflow float16"):
        sae.encode(torch.full((2, D_IN), 6e4).half() * torch.sign(half["W_enc"][:, 0]))
    code = torch.full((1, WIDTH), 6e4).half() * torch.sign(half["W_dec"][:, 0])
    with pytest.raises(NotFiniteError, match="reconstructions hold"):
        sae.decode(code)


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("rows", [0, 1, 50])
@pytest.mark.parametrize("variant", ["autoencoder", "transcoder"])
def test_sparse_codes_are_the_codes_without_their_zeros(name, rows, variant, monkeypatch) -> None:
    w, x = tensors(name), normal(rows, D_IN, seed=9)
    w |= {"W_skip": normal(D_IN, D_IN, seed=8)} if variant == "transcoder" else {}
    if "threshold" in w:
        w["threshold"][::3] *= -1  # a code is never negative, whatever its threshold
    sae = saes.build(
        name, variant, w, settings(name, **{"rescale_acts_by_decoder_norm": True} if name == "topk" else {})
    )
    code, rebuilt = sae.run(x)
    for numbers in (2**22, 7 * WIDTH):  # in one piece, and seven rows at a time
        monkeypatch.setattr(autoencoder, "PRE_ACTIVATIONS", numbers)
        codes, out = sae.run_sparse(x)
        assert (len(codes), codes.width) == code.shape and bool((codes.values > 0).all())
        torch.testing.assert_close(codes.dense(), code, rtol=1e-12, atol=1e-14)  # products of other shapes round so
        assert torch.equal(codes.dense() != 0, code != 0)
        torch.testing.assert_close(out, rebuilt, rtol=1e-12, atol=1e-13)
        some = torch.arange(rows) % 3 == 0
        assert torch.equal(codes.where(some).dense(), codes.dense()[some])
        assert torch.equal(codes.counts, (code != 0).sum(1))
        assert torch.equal(SparseCodes.of(code).dense(), code)
    assert rows < 2 or 0 < len(codes.values) < code.numel() * 0.8
    with pytest.raises(UsageError, match="takes a matrix of inputs"):
        sae.sparse_codes(normal(2, 3, D_IN))
    with pytest.raises(NotFiniteError):
        sae.sparse_codes(torch.full((2, D_IN), torch.nan))


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_encode_has_the_same_values_and_a_gradient_where_one_is_asked_for(name: str, monkeypatch) -> None:
    """Without a gradient, codes are computed a few rows at a time; two rows a time here."""
    monkeypatch.setattr(autoencoder, "PRE_ACTIVATIONS", 2 * WIDTH)
    sae, x = saes.build(name, "autoencoder", tensors(name), settings(name)), normal(3, 5, D_IN, seed=9)
    plain, traced = sae.encode(x), sae.encode(x.clone().requires_grad_())
    torch.testing.assert_close(plain, traced.detach())
    assert not plain.requires_grad and (plain > 0).any()
    z = (x - sae.b_dec).requires_grad_()
    (expected,) = torch.autograd.grad(architecture(name).activate(z @ sae.W_enc, sae._final).sum(), z)
    read = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(sae.encode(read).sum(), read)
    torch.testing.assert_close(gradient, expected)
    assert gradient.any()
