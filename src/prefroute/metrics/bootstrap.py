"""Intervals: every metric of every router on the same resamples of questions.

Questions are drawn with replacement as often as there are questions; a drawn question takes both models' outcomes and
every router's score with it, so differences between routers are paired. Routers are not refitted: the intervals say
how far another set of questions could move the figure, not how far another training set could.

Shapes: n questions, b resamples of a block, k blocks of tied scores, B resamples in all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from prefroute.curve import check_column, score_blocks
from prefroute.errors import DataError
from prefroute.types import FloatArray, IndexArray

__all__ = ["SHARES", "Bootstrap", "Interval", "PairOutcomes", "bootstrap", "interval", "resample_counts"]

SHARES: FloatArray = np.linspace(0, 1, 21)
"""Strong-call shares at which the band of a curve is kept, shape (21,)."""

_DECILES: FloatArray = np.linspace(0.1, 1, 10)
_BLOCK_CELLS = 1 << 17  # n * b of one block: 1 MB an array, which stays in the cache


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure with its 95% interval.

    Attributes:
        value: The figure on the data as it is.
        low: 2.5% percentile over the resamples; NaN where fewer than half of them define the figure.
        high: 97.5% percentile, likewise.
        undefined_share: Share of resamples in which the figure has no meaning (the strong model is not better there);
            they are left out of the percentiles.
    """

    value: float
    low: float
    high: float
    undefined_share: float = 0.0


def interval(value: float, draws: FloatArray) -> Interval:
    """The percentile 95% interval of a figure from its resampled values.

    Args:
        value: The figure on the data as it is.
        draws: The figure on each resample, NaN where undefined, shape (B,).

    Example:
        >>> interval(0.5, np.linspace(0, 1, 101)).high
        0.975
    """
    defined = draws[~np.isnan(draws)]
    if 2 * len(defined) < max(len(draws), 1):
        return Interval(value, np.nan, np.nan, 1 - len(defined) / max(len(draws), 1))
    low, high = np.percentile(defined, [2.5, 97.5])
    return Interval(value, float(low), float(high), 1 - len(defined) / len(draws))


@dataclass(frozen=True, slots=True, eq=False)
class PairOutcomes:
    """What the two models did on each question.

    Attributes:
        strong: Quality of the strong model's answers, shape (n,).
        weak: Quality of the weak model's answers, shape (n,).
        strong_cost_usd: What they cost, shape (n,); None where not known.
        weak_cost_usd: Likewise for the weak model; known if and only if the strong model's are.

    Raises:
        DataError: If shapes differ or a value is not finite.
    """

    strong: FloatArray
    weak: FloatArray
    strong_cost_usd: FloatArray | None = None
    weak_cost_usd: FloatArray | None = None

    def __post_init__(self) -> None:
        """Check the columns once; see Raises."""
        if (self.strong_cost_usd is None) != (self.weak_cost_usd is None):
            raise DataError("Costs must be known for both models or for neither.")
        for name in ("strong", "weak", "strong_cost_usd", "weak_cost_usd"):
            if getattr(self, name) is not None:
                check_column(name, getattr(self, name), len(self.strong))

    @property
    def gain(self) -> FloatArray:
        """Quality of the strong model minus quality of the weak one, shape (n,)."""
        return self.strong - self.weak

    @property
    def extra_cost_usd(self) -> FloatArray | None:
        """Cost of the strong model minus cost of the weak one, shape (n,); None where not known."""
        if self.strong_cost_usd is None or self.weak_cost_usd is None:
            return None
        return self.strong_cost_usd - self.weak_cost_usd


@dataclass(frozen=True, slots=True, eq=False)
class Bootstrap:
    """Resampled figures.

    Attributes:
        metrics: Router -> metric -> its value on each resample, NaN where undefined, shape (B,). Metrics: `apgr`,
            `paper_apgr`, `cpt50`, `cpt80`, and with costs `cost_apgr`, `cpt50_cost_usd`, `cpt80_cost_usd`.
        band: Router -> mean quality of what is routed at each of `SHARES`, shape (B, 21).
        strong: Mean quality of the strong model, shape (B,).
        weak: Mean quality of the weak model, shape (B,).
    """

    metrics: Mapping[str, Mapping[str, FloatArray]]
    band: Mapping[str, FloatArray]
    strong: FloatArray
    weak: FloatArray


def resample_counts(n: int, n_boot: int, seed: int) -> Iterator[FloatArray]:
    """How often each question is drawn in each resample, in blocks of shape (b, n) that add up to `n_boot` rows."""
    rng = np.random.default_rng(seed)
    step = max(1, min(n_boot, _BLOCK_CELLS // n))
    for first in range(0, n_boot, step):
        b = min(step, n_boot - first)
        drawn = rng.integers(0, n, size=(b, n)) + np.arange(b)[:, None] * n
        yield np.bincount(drawn.ravel(), minlength=b * n).reshape(b, n).astype(np.float64)


def bootstrap(
    scores: Mapping[str, FloatArray], outcomes: PairOutcomes, *, n_boot: int = 2000, seed: int = 0
) -> Bootstrap:
    """Figures of every router on the same `n_boot` resamples of questions.

    Args:
        scores: Router -> its scores, shape (n,); only their order matters.
        outcomes: What the two models did on the n questions.
        n_boot: Number of resamples, B.
        seed: Same seed, same resamples.

    Raises:
        DataError: If there is no question, or scores do not match the outcomes.

    Source: percentile bootstrap, Efron and Tibshirani 1993, ch. 13.
    """
    n = len(outcomes.strong)
    if n == 0:
        raise DataError("A bootstrap needs at least one question, got 0.")
    for name, score in scores.items():
        check_column(f"scores of {name}", score, n)
    ranked = {name: _Ranked.of(score, outcomes) for name, score in scores.items()}
    parts: dict[str, list[dict[str, FloatArray]]] = {name: [] for name in scores}
    bands: dict[str, list[FloatArray]] = {name: [] for name in scores}
    means: list[tuple[FloatArray, FloatArray]] = []
    for counts in resample_counts(n, n_boot, seed):
        weak = counts @ outcomes.weak / n
        means.append((counts @ outcomes.strong / n, weak))
        weak_cost = None if outcomes.weak_cost_usd is None else counts @ outcomes.weak_cost_usd / n
        for name, router in ranked.items():
            figures, band = router.figures(counts, weak_cost)
            parts[name].append(figures)
            bands[name].append(weak[:, None] + band)
    return Bootstrap(
        metrics={
            name: {metric: np.concatenate([part[metric] for part in blocks]) for metric in blocks[0]}
            for name, blocks in parts.items()
        },
        band={name: np.concatenate(blocks) for name, blocks in bands.items()},
        strong=np.concatenate([strong for strong, _ in means]),
        weak=np.concatenate([weak for _, weak in means]),
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Ranked:
    """Questions in the order in which one router sends them to the strong model."""

    order: IndexArray
    starts: IndexArray
    gain: FloatArray
    extra_cost: FloatArray | None

    @classmethod
    def of(cls, score: FloatArray, outcomes: PairOutcomes) -> _Ranked:
        order, starts = score_blocks(score)
        extra = outcomes.extra_cost_usd
        return cls(order, starts, outcomes.gain[order], None if extra is None else extra[order])

    def _blocks(self, values: FloatArray) -> FloatArray:
        """Sums over each block of tied scores: (b, n) -> (b, k)."""
        if len(self.starts) == len(self.order):
            return values
        return np.add.reduceat(values, self.starts, axis=1)

    def figures(self, counts: FloatArray, weak_cost: FloatArray | None) -> tuple[dict[str, FloatArray], FloatArray]:
        """Metrics, each (b,), and the gain in mean quality at each of `SHARES`, (b, 21)."""
        n = counts.shape[1]
        drawn = np.take(counts, self.order, axis=1)  # (b, n), best score first
        weight = self._blocks(drawn)
        gain = self._blocks(drawn * self.gain)
        share = np.cumsum(weight, axis=1) / n
        gained = np.cumsum(gain, axis=1)
        whole = gained[:, -1].copy()
        undefined = whole <= 0
        whole[undefined] = np.nan
        band, paper = _on_grids(share, gained)
        middle = gained - gain / 2  # the height of each block's segment at its middle
        figures = {
            "apgr": np.einsum("bk,bk->b", weight, middle) / (n * whole),
            "paper_apgr": paper / whole,
        }
        cost = None if self.extra_cost is None else self._blocks(drawn * self.extra_cost)
        spent = None if cost is None else np.cumsum(cost, axis=1)
        if cost is not None and spent is not None:
            extra = np.where(spent[:, -1] > 0, spent[:, -1], np.nan)
            figures["cost_apgr"] = np.einsum("bk,bk->b", cost, middle) / (extra * whole)
        rows = np.arange(len(counts))
        for name, target in (("cpt50", 0.5), ("cpt80", 0.8)):
            # `gained >= nan` is nowhere true, so an undefined resample takes position 0 and is blanked below.
            at = np.argmax(gained >= (target * whole)[:, None], axis=1)
            back = (gained[rows, at] - target * whole) / np.where(undefined, np.nan, gain[rows, at])
            figures[name] = share[rows, at] - back * weight[rows, at] / n
            if cost is not None and spent is not None and weak_cost is not None:
                figures[f"{name}_cost_usd"] = weak_cost + (spent[rows, at] - back * cost[rows, at]) / n
        return figures, band / n


def _on_grids(share: FloatArray, gained: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The curve at each of `SHARES`, (b, 21), and the area under the paper's 11 points, (b,); from two (b, k)."""
    band, area = [], []
    for x, y in zip(share, gained, strict=True):
        band.append(np.interp(SHARES, np.concatenate([[0.0], x]), np.concatenate([[0.0], y])))
        # A cut at a decile takes the whole block of ties that the decile falls into; a hair less, for rounded shares.
        ends = np.searchsorted(x, _DECILES - 1e-9)
        px, py = np.concatenate([[0.0], x[ends]]), np.concatenate([[0.0], y[ends]])
        area.append(np.sum(np.diff(px) * (py[1:] + py[:-1])) / 2)
    return np.stack(band), np.array(area)
