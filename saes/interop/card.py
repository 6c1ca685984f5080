"""Model card (README) of a published autoencoder: description, origin, quality, usage."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from interp.arguments import checked
from interp.errors import UsageError
from saes.interop.saelens import architecture_there, known_there

if TYPE_CHECKING:
    from saes.autoencoder import SAE
    from saes.evaluation.result import Evaluation
    from saes.evaluation.scores import Score

LIMITS = (
    "Latents are directions that help to reconstruct activations; a latent that fires on a concept does not show that "
    "the model uses it.",
    "The scores are valid for activations like those of the evaluation, of this model at this hook.",
    "Positions and tokens that were excluded from training (such as position 0) are reconstructed badly.",
)


@checked
def card(sae: SAE, evaluation: Evaluation | None = None, name: str = "this repository") -> str:
    """Return a model card in Markdown for Hugging Face.

    The card has the header that Hugging Face reads. It also says what was not measured.

    Args:
        sae: the autoencoder.
        evaluation: its evaluation, or None.
        name: name of the repository.

    Returns:
        Text of the card.

    Raises:
        UsageError: the evaluation is of an autoencoder of another shape.

    Example:
        >>> [line for line in card(sae, evaluation).splitlines() if line.startswith("## ")]
        ['## Use', '## Quality', '## Origin', '## Limits']
    """
    about = sae.metadata
    if evaluation is not None and (evaluation.sae["width"], evaluation.sae["d_in"]) != (sae.width, sae.d_in):
        raise UsageError("The evaluation is of another autoencoder: its sizes differ from the one to be described.")
    parts = [
        _header(about),
        f"# {_title(sae)}\n",
        _table(("", ""), _facts(sae)),
        "## Use\n",
        _use(sae, name),
        "## Quality\n",
        _quality(evaluation),
        "## Origin\n",
        _origin(about, evaluation),
        "## Limits\n",
        "\n".join(f"- {limit}" for limit in LIMITS) + "\n",
    ]
    return "\n".join(parts)


def _header(about: dict[str, Any]) -> str:
    lines = ["---", "library_name: saelens", "tags:", "- sparse-autoencoder", "- mechanistic-interpretability"]
    if about.get("model_name"):
        lines.append(f"base_model: {json.dumps(str(about['model_name']))}")
    return "\n".join([*lines, "---", ""])


def _title(sae: SAE) -> str:
    place = sae.metadata.get("hook_name") or "an unnamed hook"
    return f"A {sae.architecture} {sae.variant} with {sae.width:,} latents for {place}"


def _facts(sae: SAE) -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = [("architecture", sae.architecture), ("variant", sae.variant), ("latents", sae.width)]
    rows += [("inputs", sae.d_in), ("outputs", sae.d_out)]
    rows += [(key.replace("_", " "), value) for key, value in sae.settings.items()]
    wanted = ("model_name", "hook_name", "hook_name_out", "context_size", "prepend_bos")
    rows += [(key.replace("_", " "), sae.metadata[key]) for key in wanted if key in sae.metadata]
    return [(key, f"`{value}`") for key, value in rows]


def _use(sae: SAE, name: str) -> str:
    lines = ["```python", "import saes", "", 'sae = saes.load("FOLDER")      # a copy of the files of this repository']
    lines += ["latents = sae.encode(activations)", "```", ""]
    if known_there(sae):
        text = f'SAELens reads it as "{architecture_there(sae)}": `sae_lens.SAE.load_from_disk("FOLDER")`.'
    else:
        text = "SAELens has no such architecture: it loads with `saes.load` only."
    return "\n".join([*lines, f"{text} The files are those of {name}.", ""])


def _quality(evaluation: Evaluation | None) -> str:
    if evaluation is None:
        return "Not evaluated yet: no result of `saes.evaluate` was given.\n"
    head = ("measure", "value", "95 % interval", "unit", "judged on", "note")
    table = _table(head, [_row(score) for score in evaluation.scores if score.value is not None])
    missing = [f"- {score.name}: {score.why}" for score in evaluation.scores if score.value is None]
    text = f"Evaluated on {evaluation.rows:,} rows; intervals resample whole {evaluation.cluster}.\n\n{table}"
    if evaluation.baselines:
        rows = [(b.name, f"{b.atoms:,}", _number(b.l0), _number(b.fvu), b.note) for b in evaluation.baselines]
        text += "\nOther methods on the same activations:\n\n"
        text += _table(("method", "directions", "L0", "FVU", "note"), rows)
    return text + ("\nNot measured:\n\n" + "\n".join(missing) + "\n" if missing else "")


def _row(score: Score) -> tuple[str, ...]:
    ends = "" if score.low is None or score.high is None else f"{score.low:.4g} to {score.high:.4g}"
    return (score.name, _number(score.value), ends, score.unit, score.evaluated_on, score.why)


def _origin(about: dict[str, Any], evaluation: Evaluation | None) -> str:
    text = f"All recorded metadata:\n\n```json\n{json.dumps(about, indent=1, default=str)}\n```\n"
    if evaluation is None:
        return text
    origin = evaluation.provenance
    versions = ", ".join(f"{name} {version}" for name, version in origin.versions.items())
    return f"{text}\nEvaluated by `{origin.command}` with seed {origin.seed} on {origin.host} ({versions}).\n"


def _number(value: float | None) -> str:
    return "not computed" if value is None else f"{value:.4g}"


def _table(head: tuple[str, ...], rows: list[tuple[Any, ...]]) -> str:
    def line(cells: tuple[Any, ...]) -> str:
        # A bar or a line break inside a cell would end it.
        return "| " + " | ".join(str(cell).replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"

    return "\n".join([line(head), line(("---",) * len(head)), *map(line, rows)]) + "\n"
