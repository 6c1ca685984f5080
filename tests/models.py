"""Small random models of every supported family, with every feature of the family switched on, and a small tokenizer.

Built from `transformers` configurations, so that no test needs a network; the same seed gives the same weights.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import transformers

import interp
from interp.model import Model

D_VOCAB = 64
N_CTX = 40
_SHAPE = dict(
    vocab_size=D_VOCAB,
    hidden_size=24,
    intermediate_size=40,
    num_hidden_layers=3,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=N_CTX,
    tie_word_embeddings=False,
    attn_implementation="eager",
)


def _llama() -> Any:
    config = transformers.LlamaConfig(**_SHAPE, head_dim=8, attention_bias=True, mlp_bias=True)
    return transformers.LlamaForCausalLM(config)


def _llama3() -> Any:
    """The rotary scaling of Llama 3: long wavelengths slowed down, short ones unchanged, others interpolated."""
    scaling = dict(
        rope_type="llama3",
        rope_theta=1e4,
        factor=8.0,
        low_freq_factor=1.0,
        high_freq_factor=4.0,
        original_max_position_embeddings=16,
    )
    return transformers.LlamaForCausalLM(
        transformers.LlamaConfig(**_SHAPE | {"tie_word_embeddings": True}, rope_parameters=scaling)
    )


def _mistral() -> Any:
    return transformers.MistralForCausalLM(transformers.MistralConfig(**_SHAPE, head_dim=8, sliding_window=3))


def _qwen2() -> Any:
    return transformers.Qwen2ForCausalLM(transformers.Qwen2Config(**_SHAPE))


def _qwen3() -> Any:
    return transformers.Qwen3ForCausalLM(transformers.Qwen3Config(**_SHAPE, head_dim=8, attention_bias=True))


def _gemma() -> Any:
    shape = _SHAPE | {"num_key_value_heads": 1, "tie_word_embeddings": True}
    return transformers.GemmaForCausalLM(transformers.GemmaConfig(**shape, head_dim=8))


def _gemma2() -> Any:
    config = transformers.Gemma2Config(
        **_SHAPE | {"tie_word_embeddings": True},
        head_dim=8,
        sliding_window=3,
        query_pre_attn_scalar=12,
        attn_logit_softcapping=2.0,
        final_logit_softcapping=3.0,
    )
    return transformers.Gemma2ForCausalLM(config)


def _gemma3() -> Any:
    """Two rotary bases, one of them rescaled, and a window shorter than the prompts."""
    full = dict(rope_type="linear", rope_theta=1e5, factor=4.0)
    config = transformers.Gemma3TextConfig(
        **_SHAPE | {"tie_word_embeddings": True},
        head_dim=8,
        sliding_window=3,
        query_pre_attn_scalar=12,
        attention_bias=True,
        layer_types=["sliding_attention", "full_attention", "sliding_attention"],
        rope_parameters=dict(full_attention=full, sliding_attention=dict(rope_type="default", rope_theta=1e3)),
    )
    return transformers.Gemma3ForCausalLM(config)


def _gpt2() -> Any:
    config = transformers.GPT2Config(
        bos_token_id=1,
        eos_token_id=1,
        vocab_size=D_VOCAB,
        n_embd=24,
        n_layer=3,
        n_head=4,
        n_positions=N_CTX,
        n_inner=40,
        tie_word_embeddings=False,
        scale_attn_by_inverse_layer_idx=True,
        attn_implementation="eager",
    )
    return transformers.GPT2LMHeadModel(config)


def _neox(parallel: bool) -> Any:
    config = transformers.GPTNeoXConfig(
        vocab_size=D_VOCAB,
        hidden_size=24,
        intermediate_size=40,
        num_hidden_layers=3,
        num_attention_heads=4,
        max_position_embeddings=N_CTX,
        rope_parameters=dict(rope_type="default", rope_theta=1e4, partial_rotary_factor=2 / 3),
        use_parallel_residual=parallel,
        attn_implementation="eager",
    )
    return transformers.GPTNeoXForCausalLM(config)


def _mixtral(**changed: Any) -> Any:
    shape = _SHAPE | dict(num_local_experts=5, num_experts_per_tok=2, sliding_window=4) | changed
    return transformers.MixtralForCausalLM(transformers.MixtralConfig(**shape))


def _qwen3_moe(**changed: Any) -> Any:
    """Shares of all experts, of which the others' part is dropped."""
    experts = dict(num_experts=6, num_experts_per_tok=3, moe_intermediate_size=16, norm_topk_prob=False)
    return transformers.Qwen3MoeForCausalLM(
        transformers.Qwen3MoeConfig(**_SHAPE | experts | dict(head_dim=8, attention_bias=True) | changed)
    )


def _olmoe(**changed: Any) -> Any:
    """Norms of queries and keys over all heads."""
    experts = dict(num_experts=6, num_experts_per_tok=2, num_key_value_heads=4, attention_bias=True)
    return transformers.OlmoeForCausalLM(transformers.OlmoeConfig(**_SHAPE | experts | changed))


def _gpt_oss(**changed: Any) -> Any:
    """A limit of 1.5 is reached by the activations of a small random model; the published one of 7 is not."""
    experts = dict(num_local_experts=5, num_experts_per_tok=2, swiglu_limit=1.5)
    rotary = dict(rope_type="yarn", rope_theta=1e4, factor=2.0, original_max_position_embeddings=20)
    shape = _SHAPE | experts | dict(head_dim=8, sliding_window=3, rope_parameters=rotary) | changed
    return transformers.GptOssForCausalLM(transformers.GptOssConfig(**shape))


EXPERTS: dict[str, Callable[..., Any]] = {
    "mixtral": _mixtral,
    "qwen3_moe": _qwen3_moe,
    "olmoe": _olmoe,
    "gpt_oss": _gpt_oss,
}
"""Mixtures of experts, apart from the other families."""


def _phi3() -> Any:
    rope = dict(rope_type="default", rope_theta=1e4, partial_rotary_factor=0.5)
    shape = _SHAPE | {"hidden_size": 32}
    return transformers.Phi3ForCausalLM(
        transformers.Phi3Config(**shape, sliding_window=3, rope_parameters=rope, pad_token_id=0)
    )


def _stablelm(parallel: bool) -> Any:
    config = transformers.StableLmConfig(
        **_SHAPE | {"hidden_size": 32}, use_qkv_bias=True, use_parallel_residual=parallel,
        rope_parameters=dict(rope_type="default", rope_theta=1e4, partial_rotary_factor=0.5),
    )  # fmt: skip
    return transformers.StableLmForCausalLM(config)


def _smollm3() -> Any:
    config = transformers.SmolLM3Config(**_SHAPE, no_rope_layers=[1, 0, 1], attention_bias=True, pad_token_id=0)
    return transformers.SmolLM3ForCausalLM(config)


def _cohere() -> Any:
    config = transformers.CohereConfig(**_SHAPE, attention_bias=True, logit_scale=0.25)
    return transformers.CohereForCausalLM(config)


def _cohere2() -> Any:
    """Two layers with a window, which rotate, and one without."""
    config = transformers.Cohere2Config(
        **_SHAPE,
        logit_scale=0.25,
        sliding_window=3,
        layer_types=["sliding_attention", "full_attention", "sliding_attention"],
    )
    return transformers.Cohere2ForCausalLM(config)


def _granite() -> Any:
    config = transformers.GraniteConfig(
        **_SHAPE,
        attention_bias=True,
        mlp_bias=True,
        embedding_multiplier=3.0,
        residual_multiplier=0.4,
        attention_multiplier=0.3,
        logits_scaling=2.0,
    )
    return transformers.GraniteForCausalLM(config)


def _olmo2() -> Any:
    return transformers.Olmo2ForCausalLM(transformers.Olmo2Config(**_SHAPE, attention_bias=True))


def _olmo3() -> Any:
    config = transformers.Olmo3Config(
        **_SHAPE, sliding_window=3, layer_types=["sliding_attention", "full_attention", "sliding_attention"]
    )
    return transformers.Olmo3ForCausalLM(config)


def _bloom() -> Any:
    config = transformers.BloomConfig(vocab_size=D_VOCAB, hidden_size=24, n_layer=3, n_head=4, seq_length=N_CTX)
    return transformers.BloomForCausalLM(config)


def _falcon(**options: Any) -> Any:
    config = transformers.FalconConfig(
        vocab_size=D_VOCAB,
        hidden_size=32,
        ffn_hidden_size=40,
        num_hidden_layers=3,
        num_attention_heads=4,
        max_position_embeddings=N_CTX,
        attn_implementation="eager",
        bias=True,
        **options,
    )
    return transformers.FalconForCausalLM(config)


def _gptj() -> Any:
    config = transformers.GPTJConfig(
        vocab_size=D_VOCAB, n_embd=24, n_layer=3, n_head=4, n_positions=N_CTX, rotary_dim=4, n_inner=40,
        tie_word_embeddings=False,
    )  # fmt: skip
    return transformers.GPTJForCausalLM(config)


def _mpt() -> Any:
    config = transformers.MptConfig(vocab_size=D_VOCAB, d_model=24, n_layers=3, n_heads=4, max_seq_len=N_CTX)
    return transformers.MptForCausalLM(config)


def _opt() -> Any:
    config = transformers.OPTConfig(
        vocab_size=D_VOCAB, hidden_size=24, ffn_dim=40, num_hidden_layers=3, num_attention_heads=4,
        max_position_embeddings=N_CTX, word_embed_proj_dim=24, attn_implementation="eager",
    )  # fmt: skip
    return transformers.OPTForCausalLM(config)


def _phi() -> Any:
    rope = dict(rope_type="default", rope_theta=1e4, partial_rotary_factor=0.5)
    return transformers.PhiForCausalLM(transformers.PhiConfig(**_SHAPE | {"hidden_size": 32}, rope_parameters=rope))


BUILDERS: dict[str, Callable[[], Any]] = {
    "llama": _llama,
    "llama3": _llama3,
    "mistral": _mistral,
    "qwen2": _qwen2,
    "qwen3": _qwen3,
    "gemma": _gemma,
    "gemma2": _gemma2,
    "gemma3": _gemma3,
    "gpt2": _gpt2,
    "neox": lambda: _neox(parallel=True),
    "neox-sequential": lambda: _neox(parallel=False),
}
NAMES = tuple(BUILDERS)
"""Families on which the tests of every package run; those below are tested for the same claims in one place each."""
MORE: dict[str, Callable[[], Any]] = {
    "phi3": _phi3,
    "stablelm": lambda: _stablelm(parallel=False),
    "stablelm-parallel": lambda: _stablelm(parallel=True),
    "smollm3": _smollm3,
    "cohere": _cohere,
    "cohere2": _cohere2,
    "granite": _granite,
    "olmo2": _olmo2,
    "olmo3": _olmo3,
    "bloom": _bloom,
    "falcon": lambda: _falcon(multi_query=True, parallel_attn=True, new_decoder_architecture=False),
    "falcon-grouped": lambda: _falcon(new_decoder_architecture=True, num_kv_heads=2),
    "falcon-sequential": lambda: _falcon(multi_query=False, parallel_attn=False, new_decoder_architecture=False),
    "gptj": _gptj,
    "mpt": _mpt,
    "opt": _opt,
    "phi": _phi,
}
MORE_NAMES = tuple(MORE)


def build(name: str, seed: int = 0, changed: dict[str, Any] | None = None) -> Any:
    """The `transformers` model in float32, every parameter random: gains about 1, biases about 0, logits about 1.

    `changed` replaces entries of its configuration, for a mixture of experts.
    """
    hf = (EXPERTS[name](**changed or {}) if name in EXPERTS else (BUILDERS | MORE)[name]()).eval()
    return randomised(hf, seed, gains_from_zero=name.startswith("gemma"))


def randomised(hf: Any, seed: int, *, gains_from_zero: bool = False) -> Any:
    """The model with every parameter random; `gains_from_zero` where gains are stored as their distance from one."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for key, value in hf.named_parameters():
            value.normal_(generator=generator)
            if value.ndim >= 2:
                value.mul_(1.0 if "embed" in key or "wte" in key or "wpe" in key else 1.5 * value.shape[-1] ** -0.5)
            else:
                stored_from_zero = gains_from_zero or key.endswith("bias")
                value.mul_(0.3).add_(0.0 if stored_from_zero else 1.0)
    return hf


def dense_twin(sparse: Any) -> Any:
    """The Mistral whose MLPs are the only expert of each layer of a Mixtral."""
    known = transformers.MistralConfig().to_dict()
    shape = {key: value for key, value in sparse.config.to_dict().items() if key in known}
    dense = transformers.MistralForCausalLM(transformers.MistralConfig(**shape | {"model_type": "mistral"}))
    weights = dense.state_dict()
    for key, value in sparse.state_dict().items():
        if "experts.gate_up_proj" in key:
            name = key.replace("experts.gate_up_proj", "{}.weight")
            weights[name.format("gate_proj")], weights[name.format("up_proj")] = value[0].chunk(2)
        elif "experts.down_proj" in key:
            weights[key.replace("experts.down_proj", "down_proj.weight")] = value[0]
        elif "mlp.gate" not in key:
            weights[key] = value
    dense.load_state_dict(weights)
    return dense.eval()


def load(name: str, dtype: torch.dtype = torch.float32, seed: int = 0, *, text: bool = False) -> Model:
    """The loaded model; `text` gives it the small tokenizer."""
    return interp.load(build(name, seed), tokenizer=tokenizer() if text else None, dtype=dtype)


def tokens(batch: int = 1, n_token: int = 9, seed: int = 1) -> torch.Tensor:
    """Random token ids."""
    return torch.randint(0, D_VOCAB, (batch, n_token), generator=torch.Generator().manual_seed(seed))


WORDS = ("the", "tower", "is", "in", "Paris", "London", "</script><b>", "\n", "naïve", "🗼", "a", "b")


def tokenizer(bos: bool = False) -> Any:
    """Whole words, with a leading blank ("Ġ" in the vocabulary, as byte-level tokenizers write it) and without."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

    marks = ["<unk>", "<s>", "<pad>"]
    spelled = [pre_tokenizers.ByteLevel(add_prefix_space=False).pre_tokenize_str(word) for word in WORDS]
    plain = ["".join(piece for piece, _ in pieces) for pieces in spelled]
    vocabulary = {word: i for i, word in enumerate(marks + plain + ["Ġ" + word for word in plain])}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(" ", "merged_with_next"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    made.decoder = decoders.ByteLevel()
    if bos:
        made.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, unk_token="<unk>", bos_token="<s>", pad_token="<pad>", clean_up_tokenization_spaces=False
    )
