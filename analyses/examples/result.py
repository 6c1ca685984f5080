"""Top examples of named directions. Loads no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from analyses.study import Study
from interp.cache.examples import TopExamples
from interp.provenance import Provenance
from interp.report.text import quoted


@dataclass(frozen=True, eq=False)
class Examples(Study):
    """Top examples of named directions, and those of a random direction.

    `examples` are in the order of `names`.

    >>> study.examples[0].texts[0]  # study = examples.run(model, store, {"first axis": direction})
    (' is', ' London', ' in', ' a', ' London', ' London', ' in', ' b', ' b', ' tower')
    """

    names: tuple[str, ...]
    examples: tuple[TopExamples, ...]
    random: TopExamples
    provenance: Provenance

    def finding(self) -> str:
        """Return how unusual the strongest example of each direction is.

        It is compared with that of a random direction.

        >>> study.finding()  # study = examples.run(model, store, {"first axis": direction})
        'Of 360 positions, first axis is strongest at “·tower” (+3.5 deviations); a random direction reaches +2.9.'
        """
        parts = [
            f"{name} is strongest at {quoted(one.texts[0][one.before[0]])} ({_unusual(one):+.1f} deviations)"
            for name, one in zip(self.names, self.examples, strict=True)
        ]
        chance = f"a random direction reaches {_unusual(self.random):+.1f}"
        return f"Of {self.random.rows:,} positions, {'; '.join(parts)}; {chance}."

    def to_dict(self) -> dict[str, Any]:
        """Return the finding and every example's text.

        >>> study.to_dict()["examples"]["first axis"][0]  # study = examples.run(...)
        ' is London in a London London in b b tower'
        """
        texts = {
            name: ["".join(text) for text in one.texts] for name, one in zip(self.names, self.examples, strict=True)
        }
        return {"finding": self.finding(), "examples": texts}


def _unusual(one: TopExamples) -> float:
    return float((one.values[0] - one.mean) / one.deviation)
