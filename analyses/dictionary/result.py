"""Result of a study of a sparse autoencoder.

It loads and is drawn without torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float, Int

from analyses.dictionary.card_text import card_lines, jsonl
from analyses.dictionary.summary import architecture, kind, number, place, plain
from analyses.study import Study
from interp.arguments import checked_fields
from interp.errors import UsageError
from interp.provenance import Provenance
from interp.results import Result
from saes.evaluation.result import DENSE, Evaluation

if TYPE_CHECKING:
    from interp.report import Download


LOWEST, PER_OCTAVE, BINS = -12, 4, 128
"""Bins of histograms of activations: from 2^-12 up in quarters of an octave; the last has all larger values."""
RARE = 10
"""Number of firings below which a latent is shown last: so few say little."""
QUARTERS = ("", "lowest quarter", "second quarter", "third quarter", "highest quarter")
"""Names of the values of `Features.band`: the quarter of a latent's firings that an example was drawn from."""
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
class Features(Result):
    """Features of every latent, from its firings and its weights.

    Attributes:
        rows: number of activations read.
        contexts: number of contexts they come from.
        before: position, within an example, of the token that the latent fires on.
        vocabulary: texts of the tokens; `tokens` and `logit_tokens` are indices into it.
        fired: number of rows it fires on.
        strength: mean value where it fires; 0 for one that never does.
        energy: mean over rows of value² · |decoder row|²: the variance it carries.
        histogram: firings by strength, see `BINS`.
        tokens: the examples' tokens, -1 where there is none.
        values: its value at each of them; NaN where the activation was not stored (position 0).
        band: band of an example: 0 among the strongest, 1 to 4 drawn from that quarter of its firings, -1 none.
        where: context and position of an example, -1 where there is none.
        logit_tokens: the tokens it raises most [0] and lowers most [1] through the direct path.
        logit_values: change of these tokens' logits for a unit of the latent.
        no_logits: why there are no such tokens, or empty; without them both arrays have no latents.
        nearest: latents with the most similar decoder rows.
        nearest_cosine: their cosine similarity.
        chance_cosine: the mean nearest cosine in a random dictionary of the same size.
        inhibitor_candidates: possible inhibitors, the latents of most negative virtual weight onto this one.
        inhibitor_weight: that weight, 0 where the directions are no more opposed than random ones.
        common_rows: number of rows on which both fire.
        controls: latents drawn at random, as a control.
        control_common_rows: number of rows on which both fire.

    Example:
        >>> features = study.features  # study = dictionary.run(sae, store, model=model)
        >>> features.rows, features.fired[:4].tolist()
        (360, [16, 54, 109, 120])
    """

    rows: int
    contexts: int
    before: int
    vocabulary: tuple[str, ...]
    fired: Int[np.ndarray, " width"]
    strength: Float[np.ndarray, " width"]
    energy: Float[np.ndarray, " width"]
    histogram: Int[np.ndarray, "width bin"]
    tokens: Int[np.ndarray, "width example window"]
    values: Float[np.ndarray, "width example window"]
    band: Int[np.ndarray, "width example"]
    where: Int[np.ndarray, "width example 2"]
    logit_tokens: Int[np.ndarray, "width 2 token"]
    logit_values: Float[np.ndarray, "width 2 token"]
    no_logits: str
    nearest: Int[np.ndarray, "width neighbour"]
    nearest_cosine: Float[np.ndarray, "width neighbour"]
    chance_cosine: float
    inhibitor_candidates: Int[np.ndarray, "width candidate"]
    inhibitor_weight: Float[np.ndarray, "width candidate"]
    common_rows: Int[np.ndarray, "width candidate"]
    controls: Int[np.ndarray, "width control"]
    control_common_rows: Int[np.ndarray, "width control"]

    @property
    def width(self) -> int:
        """Number of latents."""
        return len(self.fired)

    @property
    def maximum(self) -> Float[np.ndarray, " width"]:
        """Largest value of each latent, 0 for one that never fires."""
        peak = self.values[:, 0, self.before]
        return np.where(self.fired > 0, np.nan_to_num(peak), 0)

    def ranked(self) -> Int[np.ndarray, " width"]:
        """Return latents in the order of interest.

        They are sorted by the variance they carry, with the dense, the rare and the dead latents last. Dense latents
        fire on more than a tenth of the rows and carry much variance, yet rarely have one meaning.

        >>> study.features.ranked()[:5].tolist()  # study = dictionary.run(sae, store, model=model)
        [13, 9, 11, 5, 18]
        """
        rank = np.select([self.fired == 0, self.fired < RARE, self.fired > DENSE * self.rows], [3, 2, 1], 0)
        return np.lexsort((np.arange(self.width), -self.energy, rank))

    def quarter(self, latent: int, example: int | np.integer) -> str:
        """Return the quarter of firings that an example was drawn from.

        Empty for one of the strongest.

        >>> study.features.quarter(latent=0, example=3)  # study = dictionary.run(sae, store, model=model)
        'lowest quarter'
        """
        return QUARTERS[self.band[latent, example]]

    def words(self, latent: int, count: int = 3) -> tuple[str, ...]:
        """Return the tokens of a latent's strongest examples.

        They are sorted by the sum of its values there.

        >>> study.features.words(32)  # study = dictionary.run(sae, store, model=model)
        (' London',)
        """
        strongest = self.band[latent] == 0
        tokens = self.tokens[latent, strongest, self.before]
        values = self.values[latent, strongest, self.before]
        sums: dict[int, float] = {}
        for token, value in zip(tokens.tolist(), values.tolist(), strict=True):
            sums[token] = sums.get(token, 0.0) + value
        return tuple(self.vocabulary[token] for token in sorted(sums, key=lambda token: -sums[token])[:count])

    def promoted(self, latent: int, side: int = 0) -> tuple[tuple[str, float], ...]:
        """Return the tokens that a latent raises or lowers most.

        They are pairs (token, logits for a unit): raised for `side` 0, lowered for 1; empty if not computed.

        >>> token, value = study.features.promoted(28)[0]  # study = dictionary.run(sae, store, model=model)
        >>> token, round(value, 2)
        ('the', 0.15)
        """
        if self.no_logits:
            return ()
        pairs = zip(self.logit_tokens[latent, side].tolist(), self.logit_values[latent, side].tolist(), strict=True)
        return tuple((self.vocabulary[token], value) for token, value in pairs)

    def inhibitors(self, latent: int) -> tuple[tuple[int, float, int, float], ...]:
        """Return the latents that inhibit this one.

        They are tuples (other, virtual weight, rows both fire on, rows expected). Two things are required: a negative
        virtual weight, and fewer common firings than independent latents would have (`fewer_common_rows`). They are
        sorted by weight times the other's mean value, the strongest first.

        >>> other, weight, both, expected = study.features.inhibitors(32)[0]  # study = dictionary.run(sae, store)
        >>> other, round(weight, 2), both, round(expected, 1)
        (8, -1.0, 0, 14.7)
        """
        self.check((latent,))
        others, weight = self.inhibitor_candidates[latent], self.inhibitor_weight[latent]
        both = self.common_rows[latent]
        expected = self.fired[others] * self.fired[latent] / self.rows
        chosen = np.flatnonzero((weight < 0) & self.fewer_common_rows[latent])
        chosen = chosen[np.argsort(weight[chosen] * self.strength[others[chosen]], kind="stable")]
        return tuple((int(others[i]), float(weight[i]), int(both[i]), float(expected[i])) for i in chosen)

    @cached_property
    def fewer_common_rows(self) -> Bool[np.ndarray, "width candidate"]:
        """Whether a latent and a possible inhibitor rarely fire together.

        True for pairs with fewer common rows than independent latents would have by chance.
        """
        return self._fewer_common_rows(self.inhibitor_candidates, self.common_rows)

    @property
    def fewer_common_rows_by_chance(self) -> float | None:
        """Fraction of random pairs of latents with fewer common rows than chance.

        None if no pair was counted.
        """
        less = self._fewer_common_rows(self.controls, self.control_common_rows)
        return float(less.mean()) if less.size else None

    def _fewer_common_rows(self, others: np.ndarray, both: np.ndarray) -> np.ndarray:
        """Test whether pairs of latents have fewer common firings than independent ones.

        True where the Poisson probability of at most that number of common firings is below 0.001, divided by the
        number of possible inhibitors of a latent.
        """
        from scipy.stats import poisson

        expected = self.fired[others] * (self.fired[:, None] / self.rows)
        return poisson.cdf(both, expected) < 1e-3 / max(1, self.inhibitor_candidates.shape[1])

    def search(self, word: str) -> tuple[int, ...]:
        """Return the latents that have `word` in one of their tokens.

        Searched are the tokens they fire most strongly on and those they raise, in any case. Latents are in the order
        of interest.

        >>> study.features.search("paris")[:3]  # study = dictionary.run(sae, store, model=model)
        (5, 25, 23)
        """
        wanted = word.casefold()

        def has(latent: int) -> bool:
            tokens = (*self.words(latent, 99), *(token for token, _ in self.promoted(latent)))
            return any(wanted in token.casefold() for token in tokens)

        return tuple(int(latent) for latent in self.ranked() if has(int(latent)))

    def check(self, latents: tuple[int, ...]) -> None:
        """Check that latents exist.

        Raises `UsageError` for one that does not.

        >>> study.features.check((0, 47))  # study = dictionary.run(sae, store, model=model)
        """
        for latent in latents:
            if not 0 <= latent < self.width:
                raise UsageError(f"There is no latent {latent}: this dictionary has latents 0 to {self.width - 1}.")


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
