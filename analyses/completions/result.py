"""Completions of prompts with and without edits. Loads no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from analyses.study import Study
from interp.provenance import Provenance
from interp.report import Table

UNEDITED = "unedited"


@dataclass(frozen=True, eq=False)
class Completions(Study):
    """Completions of each prompt, unedited and under each set of edits.

    Attributes:
        prompts: the prompts.
        conditions: "unedited", then the name of each set of edits.
        edits: each condition's edits in words, in order; none for the first.
        texts: the added text, of each prompt under each condition.
        agreement: fraction of the unedited text's tokens before the first one that differs in the condition's text.
        max_tokens, temperature, seed: how the text was generated.
        provenance: the model and the run.

    Example:
        >>> study.conditions, study.texts  # study = completions.run(model, prompts, edits)
        (('unedited', 'steered'), (('b in in', ' Paris Paris'),))
    """

    prompts: tuple[str, ...]
    conditions: tuple[str, ...]
    edits: tuple[tuple[str, ...], ...]
    texts: tuple[tuple[str, ...], ...]
    agreement: tuple[tuple[float, ...], ...]
    max_tokens: int
    temperature: float
    seed: int
    provenance: Provenance

    def changed(self, condition: str) -> int:
        """Return the number of prompts whose text differs from the unedited one.

        >>> study.changed("steered")  # study = completions.run(model, prompts, {"steered": [edit.add(hook, vector)]})
        1
        """
        column = self.conditions.index(condition)
        return sum(row[column] != row[0] for row in self.texts)

    def finding(self) -> str:
        """Return how many texts each set of edits changes.

        >>> study.finding()  # study = completions.run(model, prompts, {"steered": [edit.add(hook, vector)]})
        'Of 1 completion by llama object, "steered" changes 1.'
        """
        counts = [f'"{name}" changes {self.changed(name)}' for name in self.conditions[1:]]
        n = len(self.prompts)
        return f"Of {n} completion{'s' * (n > 1)} by {self.provenance.model}, {', '.join(counts)}."

    def to_dict(self) -> dict[str, Any]:
        """Return the finding and every text.

        >>> study.to_dict()["prompts"]  # study = completions.run(model, prompts, {"steered": [edit.add(hook, vector)]})
        ['London tower']
        """
        texts = [dict(zip(self.conditions, row, strict=True)) for row in self.texts]
        return {"finding": self.finding(), "prompts": list(self.prompts), "texts": texts}

    def table(self) -> Table:
        """Return the texts side by side, a row for each prompt.

        >>> study.table().columns  # study = completions.run(model, prompts, {"steered": [edit.add(hook, vector)]})
        ('prompt', 'unedited', 'steered')
        """
        rows = tuple((prompt, *row) for prompt, row in zip(self.prompts, self.texts, strict=True))
        return Table(("prompt", *self.conditions), rows, "What the model adds to each prompt.")

    def _repr_html_(self) -> str:
        return self.table()._repr_html_()
