"""The logistic function, and what is fitted with it. Private to the routers room."""

from __future__ import annotations

import math

import numpy as np

from prefroute.types import FloatArray

__all__ = ["fit_logistic", "logistic", "logistic_link", "sigmoid"]

_NEWTON_STEPS = 50
_LINK_PRECISION = 1e-3


def sigmoid(x: FloatArray) -> FloatArray:
    """1 / (1 + exp(-x)), without overflow."""
    value: FloatArray = 0.5 + 0.5 * np.tanh(0.5 * x)
    return value


def logistic(x: float) -> float:
    """`sigmoid` of one number, without the price of NumPy's calls."""
    return 0.5 + 0.5 * math.tanh(0.5 * x)


def logistic_link(gain: FloatArray, win: FloatArray, weight: FloatArray) -> FloatArray:
    """Slope (not negative) and intercept of `win = sigmoid(slope * gain + intercept)`, by maximum likelihood.

    A small penalty keeps both finite when the rows are few or all alike. Source: Platt 1999 (scaling of scores).
    """
    columns = np.stack([gain, np.ones_like(gain)], axis=1)  # (n, 2)
    slope, intercept = fit_logistic(columns, win, _LINK_PRECISION * np.eye(2), weight=weight)
    return np.array([max(slope, 0.0), intercept])


def fit_logistic(
    features: FloatArray,
    target: FloatArray,
    precision: FloatArray,
    *,
    offset: FloatArray | None = None,
    start: FloatArray | None = None,
    weight: FloatArray | None = None,
) -> FloatArray:
    """Coefficients with the largest posterior: soft labels, logistic likelihood, Gaussian prior; shape (c,).

    Minimises `sum_i weight_i * CE(target_i, sigmoid(offset_i + features_i . x)) + (x - start)^T precision (x - start)
    / 2` by Newton steps, halved until the objective falls.

    Args:
        features: Shape (n, c).
        target: In [0, 1], shape (n,).
        precision: Of the prior, positive semi-definite, shape (c, c).
        offset: Added to the logits, shape (n,); None for zeros.
        start: Mean of the prior, shape (c,); None for zeros.
        weight: Of each row, shape (n,); None for ones.
    """
    mean = np.zeros(features.shape[1]) if start is None else start
    base = np.zeros(len(target)) if offset is None else offset
    row_weight = np.ones(len(target)) if weight is None else weight

    def objective(x: FloatArray) -> float:
        logits = base + features @ x
        entropy = np.logaddexp(0, logits) - target * logits
        return float(row_weight @ entropy + (x - mean) @ precision @ (x - mean) / 2)

    x = mean.copy()
    value = objective(x)
    for _ in range(_NEWTON_STEPS):
        chance = sigmoid(base + features @ x)
        gradient = features.T @ (row_weight * (chance - target)) + precision @ (x - mean)
        curvature = row_weight * np.maximum(chance * (1 - chance), 1e-9)
        step = np.linalg.solve((features * curvature[:, None]).T @ features + precision, gradient)
        size = 1.0
        while (new := objective(x - size * step)) > value and size > 1e-6:
            size /= 2
        if new > value:
            break
        x, fell, value = x - size * step, value - new, new
        if fell <= 1e-10 * (1 + abs(value)):
            break
    return x
