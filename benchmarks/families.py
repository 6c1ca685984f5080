"""Write the tables of docs/models.md: real models, and every exact family with the error of its check.

python -m benchmarks.families docs/models.md
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import torch
import transformers

import interp
from interp.files import write_between
from interp.model import Model, capabilities, trace
from interp.model.check import default_prompts
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
HEAD = """| family | what is particular | float32 | float64 | does not work |
|---|---|---|---|---|
"""
WHEELS = """| name | weights | install | terms |
|---|---|---|---|
"""
MIXTURES = """| family | float32 | float64 | from the weights, against float64 | the model's own, against float64 |
|---|---|---|---|---|
"""
SEEDS = 8


def lines() -> Iterator[str]:
    """Yield one line of the table for each small model."""
    for name in (*models.NAMES, *models.MORE_NAMES):
        single, double = models.load(name), models.load(name, torch.float64)
        errors = [f"{interp.check(model).worst:.1e}" for model in (single, double)]
        yield f"| {_family(name, single)} | {NOTES.get(name, '')} | {' | '.join(errors)} | {_unavailable(single)} |"


def mixtures() -> Iterator[str]:
    """Yield one line of the table for each small mixture of experts.

    The errors are the largest over `SEEDS` models.
    """
    for name in models.EXPERTS:
        result = [_rounding(name, seed) for seed in range(SEEDS)]
        worst = " | ".join(f"{max(each):.1e}" for each in zip(*result, strict=True))
        yield f"| {_family(name, models.load(name))} | {worst} |"


def _rounding(name: str, seed: int) -> tuple[float, float, float, float]:
    """Return errors of the check in float32 and float64, then of each side against float64."""
    single, double = models.load(name, seed=seed), models.load(name, torch.float64, seed=seed)
    ours, theirs = [0.0], [0.0]
    for tokens in default_prompts(single):
        exact, stream = double(tokens), torch.empty(0)
        for block in trace.blocks(single.weights, tokens):
            stream = block.resid_post
        for errors, logits in ((ours, trace.unembed(single.weights, stream)[0]), (theirs, single(tokens))):
            errors.append(float((logits - exact).abs().max() / exact.abs().max()))
    return interp.check(single).worst, interp.check(double).worst, max(ours), max(theirs)


def wheels() -> str:
    """Return one line for each real model that comes as a wheel."""
    from interp.wheels import WHEELS

    return "\n".join(f"| `{one.name}` | {one.origin} | `{one.install}` | {one.terms} |" for one in WHEELS)


def _family(name: str, model: Model) -> str:
    family = model.spec.family
    return f"`{family}`" if name in (family, family.removesuffix("_text")) else f"`{family}` ({name})"


def _unavailable(model: Model) -> str:
    return ", ".join(part.name for part in capabilities(model) if not part.works)


def main() -> None:
    """Write the tables between the marks of the page given, or print them."""
    tables = {
        "wheels": WHEELS + wheels(),
        "families": f"torch {torch.__version__.partition('+')[0]}, transformers {transformers.__version__}.\n\n{HEAD}"
        + "\n".join(lines()),
        "mixtures": MIXTURES + "\n".join(mixtures()),
    }
    for name, table in tables.items():
        if len(sys.argv) > 1:
            write_between(Path(sys.argv[1]), name, table)
        else:
            print(table)


if __name__ == "__main__":
    main()
