"""Page of a study of lenses.

It shows their loss by layer on held-out text, their bias and the prediction depth.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from interp.report import How, Page, Section
from interp.report.figures import lines

if TYPE_CHECKING:
    from analyses.lens.result import Lenses

LIMITATIONS = (
    "A lens shows what a linear map can read from a layer, not that the model reads the layer in this way.",
    "A lens is fitted to text. It is less accurate on text of another kind.",
)


def page(result: Lenses) -> Page:
    """Return the page of a study."""
    comparison, config = result.comparison, result.config
    return Page(
        title="Lenses",
        finding=result.finding(),
        status=(
            ("fitted on", f"{config.contexts} contexts of {config.context} tokens"),
            ("positions of a step", str(config.batch_size)),
            (
                "compared on",
                f"{config.held_out} contexts of other documents, {comparison.n_position} positions of each",
            ),
            ("lenses", ", ".join(comparison.names)),
            ("precision", result.provenance.dtype),
        ),
        lead=(comparison.figure(),),
        sections=(_gains(result), _bias(result), _depth(result)),
        limitations=LIMITATIONS,
        provenance=result.provenance,
        downloads=result.downloads(),
        kind="lens",
    )


def _gains(result: Lenses) -> Section:
    comparison = result.comparison
    gains = {name: comparison.gain(name) for name in comparison.names[1:]}
    first = comparison.names[0]
    zero = {first: np.zeros(comparison.bias.shape[1])}
    drawn = lines(
        "gain-by-layer",
        np.arange(comparison.bias.shape[1]) - 1,
        zero | {name: gain for name, (gain, _, _) in gains.items()},
        caption="Decrease of the cross-entropy from the logit lens to each lens, nats per token (−1 is the embedding). "
        "Bands: 95 % bootstrap intervals over texts.",
        alt="Gain by layer of each lens; it is 0 at the last layer.",
        axes=("layer", "gain (nats per token)"),
        bands={name: (low, high) for name, (_, low, high) in gains.items()},
    )
    how = How(
        "The stream after each block is transformed by an affine map fitted to that layer, then normalised and "
        "unembedded. The bias lens has no matrix: it is a control that shows the effect of a shift alone. The linear "
        "lens is a least-squares fit without training.",
        "p_l = softmax(norm(h + h A_l + b_l) W_U)",
        "Belrose et al. (arXiv 2303.08112)",
    )
    return Section(
        "gains", "Which lens is the most accurate?", comparison.summary(), (drawn, comparison.table()), how, shown=1
    )


def _bias(result: Lenses) -> Section:
    comparison = result.comparison
    drawn = lines(
        "bias-by-layer",
        np.arange(comparison.bias.shape[1]) - 1,
        dict(zip(comparison.names, comparison.bias, strict=True)),
        caption=f"KL divergence of the lens's mean prediction from the model's, in nats, over {comparison.texts}.",
        alt="Bias by layer of each lens.",
        axes=("layer", "bias (nats)"),
    )
    worst = dict(zip(comparison.names, comparison.bias.max(1), strict=True))
    claim = (
        f"In its most biased layer {', '.join(f'the {name} lens has a bias of {x:.2f}' for name, x in worst.items())}."
    )
    return Section("bias", "Bias of the lenses", f"{claim[:-1]} nats.", (drawn,))


def _depth(result: Lenses) -> Section:
    medians = {name: float(np.median(depths)) for name, depths in result.depths.items()}
    n = len(next(iter(result.depths.values())))
    layers = np.arange(result.comparison.bias.shape[1]) - 1
    drawn = lines(
        "depths",
        layers,
        {name: (np.array(depths)[:, None] <= layers).mean(0) for name, depths in result.depths.items()},
        caption=f"Fraction of {n} positions whose most likely token under the lens is the model's from this layer on "
        "(−1 is the embedding).",
        alt="Rising curves, one for each lens; all end at 1 after the last layer.",
        axes=("layer", "fraction of positions"),
    )
    listed = ", ".join(f"{depth:.0f} ({name})" for name, depth in medians.items())
    how = How(
        "Prediction depth as in the reference, with a lens instead of nearest neighbours.", reference="arXiv 2106.09647"
    )
    claim = f"The median prediction depth is layer {listed}."
    return Section("depth", "When is the prediction made?", claim, (drawn,), how)
