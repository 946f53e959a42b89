"""Metrics of a routing between two models, on the exact call-performance curve."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from prefroute.curve import Curve
from prefroute.errors import DataError
from prefroute.types import FloatArray

__all__ = ["apgr", "call_share", "cost_apgr", "cpt", "mean_chosen", "oracle_curve", "pgr"]


def call_share(strong_chosen: npt.NDArray[np.bool_]) -> float:
    """Share of prompts sent to the strong model (the paper's c), in [0, 1].

    Args:
        strong_chosen: True where the strong model answers, shape (n,), n >= 1.

    Raises:
        DataError: If there is no prompt.

    Source: Ong et al. 2024, arXiv:2406.18665, sec. 2.

    Example:
        >>> call_share(np.array([True, False, False, False]))
        0.25
    """
    if not len(strong_chosen):
        raise DataError("`strong_chosen` must hold at least one prompt, got 0.")
    return float(np.mean(strong_chosen))


def mean_chosen(strong_chosen: npt.NDArray[np.bool_], strong: FloatArray, weak: FloatArray) -> float:
    """Mean over prompts of the chosen model's value: of qualities, the paper's r; of costs, USD per request.

    Args:
        strong_chosen: True where the strong model answers, shape (n,), n >= 1.
        strong: The strong model's quality or cost_usd, shape (n,).
        weak: The weak model's, in the same unit, shape (n,).

    Raises:
        DataError: If shapes differ or there is no prompt.

    Source: Ong et al. 2024, arXiv:2406.18665, sec. 2.

    Example:
        >>> mean_chosen(np.array([True, False]), np.array([1.0, 1.0]), np.array([0.0, 0.5]))
        0.75
    """
    if not strong_chosen.shape == strong.shape == weak.shape or not len(strong):
        raise DataError(
            "`strong_chosen`, `strong` and `weak` must have one shape (n_prompts,), n_prompts >= 1, "
            f"got {strong_chosen.shape}, {strong.shape} and {weak.shape}."
        )
    return float(np.where(strong_chosen, strong, weak).mean())


def _gap(weak: float, strong: float) -> float:
    if not strong > weak:  # NaN too
        raise DataError(
            f"`strong` must be better than `weak` on these questions, got {strong:g} and {weak:g}. The share of a gap "
            "that is recovered has no meaning without a gap: choose another pair, or exchange the two models."
        )
    return strong - weak


def pgr(quality: float, weak: float, strong: float) -> float:
    """Performance gap recovered (PGR): 0 is the weak model's quality, 1 the strong one's.

    Not bounded: above 1 where the mix is better than the strong model, negative where it is worse than the weak one.

    Args:
        quality: Mean quality of what was routed.
        weak: Mean quality of the weak model alone, in the same unit.
        strong: Mean quality of the strong model alone, greater than `weak`.

    Raises:
        DataError: If `strong <= weak`.

    Source: Ong et al. 2024, arXiv:2406.18665, sec. 2.

    Example:
        >>> pgr(0.75, weak=0.5, strong=1.0)
        0.5
    """
    return (quality - weak) / _gap(weak, strong)


def _area(x: FloatArray, y: FloatArray) -> float:
    return float(np.sum(np.diff(x) * (y[1:] + y[:-1])) / 2)


def apgr(curve: Curve, weak: float, strong: float) -> float:
    """Average performance gap recovered (APGR): the area under PGR against the strong-call share.

    Random routing scores 0.5; 1.0 equals the strong model at every share. Not bounded: a router that mixes models
    well can exceed 1.0, a harmful one is negative.

    Args:
        curve: Quality against `strong_share`, k points.
        weak: Mean quality of the weak model alone, in the unit of the curve.
        strong: Mean quality of the strong model alone, greater than `weak`.

    Raises:
        DataError: If `strong <= weak`.

    Source: Ong et al. 2024, arXiv:2406.18665, sec. 2. Differs: exact curve, not 11 points; hand it
        `Curve.paper_grid` for the paper's figure.

    Example:
        >>> apgr(Curve.line(weak=0.5, strong=0.9), weak=0.5, strong=0.9)  # a straight line is random routing
        0.5
    """
    return _area(curve.strong_share, (curve.quality - weak) / _gap(weak, strong))


def cost_apgr(curve: Curve, cost: Curve, weak: float, strong: float) -> float:
    """APGR against money instead of calls: area under PGR against the share of the cost gap that is spent.

    Equal to `apgr` where every request of a model costs the same. Differs where the router picks prompts that are
    dearer or cheaper than the mean.

    Args:
        curve: Quality against `strong_share`.
        cost: Mean USD per request against the same `strong_share`: `Curve.from_scores` of the same scores over costs.
        weak: Mean quality of the weak model alone.
        strong: Mean quality of the strong model alone, greater than `weak`.

    Raises:
        DataError: If `strong <= weak`, or the strong model costs no more than the weak one.
    """
    low, high = float(cost.quality[0]), float(cost.quality[-1])
    if not high > low:
        raise DataError(f"The strong model must cost more than the weak one, got {high:g} and {low:g} USD a request.")
    return _area((cost.quality - low) / (high - low), (curve.quality - weak) / _gap(weak, strong))


def cpt(curve: Curve, weak: float, strong: float, share: float = 0.5) -> float:
    """Call-performance threshold (CPT): the smallest strong-call share whose PGR reaches `share`, in [0, 1].

    The first crossing of the exact curve; lower is better; random routing needs `share` itself.

    Args:
        curve: Quality against `strong_share`, k points.
        weak: Mean quality of the weak model alone, in the unit of the curve.
        strong: Mean quality of the strong model alone, greater than `weak`.
        share: The PGR to reach, in (0, 1]: 0.5 for CPT(50%).

    Raises:
        DataError: If `strong <= weak`, or `share` is not in (0, 1].

    Source: Ong et al. 2024, arXiv:2406.18665, sec. 2. Differs: the paper's code interpolates the inverse of a curve
        of 11 points, which is not defined where that curve falls.

    Example:
        >>> cpt(Curve.line(weak=0.0, strong=1.0), weak=0.0, strong=1.0, share=0.8)
        0.8
    """
    if not 0 < share <= 1:
        raise DataError(f"`share` must be in (0, 1], got {share!r}.")
    recovered = (curve.quality - weak) / _gap(weak, strong)
    reached = recovered >= share
    if not reached.any():  # only by rounding: the curve ends at the strong model, whose PGR is 1
        return 1.0
    after = int(np.argmax(reached))
    if after == 0:
        return 0.0
    x, y = curve.strong_share[after - 1 : after + 1], recovered[after - 1 : after + 1]
    return float(x[0] + (x[1] - x[0]) * (share - y[0]) / (y[1] - y[0]))


def oracle_curve(quality_strong: FloatArray, quality_weak: FloatArray) -> Curve:
    """The best curve that any scores could give: prompts in order of their true gain, exactly c of them strong.

    Args:
        quality_strong: Quality of the strong model's answers, shape (n,).
        quality_weak: Quality of the weak model's answers, shape (n,).

    Raises:
        DataError: As `Curve.from_scores`.

    Example:
        >>> oracle_curve(np.array([1.0, 0.0, 1.0]), np.array([0.0, 1.0, 1.0])).quality.round(2)
        array([0.67, 1.  , 1.  , 0.67])
    """
    return Curve.from_scores(quality_strong - quality_weak, quality_strong, quality_weak)
