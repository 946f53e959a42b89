"""From scores to result rows: figures with intervals, differences, and plain warnings.

A row is a dict of JSON values: it is what `evaluate --json` writes, and every table shows rows and nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from prefroute.benchmarks import Benchmark
from prefroute.curve import Curve
from prefroute.evaluate.scoring import Scored
from prefroute.metrics import Bootstrap, PairOutcomes, apgr, cost_apgr, cpt, interval
from prefroute.types import FloatArray

__all__ = ["METRICS", "Row", "add_differences", "flat_warning", "pair_outcomes", "point_figures", "put", "row_of"]

Row: TypeAlias = dict[str, Any]

METRICS = ("apgr", "cpt50", "cpt80", "paper_apgr", "cost_apgr", "cpt50_cost_usd", "cpt80_cost_usd")
"""Figures of a row that come with `_low` and `_high`; null where they have no meaning."""

_FLAT_RANGE = 0.01
_FLAT_SHARE = 0.5


def pair_outcomes(benchmark: Benchmark, scored: Scored, usd: Mapping[str, float | None]) -> PairOutcomes:
    """Qualities and, where both are known, costs of the benchmark's pair on the evaluated questions.

    Args:
        benchmark: The benchmark.
        scored: Says which rows are evaluated.
        usd: Model -> mean price of a request, for questions whose cost the data does not hold; None = not known.
    """
    table = benchmark.outcomes.take(scored.rows)
    pair = (benchmark.strong, benchmark.weak)
    quality = [table.quality[:, table.column(model)] for model in pair]
    costs: list[FloatArray] = []
    for model in pair:
        real = None if table.cost_usd is None else table.cost_usd[:, table.column(model)]
        price = usd.get(model)
        if real is not None and not np.isnan(real).any():
            costs.append(real)
        elif price is not None:
            costs.append(np.full(len(table), price))
    if len(costs) < 2:
        return PairOutcomes(*quality)
    return PairOutcomes(*quality, *costs)


def point_figures(score: FloatArray, outcomes: PairOutcomes) -> tuple[Curve, dict[str, float]]:
    """The exact curve of some scores, and the figures of `METRICS` that the data gives.

    Raises:
        DataError: If the strong model is not better than the weak one on these questions.
    """
    curve = Curve.from_scores(score, outcomes.strong, outcomes.weak)
    paper = Curve.paper_grid(score, outcomes.strong, outcomes.weak)
    weak, strong = float(outcomes.weak.mean()), float(outcomes.strong.mean())
    figures = {
        "apgr": apgr(curve, weak, strong),
        "paper_apgr": apgr(paper, weak, strong),
        "cpt50": cpt(curve, weak, strong, 0.5),
        "cpt80": cpt(curve, weak, strong, 0.8),
    }
    if outcomes.strong_cost_usd is not None and outcomes.weak_cost_usd is not None:
        cost = Curve.from_scores(score, outcomes.strong_cost_usd, outcomes.weak_cost_usd)
        figures |= {f"{name}_cost_usd": cost.at(figures[name]) for name in ("cpt50", "cpt80")}
        if cost.quality[-1] > cost.quality[0]:
            figures["cost_apgr"] = cost_apgr(curve, cost, weak, strong)
    return curve, figures


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def put(row: Row, name: str, value: float, draws: FloatArray | None) -> None:
    """Set a figure and its interval; NaN becomes null."""
    row[name] = _number(value)
    found = interval(value, draws) if draws is not None else None
    row[f"{name}_low"] = None if found is None else _number(found.low)
    row[f"{name}_high"] = None if found is None else _number(found.high)


def row_of(
    router: str, role: str, shared: Row, figures: Mapping[str, float], draws: Mapping[str, FloatArray] | None
) -> Row:
    """One result row: the fields that all rows share, then the figures with their intervals.

    Args:
        router: Name of the row.
        role: "router", "baseline", "bound" or "reference".
        shared: Fields of the evaluation.
        figures: Some of `METRICS`; the others become null.
        draws: Metric -> resampled values, shape (B,); None for figures that hold by definition.
    """
    row: Row = {"router": router, "role": role, **shared}
    for metric in METRICS:
        value = figures.get(metric, math.nan)
        put(row, metric, value, None if draws is None or metric not in draws else draws[metric])
        if draws is None:
            row[f"{metric}_low"] = row[f"{metric}_high"] = row[metric]
    undefined = 0.0 if draws is None else float(np.isnan(draws["apgr"]).mean())
    return row | {"undefined_share": undefined, "vs_random": None, "vs_length": None, "vs": {}, "warnings": []}


def add_differences(rows: Sequence[Row], found: Bootstrap) -> None:
    """Add to each row that has scores its paired APGR differences: to random, to length, and to every router."""
    measured = [row for row in rows if row["router"] in found.metrics]
    for row in measured:
        for other in measured:
            if other is row:
                continue
            draws = found.metrics[row["router"]]["apgr"] - found.metrics[other["router"]]["apgr"]
            difference = interval(row["apgr"] - other["apgr"], draws)
            cell = {
                "diff": _number(difference.value),
                "low": _number(difference.low),
                "high": _number(difference.high),
            }
            if other["router"] in ("random", "length"):
                row[f"vs_{other['router']}"] = cell
            elif other["role"] == "router":
                row["vs"][other["router"]] = cell


def flat_warning(score: FloatArray) -> str | None:
    """What to say of scores that hardly tell prompts apart, or None.

    Example:
        >>> flat_warning(np.array([0.5, 0.5, 0.5, 0.9]))
        'scores are nearly constant: one value holds 75% of the questions'
    """
    _, counts = np.unique(score, return_counts=True)
    largest = counts.max() / len(score)
    if largest > _FLAT_SHARE:
        return f"scores are nearly constant: one value holds {largest:.0%} of the questions"
    low, high = np.percentile(score, [5, 95])
    if high - low < _FLAT_RANGE:
        return f"scores are nearly constant: 90% of them lie within {high - low:.2g}"
    return None
