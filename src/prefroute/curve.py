"""The call-performance curve: quality of what was routed against the share of prompts sent to the strong model.

The door is `Curve`. The curve is exact: one point per distinct score. Prompts with equal scores cannot be told apart
by any threshold, so a block of ties is one straight segment (the mean over every order of the block) and the order of
rows never matters. Nothing here knows what a good curve is; that is `prefroute.metrics`.

Shapes: n prompts, k points on the curve.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from prefroute.errors import DataError
from prefroute.types import FloatArray, IndexArray

__all__ = ["Curve", "check_column", "score_blocks"]


def check_column(name: str, values: FloatArray, n: int) -> None:
    """Refuse a column that is not n finite numbers.

    Raises:
        DataError: If the shape is not (n,), or a value is NaN or infinite; the message names the first such row.
    """
    if values.shape != (n,):
        raise DataError(f"`{name}` must have shape (n_prompts,) = ({n},), got {values.shape}.")
    bad = np.flatnonzero(~np.isfinite(values))
    if bad.size:
        raise DataError(
            f"Row {int(bad[0])}: `{name}` must be a finite number, got {values[bad[0]]} ({bad.size} such rows). "
            "Drop the rows that were not observed."
        )


def score_blocks(win_rate: FloatArray) -> tuple[IndexArray, IndexArray]:
    """Prompts from the highest score to the lowest, and where each block of equal scores begins.

    Args:
        win_rate: Finite scores, shape (n,), n >= 1.

    Returns:
        The order of prompts, shape (n,), and the position in that order of each block's first prompt, shape (k - 1,).

    Example:
        >>> order, starts = score_blocks(np.array([0.2, 0.9, 0.2]))
        >>> order.tolist(), starts.tolist()
        ([1, 0, 2], [0, 1])
    """
    order = np.argsort(-win_rate, kind="stable")
    falling = win_rate[order]
    return order, np.flatnonzero(np.concatenate([[True], falling[1:] != falling[:-1]]))


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """Quality against the strong-call share.

    Attributes:
        strong_share: Share of prompts sent to the strong model, rising strictly from 0 to 1, shape (k,), k >= 2.
        quality: Mean quality of what was routed, in the unit of the qualities given, shape (k,).
        threshold: A prompt goes to the strong model iff its score is at least this; `inf` at share 0, shape (k,).

    Raises:
        DataError: If shapes differ, a share is out of order, or the ends are not 0 and 1.

    Example:
        >>> curve = Curve.from_scores(np.array([0.9, 0.1]), np.array([1.0, 1.0]), np.array([0.0, 1.0]))
        >>> curve.strong_share, curve.quality
        (array([0. , 0.5, 1. ]), array([0.5, 1. , 1. ]))
    """

    strong_share: FloatArray
    quality: FloatArray
    threshold: FloatArray

    def __post_init__(self) -> None:
        """Check the points once; see Raises."""
        k = len(self.strong_share)
        if k < 2 or any(column.shape != (k,) for column in (self.strong_share, self.quality, self.threshold)):
            raise DataError(
                "A curve needs `strong_share`, `quality` and `threshold` of one shape (n_points,), n_points >= 2, "
                f"got {self.strong_share.shape}, {self.quality.shape} and {self.threshold.shape}."
            )
        if self.strong_share[0] != 0 or self.strong_share[-1] != 1 or not np.all(np.diff(self.strong_share) > 0):
            raise DataError(
                f"`strong_share` must rise from 0 to 1, got {self.strong_share[0]} to {self.strong_share[-1]} "
                "or a share that does not rise."
            )

    @classmethod
    def from_scores(
        cls,
        win_rate: FloatArray,
        quality_strong: FloatArray,
        quality_weak: FloatArray,
        weights: FloatArray | None = None,
    ) -> Curve:
        """The exact curve of a router over every threshold.

        Args:
            win_rate: The router's scores, any finite numbers (only their order matters), shape (n,).
            quality_strong: Quality of the strong model's answers, shape (n,).
            quality_weak: Quality of the weak model's answers, shape (n,).
            weights: How often each prompt counts, >= 0, shape (n,); None counts each once.

        Raises:
            DataError: If there is no prompt, shapes differ, a value is not finite, or no weight is positive.
        """
        n = len(win_rate)
        if n == 0:
            raise DataError("A curve needs at least one prompt, got 0.")
        weights = np.ones(n) if weights is None else weights
        columns = (win_rate, quality_strong, quality_weak, weights)
        for name, column in zip(("win_rate", "quality_strong", "quality_weak", "weights"), columns, strict=True):
            check_column(name, column, n)
        if weights.min() < 0 or weights.sum() <= 0:
            raise DataError("`weights` must be >= 0 with at least one above 0.")
        order, starts = score_blocks(win_rate)
        total = weights.sum()
        weight = np.add.reduceat(weights[order], starts)
        gain = np.add.reduceat((weights * (quality_strong - quality_weak))[order], starts)
        seen = weight > 0
        share = np.cumsum(weight[seen])
        share /= share[-1]  # ends at exactly 1, whatever the weights
        weak = np.average(quality_weak, weights=weights)
        quality = weak + np.cumsum(gain[seen]) / total
        quality[-1] = np.average(quality_strong, weights=weights)  # exactly: the sum of gains may round
        return cls(
            strong_share=np.concatenate([[0.0], share]),
            quality=np.concatenate([[weak], quality]),
            threshold=np.concatenate([[np.inf], win_rate[order][starts][seen]]),
        )

    @classmethod
    def line(cls, weak: float, strong: float) -> Curve:
        """The curve of random routing: the straight line from the weak model's quality to the strong one's.

        Example:
            >>> Curve.line(0.5, 0.9).at(0.25)
            0.6
        """
        # A score that is uniform on [0, 1] sends everything at threshold 0 and almost surely nothing above 1.
        return cls(np.array([0.0, 1.0]), np.array([weak, strong], dtype=np.float64), np.array([np.inf, 0.0]))

    @classmethod
    def paper_grid(
        cls, win_rate: FloatArray, quality_strong: FloatArray, quality_weak: FloatArray, n_bins: int = 10
    ) -> Curve:
        """The paper's curve: only the thresholds that cut the scores into ten bins, 11 points in all.

        Use it to stand beside published rows; `from_scores` for everything else. Where ties make two cuts equal, one
        of them is dropped, so the curve may have fewer points.

        Args:
            win_rate: The router's scores, shape (n,).
            quality_strong: Quality of the strong model's answers, shape (n,).
            quality_weak: Quality of the weak model's answers, shape (n,).
            n_bins: Number of bins.

        Raises:
            DataError: As `from_scores`.

        Source: Ong et al. 2024, arXiv:2406.18665, as in its code: `qcut` (linear quantiles), strong iff score >= cut,
            and the last cut strict, so that the curve starts at share 0.
        """
        exact = cls.from_scores(win_rate, quality_strong, quality_weak)
        cuts = np.quantile(win_rate, np.linspace(0, 1, n_bins + 1))[:-1]
        rising = -exact.threshold  # from -inf up
        points = np.unique(np.concatenate([[0], np.searchsorted(rising, -cuts, side="right") - 1]))
        return cls(exact.strong_share[points], exact.quality[points], exact.threshold[points])

    def at(self, strong_share: float) -> float:
        """Quality at a strong-call share in [0, 1]; inside a block of ties, the mean over its orders.

        Raises:
            DataError: If the share is not in [0, 1].
        """
        if not 0 <= strong_share <= 1:
            raise DataError(f"`strong_share` must be in [0, 1], got {strong_share!r}.")
        return float(np.interp(strong_share, self.strong_share, self.quality))

    def thinned(self, n_points: int) -> Curve:
        """At most `n_points` of the points, both ends among them, evenly spaced: for drawing, never for measuring."""
        if len(self.strong_share) <= n_points:
            return self
        points = np.unique(np.linspace(0, len(self.strong_share) - 1, n_points).round().astype(np.intp))
        return Curve(self.strong_share[points], self.quality[points], self.threshold[points])
