"""Features of a latent as plain values and as text."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from interp.report import visible

if TYPE_CHECKING:
    from analyses.dictionary.features import Features


def card_values(features: Features, latent: int) -> dict[str, Any]:
    """Return the features of a latent as plain values, its tokens unescaped.

    >>> list(card_values(study.features, 32))[:4]  # study = dictionary.run(sae, store, model=model)
    ['latent', 'fired', 'rows', 'frequency']
    """
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
    """Return `card_values` of every latent as JSON lines.

    Latents are in the order of interest.

    >>> len(jsonl(study.features).splitlines())  # study = dictionary.run(sae, store, model=model)
    48
    """
    lines = (json.dumps(card_values(features, latent)) for latent in features.ranked().tolist())
    return "".join(f"{line}\n" for line in lines).encode()


def _example(features: Features, latent: int, i: int) -> dict[str, Any]:
    tokens, values = features.tokens[latent, i], features.values[latent, i]
    there = tokens >= 0
    return {
        "from": features.quarter(latent, i) or "strongest",
        "context": int(features.where[latent, i, 0]),
        "position": int(features.where[latent, i, 1]),
        "tokens": [features.vocabulary[token] for token in tokens[there]],
        "values": [None if math.isnan(value) else _short(value) for value in values[there]],
        "focus": int(there[: features.before].sum()),
    }


def card_lines(features: Features, latent: int, examples: int = 6) -> str:
    """Return a latent as text for a terminal.

    `»token«` is where it fires; characters that cannot be seen are shown as symbols.

    >>> print(card_lines(study.features, 32, examples=1).splitlines()[0])  # study = dictionary.run(sae, store)
    latent 32: fired on 106 of 360 rows (29.444%), mean 10.47, largest 22.83
    """
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
    for inhibitor in card["inhibited_by"][:3]:
        counts = f"together on {inhibitor['together']} rows, {inhibitor['expected']:.0f} expected"
        lines.append(f"  inhibited by latent {inhibitor['latent']}: weight {inhibitor['weight']:g}, {counts}")
    return "\n".join(lines)


def _short(value: Any) -> float:
    """Round a value to four significant digits."""
    return float(f"{float(value):.4g}")
