"""A small random model that reads the prompts of the tasks, in whole words."""

from __future__ import annotations

import torch


def word_model(words):
    """A small random model whose tokenizer has whole words with a leading blank, and single digits and signs."""
    import transformers
    from tokenizers import Tokenizer, decoders, models as kinds, pre_tokenizers

    marks = ["<unk>", "<s>"]
    spelled = ["Ġ" + word for word in words] + list(words) + list("0123456789,.'?:\"()") + ["Ġ", "Ċ"]
    vocabulary = {word: i for i, word in enumerate(dict.fromkeys(marks + spelled))}
    made = Tokenizer(kinds.WordLevel(vocabulary, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    made.decoder = decoders.ByteLevel()
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=made, unk_token="<unk>", bos_token="<s>")
    config = transformers.LlamaConfig(
        vocab_size=len(vocabulary),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=128,
    )
    torch.manual_seed(0)
    import interp

    return interp.load(transformers.LlamaForCausalLM(config).eval(), tokenizer=tokenizer)


def model():
    """Return a small random model whose tokenizer has the words of every task."""
    from interp.tasks import templates, words

    vocabulary = [*words.MALE, *words.FEMALE, *words.PLACES, *words.OBJECTS, *words.SINGULAR, *words.EVENTS]
    vocabulary += [f"{noun}s" for noun in words.SINGULAR] + [*words.CAPITALS, *words.CAPITALS.values(), *words.DAYS]
    vocabulary += [*words.MONTHS, *words.NUMBERS, *words.ARGUMENTS, *words.FUNCTIONS, *words.KEYS, *words.VALUES]
    texts = [
        *templates.IOI,
        *templates.PRONOUN,
        *templates.VERB,
        *templates.CAPITAL,
        *templates.YEARS,
        *templates.KEY_VALUE,
    ]
    vocabulary += " ".join(texts).replace(",", "").replace(".", "").split()
    vocabulary += ["she", "he", "is", "was", "has", "are", "were", "have", "param", "the", "def", "self", "it"]
    vocabulary += ["friend", "student", "leader", "teacher", "doctor", "player", "person", "writer"]
    return word_model(sorted({word for word in vocabulary if "{" not in word}))
