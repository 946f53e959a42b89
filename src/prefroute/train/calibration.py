"""Whether predicted win rates mean what they say, and the one number that mends most of it: a temperature.

Pure NumPy; sees predictions and labels, never a model or a prompt.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from prefroute.errors import DataError
from prefroute.types import FloatArray

__all__ = ["Bin", "brier_score", "expected_calibration_error", "fit_temperature", "reliability", "softmax"]

_TEMPERATURES = (0.2, 10.0)  # a held-out split of a few rows must not make every score certain or equal
_HALVINGS = 40  # of that range: to 1e-11


@dataclass(frozen=True, slots=True)
class Bin:
    """One point of a reliability diagram.

    Attributes:
        n: Prompts in the bin, at least 1.
        predicted: Their mean predicted win rate, in [0, 1].
        observed: Their mean label, in [0, 1].
    """

    n: int
    predicted: float
    observed: float

    def to_dict(self) -> dict[str, Any]:
        """The three values by name."""
        return asdict(self)


def reliability(predicted: FloatArray, observed: FloatArray, n_bins: int = 10) -> list[Bin]:
    """The points of a reliability diagram: mean label against mean prediction in bins of equal width, none empty.

    Args:
        predicted: Win rates in [0, 1], shape (n,).
        observed: Labels in [0, 1], ties 0.5, shape (n,).
        n_bins: Bins between 0 and 1.

    Raises:
        DataError: If the shapes differ or there is no row.

    Example:
        >>> [point.observed for point in reliability(np.array([0.1, 0.9, 0.95]), np.array([0.0, 1.0, 0.0]), 2)]
        [0.0, 0.5]
    """
    if predicted.shape != observed.shape or not predicted.size:
        raise DataError(
            f"`predicted` and `observed` must have one shape (n,) with n > 0, got {predicted.shape} and "
            f"{observed.shape}."
        )
    place = np.minimum((predicted * n_bins).astype(np.intp), n_bins - 1)
    return [
        Bin(int(inside.sum()), float(predicted[inside].mean()), float(observed[inside].mean()))
        for inside in (place == i for i in range(n_bins))
        if inside.any()
    ]


def expected_calibration_error(predicted: FloatArray, observed: FloatArray, n_bins: int = 10) -> float:
    """Mean distance of prediction and label over the bins of `reliability`, weighted by size; 0 is perfect, in [0, 1].

    Source: Guo et al. 2017, arXiv:1706.04599, sec. 2 (there for the confidence of the top class). Differs: win rates
    against labels in [0, 1], ties half.

    Example:
        >>> expected_calibration_error(np.array([0.25, 0.75]), np.array([0.0, 1.0]))
        0.25
    """
    points = reliability(predicted, observed, n_bins)
    return sum(point.n * abs(point.predicted - point.observed) for point in points) / len(predicted)


def brier_score(predicted: FloatArray, observed: FloatArray) -> float:
    """Mean squared distance of prediction and label, in [0, 1]; lower is better.

    Example:
        >>> brier_score(np.array([0.5, 1.0]), np.array([0.0, 1.0]))
        0.125
    """
    return float(np.mean((predicted - observed) ** 2))


def softmax(logits: FloatArray) -> FloatArray:
    """Probabilities of each row, shape (n, k)."""
    scaled = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares: FloatArray = scaled / scaled.sum(axis=1, keepdims=True)
    return shares


def fit_temperature(logits: FloatArray, targets: FloatArray, weight: FloatArray) -> float:
    """The temperature T in [0.2, 10] for which softmax(logits / T) has the smallest cross-entropy with the targets.

    Args:
        logits: Of held-out rows, shape (n, k).
        targets: Label distributions, rows sum to 1, shape (n, k).
        weight: How much each row counts, shape (n,).

    Source: Guo et al. 2017, arXiv:1706.04599, sec. 4.2. Differs: soft labels, bounded T.

    Example:
        >>> logits = np.array([[8.0, 0.0]] * 4)  # certain, and wrong once in four: log(3) would be right
        >>> temperature = fit_temperature(logits, np.array([[1.0, 0.0]] * 3 + [[0.0, 1.0]]), np.ones(4))
        >>> bool(abs(8 / temperature - np.log(3)) < 1e-3)
        True
    """
    low, high = _TEMPERATURES
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        # the loss is convex in 1 / T: where it rises with 1 / T, the best T is larger
        rises = ((softmax(logits / middle) - targets) * logits * weight[:, None]).sum() > 0
        low, high = (middle, high) if rises else (low, middle)
    return (low + high) / 2
