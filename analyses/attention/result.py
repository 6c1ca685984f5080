"""Attention patterns of chosen heads on chosen prompts. Loads no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from analyses.study import Study
from interp.provenance import Provenance
from interp.report import Attention, AttentionText, HeadPattern
from interp.report.text import quoted


@dataclass(frozen=True, eq=False)
class Patterns(Study):
    """Attention patterns of heads on prompts.

    Attributes:
        heads: names such as "L23H4".
        tokens: tokens of each prompt.
        patterns: pattern of each prompt (n_head, n_token, n_token), queries by keys. Rows sum to 1, or to less in a
            model whose attention has sinks.
        provenance: the model and the run.

    Example:
        >>> study.heads, study.patterns[0].shape  # study = attention.run(model, prompts, heads)
        (('L1H0', 'L2H3'), (2, 4, 4))
    """

    heads: tuple[str, ...]
    tokens: tuple[tuple[str, ...], ...]
    patterns: tuple[np.ndarray, ...]
    provenance: Provenance

    def finding(self) -> str:
        """Return where the first head looks from the first prompt's end.

        >>> study.finding()  # study = attention.run(model, ["the tower is in"], ["L1H0", "L2H3"])
        'L1H0 of llama object looks from “·in” at “·tower” (98%); 2 heads on 1 prompts.'
        """
        row = self.patterns[0][0, -1]
        most = int(row.argmax())
        return (
            f"{self.heads[0]} of {self.provenance.model} looks from {quoted(self.tokens[0][-1])} at "
            f"{quoted(self.tokens[0][most])} ({row[most]:.0%}); {len(self.heads)} heads on {len(self.tokens)} prompts."
        )

    def viewer(self) -> Attention:
        """Return the viewer of attention.

        The reader chooses heads and queries in it.

        >>> study.viewer().caption  # study = attention.run(model, ["the tower is in"], ["L1H0", "L2H3"])
        "Attention of L1H0, L2H3, fractions of each query's row."
        """
        texts = tuple(
            AttentionText(
                tokens,
                tuple(HeadPattern(name, pattern) for name, pattern in zip(self.heads, patterns, strict=True)),
                title=f"prompt {number}" if len(self.tokens) > 1 else "",
            )
            for number, (tokens, patterns) in enumerate(zip(self.tokens, self.patterns, strict=True), 1)
        )
        return Attention("attention", texts, f"Attention of {', '.join(self.heads)}, fractions of each query's row.")

    def to_dict(self) -> dict[str, Any]:
        """Return the finding and each head's strongest keys.

        They are those of the last token of each prompt.

        >>> study.to_dict()["strongest"]  # study = attention.run(model, ["the tower is in"], ["L1H0", "L2H3"])
        {'L1H0': [' tower'], 'L2H3': [' is']}
        """
        looks = {
            name: [
                tokens[int(patterns[i, -1].argmax())]
                for tokens, patterns in zip(self.tokens, self.patterns, strict=True)
            ]
            for i, name in enumerate(self.heads)
        }
        return {"finding": self.finding(), "strongest": looks}

    def _repr_html_(self) -> str:
        return self.viewer()._repr_html_()
