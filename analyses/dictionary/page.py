"""Page of a dictionary.

It shows the training, the quality compared with other methods, and the latents.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from analyses.dictionary import sections, summary, training
from interp.report import Note, Page, Section, Table
from interp.report.blocks import folded

if TYPE_CHECKING:
    from analyses.dictionary.result import DictionaryStudy

ORIGIN = {
    "dataset_path": "the text that was read",
    "dataset": "the text that was read",
    "text": "the text that was read",
    "context_size": "number of tokens of a context",
}
MEANING = {
    "architecture": "rule that decides which latents are active",
    "width": "number of latents (directions)",
    "k": "number of active latents for each activation",
    "steps": "number of training steps (batches)",
    "batch_size": "activations in a batch",
    "lr": "peak learning rate of Adam",
    "sparsity": "weight of the sparsity loss",
    "seed": "seed of the initial weights and of the order of the data",
}


SHOWN = {"features": 99, "quality": 1, "made": 1}
"""Number of blocks that are open in each section; all others are one click away."""


def page(study: DictionaryStudy) -> Page:
    """Return the whole report."""
    parts = [sections.features(study.features, study.config.asked)] if study.features is not None else []
    if study.evaluation is not None:
        parts += [sections.quality(study.evaluation), sections.trade(study, study.evaluation)]
    parts += [sections.frequency(study)] if study.features is not None or study.evaluation is not None else []
    parts += [training.section(study.history)] if len(study.history.get("step", ())) > 1 else []
    parts += [_made(study)]
    return Page(
        title=f"A dictionary for {summary.place(study.sae)}",
        finding=study.finding(),
        status=_status(study),
        sections=folded(parts, SHOWN),
        limitations=_limitations(study),
        provenance=study.provenance,
        downloads=study.downloads(),
        kind="dictionary",
    )


def _status(study: DictionaryStudy) -> tuple[tuple[str, str], ...]:
    entries = [("architecture", summary.architecture(study.sae))]
    entries += [("latents", f"{study.sae['width']:,}")]
    if study.evaluation is not None:
        entries += [("activations evaluated on", f"{study.evaluation.rows:,}")]
    if study.features is not None:
        entries += [("activations read", f"{study.features.rows:,}")]
    return tuple(entries)


def _made(study: DictionaryStudy) -> Section:
    about, trained = study.sae["metadata"], study.sae["metadata"].get("training") or {}
    rows = [
        ("reads", summary.place(study.sae), "model and hook"),
        ("d_in", study.sae["d_in"], "size of its input"),
    ]
    rows += [(name, trained[name], why) for name, why in MEANING.items() if trained.get(name) not in (None, 0.0, "")]
    if trained.get("steps") and trained.get("batch_size"):
        rows.append(("activations seen", trained["steps"] * trained["batch_size"], "total, repetitions included"))
    if not trained:
        rows += [(name, study.sae[name], MEANING[name]) for name in ("architecture", "width")]
        rows += [(name, value, None) for name, value in study.sae["settings"].items() if not isinstance(value, tuple)]
    rows += [(key.replace("_", " "), about[key], why) for key, why in ORIGIN.items() if about.get(key)]
    idea = Note(
        "A sparse autoencoder writes each activation of the model as a sum of a few directions out of many. The "
        "directions are called latents. Ideally each latent stands for one concept that a person can name. Two things "
        "have to be checked: how much of the activation the sum reconstructs, and whether the inputs on which a latent "
        "is active have something in common."
    )
    table = Table(("setting", "value", "what it is"), tuple(rows))
    claim = f"{study.name}: a {summary.kind(study.sae)}, for {summary.place(study.sae)}."
    notes = tuple(
        Note(_sentence(part), "warning" if doubt else "info")
        for part, doubt in zip(study.source, study.in_doubt or (False,) * len(study.source), strict=True)
    )
    return Section("made", "What was trained", claim, (idea, table, *notes))


def _limitations(study: DictionaryStudy) -> tuple[str, ...]:
    limitations = [
        "Examples show when a latent is active in this text. They do not show what it does: that requires an "
        "intervention.",
        "A latent with one meaning in its strongest examples may have many in its weak ones. This is why weaker "
        "examples are shown too.",
        "The reconstruction error is part of the model's computation too, and may contain what matters.",
    ]
    seen = study.sae["metadata"].get("training") or {}
    count = (seen.get("steps") or 0) * (seen.get("batch_size") or 0)
    if 0 < count < 1e8:
        limitations.insert(
            0,
            f"It was trained on {count:,} activations, repetitions included. Published dictionaries are trained on 10⁸ "
            "to 10¹⁰: with fewer activations only the most frequent features are learned well.",
        )
    if study.features is not None and study.features.rows < 1e7:
        limitations.append(
            f"The features of latents were computed on {study.features.rows:,} activations of one collection of text; "
            "other text would give other examples."
        )
    return tuple(limitations)


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."
