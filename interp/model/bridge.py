"""The bridge of transformer_lens; only this module imports it, inside a function."""

from __future__ import annotations

import copy
import logging
import warnings
from itertools import chain
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from interp.errors import UnsupportedModelError

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

ARCHITECTURES = {
    "llama": "LlamaForCausalLM",
    "mistral": "MistralForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
    "gemma": "GemmaForCausalLM",
    "gemma2": "Gemma2ForCausalLM",
    "gemma3_text": "Gemma3ForCausalLM",
    "mixtral": "MixtralForCausalLM",
    "qwen3_moe": "Qwen3MoeForCausalLM",
    "olmoe": "OlmoeForCausalLM",
    "gpt_oss": "GptOssForCausalLM",
    "phi3": "Phi3ForCausalLM",
    "stablelm": "StableLmForCausalLM",
    "smollm3": "SmolLM3ForCausalLM",
    "cohere": "CohereForCausalLM",
    "cohere2": "Cohere2ForCausalLM",
    "granite": "GraniteForCausalLM",
    "olmo2": "Olmo2ForCausalLM",
    "olmo3": "Olmo3ForCausalLM",
    "bloom": "BloomForCausalLM",
    "falcon": "FalconForCausalLM",
    "gptj": "GPTJForCausalLM",
    "mpt": "MPTForCausalLM",
    "opt": "OPTForCausalLM",
    "phi": "PhiForCausalLM",
    "gpt2": "GPT2LMHeadModel",
    "gpt_neox": "GPTNeoXForCausalLM",
}
"""What `config.architectures` must be for transformer_lens to boot without asking the hub."""

TOLERANCE = {torch.float64: 1e-4, torch.float32: 1e-4}
"""Relative error of logits above which a bridge computes something else; of half precision 0.2."""


def boot(hf: Any, tokenizer: Any, name: str) -> TransformerBridge:
    """Return a `TransformerBridge` over the parameters of `hf`, offline.

    The bridge rewires modules, so it has its own.

    Raises `UnsupportedModelError` for a model that transformer_lens cannot take, or computes otherwise.
    """
    try:
        bridge = _booted(hf, tokenizer, name)
        error = _error(hf, bridge)
    except (RuntimeError, ValueError, AttributeError, KeyError, TypeError) as failure:
        raise UnsupportedModelError(
            f"transformer_lens cannot take this {hf.config.model_type} ({type(failure).__name__}: {failure}): there is "
            "no bridge; model.run_with_cache, edits and generation work without."
        ) from failure
    if not error <= TOLERANCE.get(next(hf.parameters()).dtype, 0.2):
        raise UnsupportedModelError(
            f"The bridge of transformer_lens does not compute what this {hf.config.model_type} does (relative error "
            f"{error:.1e} of its logits): it is not used; model.run_with_cache, edits and generation work without."
        )
    return bridge


@torch.no_grad()
def _error(hf: Any, bridge: TransformerBridge) -> float:
    """Return the relative error of the bridge's logits on three tokens.

    It is the largest error over the largest logit.
    """
    tokens = torch.tensor([[0, 1, 2]], device=next(hf.parameters()).device)
    theirs = hf(input_ids=tokens, use_cache=False).logits
    return float((bridge(tokens) - theirs).abs().max() / theirs.abs().max())


def _booted(hf: Any, tokenizer: Any, name: str) -> TransformerBridge:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from transformer_lens.model_bridge import TransformerBridge

        private = sharing_copy(hf)
        private.config.architectures = [ARCHITECTURES[hf.config.model_type]]
        parameter = next(private.parameters())
        level = logging.root.level
        bridge = TransformerBridge.boot_transformers(
            name,
            hf_model=private,
            tokenizer=_as_it_is(tokenizer or _placeholder()),
            dtype=parameter.dtype,
            device=str(parameter.device),
        )
        logging.root.setLevel(level)
    if tokenizer is None:
        bridge.tokenizer = None
    return bridge


def _as_it_is(tokenizer: Any) -> Any:
    """Return a copy of a tokenizer that transformer_lens takes as complete.

    It would otherwise read one that adds BOS from where the first came from.
    """
    private = copy.deepcopy(tokenizer)
    private.init_kwargs |= {"name_or_path": "", "add_bos_token": True}
    return private


def _placeholder() -> Any:
    """Return a tokenizer with one word.

    Booting without a tokenizer would ask the hub for one by the name of the model.
    """
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer(WordLevel({"a": 0}, unk_token="a")), eos_token="a")


def sharing_copy(hf: Any) -> Any:
    """Return a copy of `hf` that shares its parameters and buffers.

    The copied modules are new objects.
    """
    memo = {id(tensor): tensor for tensor in chain(hf.parameters(), hf.buffers())}
    private: nn.Module = copy.deepcopy(hf, memo)
    return private
