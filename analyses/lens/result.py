"""Result of a study of lenses, which loads without torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from analyses.study import Study
from interp.attribution.lens_results import LensComparison
from interp.provenance import Provenance
from interp.results import Result

FILE = "lens.safetensors"
"""Name of the file of the tuned lens, in the folder of the result."""


@dataclass(frozen=True, eq=False)
class Config(Result):
    """Settings of a study of lenses.

    Attributes:
        text: sources of text, as for `interp.cache.documents`; every tenth document is held out.
        contexts: number of contexts that lenses are fitted on.
        held_out: number of held-out contexts that lenses are compared on.
        context: number of tokens of a context.
        per_document: largest number of contexts from each document.
        kinds: kinds of lenses that are fitted and compared with the logit lens.
        steps: largest number of training steps.
        batch_size: number of positions of a step; None for the default of `TunedLens.fit`, which a result names.
        n_position: number of positions of each held-out context that are compared; None for the default of
            `compare_lenses`, which a result names.

    Example:
        >>> Config(("notes.txt",), kinds=("tuned",)).held_out
        16
    """

    text: tuple[str, ...] = ("python-docs",)
    contexts: int = 300
    held_out: int = 16
    context: int = 128
    per_document: int = 8
    kinds: tuple[str, ...] = ("tuned", "linear", "bias")
    steps: int = 100
    batch_size: int | None = None
    n_position: int | None = None


@dataclass(frozen=True, eq=False)
class Lenses(Study):
    """Result of a study of lenses on held-out text.

    `depths` of each lens are the layers after which its prediction stays the model's own.

    >>> study.comparison.names, study.comparison.labels  # study = lens.run(model, lenses, config)
    (('logit', 'bias'), ('embed', 'layer 0', 'layer 1', 'layer 2'))
    """

    config: Config
    provenance: Provenance
    comparison: LensComparison
    depths: dict[str, tuple[int, ...]]

    def finding(self) -> str:
        """Return at how many layers each lens beats the logit lens.

        >>> study.finding()  # study = lens.run(model, lenses, config)
        "llama object: Of 3 rows before the last, the cross-entropy on 4 held-out texts is below the logit ..."
        """
        return f"{self.provenance.model}: {self.comparison.summary()}"

    def to_dict(self) -> dict[str, Any]:
        """Return the finding and the mean cross-entropies by row, for `--json`.

        >>> study.to_dict()["rows_better"]  # study = lens.run(model, lenses, config)
        {'bias': 1}
        """
        means = self.comparison.cross_entropy.mean(-1)
        return {
            "finding": self.finding(),
            "rows": list(self.comparison.labels),
            "cross_entropy": {name: means[i].tolist() for i, name in enumerate(self.comparison.names)},
            "rows_better": {name: self.comparison.better(name) for name in self.comparison.names[1:]},
        }
