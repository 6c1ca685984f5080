"""The only module that imports transformer_lens, inside a function: the import alone takes seconds."""

from __future__ import annotations

import copy
import logging
import warnings
from itertools import chain
from typing import TYPE_CHECKING, Any

from torch import nn

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
"""What `config.architectures` must say for transformer_lens to boot without asking the hub."""


def boot(hf: Any, tokenizer: Any, name: str) -> TransformerBridge:
    """A `TransformerBridge` over the parameters of `hf`, offline. It rewires modules, so it gets its own."""
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
    """A copy that transformer_lens takes as complete; it would otherwise read one that adds BOS from where it came."""
    private = copy.deepcopy(tokenizer)
    private.init_kwargs |= {"name_or_path": "", "add_bos_token": True}
    return private


def _placeholder() -> Any:
    """A tokenizer of one word: booting without any would ask the hub for one by the model's name."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer(WordLevel({"a": 0}, unk_token="a")), eos_token="a")


def sharing_copy(hf: Any) -> Any:
    """A copy of the modules of `hf` around the very same parameters and buffers: no memory, no side effects."""
    memo = {id(tensor): tensor for tensor in chain(hf.parameters(), hf.buffers())}
    private: nn.Module = copy.deepcopy(hf, memo)
    return private
