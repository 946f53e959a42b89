"""The factors of `mf` and what is computed from them, in plain NumPy. Private to the routers room.

Notation: q a prompt's vector (d,), M one of m models, r the width of the factors.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from prefroute.routers._sigmoid import fit_logistic, sigmoid
from prefroute.types import FloatArray, IndexArray

__all__ = ["Factors", "Link", "fit_link", "pool_win_rates"]

_LINK_CELLS = 20_000  # observed answers that the link is fitted on at most
_LEAST_SLOPE = 1e-3
_QUERIES = 1024  # at once in `pool_win_rates`: every pair of models is looked at
_SLOPE_PRECISION, _EASINESS_PRECISION = 0.1, 10.0  # of priors, for columns of variance one


@dataclass(frozen=True, slots=True, eq=False)
class Factors:
    """delta(M, q) = weight . (models[M] * (project^T q + bias)).

    Attributes:
        models: v_M, shape (m, r).
        project: W1, shape (d, r).
        bias: b, shape (r,).
        weight: w2, shape (r,).
    """

    models: FloatArray
    project: FloatArray
    bias: FloatArray
    weight: FloatArray

    def features(self, vectors: npt.NDArray[np.float32]) -> FloatArray:
        """What a model's vector is multiplied by: weight * (W1^T q + b), (n, d) -> (n, r)."""
        projected: FloatArray = (vectors @ self.project + self.bias) * self.weight
        return projected

    def compare(
        self, vectors: npt.NDArray[np.float32], row: IndexArray, first: IndexArray, second: IndexArray
    ) -> FloatArray:
        """What the first model's delta has over the second's in each of k comparisons, shape (k,)."""
        gap = self.models[first] - self.models[second]
        logits: FloatArray = np.einsum("kr,kr->k", self.features(vectors)[row], gap)
        return logits

    def difference(self, vectors: npt.NDArray[np.float32], first: int, second: int) -> FloatArray:
        """What one model's delta has over another's, one product with a vector of length d, (n, d) -> (n,)."""
        direction = self.weight * (self.models[first] - self.models[second])  # (r,)
        logits: FloatArray = vectors @ (self.project @ direction) + self.bias @ direction
        return logits


@dataclass(frozen=True, slots=True, eq=False)
class Link:
    """From delta to the quality of one answer: sigmoid(slope * delta(M, q) + easiness(q)).

    Comparisons leave open what is common to all models' deltas on a prompt, so the link has a term of its own for how
    easy a prompt is: a linear function of the same features that models' vectors are multiplied by.

    Attributes:
        slope: > 0, so that quality ranks models as `win_rate` does.
        offset: A constant.
        easiness: Coefficients of the features, shape (r,).
    """

    slope: float
    offset: float
    easiness: FloatArray

    def common(self, features: FloatArray) -> FloatArray:
        """What is added to every model's delta, (n, r) -> (n,)."""
        return features @ self.easiness + self.offset

    def to_array(self) -> FloatArray:
        """Slope, offset and easiness in one row, shape (r + 2,)."""
        return np.concatenate([[self.slope, self.offset], self.easiness])

    @classmethod
    def from_array(cls, values: FloatArray) -> Link:
        """The link that `to_array` was called on."""
        return cls(float(values[0]), float(values[1]), values[2:])


def pool_win_rates(deltas: FloatArray) -> FloatArray:
    """Mean win rate of each model against every other, (n, m) -> (n, m)."""
    n, m = deltas.shape
    rates = np.empty((n, m))
    for begin in range(0, n, _QUERIES):
        block = deltas[begin : begin + _QUERIES]
        wins = sigmoid(block[:, :, None] - block[:, None, :])  # (b, m, m), one half against itself
        rates[begin : begin + _QUERIES] = (wins.sum(axis=2) - 0.5) / (m - 1)
    return rates


def fit_link(factors: Factors, features: FloatArray, quality: FloatArray, seed: int) -> Link:
    """The link under which the observed qualities are most likely, with priors that keep a small table calm.

    Args:
        factors: Of m models.
        features: `factors.features` of the prompts, shape (n, r).
        quality: Of their answers, in [0, 1], NaN where not observed, shape (n, m).
        seed: Draws the cells that are looked at, where there are more than 20,000.
    """
    row, column = np.nonzero(~np.isnan(quality))
    if len(row) > _LINK_CELLS:
        drawn = np.sort(np.random.default_rng(seed).choice(len(row), _LINK_CELLS, replace=False))
        row, column = row[drawn], column[drawn]
    middle = factors.models.mean(axis=0)  # (r,): what all models have in common says nothing, so it is taken off
    location, scale = features.mean(axis=0), np.maximum(features.std(axis=0), 1e-9)
    above = np.einsum("kr,kr->k", features[row], factors.models[column] - middle)
    spread = max(float(above.std()), 1e-9)
    table = np.column_stack([above / spread, (features[row] - location) / scale, np.ones(len(row))])  # (k, r + 2)
    precision = np.diag([_SLOPE_PRECISION, *[_EASINESS_PRECISION] * len(scale), 1e-3])
    start = np.zeros(table.shape[1])
    start[0] = spread  # a slope of one
    found = fit_logistic(table, quality[row, column], precision, start=start)
    slope = max(float(found[0]) / spread, _LEAST_SLOPE)
    easiness = found[1:-1] / scale
    return Link(slope, float(found[-1] - easiness @ location), easiness - slope * middle)
