"""The logistic function, and the logistic link from a score to a win rate. Private to the routers room."""

from __future__ import annotations

import numpy as np

from prefroute.types import FloatArray

__all__ = ["logistic_link", "sigmoid"]


def sigmoid(x: FloatArray) -> FloatArray:
    """1 / (1 + exp(-x)), without overflow."""
    e = np.exp(-np.abs(x))
    value: FloatArray = np.where(x >= 0, 1 / (1 + e), e / (1 + e))
    return value


def logistic_link(gain: FloatArray, win: FloatArray, weight: FloatArray) -> FloatArray:
    """Slope (not negative) and intercept of `win = sigmoid(slope * gain + intercept)`, by maximum likelihood.

    A small penalty keeps both finite when the rows are few or all alike. Source: Platt 1999 (scaling of scores).
    """
    x = np.stack([gain, np.ones_like(gain)], axis=1)  # (n, 2)
    prior = float(np.average(win, weights=weight))
    beta = np.array([0.0, np.log((prior + 1e-3) / (1 - prior + 1e-3))])
    penalty = 1e-3
    for _ in range(50):
        p = sigmoid(x @ beta)
        gradient = x.T @ (weight * (win - p)) - penalty * beta
        hessian = (x * (weight * p * (1 - p))[:, None]).T @ x + penalty * np.eye(2)
        step = np.linalg.solve(hessian, gradient)
        beta += step
        if np.abs(step).max() < 1e-10:
            break
    return np.array([max(beta[0], 0.0), beta[1]])
