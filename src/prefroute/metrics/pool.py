"""Metrics of a routing among more than two models: the cost-quality envelope and AIQ."""

from __future__ import annotations

import numpy as np

from prefroute.errors import DataError
from prefroute.types import FloatArray

__all__ = ["aiq", "envelope"]


def envelope(cost_usd: FloatArray, quality: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The non-decreasing convex hull of routing results: the best quality that mixing them reaches at each cost.

    Tossing a coin between two policies reaches every point of the segment between them, so nothing below the upper
    hull need be used; and more money never forces a worse answer, so the hull stops at its best quality.

    Args:
        cost_usd: Mean cost of each policy, shape (k,), k >= 1.
        quality: Mean quality of each policy, shape (k,).

    Returns:
        Costs and qualities of the hull's corners, both strictly rising, shape (h,), h <= k.

    Raises:
        DataError: If the shapes differ, there is no point, or a value is not finite.

    Source: Hu et al. 2024 (RouterBench), arXiv:2403.12031, sec. 3 (there: non-decreasing convex hull).

    Example:
        >>> envelope(np.array([1.0, 2.0, 3.0, 4.0]), np.array([0.5, 0.6, 0.9, 0.8]))
        (array([1., 3.]), array([0.5, 0.9]))
    """
    if cost_usd.shape != quality.shape or cost_usd.ndim != 1 or not len(cost_usd):
        raise DataError(f"`cost_usd` and `quality` must have one shape (k,), got {cost_usd.shape}, {quality.shape}.")
    if not (np.isfinite(cost_usd).all() and np.isfinite(quality).all()):
        raise DataError("`cost_usd` and `quality` must be finite, got NaN or infinity. Drop what was not observed.")
    corners: list[tuple[float, float]] = []
    for i in np.lexsort((-quality, cost_usd)):  # cheapest first; of equal costs the best first
        x, y = float(cost_usd[i]), float(quality[i])
        if corners and y <= corners[-1][1]:
            continue
        while len(corners) > 1:
            (x0, y0), (x1, y1) = corners[-2:]
            if (y1 - y0) * (x - x0) > (y - y0) * (x1 - x0):
                break
            corners.pop()
        corners.append((x, y))
    hull = np.array(corners)
    return hull[:, 0], hull[:, 1]


def aiq(cost_usd: FloatArray, quality: FloatArray, low_usd: float, high_usd: float) -> float:
    """Average improvement in quality (AIQ): mean height of the envelope between two costs.

    In the unit of `quality`; higher is better. Right of its last corner the envelope is flat (money left unspent);
    left of its first corner it has the first corner's quality only if the corner is affordable, so `low_usd` should
    be at least the cheapest cost; below that nothing can be bought and the height is 0.

    Args:
        cost_usd: Mean cost of each policy, shape (k,).
        quality: Mean quality of each policy, shape (k,).
        low_usd: Lower end of the range; the same for every router that is compared.
        high_usd: Upper end of the range, above `low_usd`.

    Raises:
        DataError: If the range is empty, or as `envelope`.

    Source: Hu et al. 2024 (RouterBench), arXiv:2403.12031, sec. 3, eq. for AIQ. Differs: nothing is extrapolated
        below the cheapest policy.

    Example:
        >>> aiq(np.array([1.0, 3.0]), np.array([0.5, 0.9]), 1.0, 3.0)
        0.7
    """
    if not high_usd > low_usd:
        raise DataError(f"AIQ needs a range of costs, got {low_usd:g} to {high_usd:g} USD.")
    x, y = envelope(cost_usd, quality)
    start = max(low_usd, x[0])
    if start >= high_usd:
        return 0.0
    inside = x[(x > start) & (x < high_usd)]
    at = np.concatenate([[start], inside, [high_usd]])
    height = np.interp(at, x, y)
    return float(np.sum(np.diff(at) * (height[1:] + height[:-1])) / 2 / (high_usd - low_usd))
