"""Features of the latents of a sparse autoencoder, as stored in the result of a study. No torch here."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Int

from interp.errors import UsageError
from interp.results import Result
from saes.evaluation.result import DENSE

LOWEST, PER_OCTAVE, BINS = -12, 4, 128
"""Bins of histograms of activations: from 2^-12 up in quarters of an octave; the last has all larger values."""
RARE = 10
"""Number of firings below which a latent is shown last: so few say little."""
QUARTERS = ("", "lowest quarter", "second quarter", "third quarter", "highest quarter")
"""Names of the values of `Features.band`: the quarter of a latent's firings that an example was drawn from."""


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
