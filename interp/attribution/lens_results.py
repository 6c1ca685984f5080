"""Results of lenses, lens comparisons and patchscopes. No torch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from interp.provenance import Provenance
from interp.report import Figure, Shown, Table
from interp.results import Result
from interp.statistics import mean_interval

LOGIT = "logit"


@dataclass(frozen=True, eq=False)
class LogitLens(Shown, Result):
    """Predictions of every intermediate residual stream at every position.

    Row 0 is the embedding, row i + 1 the stream after block i. `top_tokens[row][position]` are the k likeliest tokens
    and `top_probabilities` (n_layer + 1, n_token, k) their probabilities; `logits` (n_layer + 1, n_token, n_tracked)
    and `ranks` (0 is the likeliest) belong to the `tracked` tokens. `error` is the last row's distance from the
    model's own logits, relative to the largest. `lens` is "logit" or the kind of tuned lens that was read through.

    >>> lens = attribution.logit_lens(model, tokens, [" Paris"], k=2)
    >>> lens.top_tokens[-1][-1], lens.top_probabilities[-1, -1].round(3)
    ((' 🗼', ' in'), array([0.152, 0.1  ], dtype=float32))
    """

    tokens: tuple[str, ...]
    tracked: tuple[str, ...]
    top_tokens: tuple[tuple[tuple[str, ...], ...], ...]
    top_probabilities: np.ndarray
    logits: np.ndarray
    ranks: np.ndarray
    error: float
    lens: str = "logit"

    @property
    def depth(self) -> tuple[int, ...]:
        """Prediction depth of each position.

        It is the layer after which the likeliest token is the model's own for good.

        −1 is the embedding (Baldock et al. 2021, arXiv 2106.09647, for a lens instead of nearest neighbours).
        """
        likeliest = [[row[position][0] for row in self.top_tokens] for position in range(len(self.tokens))]
        return tuple(max((i for i, text in enumerate(texts) if text != texts[-1]), default=-1) for texts in likeliest)

    @property
    def labels(self) -> tuple[str, ...]:
        """The name of each row."""
        return ("embed", *(f"layer {i}" for i in range(len(self.top_tokens) - 1)))

    def at(self, position: int) -> LogitLens:
        """Return the lens at one position alone.

        >>> lens.at(-1).tokens
        (' in',)
        """
        return replace(
            self,
            tokens=(self.tokens[position],),
            top_tokens=tuple((row[position],) for row in self.top_tokens),
            top_probabilities=self.top_probabilities[:, [position]],
            logits=self.logits[:, [position]],
            ranks=self.ranks[:, [position]],
        )

    def table(self, position: int = -1) -> Table:
        """Return the likeliest token by layer at one position as a table.

        It has the logits and ranks of the tracked tokens too.

        >>> print(lens.table())
        Logit lens after ' in'
        after    likeliest  probability  logit ' Paris'  rank ' Paris'
        embed    ⟨empty⟩          32.8%           −0.34             31
        layer 0  ⟨empty⟩          18.3%           −1.40             40
        layer 1   a               21.4%           +1.08              7
        layer 2   🗼               15.2%           +0.60             17
        """
        columns = ["after", "likeliest", "probability"]
        for token in self.tracked:
            columns += [f"logit {token!r}", f"rank {token!r}"]
        rows = []
        for i, label in enumerate(self.labels):
            row: list[str | float | int] = [label, self.top_tokens[i][position][0]]
            row.append(float(self.top_probabilities[i, position, 0]))
            for j in range(len(self.tracked)):
                row += [float(self.logits[i, position, j]), int(self.ranks[i, position, j])]
            rows.append(tuple(row))
        formats = {name: "+.2f" for name in columns if name.startswith("logit")} | {"probability": ".1%"}
        return Table(
            tuple(columns), tuple(rows), f"{self.lens.capitalize()} lens after {self.tokens[position]!r}", formats
        )


@dataclass(frozen=True, eq=False)
class LensComparison(Shown, Result):
    """Several lenses on the same held-out prompts, layer by layer.

    Row 0 is the embedding, row i + 1 the stream after block i; the last is the model itself under every lens.

    Attributes:
        names: the lenses, "logit" first.
        cross_entropy: (n_lens, n_row, n_prompt) mean −log p(next token), nats per token.
        kl: (n_lens, n_row, n_prompt) mean KL divergence of the lens from the model's own prediction, nats per token.
        bias: (n_lens, n_row) KL divergence of the lens's mean prediction from the model's mean prediction over all
            positions compared, in nats: how far the lens is off on average (arXiv 2303.08112).
        depth: (n_lens, n_prompt, n_position) the layer after which the likeliest token is the model's own for good, −1
            for the embedding (prediction depth, arXiv 2106.09647); without positions in results of earlier versions.
        n_token: tokens of each prompt.
        n_position: positions of each prompt that were compared.
        provenance: the model, and the run.

    >>> lenses = attribution.fit_lenses(model, texts, ("linear",))
    >>> comparison = attribution.compare_lenses(model, texts, lenses)
    """

    layout: ClassVar[int] = 2

    names: tuple[str, ...]
    cross_entropy: np.ndarray
    kl: np.ndarray
    bias: np.ndarray
    depth: np.ndarray
    n_token: int
    n_position: int
    provenance: Provenance

    @classmethod
    def upgrade(cls, values: dict[str, Any], layout: int) -> dict[str, Any]:
        """Convert layout 1, which compared all positions and had no depth."""
        if layout != 1:
            return super().upgrade(values, layout)
        n_lens, _, n_prompt = values["kl"].shape
        return {**values, "depth": np.zeros((n_lens, n_prompt, 0), int), "n_position": values["n_token"]}

    @property
    def texts(self) -> str:
        """What was compared, for captions: the positions of the texts."""
        n = self.cross_entropy.shape[2]
        sampled = "" if self.n_position == self.n_token else f"{self.n_position} random positions of each of "
        return f"{sampled}{n} held-out texts of {self.n_token} tokens"

    @property
    def labels(self) -> tuple[str, ...]:
        """The name of each row."""
        return ("embed", *(f"layer {i}" for i in range(self.bias.shape[1] - 1)))

    def gain(self, name: str, versus: str = LOGIT) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the cross-entropy that a lens saves compared with another.

        Returns (mean, lower, upper 95 % bound over prompts), each (n_row,), in nats.

        >>> mean, low, high = comparison.gain("linear")
        >>> mean.shape
        (4,)
        """
        first, second = (self.cross_entropy[self.names.index(one)] for one in (versus, name))
        return mean_interval((first - second).T, seed=0)

    def better(self, name: str, versus: str = LOGIT) -> int:
        """Return the number of rows where a lens is reliably better.

        These are rows before the last, where the gain's interval lies above 0.

        >>> comparison.better("linear")
        0
        """
        return int((self.gain(name, versus)[1][:-1] > 0).sum())

    def summary(self) -> str:
        """Return one sentence that compares each lens with the logit lens.

        It says at how many layers a lens is better, and by how much.

        >>> print(comparison.summary().partition(",")[0])
        Of 3 rows before the last
        """
        parts, rows = [], self.bias.shape[1] - 1
        for name in self.names[1:]:
            gain = self.gain(name)[0][:-1]
            parts.append(f"the {name} lens at {self.better(name)} (by {gain.min():.2f} to {gain.max():.2f} nats)")
        n = self.cross_entropy.shape[2]
        return (
            f"Of {rows} rows before the last, the cross-entropy on {n} held-out texts is below the logit lens's with "
            f"{'; '.join(parts)}."
        )

    def table(self) -> Table:
        """Return cross-entropy and KL divergence of every lens, by row.

        >>> comparison.table().columns
        ('after', 'CE, logit', 'CE, linear', 'KL, logit', 'KL, linear')
        """
        measures = {"CE": self.cross_entropy.mean(-1), "KL": self.kl.mean(-1)}
        columns = ["after", *(f"{what}, {name}" for what in measures for name in self.names)]
        rows = tuple(
            (label, *(float(values[i, row]) for values in measures.values() for i in range(len(self.names))))
            for row, label in enumerate(self.labels)
        )
        caption = (
            f"Cross-entropy of the next token (CE) and KL divergence from the model's prediction, nats per token, on "
            f"{self.texts}."
        )
        return Table(tuple(columns), rows, caption, dict.fromkeys(columns[1:], ".3f"))

    def figure(self) -> Figure:
        """Draw the cross-entropy of every lens by layer, with intervals over prompts.

        >>> comparison.figure()
        Figure(lenses: Cross-entropy by layer; all lenses meet at the last, where they are the model.)
        """
        from interp.report.figures import lines

        series, bands = {}, {}
        for i, name in enumerate(self.names):
            series[name], low, high = mean_interval(self.cross_entropy[i].T, seed=0)
            bands[name] = (low, high)
        return lines(
            "lenses",
            np.arange(self.bias.shape[1]) - 1,
            series,
            caption=f"Cross-entropy of the next token under each lens, mean over {self.texts} (−1 is the embedding). "
            "Bands: 95 % bootstrap intervals over texts.",
            alt="Cross-entropy by layer; all lenses meet at the last, where they are the model.",
            axes=("layer", "cross-entropy (nats per token)"),
            bands=bands,
            log="y",
        )

    def __repr__(self) -> str:
        return f"LensComparison({self.summary()})"


@dataclass(frozen=True, eq=False)
class Patchscope(Shown, Result):
    """Continuations of a prompt with an activation of another, by layer.

    Attributes:
        source: the token whose activation was taken, and its prompt.
        prompt: the prompt it was put into.
        layers: the blocks after which it was taken and put in.
        texts: (n_layer,) the greedy continuations.
        top_tokens: (n_layer,) the likeliest next token.
        probabilities: (n_layer,) its probability.
        own: the token the model itself predicts at the source.
        own_probabilities: (n_layer,) the probability of that token after the patched prompt.
        unpatched: the continuation without a patch, the control; unpatched_probability that of `own` in it.

    >>> scope = attribution.patchscope(model, "the tower is in Paris", prompt="a a b b the", max_tokens=2)
    >>> scope.layers, scope.own_probabilities.round(3)
    ((0, 1, 2), array([0.327, 0.415, 0.326]))
    """

    source: str
    prompt: str
    layers: tuple[int, ...]
    texts: tuple[str, ...]
    top_tokens: tuple[str, ...]
    probabilities: np.ndarray
    own: str
    own_probabilities: np.ndarray
    unpatched: str
    unpatched_probability: float

    def table(self) -> Table:
        """Return the text written for each layer as a table.

        The last row is the unpatched prompt.

        >>> scope.table().columns[:4]
        ('after', 'added text', 'likeliest', 'probability')
        """
        rows = tuple(
            zip(
                (f"layer {layer}" for layer in self.layers),
                self.texts,
                self.top_tokens,
                map(float, self.probabilities),
                map(float, self.own_probabilities),
                strict=True,
            )
        )
        own = f"p of {self.own!r}"
        control = ("no patch", self.unpatched, "", None, self.unpatched_probability)
        caption = f"{self.source}, put into {self.prompt!r}: what the model writes."
        columns = ("after", "added text", "likeliest", "probability", own)
        return Table(columns, (*rows, control), caption, {"probability": ".1%", own: ".1%"}, ("likeliest",))
