"""The tuned lens: an affine map for each layer, so that an intermediate stream is read in the basis of the last one.

The logit lens reads every residual stream with the unembedding of the last. A tuned lens (Belrose et al. 2023, arXiv
2303.08112) first translates it,

    h ↦ h + h A_l + b_l,        probabilities = softmax(unembed(norm(h + h A_l + b_l))),

with A_l and b_l chosen so that the probabilities are near the model's own (in KL divergence), on text. It says what a
layer's stream holds of the prediction for a linear reader; not that the model reads it so.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from jaxtyping import Float
from torch import Tensor

from interp.attribution.lens_fit import train
from interp.errors import DamagedFileError, UsageError
from interp.files import write_atomic
from interp.model import Model

Kind = Literal["tuned", "linear", "bias"]
KINDS: tuple[Kind, ...] = ("tuned", "linear", "bias")


@dataclass(frozen=True, eq=False)
class TunedLens:
    """Lens that translates the stream after each block before unembedding.

    Row 0 is the embedding's, row i + 1 that of the stream after block i; the last block has none.

    `weights[row]` and `biases[row]` are A and b. `kind` is "tuned" (trained), "linear" (the least-squares map alone) or
    "bias" (b trained, A = 0: the control). `unembedding` is the digest of the unembedding and final norm it was made
    for; `history` the validation KL of every row (nats) at each stage of training, from the untranslated stream on.

    >>> lens = attribution.TunedLens.fit(model, texts, kind="linear")
    >>> lens.weights.shape
    torch.Size([3, 24, 24])
    """

    kind: str
    model: str
    unembedding: str
    weights: Float[Tensor, "row d_model d_model"]
    biases: Float[Tensor, "row d_model"]
    history: Float[Tensor, "stage row"]

    @classmethod
    def fit(  # noqa: PLR0913 (keyword-only)
        cls,
        model: Model,
        source: Any,
        *,
        kind: Kind = "tuned",
        steps: int = 100,
        batch_size: int | None = None,
        lr: float = 1e-3,
        seed: int = 0,
        progress: Callable[[int, int, str], None] | None = None,
    ) -> TunedLens:
        """Fit a lens on a stream of text.

        Starts at the least-squares map from each stream to the last (both divided by the last one's norm scale, ridge
        by a hundredth of the mean variance), then takes Adam steps on the KL divergence, over a sample of the
        vocabulary that is drawn again in each step. Each row ends with its best parameters on two validation batches,
        which are not trained on, and stops early: it is never worse there than the logit lens.

        Args:
            model: in float32 or float64.
            source: token ids (batch, n_token), or a `Store` with the hooks of `hooks(model)`.
            kind: "tuned"; "linear" without the steps; "bias" for the control without A.
            steps: Adam steps at most.
            batch_size: number of positions of a step. By default 256, or 3 · 2²² / d_vocab where that is fewer (48 of
                Gemma 3): the model's logits of these positions are most of the cost of a step.
            lr: learning rate, falling linearly to 0.
            seed: of the order of the text and of the sampled vocabulary.
            progress: called with (steps done, steps, what is being done).

        Returns:
            The lens.

        Raises:
            UsageError: an unknown kind, too little text, a store that lacks a layer, or another dtype.

        >>> lens = attribution.TunedLens.fit(model, texts, kind="linear")
        >>> attribution.logit_lens(model, tokens, [" Paris"], lens=lens).logits.shape
        (4, 4, 1)
        """
        return fit_lenses(
            model, source, (kind,), steps=steps, batch_size=batch_size, lr=lr, seed=seed, progress=progress
        )[kind]

    def translate(self, row: int, x: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        """Translate the stream of one row into the last row's basis.

        The last row itself is returned unchanged.

        >>> lens.translate(1, torch.zeros(model.spec.d_model)).shape
        torch.Size([24])
        """
        if row >= len(self.biases):
            return x
        return x + x @ self.weights[row].to(x) + self.biases[row].to(x)

    def check_model(self, model: Model) -> None:
        """Raise `UsageError` where the lens was made for another unembedding or size.

        >>> lens.check_model(model)
        """
        if self.biases.shape != (model.spec.n_layer, model.spec.d_model) or self.unembedding != digest(model):
            raise UsageError(
                f"The lens was fitted to {self.model}, whose unembedding is not that of {model.name}: fit one to it."
            )

    def save(self, file: str | os.PathLike[str]) -> Path:
        """Save the lens as one safetensors file.

        An earlier file is replaced only when the new one is whole.

        >>> lens.save(folder / "lens.safetensors").name
        'lens.safetensors'
        """
        from safetensors.torch import save

        path = Path(file)
        tensors = {"weights": self.weights, "biases": self.biases, "history": self.history}
        about = {"kind": self.kind, "model": self.model, "unembedding": self.unembedding}
        content = save({name: value.cpu().contiguous() for name, value in tensors.items()}, {"lens": json.dumps(about)})
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, content)
        return path

    @classmethod
    def load(cls, file: str | os.PathLike[str], model: Model | None = None) -> TunedLens:
        """Load a saved lens.

        With `model`, a lens that was fitted to another unembedding is refused. Raises `DamagedFileError` for what is
        not a lens, `UsageError` for a lens of another model.

        >>> file = lens.save(folder / "lens.safetensors")
        >>> attribution.TunedLens.load(file, model).kind
        'linear'
        """
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(str(file), framework="pt") as opened:
                about = json.loads((opened.metadata() or {})["lens"])
                tensors = {name: opened.get_tensor(name) for name in ("weights", "biases", "history")}
            lens = cls(**{name: about[name] for name in ("kind", "model", "unembedding")}, **tensors)
        except (SafetensorError, KeyError, OSError, ValueError, TypeError) as error:
            raise DamagedFileError(f"{file} is not a saved lens: {error}.") from error
        if model is not None:
            lens.check_model(model)
        return lens


def fit_lenses(  # noqa: PLR0913 (keyword-only)
    model: Model,
    source: Any,
    kinds: Sequence[Kind] = KINDS,
    *,
    steps: int = 100,
    batch_size: int | None = None,
    lr: float = 1e-3,
    seed: int = 0,
    progress: Callable[[int, int, str], None] | None = None,
) -> dict[str, TunedLens]:
    """Fit lenses of several kinds on the same streams.

    The model runs once for all of them.

    Args:
        model: in float32 or float64.
        source: as in `TunedLens.fit`.
        kinds: some of "tuned", "linear" and "bias".
        steps: Adam steps at most.
        batch_size: positions a step.
        lr: learning rate, falling linearly to 0.
        seed: of the order of the text and of the sampled vocabulary.
        progress: called with (steps done, steps, what is being done).

    Returns:
        The lens of each kind.

    Raises:
        UsageError: an unknown kind, or an error of `TunedLens.fit`.

    >>> lenses = fit_lenses(model, texts, ("linear", "bias"), steps=2)
    >>> list(lenses)
    ['linear', 'bias']
    """
    for kind in kinds:
        if kind not in KINDS:
            raise UsageError(f"kind must be one of {', '.join(KINDS)}, not {kind!r}.")
    fitted = train(model, source, kinds=kinds, steps=steps, batch_size=batch_size, lr=lr, seed=seed, progress=progress)
    about, unembedding = model.name, digest(model)
    return {
        kind: TunedLens(kind, about, unembedding, one.weights, one.biases, one.history)
        for kind, one in zip(kinds, fitted, strict=True)
    }


def digest(model: Model) -> str:
    """Compute the hash of the unembedding and the final norm.

    A lens is fitted to these.
    """
    hashed = hashlib.sha256()
    norm = model.weights.ln_final
    for tensor in (model.parts.W_U, norm.gain, norm.bias):
        if tensor is not None:
            # Float32 of any dtype: a lens of a float32 model is that of its float64 copy too.
            hashed.update(tensor.detach().float().cpu().contiguous().numpy().tobytes())
    return hashed.hexdigest()
