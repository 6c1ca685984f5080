"""Result of a study of a sparse autoencoder.

It loads and is drawn without torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from analyses.dictionary.card_text import card_lines, jsonl
from analyses.dictionary.features import Features
from analyses.dictionary.summary import architecture, kind, number, place, plain
from analyses.study import Study
from interp.arguments import checked_fields
from interp.errors import UsageError
from interp.provenance import Provenance
from interp.results import Result
from saes.evaluation.result import Evaluation

if TYPE_CHECKING:
    from interp.report import Download


PRINTED = ("fvu", "l0", "dead_latents", "dense_latents", "loss_original", "loss_reconstruction", "loss_recovered_mean")
"""Measures that the terminal prints; the page has all of them."""


@dataclass(frozen=True, eq=False)
class Config(Result):
    """Settings of a study of a sparse autoencoder.

    Attributes:
        top: number of strongest examples shown for each latent, each text once.
        drawn: number of firings drawn at random; one from each quarter of strength is shown.
        before: number of tokens shown before the one a latent fires on.
        after: number of tokens shown after it.
        tokens: number of tokens listed that a latent raises, and that it lowers.
        inhibitor_candidates: number of latents considered as inhibitors of each latent.
        asked: latents that have a card; empty for all of them.
        name: name of the autoencoder on the page.
        judge: whether the autoencoder is evaluated (`saes.evaluate`), with baselines.
        features: whether the features of its latents are computed.

    Example:
        >>> Config(top=3, judge=False).tokens
        8
    """

    top: int = 6
    drawn: int = 24
    before: int = 14
    after: int = 6
    tokens: int = 8
    inhibitor_candidates: int = 16
    asked: tuple[int, ...] = ()
    name: str = "dictionary"
    judge: bool = True
    features: bool = True

    def __post_init__(self) -> None:
        checked_fields(self)
        for name in ("top", "drawn", "tokens", "inhibitor_candidates"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name}={getattr(self, name)} must be at least 1.")
        if self.before < 0 or self.after < 0:
            raise UsageError("before and after are numbers of tokens and cannot be negative.")


@dataclass(frozen=True, eq=False)
class Other(Result):
    """Another autoencoder, evaluated on the same rows, to compare L0 and FVU.

    >>> [(other.name, round(other.evaluation.score("fvu").value, 2)) for other in study.others]
    [('wider', 0.05)]
    """

    name: str
    evaluation: Evaluation


@dataclass(frozen=True, eq=False)
class DictionaryStudy(Study):
    """Result of a study of one sparse autoencoder.

    Attributes:
        config: settings of the study.
        provenance: how and when the study was made.
        name: name of the autoencoder on the page, such as its folder.
        sae: its architecture, variant, sizes, settings and metadata.
        source: sentences about the activations: their text, their rows and whether it was trained on them.
        history: training metrics by name; empty where they are not known.
        evaluation: measures of its quality; None if they were not asked for.
        others: further autoencoders, evaluated on the same rows.
        features: features of every latent; None if they were not asked for.
        in_doubt: for each sentence of `source`, whether the measures may be those of the text trained on.

    Example:
        >>> study.name, study.features.width, len(study.evaluation.scores)  # study = dictionary.run(...)
        ('dictionary', 48, 19)
    """

    config: Config
    provenance: Provenance
    name: str
    sae: dict[str, Any]
    source: tuple[str, ...]
    history: dict[str, np.ndarray]
    evaluation: Evaluation | None
    others: tuple[Other, ...]
    features: Features | None
    in_doubt: tuple[bool, ...] = ()

    def finding(self) -> str:
        """Return the variance rebuilt and the model's loss, in words.

        >>> study.finding()  # study = dictionary.run(sae, store, model=model)
        "With 8 of 48 latents on at a time, the TopK autoencoder rebuilds 65.3% (62.4% to 68.3%) of the ..."
        """
        evaluation = self.evaluation
        if evaluation is None:
            return self._read_only()
        fvu, l0 = evaluation.score("fvu"), evaluation.score("l0")
        if fvu.value is None or l0.value is None:
            return f"The {kind(self.sae)} of {place(self.sae)} could not be judged: {fvu.why or l0.why}."
        interval = "" if fvu.low is None or fvu.high is None else f" ({1 - fvu.high:.1%} to {1 - fvu.low:.1%})"
        return (
            f"With {l0.value:.3g} of {self.sae['width']:,} latents on at a time, the {architecture(self.sae)} "
            f"{self.sae['variant']} rebuilds {1 - fvu.value:.1%}{interval} of the variance of {place(self.sae)}"
            f"{_compared(evaluation)}. {_lost(evaluation)}."
        )

    def _read_only(self) -> str:
        if self.features is None:
            return f"The {kind(self.sae)} of {place(self.sae)} was neither judged nor read."
        alive = int((self.features.fired > 0).sum())
        return (
            f"Of the {kind(self.sae)} of {place(self.sae)}, {alive:,} fire somewhere in {self.features.rows:,} "
            f"activations ({self.features.contexts:,} contexts)."
        )

    def summary(self) -> str:
        """Return the finding and the judged measures as text.

        >>> print(study.summary().splitlines()[1])  # study = dictionary.run(sae, store, model=model)
          FVU                                  0.3468 (0.3172 to 0.3755)
        """
        return "\n".join((self.finding(), *self._measures()))

    def _measures(self) -> tuple[str, ...]:
        """Return lines with the main measures, the baselines and other autoencoders."""
        evaluation = self.evaluation
        if evaluation is None:
            return (
                tuple(card_lines(self.features, int(i), 2) for i in self.features.ranked()[:5]) if self.features else ()
            )
        lines = [f"  {score.name:<36} {number(score)}" for score in map(evaluation.score, PRINTED)]
        compared = [(f"FVU, {b.name}", b) for b in evaluation.baselines[1:] if b.fvu is not None]
        lines += [f"  {name:<36} {plain(b.fvu)} with L0 {plain(b.l0)}" for name, b in compared]
        for other in self.others:
            fvu, l0 = other.evaluation.score("fvu"), other.evaluation.score("l0")
            lines.append(f"  {other.name:<36} FVU {number(fvu)} with L0 {plain(l0.value)}")
        lines += [f"  note: {sentence}" for sentence in self.source]
        return tuple(lines)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for `--json`.

        >>> list(study.to_dict())  # study = dictionary.run(sae, store, model=model)
        ['finding', 'sae', 'source', 'scores', 'baselines', 'others', 'latents', 'alive']
        """
        body: dict[str, Any] = {"finding": self.finding(), "sae": self.name, "source": list(self.source)}
        if self.evaluation is not None:
            body["scores"] = {
                s.name: {"key": s.key, "value": s.value, "low": s.low, "high": s.high, "unit": s.unit, "why": s.why}
                for s in self.evaluation.scores
            }
            body["baselines"] = [
                {"name": b.name, "l0": b.l0, "fvu": b.fvu, "note": b.note} for b in self.evaluation.baselines
            ]
            body["others"] = {
                o.name: {s.name: s.value for s in map(o.evaluation.score, ("fvu", "l0"))} for o in self.others
            }
        if self.features is not None:
            body["latents"] = self.features.width
            body["alive"] = int((self.features.fired > 0).sum())
        return body

    def downloads(self) -> tuple[Download, ...]:
        """Return the table of measures as a file.

        The features of latents are too large for a page: `extra_files` has them.

        >>> [file.name for file in study.downloads()]  # study = dictionary.run(sae, store, model=model)
        ['scores.csv']
        """
        from interp.report import Download

        if self.evaluation is None:
            return ()
        return (Download("scores.csv", self.evaluation.table().to_csv().encode(), "text/csv"),)

    def extra_files(self) -> dict[str, bytes]:
        """Return a file with every latent as a line of JSON.

        The page has space for some of them only.

        >>> list(study.extra_files())  # study = dictionary.run(sae, store, model=model)
        ['features.jsonl']
        """
        return {} if self.features is None else {"features.jsonl": jsonl(self.features)}


def _compared(evaluation: Evaluation) -> str:
    """Return what other methods rebuild, the best of them first."""
    others = sorted((b.fvu, b.name.partition(",")[0]) for b in evaluation.baselines[1:] if b.fvu is not None)
    parts = [f"{name} {1 - fvu:.0%}" for fvu, name in others]
    return f"; with as many directions: {', '.join(parts)}" if parts else ""


def _lost(evaluation: Evaluation) -> str:
    dead = evaluation.score("dead_latents").value
    fate = f"{dead:.0%} of its latents never fire" if dead is not None else "which latents never fire is not known"
    clean, spliced = evaluation.score("loss_original").value, evaluation.score("loss_reconstruction").value
    if clean is None or spliced is None:
        return fate.capitalize()
    return f"With the reconstruction the model's loss is {spliced:.3f} nats per token instead of {clean:.3f}; {fate}"
