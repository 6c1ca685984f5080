"""What a study says in words: one sentence, the measures in a few lines, a latent as text."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from analyses.dictionary.result import QUARTERS
from interp.report import visible

if TYPE_CHECKING:
    from analyses.dictionary.result import DictionaryStudy, Features
    from saes.evaluation.result import Evaluation
    from saes.evaluation.scores import Score

NAMES = {
    "topk": "TopK",
    "batchtopk": "BatchTopK",
    "jumprelu": "JumpReLU",
    "matryoshka": "Matryoshka",
    "gated": "gated",
    "standard": "standard (L1)",
}
TOLD = ("FVU", "L0", "dead latents", "dense latents", "loss, original", "loss, reconstruction", "loss recovered (mean)")
"""What the terminal is told of a judgement; the page has all of it."""


def kind(sae: dict[str, Any]) -> str:
    """Such as "TopK autoencoder of 2,304 latents"."""
    return f"{architecture(sae)} {sae['variant']} of {sae['width']:,} latents"


def architecture(sae: dict[str, Any]) -> str:
    """Such as "TopK"."""
    return NAMES.get(sae["architecture"], str(sae["architecture"]))


def place(sae: dict[str, Any]) -> str:
    """What it reads, such as "smollm2 at blocks.10.hook_resid_post"."""
    about = sae["metadata"]
    hooks = about.get("hook_names") or (about.get("hook_name") or "an unnamed hook",)
    return f"{about.get('model_name') or 'an unnamed model'} at {' and '.join(map(str, hooks))}"


def finding(study: DictionaryStudy) -> str:
    """One sentence: how much is rebuilt from how little, what the model loses, what simpler methods reach."""
    found = study.evaluation
    if found is None:
        return _read_only(study)
    fvu, l0 = found.score("FVU"), found.score("L0")
    if fvu.value is None or l0.value is None:
        return f"The {kind(study.sae)} of {place(study.sae)} could not be judged: {fvu.why or l0.why}."
    interval = "" if fvu.low is None or fvu.high is None else f" ({1 - fvu.high:.1%} to {1 - fvu.low:.1%})"
    return (
        f"With {l0.value:.3g} of {study.sae['width']:,} latents on at a time, the {architecture(study.sae)} "
        f"{study.sae['variant']} rebuilds {1 - fvu.value:.1%}{interval} of the variance of {place(study.sae)}"
        f"{_compared(found)}; {_lost(found)}."
    )


def _read_only(study: DictionaryStudy) -> str:
    if study.features is None:
        return f"The {kind(study.sae)} of {place(study.sae)} was neither judged nor read."
    alive = int((study.features.fired > 0).sum())
    return (
        f"Of the {kind(study.sae)} of {place(study.sae)}, {alive:,} fire somewhere in {study.features.rows:,} "
        f"activations ({study.features.contexts:,} contexts)."
    )


def _compared(found: Evaluation) -> str:
    """What other methods rebuild."""
    parts = [f"{1 - b.fvu:.0%} by {b.name}" for b in found.baselines[1:] if b.fvu is not None]
    return f", against {', '.join(parts)}" if parts else ""


def _lost(found: Evaluation) -> str:
    dead = found.score("dead latents").value
    fate = f"{dead:.0%} of its latents never fire" if dead is not None else "which latents never fire is not known"
    clean, spliced = found.score("loss, original").value, found.score("loss, reconstruction").value
    if clean is None or spliced is None:
        return fate
    return f"run on that, the model's loss goes from {clean:.3f} to {spliced:.3f} nats a token, and {fate}"


def judged(study: DictionaryStudy) -> tuple[str, ...]:
    """The main measures as lines, then the other methods and the other autoencoders."""
    found = study.evaluation
    if found is None:
        return (
            tuple(card_lines(study.features, int(i), 2) for i in study.features.ranked()[:5]) if study.features else ()
        )
    lines = [f"  {score.name:<36} {number(score)}" for name in TOLD for score in (found.score(name),)]
    beside = [(f"FVU, {b.name}", b) for b in found.baselines[1:] if b.fvu is not None]
    lines += [f"  {name:<36} {_plain(b.fvu)} with L0 {_plain(b.l0)}" for name, b in beside]
    for other in study.others:
        fvu, l0 = other.evaluation.score("FVU"), other.evaluation.score("L0")
        lines.append(f"  {other.name:<36} FVU {number(fvu)} with L0 {_plain(l0.value)}")
    lines += [f"  note: {sentence}" for sentence in study.source]
    return tuple(lines)


def as_values(study: DictionaryStudy) -> dict[str, Any]:
    """Plain values for programs."""
    body: dict[str, Any] = {"finding": finding(study), "sae": study.name, "source": list(study.source)}
    if study.evaluation is not None:
        body["scores"] = {
            s.name: {"value": s.value, "low": s.low, "high": s.high, "unit": s.unit, "why": s.why}
            for s in study.evaluation.scores
        }
        body["baselines"] = [
            {"name": b.name, "l0": b.l0, "fvu": b.fvu, "note": b.note} for b in study.evaluation.baselines
        ]
        body["others"] = {o.name: {n: o.evaluation.score(n).value for n in ("FVU", "L0")} for o in study.others}
    if study.features is not None:
        body["latents"] = study.features.width
        body["alive"] = int((study.features.fired > 0).sum())
    return body


def number(score: Score) -> str:
    """A value with its interval, or why there is none."""
    if score.value is None:
        return f"not computed ({score.why})"
    interval = "" if score.low is None or score.high is None else f" ({_plain(score.low)} to {_plain(score.high)})"
    return _plain(score.value) + interval


def _plain(value: float | None) -> str:
    return "none" if value is None else f"{value:.4g}"


def card_values(features: Features, latent: int) -> dict[str, Any]:
    """Everything known of a latent, as plain values; tokens raw."""
    shown = np.flatnonzero(features.band[latent] >= 0)
    return {
        "latent": latent,
        "fired": int(features.fired[latent]),
        "rows": features.rows,
        "frequency": float(features.fired[latent] / features.rows),
        "mean": _short(features.strength[latent]),
        "maximum": _short(features.maximum[latent]),
        "variance": _short(features.energy[latent]),
        "examples": [_example(features, latent, int(i)) for i in shown],
        "raises": [[token, _short(value)] for token, value in features.promoted(latent)],
        "lowers": [[token, _short(value)] for token, value in features.promoted(latent, 1)],
        "nearest": [
            [int(i), _short(c)] for i, c in zip(features.nearest[latent], features.nearest_cosine[latent], strict=True)
        ],
        "inhibited_by": [
            {"latent": i, "weight": _short(weight), "together": both, "expected": _short(expected)}
            for i, weight, both, expected in features.inhibitors(latent)
        ],
    }


def jsonl(features: Features) -> bytes:
    """`card_values` of every latent, one a line, in the order of interest."""
    lines = (json.dumps(card_values(features, latent)) for latent in features.ranked().tolist())
    return "".join(f"{line}\n" for line in lines).encode()


def _example(features: Features, latent: int, i: int) -> dict[str, Any]:
    tokens, values = features.tokens[latent, i], features.values[latent, i]
    there = tokens >= 0
    return {
        "from": QUARTERS[features.band[latent, i]] or "strongest",
        "context": int(features.where[latent, i, 0]),
        "position": int(features.where[latent, i, 1]),
        "tokens": [features.vocabulary[token] for token in tokens[there]],
        "values": [None if math.isnan(value) else _short(value) for value in values[there]],
        "focus": int(there[: features.before].sum()),
    }


def card_lines(features: Features, latent: int, examples: int = 6) -> str:
    """A latent as text for a terminal: `»token«` is where it fires, everything invisible made visible."""
    card = card_values(features, latent)
    if not card["fired"]:
        return f"latent {latent}: dead, it fired on none of {features.rows:,} rows"
    lines = [
        f"latent {latent}: fired on {card['fired']:,} of {features.rows:,} rows ({card['frequency']:.3%}), "
        f"mean {card['mean']:g}, largest {card['maximum']:g}"
    ]
    for example in card["examples"][:examples]:
        words = [visible(token) for token in example["tokens"]]
        words[example["focus"]] = f"»{words[example['focus']]}«"
        lines.append(f"  {example['values'][example['focus']]:>8g}  {''.join(words)}")
    for name in ("raises", "lowers"):
        if card[name]:
            lines.append(f"  {name:<9} {' '.join(visible(token) for token, _ in card[name])}")
    for rival in card["inhibited_by"][:3]:
        counts = f"together on {rival['together']} rows, {rival['expected']:.0f} expected"
        lines.append(f"  inhibited by latent {rival['latent']}: weight {rival['weight']:g}, {counts}")
    return "\n".join(lines)


def _short(value: Any) -> float:
    """Four significant digits."""
    return float(f"{float(value):.4g}")
