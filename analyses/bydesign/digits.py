"""Handwritten digits, and the loss and accuracy of perceptrons on them.

They are the 1,797 images of 8 by 8 pixels of scikit-learn.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.toy.networks import Weights, run_perceptron

PIXELS, CLASSES = 64, 10


@dataclass(frozen=True)
class Digits:
    """Images and their labels.

    Pixels have mean 0 and deviation 1 over the whole set.

    >>> digits()[0].y[:3].tolist()
    [9, 2, 5]
    """

    x: Float[Tensor, "1 images pixels"]
    y: Int[Tensor, " images"]

    def __len__(self) -> int:
        return len(self.y)


def digits(*, test_share: float = 0.3, seed: int = 0) -> tuple[Digits, Digits]:
    """Return the training images and the test images.

    >>> train, test = digits()
    >>> train.x.shape, test.x.shape
    (torch.Size([1, 1258, 64]), torch.Size([1, 539, 64]))
    """
    from sklearn.datasets import load_digits

    pixels, label = (torch.from_numpy(array) for array in load_digits(return_X_y=True))
    pixels = ((pixels - pixels.mean()) / pixels.std()).float()
    order = torch.randperm(len(label), generator=torch.Generator().manual_seed(seed))
    cut = int(test_share * len(label))
    test, train = order[:cut], order[cut:]
    return Digits(pixels[train][None], label[train].long()), Digits(pixels[test][None], label[test].long())


def batch(data: Digits, step: int, size: int, seed: int = 0) -> Digits:
    """Draw the batch of a step.

    It depends only on the seed and the step.

    Args:
        data: images to draw from, with replacement.
        step: number of the training step.
        size: images in a batch.
        seed: seed of the draws.

    Example:
        >>> batch(digits()[0], step=0, size=8).x.shape
        torch.Size([1, 8, 64])
    """
    generator = torch.Generator().manual_seed((seed << 31) + step)
    rows = torch.randint(len(data), (size,), generator=generator)
    return Digits(data.x[:, rows], data.y[rows])


def cross_entropy(weights: Weights, data: Digits) -> Float[Tensor, " instances"]:
    """Return the mean negative log-likelihood of every network, nats."""
    logits = run_perceptron(weights, data.x, activation="relu")
    label = data.y.expand(len(logits), -1)
    return torch.nn.functional.cross_entropy(logits.transpose(1, 2), label, reduction="none").mean(1)


def accuracy(weights: Weights, data: Digits) -> Float[Tensor, " instances"]:
    """Return the share of images that every network classifies correctly."""
    return (run_perceptron(weights, data.x, activation="relu").argmax(2) == data.y).float().mean(1)
