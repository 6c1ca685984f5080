"""Generate text token by token, with a key-value cache, with or without edits.

A position depends on earlier ones only, so with their keys and values stored each new token costs one position. That
holds for edits that change each position by itself (`Edit.local`); under any other the whole text is computed again
for every token. Either way the same tokens come out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.errors import NotFiniteError, UsageError
from interp.model import capture, edits, observed
from interp.model.hooks import hooked

if TYPE_CHECKING:
    from interp.model.model import Model

UNFINISHED = "\ufffd"
"""What decoding gives for the first bytes of a character whose last are in a later token."""


NOT_FINITE = "The logits of the next token are not finite: is an edit too strong, or a weight a NaN?"


def generated_ids(
    model: Model,
    tokens: Int[Tensor, "1 n_token"],
    max_tokens: int,
    *,
    temperature: float = 0.0,
    seed: int = 0,
    use_cache: bool = True,
) -> Iterator[int]:
    """Yield up to `max_tokens` new token ids after `tokens`.

    They end before an end-of-text token.

    Each is the likeliest at temperature 0, else drawn from softmax(logits / temperature).

    Raises:
        UsageError: several prompts, a number of tokens below 1 or beyond the context, or a temperature below 0.
        NotFiniteError: logits that are not finite.
    """
    tokens = model.check_tokens(tokens)
    _check(model, tokens, max_tokens, temperature)
    generator = torch.Generator().manual_seed(seed)
    ends, keep = _end_ids(model), use_cache and _can_keep(model)
    n_prompt, past = tokens.shape[1], None
    for _ in range(max_tokens):
        start = 0 if past is None else tokens.shape[1] - 1
        step = edits.Step(tokens.shape[1] - start, n_prompt, start, generating=True)
        logits, past = _last_logits(model, tokens[:, start:], step, past, keep)
        chosen = _choose(logits[0], temperature, generator)
        if chosen in ends:
            return
        yield chosen
        tokens = torch.cat([tokens, tokens.new_tensor([[chosen]])], dim=1)


def batch_ids(model: Model, tokens: Int[Tensor, "batch n_token"], max_tokens: int) -> Int[Tensor, "batch n_new"]:
    """Return the likeliest continuation of several prompts of one length.

    All rows are in one run for each token.

    Rows that end before are filled with the token that ended them; the batch stops when all have ended. For errors see
    `generated_ids`.
    """
    tokens = model.check_tokens(tokens)
    _check(model, tokens[:1], max_tokens, 0.0)
    ends, keep = torch.tensor(sorted(_end_ids(model)), device=model.device), _can_keep(model)
    n_prompt, past, done = tokens.shape[1], None, torch.zeros(len(tokens), dtype=torch.bool, device=model.device)
    for _ in range(max_tokens):
        start = 0 if past is None else tokens.shape[1] - 1
        step = edits.Step(tokens.shape[1] - start, n_prompt, start, generating=True)
        logits, past = _last_logits(model, tokens[:, start:], step, past, keep)
        if not torch.isfinite(logits).all():
            raise NotFiniteError(NOT_FINITE)
        chosen = torch.where(done, tokens[:, -1], logits.argmax(-1))
        tokens = torch.cat([tokens, chosen[:, None]], dim=1)
        done |= torch.isin(chosen, ends)
        if done.all():
            break
    return tokens[:, n_prompt:]


def pieces(model: Model, ids: Iterable[int]) -> Iterator[str]:
    """Yield the text of token ids as they arrive.

    A character that several tokens make up comes with the last of them.
    """
    done, shown = [], ""
    for index in ids:
        done.append(index)
        text = model.tokenizer.decode(done, clean_up_tokenization_spaces=False)
        if not text.endswith(UNFINISHED):
            yield text[len(shown) :]
            shown = text
    rest = model.tokenizer.decode(done, clean_up_tokenization_spaces=False)[len(shown) :] if done else ""
    if rest:
        yield rest


def prompt_ids(
    model: Model, prompt: str | Tensor | Sequence[Mapping[str, str]], chat: bool
) -> Int[Tensor, "1 n_token"]:
    """Return the tokens of a prompt.

    For a chat these are the conversation and the head of the answer.

    Raises `UsageError` for a chat with a model whose tokenizer has no template for it.
    """
    if not chat:
        return model.check_tokens(prompt) if isinstance(prompt, Tensor) else model.to_tokens(prompt)  # pyright: ignore[reportArgumentType]
    if not getattr(model.tokenizer, "chat_template", None):
        raise UsageError(f"{model.name} has no chat template: generate with chat=False.")
    messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
    if not isinstance(messages, list | tuple) or not all(
        isinstance(one, Mapping) and {"role", "content"} <= set(one) for one in messages
    ):
        raise UsageError('A chat is a text, or a list of messages {"role": ..., "content": ...}.')
    text = model.tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=True)
    return model.tokenizer(text, add_special_tokens=False, return_tensors="pt").input_ids.to(model.device)


@torch.no_grad()
def _last_logits(
    model: Model, tokens: Tensor, step: edits.Step, past: Any, keep: bool
) -> tuple[Float[Tensor, "batch d_vocab"], Any]:
    """Return (logits of the last position, the key-value cache)."""
    with model.lock:
        if capture.bridge_is_hooked(model):
            return model.bridge(tokens)[:, -1], None
        with hooked(model, edits.functions(model.edits, step)):
            if model.structure is not None:
                return observed.logits(model.hf, tokens, None, None)[:, -1], None
            output = model.hf(input_ids=tokens, past_key_values=past, use_cache=keep, logits_to_keep=1)
    return output.logits[:, -1], output.past_key_values if keep else None


def _choose(logits: Float[Tensor, " d_vocab"], temperature: float, generator: torch.Generator) -> int:
    logits = logits.double().cpu()
    if not torch.isfinite(logits).all():
        raise NotFiniteError(NOT_FINITE)
    if temperature == 0:
        return int(logits.argmax())
    return int(torch.multinomial((logits / temperature).softmax(0), 1, generator=generator))


def _can_keep(model: Model) -> bool:
    """Return whether keys and values of earlier positions can be cached.

    They can if they stay the same while text is added.
    """
    return (
        model.structure is None and all(one.edit.local for one in model.edits) and not capture.bridge_is_hooked(model)
    )


def _end_ids(model: Model) -> set[int]:
    configured = getattr(getattr(model.hf, "generation_config", None), "eos_token_id", None)
    ends = list(configured) if isinstance(configured, list | tuple) else [configured]
    if model.has_tokenizer:
        ends.append(model.tokenizer.eos_token_id)
    return {end for end in ends if end is not None}


def _check(model: Model, tokens: Tensor, max_tokens: int, temperature: float) -> None:
    if len(tokens) != 1:
        raise UsageError(f"Text is generated for one prompt at a time, not for {len(tokens)}.")
    if isinstance(max_tokens, bool) or not isinstance(max_tokens, int) or max_tokens < 1:
        raise UsageError(f"max_tokens={max_tokens!r}: give a whole number of at least 1.")
    longest = tokens.shape[1] + max_tokens - 1
    if longest > model.spec.n_ctx:
        raise UsageError(
            f"{tokens.shape[1]} tokens and {max_tokens} more do not fit into the {model.spec.n_ctx} that {model.name} "
            "reads: take a smaller max_tokens."
        )
    if not isinstance(temperature, int | float) or not 0 <= temperature < float("inf"):
        raise UsageError(f"temperature={temperature!r}: give 0 for the likeliest token, or a positive number.")
