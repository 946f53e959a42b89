"""How the win rate follows from two heads, for the gain and for how hard the prompt is. Private to the routers room.

Both models answer an easy prompt and neither answers an impossible one: the gain of the strong model is largest
between. A linear function of the views cannot say "between". So a second head predicts the quality of an answer, the
mean of both models', and its square joins the views of the gain:

    z = standardised prediction of the quality, bounded
    win rate = sigmoid(slope * (gain + curvature * z^2) + intercept)

where the slope of the gain on z itself is part of the gain.

Battles say nothing of quality; they leave `curvature` at 0.

Shapes: n rows, V n-gram buckets, d embedding dimensions, r kernel features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from prefroute.routers._ridge import STRENGTHS
from prefroute.routers._sigmoid import logistic, logistic_link
from prefroute.routers._views import VIEWS, Views, dealt, fit_head, predict, take
from prefroute.types import FloatArray, IndexArray

__all__ = ["Quality", "Response", "cautious", "fit_quality", "fit_response", "win_rate"]

_EQUAL = (0.6,) * len(VIEWS)  # three views that each predict a shrunken part: together a little more than one
_CAUTION = 0.2  # how much evidence the equal weights count as, as a share of that of the rows
_FARTHEST = 3.0  # standard deviations of the predicted quality: an odd prompt must not run up a square


@dataclass(frozen=True, slots=True, eq=False)
class Response:
    """A fitted win rate.

    Attributes:
        gain: Coefficients of the gain on each view, shapes (V,), (d,), (r,).
        quality: Coefficients of z on each view, zeros where no row has a quality, same shapes.
        shape: Slope, intercept, curvature, and what z is centred by, shape (4,).
        strengths: The ridge strength that was chosen for the gain on each view.
    """

    gain: tuple[FloatArray, ...]
    quality: tuple[FloatArray, ...]
    shape: FloatArray
    strengths: tuple[float, ...]


def win_rate(gain: float, z: float, shape: Sequence[float]) -> float:
    """Win rate from what the two heads give for a prompt, in [0, 1].

    Args:
        gain: What the head for the gain gives.
        z: What the head for the quality gives.
        shape: Of the response, four numbers.
    """
    slope, intercept, curvature, centre = shape
    bounded = min(max(z - centre, -_FARTHEST), _FARTHEST)
    return logistic(slope * (gain + curvature * bounded * bounded) + intercept)


@dataclass(frozen=True, slots=True, eq=False)
class Quality:
    """A fitted prediction of quality.

    Attributes:
        coefs: Coefficients on each view, shapes (V,), (d,), (r,); zeros where no row has a quality.
        held_out: Predicted quality of each row, less a constant, by fits that did not see its fold, shape (n,).
    """

    coefs: tuple[FloatArray, ...]
    held_out: FloatArray


def fit_quality(views: Views, quality: FloatArray, weight: FloatArray, folds: IndexArray) -> Quality:
    """Predict how good an answer is.

    Args:
        views: Shapes (n, V), (n, d), (n, r).
        quality: Mean quality of the two models, in [0, 1], NaN where it is not known, shape (n,).
        weight: Of each row, shape (n,).
        folds: Fold of each row, shape (n,).
    """
    known = np.flatnonzero(~np.isnan(quality))
    if not len(known) or np.ptp(quality[known]) == 0:
        return Quality(tuple(np.zeros(view.shape[1]) for view in views), np.zeros(len(quality)))
    heavy = weight[known]
    target = quality[known] - np.average(quality[known], weights=heavy)
    head = fit_head(take(views, known), target, heavy, dealt(folds[known]), STRENGTHS)
    share = cautious(head.held_out, target, heavy, _EQUAL)
    coefs = tuple(part * coef for part, coef in zip(share, head.coefs, strict=True))
    found = predict(views, coefs)  # of battles, whose quality no head has seen
    found[known] = head.held_out @ share
    return Quality(coefs, found)


def fit_response(views: Views, win: FloatArray, quality: Quality, weight: FloatArray, folds: IndexArray) -> Response:
    """Predict the gain and join it with the predicted quality; every choice is made on held-out folds.

    Args:
        views: Shapes (n, V), (n, d), (n, r).
        win: P(strong preferred to weak), in [0, 1], shape (n,).
        quality: Fitted on the same rows.
        weight: Of each row, shape (n,).
        folds: Fold of each row, shape (n,).
    """
    target = win - np.average(win, weights=weight)
    gain = fit_head(views, target, weight, folds, STRENGTHS)
    spread = float(quality.held_out.std()) or 1.0
    towards, z = tuple(coef / spread for coef in quality.coefs), quality.held_out / spread
    centre = float(np.average(z, weights=weight))
    square = _bounded(z - centre) ** 2
    unit = gain.held_out.std()  # as large as a view, or the caution would weigh more or less on them
    columns = np.column_stack([gain.held_out, unit * (z - centre), unit * (square - square.mean())])
    share = cautious(columns, target, weight, [*_EQUAL, 0.0, 0.0])
    slope, curvature = share[-2:] * unit
    coefs = tuple(
        part * of_gain + slope * of_quality
        for part, of_gain, of_quality in zip(share, gain.coefs, towards, strict=False)
    )
    found = gain.held_out @ share[: len(VIEWS)] + slope * z
    link = logistic_link(found + curvature * square, win, weight)
    shape = [*link.tolist(), float(curvature), centre]
    return Response(coefs, towards, np.array(shape), gain.strengths)


def cautious(columns: FloatArray, target: FloatArray, weight: FloatArray, prior: Sequence[float]) -> FloatArray:
    """Weights of the columns that explain the target, drawn towards `prior`.

    A thousand rows do not tell the views apart, and dropping one for a lucky sample costs more than keeping it.
    """
    evidence = (columns * weight[:, None]).T @ columns
    caution = max(_CAUTION * np.trace(evidence) / len(evidence), 1e-12)  # where nothing is predicted, the prior is kept
    return np.linalg.solve(
        evidence + caution * np.eye(len(evidence)), columns.T @ (weight * target) + caution * np.array(prior)
    )


def _bounded(z: FloatArray) -> FloatArray:
    return np.minimum(np.maximum(z, -_FARTHEST), _FARTHEST)
