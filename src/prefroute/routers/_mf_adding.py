"""A new model's vector from a few hundred of its outcomes, everything else held fixed. Private to the routers room."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from prefroute.data import prompt_folds
from prefroute.errors import DataError
from prefroute.metrics import Interval, interval, resample_counts
from prefroute.routers._mf_factors import Factors, Link
from prefroute.routers._sigmoid import fit_logistic, sigmoid
from prefroute.types import FloatArray, IndexArray

if TYPE_CHECKING:
    from prefroute.routers.mf import MF

__all__ = ["AddedModel", "Evidence", "FittedVector", "evidence_folds", "fit_added"]

_FEWEST_PROMPTS = 10
_FOLDS = 5
_N_BOOT = 2000
_WIDTHS = (1.0, 16.0, 256.0, 4096.0)  # times the pool's variance: a newcomer may be unlike a small pool


@dataclass(frozen=True, slots=True)
class AddedModel:
    """What adding a model gave.

    The three figures have 95% bootstrap intervals over the prompts. Predictions are cross-validated: each prompt is
    predicted by a vector fitted on other prompts. How wide the prior is was chosen among four by the same predictions,
    which flatters them a little.

    Attributes:
        router: The pool with the new model as its last one.
        name: The new model.
        n: Prompts that it was seen on.
        measure: "quality", or "win_rate" (against the pool's models on the same prompts) where the router was fitted on
            battles.
        observed: Mean of the measure as it was observed.
        predicted: Mean of its predictions.
        skill: Squared error of predicting the mean, less that of the predictions: above 0 where the vector knows on
            which prompts the model does better.
    """

    router: MF
    name: str
    n: int
    measure: str
    observed: Interval
    predicted: Interval
    skill: Interval


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """What was seen of the new model.

    Attributes:
        features: `Factors.features` of the prompts, shape (n, r).
        quality: Of the new model's answers, in [0, 1], shape (n,).
        pool_quality: Of the pool's, NaN where not observed, shape (n, m).
        folds: Fold of each prompt, shape (n,).
    """

    features: FloatArray
    quality: FloatArray
    pool_quality: FloatArray
    folds: IndexArray


@dataclass(frozen=True, slots=True, eq=False)
class FittedVector:
    """The new model's vector, shape (r,), with the figures of `AddedModel`."""

    vector: FloatArray
    measure: str
    observed: Interval
    predicted: Interval
    skill: Interval


def evidence_folds(prompts: Sequence[str], name: str, seed: int) -> IndexArray:
    """Folds with equal prompts together, shape (n,).

    Raises:
        DataError: If there are fewer than ten distinct prompts.
    """
    if len(set(prompts)) < _FEWEST_PROMPTS:
        raise DataError(
            f"{name!r} was observed on {len(set(prompts))} distinct prompts; at least {_FEWEST_PROMPTS} are needed, "
            "and 100 to 300 to tell on which prompts it is good."
        )
    return prompt_folds(prompts, _FOLDS, seed)


def fit_added(factors: Factors, link: Link | None, evidence: Evidence, seed: int) -> FittedVector:
    """The most likely vector of the new model, and how well vectors of this kind predict prompts that they did not see.

    Raises:
        DataError: If the router has no link and no prompt was also answered by a model of the pool.
    """
    measure, label = _measured(link, evidence)
    seen = np.flatnonzero(~np.isnan(label))
    if len(seen) < _FEWEST_PROMPTS:
        raise DataError(
            "The router was fitted on battles and knows wins only: the table needs the quality of models of its pool "
            f"beside the new one's, on at least {_FEWEST_PROMPTS} prompts; got {len(seen)}."
        )
    tried = [_cross_validated(factors, link, evidence, label, seen, width) for width in _WIDTHS]
    best = int(np.argmin([((predicted - label)[seen] ** 2).sum() for predicted, _ in tried]))
    predicted, baseline = tried[best]
    error = (baseline - label) ** 2 - (predicted - label) ** 2
    columns = np.column_stack([label, predicted, error])[seen]
    draws = np.concatenate([counts @ columns for counts in resample_counts(len(seen), _N_BOOT, seed)]) / len(seen)
    observed, mean, skill = (interval(float(columns[:, i].mean()), draws[:, i]) for i in range(3))
    return FittedVector(_most_likely(factors, link, evidence, seen, _WIDTHS[best]), measure, observed, mean, skill)


def _cross_validated(
    factors: Factors, link: Link | None, evidence: Evidence, label: FloatArray, seen: IndexArray, width: float
) -> tuple[FloatArray, FloatArray]:
    """Each seen prompt's label as vectors fitted on other folds predict it, and the mean of those folds, (n,) each."""
    predicted, baseline = np.full((2, len(label)), np.nan)
    for fold in np.unique(evidence.folds[seen]):
        kept, out = seen[evidence.folds[seen] != fold], seen[evidence.folds[seen] == fold]
        predicted[out] = _predicted(factors, link, evidence, _most_likely(factors, link, evidence, kept, width))[out]
        baseline[out] = label[kept].mean()
    return predicted, baseline


def _measured(link: Link | None, evidence: Evidence) -> tuple[str, FloatArray]:
    """What is predicted, and its value on each prompt, NaN where unknown, shape (n,)."""
    if link is not None:
        return "quality", evidence.quality
    seen = ~np.isnan(evidence.pool_quality)
    wins = np.where(seen, (1 + evidence.quality[:, None] - evidence.pool_quality) / 2, 0.0)
    count = seen.sum(axis=1)
    return "win_rate", np.divide(wins.sum(axis=1), count, out=np.full(len(wins), np.nan), where=count > 0)


def _predicted(factors: Factors, link: Link | None, evidence: Evidence, vector: FloatArray) -> FloatArray:
    """The measure as the vector predicts it, shape (n,)."""
    delta = evidence.features @ vector
    if link is not None:
        return sigmoid(link.slope * delta + link.common(evidence.features))
    seen = ~np.isnan(evidence.pool_quality)
    wins = np.where(seen, sigmoid(delta[:, None] - evidence.features @ factors.models.T), 0.0)
    rates: FloatArray = wins.sum(axis=1) / np.maximum(seen.sum(axis=1), 1)
    return rates


def _most_likely(factors: Factors, link: Link | None, evidence: Evidence, rows: IndexArray, width: float) -> FloatArray:
    """The vector with the largest posterior on the chosen prompts, each of which counts once, shape (r,)."""
    features, quality, pool = evidence.features[rows], evidence.quality[rows], evidence.pool_quality[rows]
    start, precision = _prior(factors.models, width)
    if link is not None:
        return fit_logistic(link.slope * features, quality, precision, offset=link.common(features), start=start)
    row, opponent = np.nonzero(~np.isnan(pool))
    return fit_logistic(
        features[row],
        (1 + quality[row] - pool[row, opponent]) / 2,
        precision,
        offset=-np.einsum("kr,kr->k", features[row], factors.models[opponent]),
        start=start,
        weight=1 / np.bincount(row, minlength=len(rows))[row],
    )


def _prior(models: FloatArray, scale: float) -> tuple[FloatArray, FloatArray]:
    """Mean and precision of the Gaussian that the pool's vectors suggest, shapes (r,) and (r, r).

    The sample covariance of a few vectors has hardly any rank, so half of it is spread evenly over all directions.
    """
    width = models.shape[1]
    covariance = np.atleast_2d(np.cov(models, rowvar=False))
    spread = max(float(np.trace(covariance)) / width, 1e-6)
    return models.mean(axis=0), np.linalg.inv(0.5 * covariance + 0.5 * spread * np.eye(width)) / scale
