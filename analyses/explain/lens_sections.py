"""Section on how the prediction builds up over the layers.

One position is read at every layer through the lenses that are given.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from interp.report import Figure, How, Section, Table
from interp.report.figures import lines
from interp.report.text import quoted

if TYPE_CHECKING:
    from analyses.explain.result import Explanation
    from interp.attribution.lens_results import LogitLens


def layers_section(result: Explanation) -> Section:
    """Return the section with the readings of all layers.

    It has the logit lens and, if a tuned lens is given, that lens and the readout in another prompt.
    """
    lens = result.lens
    first = int(np.argmax(lens.ranks[:, 0, 0] == 0)) if (lens.ranks[:, 0, 0] == 0).any() else None
    target = quoted(lens.tracked[0])
    claim = (
        f"{target} becomes the most likely token after {lens.labels[first]}."
        if first is not None
        else f"{target} is not the most likely token after any layer."
    )
    blocks: list[Figure | Table] = [_drawn(lens, "lens"), lens.table(0)]
    text = (
        "The residual stream after each block is normalised with its own scale and multiplied by the unembedding. "
        f"The last row is the model's own output, to a relative error of {lens.error:.1e}."
    )
    if result.tuned is not None:
        depths = lens.depth[0], result.tuned.depth[0]
        claim += f" The prediction does not change after layer {depths[0]} (logit lens) or {depths[1]} (tuned lens)."
        blocks += [_drawn(result.tuned, "tuned-lens"), result.tuned.table(0)]
        text += " The tuned lens first applies an affine map fitted to each layer (arXiv 2303.08112)."
    if result.patchscope is not None:
        blocks.append(result.patchscope.table())
        text += (
            " In the last table the stream replaces that of the last token of another prompt, and the model continues "
            "that prompt (arXiv 2401.06102)."
        )
    how = How(text, "logits(l) = norm(x_l) W_U", "nostalgebraist, interpreting GPT: the logit lens (2020)")
    return Section("layers", "Prediction by layer", claim, tuple(blocks), how)


def _drawn(lens: LogitLens, name: str) -> Figure:
    series = {quoted(token): lens.logits[:, 0, i] for i, token in enumerate(lens.tracked)}
    read = "unembedded" if lens.lens == "logit" else "translated by the tuned lens and unembedded"
    return lines(
        name,
        np.arange(len(lens.labels)) - 1,
        series,
        caption=f"Logit of each token when the residual stream after a layer is {read} (−1 is the embedding). "
        "Logits, one prompt, no error bars: nothing is sampled.",
        alt=f"Logits by layer for {', '.join(series)}; they separate in the last layers.",
        axes=("layer", "logit"),
    )
