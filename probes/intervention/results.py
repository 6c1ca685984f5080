"""Results of interventions. No torch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from interp.provenance import Provenance
from interp.report import Figure, Shown, Table
from probes.layers import Layered

MODES = ("add", "remove")


@dataclass(frozen=True, eq=False)
class Intervention(Shown, Layered):
    """Answers of a model while a direction is changed.

    Random directions are the control.

    Attributes:
        direction: name of the direction.
        mode: "add" or "remove"; see `probes.intervene`.
        layers: the changed layers.
        positions: the changed tokens, counted from the end of the statement, or "all".
        strengths: in ascending order, including 0.
        steps: (layer,) length of strength 1.
        prompt: the question, including few-shot examples.
        answers: the answers for true and for false.
        read: "total" or "first"; see `Question`.
        data: name of the statements.
        labels: (n,) 1 for true.
        groups: the entities of each row, which are resampled for intervals.
        log_probabilities: (direction, strength, n, answer) in nats; direction 0 is the given one, the rest are random.
        provenance: provenance of the run.

    Example:
        >>> intervention.log_probabilities.shape  # intervention = probes.intervene(model, probe, data, layers=1)
        (20, 3, 5, 2)
    """

    direction: str
    mode: str
    layers: tuple[int, ...]
    positions: tuple[str, ...]
    strengths: tuple[float, ...]
    steps: np.ndarray
    prompt: str
    answers: tuple[str, str]
    read: str
    data: str
    labels: np.ndarray
    groups: tuple[tuple[str, ...], ...]
    log_probabilities: np.ndarray
    provenance: Provenance

    def __repr__(self) -> str:
        where = f"layers {', '.join(map(str, self.layers))}, strengths {', '.join(f'{s:g}' for s in self.strengths)}"
        return f"Intervention({self.mode} {self.direction} on {len(self.labels)} of {self.data}: {where})"

    @property
    def n_controls(self) -> int:
        """Number of random directions."""
        return len(self.log_probabilities) - 1

    @property
    def difference(self) -> Float[np.ndarray, "direction strength n"]:
        """P(answer for true) − P(answer for false)."""
        p = np.exp(self.log_probabilities)
        return p[..., 0] - p[..., 1]

    @property
    def mass(self) -> Float[np.ndarray, "direction strength n"]:
        """Return the probability that the answer is one of the two.

        It is P(answer for true) + P(answer for false).
        """
        return np.exp(self.log_probabilities).sum(-1)

    @property
    def denominator(self) -> tuple[float, float, float]:
        """PD₊ − PD₋ of the unchanged model with its 95 % interval.

        PD is the mean of `difference` over true (+) or false (−) statements.
        """
        from probes.protocol.intervals import resampled

        clean, true = self.difference[0, self._clean], self.labels == 1
        weights = np.concatenate(list(resampled(self.groups, seed=0)))
        weights = weights[(weights[:, true].sum(1) > 0) & (weights[:, ~true].sum(1) > 0)]
        sides = [weights[:, side] @ clean[side] / weights[:, side].sum(1) for side in (true, ~true)]
        low, high = np.percentile(sides[0] - sides[1], [2.5, 97.5]) if len(weights) else (-np.inf, np.inf)
        return _gap(clean, self.labels), float(low), float(high)

    @property
    def refusal(self) -> str:
        """Reason why there is no normalised effect; empty if there is one."""
        value, low, high = self.denominator
        if low > 0:
            return ""
        estimate = f"PD₊ − PD₋ = {value:+.3f}, 95 % interval [{low:+.3f}, {high:+.3f}]"
        if high < 0:
            return (
                f"The unchanged model answers true more often for false statements ({estimate}), so effects are not "
                "normalised."
            )
        return (
            f"The unchanged model's answers do not separate true from false statements ({estimate}, within noise of "
            "0), so effects are not normalised."
        )

    def effects(self, label: int) -> Float[np.ndarray, "direction strength"]:
        """Return the change of the mean answer to statements with this label.

        It is PD* − PD.

        >>> intervention.effects(label=1)[0].round(3).tolist()  # intervention = probes.intervene(...)
        [0.008, 0.0, -0.011]
        """
        rows = self.difference[..., self.labels == label].mean(-1)
        return rows - rows[:, [self._clean]]

    def normalised(self, label: int) -> Float[np.ndarray, "direction strength"] | None:
        """Return the normalised indirect effect, or None (see `refusal`).

        For false statements (label 0) it is (PD*₋ − PD₋) / (PD₊ − PD₋), which is 1 if they are answered like true ones.
        For true statements it is (PD₊ − PD*₊) / (PD₊ − PD₋). Marks & Tegmark 2023, arXiv 2310.06824.

        >>> intervention.refusal  # intervention = probes.intervene(...)
        "The unchanged model's answers do not separate true from false statements (PD₊ − PD₋ = +0.003, 95 % ..."
        >>> print(intervention.normalised(label=0))
        None
        """
        if self.refusal:
            return None
        return self.effects(label) * (1 if label == 0 else -1) / self.denominator[0]

    def share_beyond(self, label: int, strength: float) -> float:
        """Return the share of directions with an effect at least as large.

        Only effects of the same sign count. The given direction is included, so that the share is a p-value of at least
        1 / (1 + n_controls).

        >>> intervention.n_controls, intervention.share_beyond(1, strength=8.0)  # intervention = probes.intervene(...)
        (19, 0.2)
        """
        effects = self.effects(label)[:, self.strengths.index(strength)]
        sign = np.sign(effects[0])
        return float((effects * sign >= effects[0] * sign).mean())

    def sentences(self) -> tuple[str, ...]:
        """Return sentences that state the effects with their denominator and control.

        >>> intervention.sentences()[0]  # intervention = probes.intervene(...)
        'In the unchanged model the mean P(a) − P(b) over true statements exceeds that over false ones by ...'
        """
        value, low, high = self.denominator
        true, false = (answer.strip() for answer in self.answers)
        sentences = [
            f"In the unchanged model the mean P({true}) − P({false}) over true statements exceeds that over false ones "
            f"by {value:+.3f} (95 % interval [{low:+.3f}, {high:+.3f}]); the two answers have "
            f"{self.mass[0, self._clean].mean():.0%} of the probability."
        ]
        sentences += [self.refusal] if self.refusal else []
        sentences += [self._sentence(label, strength) for label, strength in self._extremes()]
        return tuple(sentences)

    def table(self) -> Table:
        """Return a table of answers and effects by strength.

        It has mean answers, effects and the range of random directions.

        >>> intervention.table().columns[:6]  # intervention = probes.intervene(...)
        ('strength', 'statements', 'PD', 'effect', 'random low', 'random high')
        """
        columns = ("strength", "statements", "PD", "effect", "random low", "random high", "p", "NIE", "mass")
        rows = []
        for i, strength in enumerate(self.strengths):
            for label, word in ((1, "true"), (0, "false")):
                chosen = self.labels == label
                effects, nie = self.effects(label)[:, i], self.normalised(label)
                low, high = np.percentile(effects[1:], [2.5, 97.5])
                rows.append(
                    (
                        strength,
                        word,
                        float(self.difference[0, i, chosen].mean()),
                        float(effects[0]),
                        float(low),
                        float(high),
                        None if strength == 0 else self.share_beyond(label, strength),
                        None if nie is None or strength == 0 else float(nie[0, i]),
                        float(self.mass[0, i, chosen].mean()),
                    )
                )
        signed = dict.fromkeys(("PD", "effect", "random low", "random high", "NIE"), "+.3f")
        caption = f"{self._setting()} {self._legend()}"
        return Table(columns, tuple(rows), caption, signed | {"strength": "g", "p": ".3f", "mass": ".2f"})

    def figure(self) -> Figure:
        """Plot the effect against the strength, with the range of random directions.

        >>> intervention.figure().alt  # intervention = probes.intervene(...)
        'Change of the answer difference against strength; at the largest strength -0.011 for true statements ...'
        """
        from interp.report.figures import lines

        series, bands = {}, {}
        for label, word in ((1, "true statements"), (0, "false statements")):
            effects = self.effects(label)
            series[word] = effects[0]
            low, high = np.percentile(effects[1:], [2.5, 97.5], axis=0)
            series[f"random, {word}"] = effects[1:].mean(0)
            bands[f"random, {word}"] = (low, high)
        last = {word: float(series[word][-1]) for word in ("true statements", "false statements")}
        return lines(
            "intervention",
            list(self.strengths),
            series,
            caption=f"{self._setting()} Change of the mean answer to true and to false statements; bands: 95 % of "
            f"{self.n_controls} random directions of the same length.",
            alt="Change of the answer difference against strength; at the largest strength "
            + " and ".join(f"{value:+.3f} for {word}" for word, value in last.items())
            + ".",
            axes=("strength", "change of P(true) − P(false)"),
            bands=bands,
        )

    @property
    def _clean(self) -> int:
        return self.strengths.index(0.0)

    def _setting(self) -> str:
        layers = f"layer{'s' * (len(self.layers) > 1)} {', '.join(map(str, self.layers))}"
        done = "added to" if self.mode == "add" else "removed from"
        return (
            f"{self.direction} {done} the residual stream of {self.data} at {layers}, statement tokens "
            f"{', '.join(self.positions)}."
        )

    def _legend(self) -> str:
        return (
            f"PD: mean of P({self.answers[0].strip()}) − P({self.answers[1].strip()}), "
            f"{'whole answers' if self.read == 'total' else 'first differing token'}; effect: its change; random: 95 % "
            f"of {self.n_controls} directions of the same length; p: share of all directions with an effect as large "
            "or larger; NIE: effect over PD₊ − PD₋, empty where that is within noise of 0."
        )

    def _extremes(self) -> list[tuple[int, float]]:
        """Return the label and strength of each sentence.

        False statements are moved towards true, true ones towards false.
        """
        if self.mode == "remove":
            return [(label, self.strengths[-1]) for label in (0, 1) if self.strengths[-1] > 0]
        towards_true = [(0, self.strengths[-1])] if self.strengths[-1] > 0 else []
        return towards_true + ([(1, self.strengths[0])] if self.strengths[0] < 0 else [])

    def _sentence(self, label: int, strength: float) -> str:
        at, nie = self.strengths.index(strength), self.normalised(label)
        effects = self.effects(label)[:, at]
        low, high = np.percentile(effects[1:], [2.5, 97.5])
        beyond = self.share_beyond(label, strength)
        side = "outside" if not low <= effects[0] <= high else "within"
        verdict = f"{side} the 95 % range of {self.n_controls} random directions of the same length"
        normal = "" if nie is None else f", {nie[0, at]:+.2f} of that difference"
        return (
            f"Strength {strength:+g} moves the mean answer to {'true' if label else 'false'} statements by "
            f"{effects[0]:+.2g}{normal}, {verdict} ([{low:+.2g}, {high:+.2g}]; p = {beyond:.3f})."
        )


def _gap(values: np.ndarray, labels: np.ndarray) -> float:
    return float(values[labels == 1].mean() - values[labels == 0].mean())
