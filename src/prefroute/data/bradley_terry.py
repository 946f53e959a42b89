"""Ratings from battles: the Bradley-Terry model, solved on matrices of wins, one or many at once.

A win matrix is sufficient: n battles are added up once, and Newton's method then works on m numbers only.
"""

from __future__ import annotations

import numpy as np

from prefroute.errors import DataError
from prefroute.types import Battles, FloatArray

__all__ = ["bradley_terry", "solve_ratings", "win_matrix"]

_MAX_STEPS = 100
_TOLERANCE = 1e-6  # of the last step: what is left after it is of the order of its square


def win_matrix(battles: Battles, weights: FloatArray | None = None) -> FloatArray:
    """Weighted wins of the row's model over the column's, a tie counted half for each, shape (m, m).

    Args:
        battles: n battles over m models.
        weights: Weight of each battle, >= 0, shape (n,); None weighs all by 1.

    Raises:
        DataError: If `weights` has another shape or a value is negative, NaN or infinite.

    Example:
        >>> win_matrix(Battles.of(["q", "r"], ["big", "big"], ["small", "small"], [1.0, 0.5]))
        array([[0. , 1.5],
               [0.5, 0. ]])
    """
    n, m = len(battles), len(battles.models)
    weight = np.ones(n) if weights is None else np.asarray(weights, dtype=np.float64)
    if weight.shape != (n,) or not (np.isfinite(weight) & (weight >= 0)).all():
        raise DataError(f"`weights` must be finite, >= 0 and of shape ({n},), got shape {weight.shape}.")
    a, b = battles.model_a.astype(np.intp), battles.model_b.astype(np.intp)
    wins = np.bincount(a * m + b, weight * battles.outcome, minlength=m * m)
    losses = np.bincount(b * m + a, weight * (1 - battles.outcome), minlength=m * m)
    return (wins + losses).reshape(m, m).astype(np.float64)


def bradley_terry(battles: Battles, weights: FloatArray | None = None, l2: float = 1e-6) -> FloatArray:
    """Rating of each model on the natural-log scale, mean zero, shape (m,): P(i beats j) = sigmoid(r_i - r_j).

    Ties count as half a win for each. The small ridge keeps the ratings finite where a model never wins or loses;
    groups of models that never meet are each centred by it, and their difference then means nothing.

    Args:
        battles: n battles over m models, in `models` order of the result.
        weights: Weight of each battle, >= 0, shape (n,).
        l2: Ridge on the ratings, > 0.

    Returns:
        Ratings; multiply by 400 / ln 10 = 173.7 for the Elo scale.

    Raises:
        DataError: If there are no battles, `weights` is not valid, or `l2` is not positive.

    Source: Ong et al. 2024, arXiv:2406.18665, sec. 3.1 (weighted maximum likelihood). Differs: solved by Newton's
        method on the win matrix instead of a logistic regression over battles; the optimum is the same.

    Example:
        >>> battles = Battles.of(["q"] * 4, ["big"] * 4, ["small"] * 4, [1.0, 1.0, 1.0, 0.0])
        >>> big, small = bradley_terry(battles)
        >>> round(float(big - small), 3)  # ln(3 / 1)
        1.099
    """
    if not len(battles):
        raise DataError("Ratings need at least one battle, got 0 rows.")
    if not l2 > 0:
        raise DataError(f"`l2` must be greater than 0, got {l2}.")
    wins = np.pad(win_matrix(battles, weights), (0, 1))  # an anchor that nobody meets
    ratings = solve_ratings(wins[None], l2=l2)[0]
    return np.asarray(ratings - ratings.mean(), dtype=np.float64)


def solve_ratings(wins: FloatArray, *, l2: float, start: FloatArray | None = None) -> FloatArray:
    """Ratings of the highest Bradley-Terry likelihood for many matrices of wins, natural-log scale, shape (q, t).

    `P(i beats j) = sigmoid(rating_i - rating_j)`. The last contestant is an anchor: its rating is fixed at zero.

    Args:
        wins: Wins of contestant i over j, >= 0, the anchor last, zero diagonal, shape (q, t + 1, t + 1).
        l2: Penalty `l2 / 2 * sum(rating ** 2)`, > 0. It sets the zero of ratings that no anchor holds, and keeps a
            contestant finite that always wins.
        start: Where to begin, shape (t,); zeros by default.

    Returns:
        Ratings of the t contestants before the anchor.

    Source: Ong et al. 2024, arXiv:2406.18665, sec. 4.1, by Newton's method. Steps are damped as in Sun and
        Tran-Dinh 2019, arXiv:1703.04599 (nu = 2, as the logistic loss has it), which converges from everywhere without
        a search along the line. Differs: by the largest change of a difference of two ratings in place of the step's
        length, which bounds the same third derivative.

    Example:
        >>> one_match = np.zeros((1, 3, 3))
        >>> one_match[0, 0, 1], one_match[0, 1, 0] = 3.0, 1.0  # the first won three of four
        >>> ratings = solve_ratings(one_match, l2=1e-9)
        >>> round(float(ratings[0, 0] - ratings[0, 1]), 6)  # the log odds, ln 3
        1.098612
    """
    q, contestants, _ = wins.shape
    t = contestants - 1
    games = wins + wins.transpose(0, 2, 1)
    diagonal = np.arange(t)
    ratings = np.zeros((q, contestants))
    if start is not None:
        ratings[:, :t] = start
    for _ in range(_MAX_STEPS):
        expected = 1 / (1 + np.exp(ratings[:, None, :] - ratings[:, :, None]))  # (q, t + 1, t + 1): P(i beats j)
        gradient = (wins - games * expected).sum(axis=2)[:, :t] - l2 * ratings[:, :t]
        curvature = games * expected * (1 - expected)
        hessian = -curvature[:, :t, :t]
        hessian[:, diagonal, diagonal] += curvature.sum(axis=2)[:, :t] + l2
        step = np.zeros((q, contestants))
        step[:, :t] = np.linalg.solve(hessian, gradient[:, :, None])[:, :, 0]
        apart = np.abs(step[:, :, None] - step[:, None, :])
        widest = apart.max(axis=(1, 2), initial=0.0, where=games > 0)[:, None]  # of two that met, (q, 1)
        ratings += step * np.divide(np.log1p(widest), widest, out=np.ones_like(widest), where=widest > 0)
        if widest.max(initial=0.0) < _TOLERANCE:
            break
    return ratings[:, :t]
