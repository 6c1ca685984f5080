"""Generate from the same prompts with and without edits."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from analyses.completions.result import UNEDITED, Completions
from interp.arguments import checked
from interp.errors import UsageError
from interp.provenance import Stopwatch

if TYPE_CHECKING:
    from interp.edit import Edit
    from interp.model import Model

Progress = Callable[[int, int, str], None]


@checked
def run(  # noqa: PLR0913 (all but the first three are keyword-only)
    model: Model,
    prompts: Sequence[str],
    edits: Mapping[str, Sequence[Edit]],
    *,
    max_tokens: int = 30,
    temperature: float = 0.0,
    seed: int = 0,
    chat: bool = False,
    progress: Progress | None = None,
) -> Completions:
    """Complete every prompt, unedited and under each set of edits.

    See `Model.generate` for how.

    Args:
        model: a model with a tokenizer.
        prompts: texts; questions where `chat` is set.
        edits: name -> edits, all applied in every forward pass.
        max_tokens: largest number of tokens added.
        temperature: 0 for the most likely token each time; otherwise all conditions sample with the same seed.
        seed: seed of the sampling.
        chat: put each prompt into the model's chat template.
        progress: called with (texts done, texts in all, what is being done).

    Returns:
        `Completions` with the text added to each prompt under each condition.

    Raises:
        UsageError: no prompt, no edit, or a set named "unedited"; also the errors of `Model.edited`.

    Example:
        >>> from analyses import completions
        >>> edits = {"steered": [edit.add("blocks.1.hook_resid_post", np.eye(24)[1], scale=-20.0)]}
        >>> completions.run(model, ["London tower"], edits, max_tokens=4).texts
        (('b in in', ' Paris Paris'),)
    """
    if isinstance(prompts, str) or not prompts or not all(isinstance(prompt, str) for prompt in prompts):
        raise UsageError("Give the prompts as a list of at least one text.")
    if not edits or UNEDITED in edits or not all(edits.values()):
        raise UsageError(f'Give at least one named set of edits, none of them empty or named "{UNEDITED}".')
    watch = Stopwatch()
    models = [model, *(model.edited(*some) for some in edits.values())]
    texts, agreement = [], []
    for done, prompt in enumerate(prompts):
        row = []
        for variant in models:
            row.append(variant.generate(prompt, max_tokens, temperature=temperature, seed=seed, chat=chat))
            if progress is not None:
                progress(done * len(models) + len(row), len(prompts) * len(models), "completing prompts")
        texts.append(tuple(row))
        agreement.append(tuple(_agreement(model, row[0], text) for text in row))
    return Completions(
        prompts=tuple(prompts),
        conditions=(UNEDITED, *edits),
        edits=((), *(tuple(one.text for one in some) for some in edits.values())),
        texts=tuple(texts),
        agreement=tuple(agreement),
        max_tokens=max_tokens,
        temperature=float(temperature),
        seed=seed,
        provenance=watch.provenance(seed=seed, **model.identity()),
    )


def _agreement(model: Model, unedited: str, text: str) -> float:
    """Return the fraction of tokens before the first one that differs."""
    first, second = (model.to_str_tokens(one, prepend_bos=False) if one else [] for one in (unedited, text))
    same = 0
    while same < min(len(first), len(second)) and first[same] == second[same]:
        same += 1
    return same / len(first) if first else float(not second)
