"""Tiers of models with near equal ratings, and battles between two classes made from tiers.

A given pair of models meets in very few arena battles; classes of models of near equal strength meet often.
"""

from __future__ import annotations

import numpy as np

from prefroute.data.bradley_terry import bradley_terry
from prefroute.errors import DataError, nearest
from prefroute.types import Battles, FloatArray, IndexArray

__all__ = ["assign_tiers", "tier_classes"]


def assign_tiers(ratings: FloatArray, k: int) -> IndexArray:
    """Tier of each model, 0 = best, shape (m,): the k groups with the least squared deviation inside, exactly.

    Args:
        ratings: One rating per model, higher is better, shape (m,).
        k: Number of tiers, 1 <= k <= m; none is empty.

    Raises:
        DataError: If `k` is not in [1, m], or a rating is NaN or infinite.

    Source: Ong et al. 2024, arXiv:2406.18665, sec. 4.1 (dynamic programming that minimises the variance in tiers).

    Example:
        >>> assign_tiers(np.array([0.0, 5.0, 5.1, 9.0]), k=3)
        array([2, 1, 1, 0])
    """
    m = len(ratings)
    if not 1 <= k <= m:
        raise DataError(f"The number of tiers must be between 1 and the number of models, {m}; got {k}.")
    if not np.isfinite(ratings).all():
        raise DataError("Ratings must be finite to be put into tiers, got NaN or infinity.")
    order = np.argsort(-ratings, kind="stable")
    cost = _group_costs(ratings[order])
    best = np.full((k + 1, m + 1), np.inf)  # best[t, j]: the first j models in t tiers
    cut = np.zeros((k + 1, m + 1), dtype=np.intp)
    best[0, 0] = 0
    for t in range(1, k + 1):
        for j in range(t, m + 1):
            totals = best[t - 1, :j] + cost[:j, j]
            cut[t, j] = np.argmin(totals)
            best[t, j] = totals[cut[t, j]]
    tiers = np.empty(m, dtype=np.intp)
    end = m
    for t in range(k, 0, -1):
        start = cut[t, end]
        tiers[order[start:end]] = t - 1
        end = start
    return tiers


def tier_classes(battles: Battles, strong: str, weak: str, n_tiers: int = 10) -> Battles:
    """The battles between the strong class and the weak class, each class renamed to its representative.

    Models are rated and put into tiers. The weak class is the tier of `weak`; the strong class is every tier above it.

    Args:
        battles: Battles over many models.
        strong: A model of the strong class.
        weak: A model of the weak class.
        n_tiers: Number of tiers; the paper uses 10.

    Returns:
        Battles over the two names (`strong`, `weak`).

    Raises:
        DataError: If a name is unknown, `strong` is not in a tier above `weak`, or the classes never meet.

    Source: Ong et al. 2024, arXiv:2406.18665, sec. 4.1: of 10 tiers, the first two are strong and the third is weak.
    """
    for name in (strong, weak):
        if name not in battles.models:
            raise DataError(nearest(name, battles.models, "model"))
    ratings = bradley_terry(battles)
    tiers = assign_tiers(ratings, n_tiers)
    tier_strong, tier_weak = (int(tiers[battles.models.index(name)]) for name in (strong, weak))
    if tier_strong >= tier_weak:
        raise DataError(
            f"{strong!r} (tier {tier_strong}) must stand in a tier above {weak!r} (tier {tier_weak}; 0 is the best of "
            f"{n_tiers}). Choose another pair or more tiers."
        )
    side = np.where(tiers < tier_weak, 0, np.where(tiers == tier_weak, 1, -1)).astype(np.int32)
    side_a, side_b = side[battles.model_a], side[battles.model_b]
    rows = np.flatnonzero((side_a >= 0) & (side_b >= 0) & (side_a != side_b))
    if not rows.size:
        raise DataError(f"No battle is between the tiers above {weak!r} and its own. Use fewer tiers.")
    return Battles(
        [battles.prompts[i] for i in rows.tolist()], (strong, weak), side_a[rows], side_b[rows], battles.outcome[rows]
    )


def _group_costs(values: FloatArray) -> FloatArray:
    """Squared deviation from the mean inside values[i:j], at [i, j], shape (m + 1, m + 1)."""
    centred = values - values.mean()  # keeps the difference of squares exact for ratings far from zero
    total = np.concatenate([[0.0], np.cumsum(centred)])
    square = np.concatenate([[0.0], np.cumsum(centred**2)])
    count = np.maximum(np.arange(len(total))[None, :] - np.arange(len(total))[:, None], 1)
    deviation = square[None, :] - square[:, None] - (total[None, :] - total[:, None]) ** 2 / count
    return np.asarray(np.maximum(deviation, 0.0), dtype=np.float64)
