"""Base classes of the probes.

They have the input checks, decisions, probabilities, and fits of many layers at once.

A probe is a scikit-learn classifier of two classes. The greater label (1, of 0 and 1) means "true" and is predicted if
`decision_function(X) > 0`. Activations may be numpy arrays or tensors; everything is computed in float64.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field
from typing import Any, Self, cast

import numpy as np
import torch
from jaxtyping import Float, Int
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor

from interp.errors import UsageError
from probes.estimators.persistence import Saved


@dataclass(frozen=True, eq=False)
class Solution:
    """Fitted linear probe of one layer.

    `score = x @ direction + bias` in raw activation space.

    Attributes:
        direction: (d,) direction.
        bias: bias.
        logit_scale: log-odds (nats) per unit of score; 1 if the score is a log-odds.
        extra: further fitted attributes of the estimator, by name.

    Example:
        >>> Solution(torch.tensor([2.0, 0.0]), bias=-2.0).logit_scale
        1.0
    """

    direction: Float[Tensor, " d"]
    bias: float
    logit_scale: float = 1.0
    extra: dict[str, Any] = field(default_factory=dict)


class Probe(Saved, ClassifierMixin, BaseEstimator):
    """Base class of the probes: binary, dense, float64."""

    classes_: np.ndarray
    n_features_in_: int

    @abstractmethod
    def decision_function(self, X: Any) -> Float[np.ndarray, " n"]:
        """Return the signed score of each row; above 0 means true.

        >>> X, y = [[0.0, 1.0], [0.0, 3.0], [2.0, 1.0], [2.0, 3.0]], [0, 0, 1, 1]
        >>> probes.Ridge().fit(X, y).decision_function(X).round(2).tolist()
        [-0.8, -0.8, 0.8, 0.8]
        """

    def predict(self, X: Any) -> np.ndarray:
        """Predict the label of each row.

        It is the greater class if the score is above 0.

        >>> X, y = [[0.0, 1.0], [0.0, 3.0], [2.0, 1.0], [2.0, 3.0]], [0, 0, 1, 1]
        >>> probes.MassMean().fit(X, y).predict([[0.5, 9.0], [1.5, 9.0]]).tolist()
        [0, 1]
        """
        scores = self.decision_function(X)
        return self.classes_[(scores > 0).astype(int)]

    def predict_proba(self, X: Any) -> Float[np.ndarray, "n 2"]:
        """Return the probability of each class; column 1 is "true".

        >>> X, y = [[0.0, 1.0], [0.0, 3.0], [2.0, 1.0], [2.0, 3.0]], [0, 0, 1, 1]
        >>> probes.LogisticRegression(C=1.0).fit(X, y).predict_proba([[1.0, 2.0], [2.0, 2.0]]).round(2).tolist()
        [[0.5, 0.5], [0.26, 0.74]]
        """
        true = 1 / (1 + np.exp(-np.clip(self._log_odds(X), -700, 700)))
        return np.stack([1 - true, true], axis=1)

    def _log_odds(self, X: Any) -> Float[np.ndarray, " n"]:
        return self.decision_function(X)

    def _read(self, X: Any, y: Any) -> tuple[Float[np.ndarray, "n d"], Int[np.ndarray, " n"]]:
        """Check and return activations in float64 and labels as 0/1.

        Sets `classes_` and `n_features_in_`.
        """
        if y is None:
            raise UsageError(f"{type(self).__name__} requires y to be passed, but the target y is None.")
        try:
            X, y = validate_data(self, as_array(X), as_array(y), dtype=np.float64)
        except ValueError as error:
            raise UsageError(one_sentence(error)) from error
        self.classes_, labels = read_labels(y)
        return X, labels

    def _check(self, X: Any) -> Float[np.ndarray, "n d"]:
        check_is_fitted(self)
        try:
            return cast(np.ndarray, validate_data(self, as_array(X), dtype=np.float64, reset=False))
        except ValueError as error:
            raise UsageError(one_sentence(error)) from error

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = False
        return tags


class LinearProbe(Probe):
    """Probe with one direction: `decision_function(X) = X @ direction_ + bias_`.

    Attributes:
        direction_: (d,) float64, in raw activation space.
        bias_: float.
        logit_scale_: log-odds (nats) per unit of score, used only by `predict_proba`.
        classes_: the two labels; `classes_[1]` means "true".

    Example:
        >>> probes.MassMean().fit([[0.0, 1.0], [2.0, 1.0]], [0, 1]).direction_.tolist()
        [2.0, 0.0]
    """

    direction_: Float[np.ndarray, " d"]
    bias_: float
    logit_scale_: float

    def decision_function(self, X: Any) -> Float[np.ndarray, " n"]:
        """Return the scores `X @ direction_ + bias_` of activations (n, d).

        A score above 0 means true.

        >>> X, y = [[0.0, 1.0], [0.0, 3.0], [2.0, 1.0], [2.0, 3.0]], [0, 0, 1, 1]
        >>> probes.MassMean().fit(X, y).decision_function(X).tolist()
        [-2.0, -2.0, 2.0, 2.0]
        """
        return self._check(X) @ self.direction_ + self.bias_

    def _log_odds(self, X: Any) -> Float[np.ndarray, " n"]:
        return self.decision_function(X) * self.logit_scale_

    def with_solution(self, solution: Solution, classes: np.ndarray) -> Self:
        """Return a fitted copy that has this solution.

        `classes` are the two classes of the labels.

        >>> solution = Solution(torch.tensor([2.0, 0.0]), bias=-2.0)
        >>> probes.LDA().with_solution(solution, np.array([0, 1])).predict([[2.0, 5.0]]).tolist()
        [1]
        """
        fitted = cast(Self, clone(self))
        fitted.classes_, fitted.n_features_in_ = classes, len(solution.direction)
        return fitted._take(solution)

    def _take(self, solution: Solution) -> Self:
        self.direction_ = solution.direction.cpu().numpy()
        self.bias_ = float(solution.bias)
        self.logit_scale_ = float(solution.logit_scale)
        for name, value in solution.extra.items():
            setattr(self, name, value)
        return self


class LabelProbe(LinearProbe):
    """Linear probe fitted on activations and labels.

    >>> probes.Ridge(alpha=1.0).fit([[0.0, 1.0], [2.0, 1.0]], [0, 1]).direction_.round(3).tolist()
    [0.667, 0.0]
    """

    @abstractmethod
    def _solve(self, X: Float[Tensor, "layer n d"], y: Int[Tensor, " n"]) -> list[Solution]:
        """Return the solution of every layer.

        The rows may be float32; the arithmetic is float64.
        """

    def fit(self, X: Float[Tensor, "n d"] | Any, y: Any) -> Self:
        """Fit on activations `X` (n, d) and labels `y` (n,).

        Labels are 0 = false and 1 = true. Any two labels are accepted; the greater one means true.

        Raises:
            UsageError: activations that are not finite or not two-dimensional, or labels that are not of two classes.

        Example:
            >>> X, y = [[0.0, 1.0], [0.0, 3.0], [2.0, 1.0], [2.0, 3.0]], ["false", "false", "true", "true"]
            >>> probe = probes.MassMean().fit(X, y)
            >>> probe.classes_.tolist(), probe.direction_.tolist(), probe.bias_
            (['false', 'true'], [2.0, 0.0], -2.0)
        """
        X, labels = self._read(X, y)
        return self._take(self._solve(as_tensor(X)[None], as_tensor(labels))[0])

    def fit_layers(self, X: Float[Tensor, "layer n d"] | Any, y: Any) -> list[Self]:
        """Fit one copy per layer of `X` (layer, n, d).

        The result equals `fit` on each layer, but the layers are solved jointly.

        >>> X = torch.tensor([[[0.0], [1.0]], [[0.0], [3.0]]])  # two layers, two rows, width 1
        >>> [probe.direction_.tolist() for probe in probes.MassMean().fit_layers(X, [0, 1])]
        [[1.0], [3.0]]
        """
        stack = read_stack(X)
        classes, labels = read_labels(as_array(y))
        if len(labels) != stack.shape[1]:
            raise UsageError(f"There are {stack.shape[1]} rows of activations but {len(labels)} labels.")
        solutions = self._solve(stack, as_tensor(labels))
        return [self.with_solution(solution, classes) for solution in solutions]


def as_array(values: Any) -> Any:
    """Convert a tensor to a numpy array.

    bfloat16 and float16 become float32. Values other than tensors are returned unchanged.

    >>> as_array(torch.ones(2, dtype=torch.bfloat16)).dtype
    dtype('float32')
    """
    if not isinstance(values, Tensor):
        return values
    values = values.detach().cpu()
    return values.float().numpy() if values.dtype in (torch.bfloat16, torch.float16) else values.numpy()


def as_tensor(values: np.ndarray) -> Tensor:
    """Return a tensor that shares the array's memory.

    A read-only array is copied, as torch requires.

    >>> as_tensor(np.zeros(2))
    tensor([0., 0.], dtype=torch.float64)
    """
    return torch.from_numpy(values if values.flags.writeable else values.copy())


def read_labels(y: Any) -> tuple[np.ndarray, Int[np.ndarray, " n"]]:
    """Return the two classes in order and labels as 0 or 1.

    Raises `UsageError` unless there are exactly two classes.

    >>> read_labels(["no", "yes", "no"])[1].tolist()
    [0, 1, 0]
    """
    try:
        check_classification_targets(y)
    except ValueError as error:
        raise UsageError(one_sentence(error)) from error
    classes, labels = np.unique(y, return_inverse=True)
    if len(classes) > 2:
        raise UsageError(
            f"Only binary classification is supported. The type of the target is {type_of_target(y)}: labels must be "
            f"0 (false) and 1 (true), but there are {len(classes)} classes."
        )
    if len(classes) < 2:
        problem = f"have one class only ({classes[0]})" if len(classes) else "are empty"
        raise UsageError(f"The labels {problem}: a probe is fitted on true and false statements.")
    return classes, labels.reshape(-1).astype(np.int64)


def read_stack(X: Any) -> Float[Tensor, "layer n d"]:
    """Check the activations of several layers and return a tensor.

    The tensor is finite, in float32 or float64.

    >>> read_stack(np.zeros((2, 3, 4))).shape
    torch.Size([2, 3, 4])
    """
    stack = X if isinstance(X, Tensor) else torch.from_numpy(np.asarray(X))
    if stack.ndim != 3 or 0 in stack.shape:
        raise UsageError(f"Activations of several layers must have shape (layer, n, d), not {tuple(stack.shape)}.")
    if stack.dtype != torch.float64:
        stack = stack.float()
    if not all(bool(torch.isfinite(layer).all()) for layer in stack):
        raise UsageError("Input X contains NaN or infinity: collect the activations in a wider dtype.")
    return stack.detach()


def one_per_row(values: Any, n: int, name: str) -> np.ndarray:
    """Return an array with one entry per row of X.

    Raises `UsageError` for another number of entries.

    >>> one_per_row([1, -1], 2, "polarity").tolist()
    [1, -1]
    """
    entries = np.asarray(as_array(values))
    if entries.shape != (n,):
        raise UsageError(f"{name} must have one entry per row, {n} entries, not an array of shape {entries.shape}.")
    return entries


def one_sentence(error: Exception) -> str:
    """Return the first line of a scikit-learn message.

    The other lines are advice on other estimators.

    >>> one_sentence(ValueError("Input X contains NaN."))
    'Input X contains NaN.'
    """
    text = str(error).strip().splitlines()[0]
    if "1D array" in text:
        return "Expected 2D array, got 1D array instead. Reshape your data to (rows, width of the activations)."
    return text
