"""What steering does at every strength: the behaviour, its controls, its side effects and its cost. No torch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from interp.provenance import Provenance
from interp.report import Figure, Shown, Table
from interp.results import Result
from interp.statistics import mean_interval, p_value
from interp.steering.vectors import Vector
from interp.tasks.score import proportion_interval

WRONG_WAY = 0.2
"""Fraction of prompts that move the wrong way from which a vector is called unreliable."""
NGRAM = 3
"""Length of the sequences of words whose repetition is counted."""


@dataclass(frozen=True, eq=False)
class DoseResponse(Shown, Result):
    """Result of steering: the measure of prompts at every strength.

    It has the measure under every vector, with controls, side effects and cost. Where there are several layers, one
    half of the prompts (`chooses`) chooses the layer of the largest mean slope, and all statements about it are
    measured on the other half.

    Attributes:
        layers: the block each vector steers.
        strengths: (n_dose,) in units of each vector's `stream_norm`, 0 among them.
        vectors: the vectors.
        measure: what is measured, in words.
        prompts: the prompts.
        values: (n_layer, n_dose, n_prompt) the measure.
        random: (n_layer, n_random, n_dose, n_prompt) the same along random directions of the same norm.
        shuffled: (n_layer, n_shuffled, n_dose, n_prompt) the same along vectors of shuffled labels.
        off_target: names of the behaviours that should stay.
        off_target_values: the measure of each, (n_layer, n_dose, n_prompt of it).
        kl: (n_layer, n_dose, n_text) KL divergence from the unsteered model on neutral text, nats per token.
        loss: (n_layer, n_dose, n_text) cross-entropy on neutral text, nats per token; perplexity is its exponential.
        written_prompts: the prompts that are continued.
        written: (n_layer, n_dose, n_written) what the model adds to them.
        seed: of the random directions and the halves.
        provenance: the model, and the run.

    >>> v = steering.vector(model, ["a b", "the tower"], ["is in", "London Paris"], layer=1)
    >>> kwargs = {"strengths": (-0.5, 0.5), "neutral": ["the tower is in"], "n_controls": 3}
    >>> response = steering.dose_response(model, v, ["the tower is", "a b is"], (" Paris", " London"), **kwargs)
    """

    layers: tuple[int, ...]
    strengths: tuple[float, ...]
    vectors: tuple[Vector, ...]
    measure: str
    prompts: tuple[str, ...]
    values: np.ndarray
    random: np.ndarray
    shuffled: np.ndarray
    off_target: tuple[str, ...]
    off_target_values: tuple[np.ndarray, ...]
    kl: np.ndarray
    loss: np.ndarray
    written_prompts: tuple[str, ...]
    written: tuple[tuple[tuple[str, ...], ...], ...]
    seed: int
    provenance: Provenance

    @property
    def slopes(self) -> np.ndarray:
        """Slope of the measure over strength, (n_layer, n_prompt).

        Least squares, of each prompt (arXiv 2407.12404).
        """
        return self._slopes(self.values)

    @property
    def random_slopes(self) -> np.ndarray:
        """(n_layer, n_random) mean slope over the judged prompts along each random direction."""
        return self._slopes(self.random)[..., self.judges].mean(-1)

    @property
    def shuffled_slopes(self) -> np.ndarray:
        """Mean slopes along vectors of shuffled labels, (n_layer, n_shuffled).

        Means are over the judged prompts.
        """
        return self._slopes(self.shuffled)[..., self.judges].mean(-1)

    @property
    def chooses(self) -> np.ndarray:
        """Whether each prompt is one that chooses the layer, (n_prompt,).

        None where there is one layer or fewer than four prompts.
        """
        n = len(self.prompts)
        chosen = np.zeros(n, bool)
        if len(self.layers) > 1 and n >= 4:
            chosen[np.random.default_rng(self.seed).permutation(n)[: n // 2]] = True
        return chosen

    @property
    def judges(self) -> np.ndarray:
        """(n_prompt,) prompts on which the chosen layer is judged."""
        return ~self.chooses

    @property
    def best(self) -> int:
        """Index of the best layer.

        It has the largest mean slope on the prompts that choose.
        """
        rows = self.chooses if self.chooses.any() else self.judges
        return int(self.slopes[:, rows].mean(1).argmax())

    @property
    def slope(self) -> tuple[float, float, float]:
        """Mean slope of the chosen layer on the judged prompts.

        With its 95 % bootstrap interval.
        """
        mean, low, high = mean_interval(self.slopes[self.best, self.judges], seed=self.seed)
        return float(mean), float(low), float(high)

    @property
    def p_random(self) -> float:
        """Share of random directions with a slope as far from 0.

        As far as that of the vector, itself counted.
        """
        return p_value(self.slope[0], np.abs(self.random_slopes[self.best]))

    @property
    def wrong_way(self) -> tuple[float, float, float]:
        """Fraction of judged prompts with a negative slope.

        With its 95 % Wilson interval.
        """
        slopes = self.slopes[self.best, self.judges]
        hits = int((slopes < 0).sum())
        return hits / len(slopes), *proportion_interval(hits, len(slopes))

    @property
    def steers(self) -> bool:
        """Whether the vector steers.

        The slope's interval is above 0 and the slope exceeds all controls.
        """
        slope, low, _ = self.slope
        least = np.abs(np.concatenate([self.random_slopes[self.best], [0.0]]))
        shuffled = np.abs(np.concatenate([self.shuffled_slopes[self.best], [0.0]]))
        return bool(low > 0 and slope > np.quantile(least, 0.99) and slope > shuffled.max())

    @property
    def repetition(self) -> np.ndarray:
        """Share of repeated triples of words, (n_layer, n_dose).

        These are triples that came before in the same added text; mean over texts.
        """
        shares = [[np.mean([_repeated(text) for text in texts]) for texts in doses] for doses in self.written]
        return np.array(shares)

    def verdict(self) -> str:
        """Return one sentence that says whether the vector steers.

        The sentence has the slope, the controls and the cost.

        >>> print(response.verdict()[:26])
        The vector does not steer:
        """
        slope, low, high = self.slope
        random = np.abs(self.random_slopes[self.best])
        share, _, worst = self.wrong_way
        chance = f"random directions reach {np.quantile(random, 0.99):.2f} (99th percentile)" if len(random) else ""
        shuffled = np.abs(self.shuffled_slopes[self.best])
        labels = f"shuffled labels {shuffled.max():.2f}" if len(shuffled) else ""
        controls = "; ".join(part for part in (chance, labels) if part) or "no control was run"
        effect = (
            f"{slope:+.2f} [{low:+.2f}, {high:+.2f}] per norm of the stream in {self.measure} at layer "
            f"{self.layers[self.best]}; {controls}; {share:.0%} of {int(self.judges.sum())} prompts move the wrong way "
            f"(at most {worst:.0%})"
        )
        if not self.steers:
            return f"The vector does not steer: {effect}."
        unreliable = f"; with {share:.0%} wrong it is unreliable" if share > WRONG_WAY else ""
        at = int(np.argmax(self.strengths))
        cost = float(self.kl[self.best, at].mean())
        return (
            f"The vector steers: {effect}{unreliable}; at strength {self.strengths[at]:g} it costs {cost:.2f} nats per "
            "neutral token."
        )

    def table(self) -> Table:
        """Return a table of the measure by layer and strength.

        It has intervals, controls and costs too.

        >>> response.table().columns[:4]
        ('layer', 'strength', 'measure', 'low')
        """
        columns = (
            *("layer", "strength", "measure", "low", "high", "random, 1st", "random, 99th", "KL", "perplexity"),
            *("repetition", *self.off_target),
        )
        rows = [self._row(layer, dose) for layer in range(len(self.layers)) for dose in range(len(self.strengths))]
        caption = (
            f"Mean {self.measure} over {len(self.prompts)} prompts with 95 % bootstrap interval; percentiles of "
            f"{self.random.shape[1]} random directions; KL in nats per token of neutral text."
        )
        return Table(columns, tuple(rows), caption, dict.fromkeys(columns[2:], ".3f"))

    def figure(self) -> Figure:
        """Draw the dose-response curve of every layer.

        A band shows random directions.

        >>> type(response.figure()).__name__
        'Figure'
        """
        from interp.report.figures import lines

        best = self.best
        names = [f"layer {layer}" for layer in self.layers]
        names[best] += " (chosen)" if len(names) > 1 else ""
        order = [best, *(i for i in range(len(names)) if i != best)]
        series = {names[i]: self.values[i][:, self.judges].mean(1) for i in order}
        _, low, high = mean_interval(self.values[best][:, self.judges].T, seed=self.seed)
        bands = {names[best]: (low, high)}
        note = ""
        if self.random.shape[1]:
            means = self.random[best][..., self.judges].mean(-1)
            series["random directions"] = means.mean(0)
            bands["random directions"] = (np.quantile(means, 0.01, axis=0), np.quantile(means, 0.99, axis=0))
            note = f" The band of random directions has 98 % of {len(means)}."
        if self.shuffled.shape[1]:
            series["shuffled labels"] = self.shuffled[best][..., self.judges].mean((0, -1))
        caption = (
            f"Mean {self.measure} over {int(self.judges.sum())} prompts, by strength in norms of the stream. Band of "
            f"the layer: 95 % bootstrap interval over prompts.{note}"
        )
        slope, unit = self.slope[0], "log odds (nats)" if self.measure.startswith("log odds") else self.measure
        alt = f"Dose-response curves; at layer {self.layers[best]} the mean slope is {slope:+.2f}; with controls."
        return lines(
            "dose",
            np.array(self.strengths),
            series,
            caption=caption,
            alt=alt,
            axes=("strength (norms of the stream)", unit),
            bands=bands,
        )

    def _row(self, layer: int, dose: int) -> tuple[int | float | str, ...]:
        mean, low, high = mean_interval(self.values[layer, dose], seed=self.seed)
        random = self.random[layer, :, dose].mean(-1)
        ends = np.quantile(random, (0.01, 0.99)) if len(random) else (np.nan, np.nan)
        others = [float(values[layer, dose].mean()) for values in self.off_target_values]
        cost = (float(self.kl[layer, dose].mean()), float(np.exp(self.loss[layer, dose].mean())))
        measured = tuple(map(float, (mean, low, high, *ends)))
        return (
            self.layers[layer],
            self.strengths[dose],
            *measured,
            *cost,
            float(self.repetition[layer, dose]),
            *others,
        )

    def _slopes(self, values: np.ndarray) -> np.ndarray:
        """Return the least-squares slope over strengths, the last axis but one."""
        doses = np.array(self.strengths)
        centred = doses - doses.mean()
        return np.tensordot(np.moveaxis(values, -2, -1), centred / np.square(centred).sum(), 1)

    def __repr__(self) -> str:
        return f"DoseResponse({self.verdict()})"


def _repeated(text: str) -> float:
    words = text.split()
    triples = [tuple(words[i : i + NGRAM]) for i in range(len(words) - NGRAM + 1)]
    return 1 - len(set(triples)) / len(triples) if triples else 0.0
