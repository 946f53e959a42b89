"""AIQ rows, for benchmarks and routers of more than two models.

A router's expected qualities meet prices in the policy `CostQuality`; sweeping its weight gives points of cost and
quality, and AIQ is the mean height of their envelope over the range of costs of the single models.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from prefroute.benchmarks import Benchmark
from prefroute.errors import DataError
from prefroute.evaluate.scoring import Scored
from prefroute.metrics import aiq, resample_counts
from prefroute.policy import CostQuality
from prefroute.types import FloatArray, IndexArray

__all__ = ["SINGLES", "PoolFigure", "pool_figures"]

SINGLES = "single models"
"""Name of the reference row: mixing the single models by coin toss, RouterBench's Zero router."""

_N_WEIGHTS = 64


@dataclass(frozen=True, slots=True, eq=False)
class PoolFigure:
    """AIQ of one row, in [0, 1].

    Attributes:
        value: On the data as it is.
        draws: On each resample, shape (B,).
    """

    value: float
    draws: FloatArray


def pool_figures(benchmark: Benchmark, scored: Scored, *, n_boot: int, seed: int) -> dict[str, PoolFigure]:
    """AIQ of each pool router, of the oracle and of the single models; empty where AIQ has no meaning.

    It needs more than two models, a cost for every answer, and a router that predicts every model. Questions that
    lack an answer or a cost are left out of these figures. Prices given to the policy are the models' mean costs.
    """
    table = benchmark.outcomes.take(scored.rows)
    if not scored.predictions or table.cost_usd is None:
        return {}
    whole = np.flatnonzero(~(np.isnan(table.quality) | np.isnan(table.cost_usd)).any(axis=1))
    if not len(whole):
        raise DataError(f"No question of {benchmark.name} has an answer and a cost of every model: AIQ needs some.")
    quality, cost = table.quality[whole], table.cost_usd[whole]
    price = cost.mean(axis=0)
    if np.ptp(price) == 0:
        return {}
    choices = {name: _sweep(predicted[whole], price) for name, predicted in scored.predictions.items()}
    choices["oracle"] = _sweep(quality, cost)
    choices[SINGLES] = np.broadcast_to(np.arange(len(price))[:, None], (len(price), len(whole)))
    rows = np.arange(len(whole))
    points = {name: (cost[rows, chosen], quality[rows, chosen]) for name, chosen in choices.items()}  # each (w, n)
    draws: dict[str, list[float]] = {name: [] for name in points}
    for counts in resample_counts(len(whole), n_boot, seed):
        shares = counts / len(whole)  # (b, n)
        prices = shares @ cost  # (b, m)
        for name, (spent, gained) in points.items():
            for x, y, p in zip(shares @ spent.T, shares @ gained.T, prices, strict=True):
                draws[name].append(aiq(x, y, float(p.min()), float(p.max())))
    low, high = float(price.min()), float(price.max())
    return {
        name: PoolFigure(aiq(spent.mean(axis=1), gained.mean(axis=1), low, high), np.array(draws[name]))
        for name, (spent, gained) in points.items()
    }


def _sweep(predicted: FloatArray, price_usd: FloatArray) -> IndexArray:
    """The model chosen for each prompt at each weight of money, from quality alone to price alone, shape (w, n)."""
    mean = price_usd if price_usd.ndim == 1 else price_usd.mean(axis=0)
    gaps = np.diff(np.unique(mean))
    weights = np.concatenate([[0.0], np.geomspace(0.01 / np.ptp(mean), 10 / gaps.min(), _N_WEIGHTS - 1)])
    return np.stack([CostQuality(float(weight)).choose(predicted, price_usd) for weight in weights])
