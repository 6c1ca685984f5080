"""Result of a study of all heads.

It loads and is drawn without torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from analyses.study import Study
from interp.circuits.embedding.results import Collapse, Comparison
from interp.circuits.head_results import Ablation, HeadScores
from interp.circuits.readings import TopTokens
from interp.circuits.results import CircuitCheck, Definiteness
from interp.provenance import Provenance
from interp.results import Result


@dataclass(frozen=True, eq=False)
class Config(Result):
    """Settings of a study of heads.

    Attributes:
        heads: heads ("L5H2", …) that get a section each; by default the strongest induction and previous-token heads
            and the extremes of copying.
        n_text: number of repeated random texts.
        length: number of tokens that are repeated in each of these texts.
        ablated: number of heads removed at a time.
        n_controls: number of random sets of heads that the removed ones are compared with.

    Example:
        >>> Config(heads=("L5H2",))
        Config(heads=('L5H2',), n_text=16, length=25, ablated=5, n_controls=20)
    """

    heads: tuple[str, ...] = ()
    n_text: int = 16
    length: int = 25
    ablated: int = 5
    n_controls: int = 20


@dataclass(frozen=True, eq=False)
class Reading(Result):
    """Summary of one kind of composition.

    It has the strongest pairs and the quantiles of all scores.

    `pairs` are (writer, reader, score), strongest first; `quantiles` (101,) are those of all `n_possible` pairs with
    the writer in an earlier layer, from the smallest to the largest. `z` are the pairs' distances from the null of
    random rotations (`Composition.z`), `baseline` its root mean square and typical standard deviation.

    >>> study.compositions[0].kind, study.compositions[0].n_possible  # study = circuits.run(model)
    ('Q', 48)
    """

    kind: str
    offset: str
    pairs: tuple[tuple[str, str, float], ...]
    z: tuple[float, ...]
    quantiles: np.ndarray
    baseline: tuple[float, float]
    n_possible: int


@dataclass(frozen=True, eq=False)
class HeadView(Result):
    """View of one head, with its spectra, attention and tokens.

    `shown_for` is why the head is shown. `spectrum` are the eigenvalues of the symmetric part of the query-key map,
    `singular_values` and the ranks those of the output-value map, `pattern` its attention on one repeated text,
    `profile` the mean score by offset over prose. `tokens` are the singular directions of the output-value map read as
    tokens.

    >>> study.heads[0].name, round(study.heads[0].stable_rank, 1)  # study = circuits.run(model)
    ('L1H1', 2.3)
    """

    name: str
    shown_for: str
    spectrum: np.ndarray
    singular_values: np.ndarray
    stable_rank: float
    participation_rank: float
    copying: float
    pattern: np.ndarray
    offsets: np.ndarray
    profile: np.ndarray
    tokens: tuple[TopTokens, ...]


@dataclass(frozen=True, eq=False)
class TextPatterns(Result):
    """Attention of some heads on one text.

    Attributes:
        title: which text it is.
        tokens: its tokens.
        heads: names of the heads.
        patterns: shares of attention, one matrix of queries by keys for each head.

    Example:
        >>> study.texts[0].title, study.texts[0].patterns.shape  # study = circuits.run(model)
        ('random tokens, repeated', (3, 16, 16))
    """

    title: str
    tokens: tuple[str, ...]
    heads: tuple[str, ...]
    patterns: Float[np.ndarray, "head query key"]


@dataclass(frozen=True, eq=False)
class Circuits(Study):
    """Result of a study of a model's heads.

    >>> study.ablation.heads, round(study.ablation.effect, 2)  # study = circuits.run(model)
    (('L1H1', 'L1H2'), -0.03)
    """

    config: Config
    provenance: Provenance
    check: CircuitCheck
    scores: HeadScores
    ablation: Ablation
    definiteness: Definiteness
    compositions: tuple[Reading, ...]
    comparison: Comparison
    collapse: Collapse
    heads: tuple[HeadView, ...]
    texts: tuple[TextPatterns, ...] = ()

    @property
    def error(self) -> float:
        """Largest error of any head rebuilt from its factors."""
        return self.check.worst

    def finding(self) -> str:
        """Return the finding in words.

        It gives the induction heads, the effect of removing them, and how well the factors agree with the model.

        >>> study.finding()  # study = circuits.run(model)
        "None of 12 heads is an induction head (attention above 0.3 with its whole interval); removing the 2 ..."
        """
        named, cut = self.scores.named("induction"), self.ablation
        n = self.scores.copying.size
        if named:
            name, score, low, high = named[0]
            claim = (
                f"{len(named)} of {n} heads are induction heads, first {name} with {score:.2f} of its attention "
                f"({low:.2f} to {high:.2f})"
            )
        else:
            claim = f"None of {n} heads is an induction head (attention above 0.3 with its whole interval)"
        return (
            f"{claim}; removing the {len(cut.heads)} strongest changes the loss on repeated text by {cut.effect:+.2f} "
            f"nats, {cut.ratio:.0f} times the median of {len(cut.control)} random sets. Every head rebuilt from its "
            f"factors agrees with the model's own to {self.check.worst:.0e}."
        )

    def summary(self) -> str:
        r"""Return the finding in a few lines of text.

        >>> print("\n".join(study.summary().splitlines()[1:]))  # study = circuits.run(model)
        Induction heads, attention and 95 % interval:
          none
        """
        named = self.scores.named("induction")
        lines = "\n".join(f"  {name:<8} {score:.3f} ({low:.3f} to {high:.3f})" for name, score, low, high in named)
        return f"{self.finding()}\nInduction heads, attention and 95 % interval:\n{lines or '  none'}"

    def to_dict(self) -> dict[str, Any]:
        """Return the finding as plain values, for `--json`.

        >>> list(study.to_dict())  # study = circuits.run(model)
        ['finding', 'check', 'induction_heads', 'ablation', 'symmetric_fraction', 'positive_share']
        """
        return {
            "finding": self.finding(),
            "check": self.check.worst,
            "induction_heads": [list(head) for head in self.scores.named("induction")],
            "ablation": {"rise": self.ablation.effect, "times_the_median_control": self.ablation.ratio},
            "symmetric_fraction": _range(self.definiteness.symmetric_fraction),
            "positive_share": _range(self.definiteness.positive_share),
        }


def _range(values: np.ndarray) -> dict[str, float]:
    return {"min": float(values.min()), "median": float(np.median(values)), "max": float(values.max())}
