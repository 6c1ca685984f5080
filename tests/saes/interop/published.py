"""Small dictionaries in the layouts of published releases, in a folder that stands for the hub."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from tests.saes.interop.planted import D_IN, WIDTH

GEMMA_2 = "layer_5/width_16k/average_l0_68"
CLASSES = (
    *("AutoEncoder", "GatedAutoEncoder", "AutoEncoderTopK", "BatchTopKSAE", "MatryoshkaBatchTopKSAE"),
    "JumpReluAutoEncoder",
)


class Draw:
    """Random weights, the same ones every time."""

    def __init__(self) -> None:
        self.generator = torch.Generator().manual_seed(11)

    def __call__(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self.generator)

    def jumprelu(self, encoder: str = "W_enc", decoder: str = "W_dec") -> dict[str, Tensor]:
        result = {encoder: self(D_IN, WIDTH), decoder: self(WIDTH, D_IN), "b_enc": self(WIDTH), "b_dec": self(D_IN)}
        return result | {"threshold": self(WIDTH).abs() + 0.5}

    def linear(self, encoder: str = "encoder", decoder: str = "decoder") -> dict[str, Tensor]:
        result = {f"{encoder}.weight": self(WIDTH, D_IN), f"{encoder}.bias": self(WIDTH)}
        return result | {f"{decoder}.weight": self(D_IN, WIDTH), f"{decoder}.bias": self(D_IN)}


def gemma_2(root: Path, part: str, folder: str = GEMMA_2) -> tuple[str, str]:
    """(repository, folder in it) of a Gemma Scope dictionary."""
    repo = f"google/gemma-scope-2b-pt-{part}"
    place = made(root / repo / folder)
    np.savez(place / "params.npz", **{name: value.numpy() for name, value in Draw().jumprelu().items()})
    return repo, folder


def gemma_3(root: Path, part: str, *, affine: bool = False, config: dict[str, Any] | None = None) -> tuple[str, str]:
    """Of Gemma Scope 2."""
    repo, folder = "google/gemma-scope-2-270m-pt", f"{part}/layer_9_width_16k_l0_small{'_affine' * affine}"
    draw, place = Draw(), made(root / repo / folder)
    tensors = draw.jumprelu("w_enc", "w_dec")
    if affine:
        tensors["affine_skip_connection"] = draw(D_IN, D_IN)
    save_file(tensors, place / "params.safetensors")
    if config is not None:
        (place / "config.json").write_text(json.dumps(config))
    return repo, folder


def gemma_3_clt(root: Path, n_layer: int = 3, *, affine: bool = True) -> tuple[str, str]:
    """Every layer of a cross-layer transcoder of Gemma Scope 2."""
    repo, folder = "google/gemma-scope-2-270m-pt", f"clt/width_16k_l0_big{'_affine' * affine}"
    draw, place = Draw(), made(root / repo / folder)
    for layer in range(n_layer):
        tensors = draw.jumprelu("w_enc", "w_dec") | {"w_dec": draw(WIDTH, n_layer, D_IN)}
        tensors["w_dec"][:, :layer] = 0
        if affine:
            tensors["affine_skip_connection"] = draw(D_IN, D_IN)
        save_file(tensors, place / f"params_layer_{layer}.safetensors")
    return repo, folder


def llama_scope(root: Path) -> tuple[str, str]:
    """Of Llama Scope."""
    repo, folder = "fnlp/Llama3_1-8B-Base-LXR-8x", "Llama3_1-8B-Base-L3R-8x"
    place = made(root / repo / folder)
    config = {"d_model": D_IN, "d_sae": WIDTH, "hook_point_in": "blocks.3.hook_resid_post", "jump_relu_threshold": 0.4}
    config |= {"dataset_average_activation_norm": {"in": 2.5, "out": 2.5}, "expansion_factor": 8}
    (place / "hyperparams.json").write_text(json.dumps(config))
    save_file(Draw().linear(), made(place / "checkpoints") / "final.safetensors")
    return repo, folder


def qwen_scope(root: Path) -> tuple[str, str]:
    """Of Qwen Scope, k 50 in the release's name; here 5."""
    repo, file = "Qwen/SAE-Res-Qwen3-1.7B-Base-W32K-L0_5", "layer7.sae.pt"
    draw, place = Draw(), made(root / repo)
    tensors = {"W_enc": draw(WIDTH, D_IN), "W_dec": draw(D_IN, WIDTH), "b_enc": draw(WIDTH), "b_dec": draw(D_IN)}
    torch.save(tensors, place / file)
    return repo, file


def dictionary_learning(root: Path, kind: str) -> tuple[str, str]:
    """Of dictionary_learning, by class."""
    repo, folder = "canrager/lm_sae", f"sweep/{kind}"
    draw, place = Draw(), made(root / repo / folder)
    tensors = draw.linear() | {"b_dec": draw(D_IN)}
    del tensors["decoder.bias"]
    if kind == "AutoEncoder":
        tensors["bias"] = tensors.pop("b_dec")
    if kind == "GatedAutoEncoder":
        tensors |= {"decoder_bias": tensors.pop("b_dec"), "r_mag": draw(WIDTH) * 0.3}
        tensors |= {"gate_bias": draw(WIDTH), "mag_bias": draw(WIDTH)}
        del tensors["encoder.bias"]
    if kind == "AutoEncoderTopK":
        tensors |= {"k": torch.tensor(5), "threshold": torch.tensor(0.3)}
    if "BatchTopK" in kind:
        tensors |= {"k": torch.tensor(5), "threshold": torch.tensor(0.3)}
    if kind == "JumpReluAutoEncoder":
        matrices = {"W_enc": tensors.pop("encoder.weight").T.contiguous(), "b_enc": tensors.pop("encoder.bias")}
        matrices["W_dec"] = tensors.pop("decoder.weight").T.contiguous()
        tensors |= matrices | {"threshold": draw(WIDTH).abs() + 0.5}
    torch.save(tensors, place / "ae.pt")
    trainer = {"dict_class": kind, "layer": 4, "lm_name": "EleutherAI/pythia-70m", "k": 5, "lr": 1e-3}
    config = {"trainer": trainer | {"activation_dim": D_IN, "dict_size": WIDTH}, "buffer": {"ctx_len": 128}}
    (place / "config.json").write_text(json.dumps(config))
    return repo, folder


def circuit_tracer(root: Path, layers: tuple[int, ...], *, threshold: bool = False, skip: bool = False) -> Path:
    """A set of transcoders for these layers."""
    draw, place = Draw(), made(root)
    for layer in layers:
        tensors = {"W_enc": draw(WIDTH, D_IN), "W_dec": draw(WIDTH, D_IN), "b_enc": draw(WIDTH), "b_dec": draw(D_IN)}
        tensors |= {"activation_function.threshold": draw(WIDTH).abs() + 0.5} if threshold else {}
        tensors |= {"W_skip": draw(D_IN, D_IN)} if skip else {}
        save_file(tensors, place / f"layer_{layer}.safetensors")
    _config_yaml(place, "transcoder_set")
    return place


def circuit_tracer_clt(root: Path, n_layer: int, *, threshold: bool = False) -> Path:
    """A cross-layer transcoder."""
    draw, place = Draw(), made(root)
    for i in range(n_layer):
        tensors = {f"W_enc_{i}": draw(WIDTH, D_IN), f"b_enc_{i}": draw(WIDTH), f"b_dec_{i}": draw(D_IN)}
        tensors |= {f"threshold_{i}": draw(WIDTH).abs() + 0.5} if threshold else {}
        save_file(tensors, place / f"W_enc_{i}.safetensors")
        save_file({f"W_dec_{i}": draw(WIDTH, n_layer - i, D_IN)}, place / f"W_dec_{i}.safetensors")
    _config_yaml(place, "cross_layer_transcoder")
    return place


def _config_yaml(place: Path, kind: str) -> None:
    lines = ("model_name: google/gemma-2-2b", f"model_kind: {kind}", "feature_input_hook: hook_resid_mid")
    (place / "config.yaml").write_text("\n".join([*lines, "feature_output_hook: hook_mlp_out", "scan: test"]) + "\n")


def made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder
