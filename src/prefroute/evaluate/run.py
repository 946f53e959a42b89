"""One evaluation, top to bottom: scores, curves, resamples, rows, warnings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from prefroute.benchmarks import Benchmark
from prefroute.curve import Curve
from prefroute.errors import ConfigError, DataError
from prefroute.evaluate.pool import SINGLES, PoolFigure, pool_figures
from prefroute.evaluate.protocols import AsIs, Protocol
from prefroute.evaluate.provenance import data_sha256, git_sha, versions
from prefroute.evaluate.result import Band, Report
from prefroute.evaluate.rows import Row, add_differences, flat_warning, pair_outcomes, point_figures, put, row_of
from prefroute.evaluate.scoring import Entrant, Progress, Scored, score
from prefroute.metrics import SHARES, Bootstrap, PairOutcomes, bootstrap
from prefroute.prices import price_note, request_price_usd
from prefroute.types import FloatArray

__all__ = ["SUBJECT_PRIOR", "evaluate", "report_of"]

SUBJECT_PRIOR = "subject prior"

_BASELINES = ("random", "length")
_RESERVED = (*_BASELINES, "always-weak", "always-strong", "oracle", SUBJECT_PRIOR, SINGLES)
_CURVE_POINTS = 200


def evaluate(
    entrants: Sequence[Entrant],
    benchmark: Benchmark,
    *,
    protocol: Protocol | None = None,
    seed: int = 0,
    n_boot: int = 2000,
    prices: Mapping[str, float] | None = None,
    date: str | None = None,
    progress: Progress | None = None,
) -> Report:
    """A report on the entrants, beside random, length, always-weak, always-strong and the oracle.

    Entrants named `random` or `length` are those baselines and get no second row.

    Args:
        entrants: Fitted routers, or kinds that the protocol trains.
        benchmark: Questions with the outcomes of two models or more.
        protocol: How kinds are trained; None means `AsIs`.
        seed: Of the protocol's draws, of training and of the resamples.
        n_boot: Resamples of questions behind each interval.
        prices: Model -> USD per request, before the built-in table; costs in the data come before both.
        date: Today, for the provenance; this package does not look at the clock.
        progress: Called with (routers scored, routers to score).

    Raises:
        ConfigError: If names repeat, a name is reserved, or a kind would need training that the protocol lacks.
        DataError: If no question is left, or the strong model is not better than the weak one on what is left.
    """
    protocol = AsIs() if protocol is None else protocol
    reserved = [e.name for e in entrants if e.name in _RESERVED and e.name not in _BASELINES]
    if reserved:
        raise ConfigError(f"{reserved[0]!r} names a row that every report has. Give the entrant another name.")
    entrants = [entrant for entrant in entrants if entrant.name not in _BASELINES]
    if n_boot < 1:
        raise ConfigError(f"`n_boot` must be at least 1 resample, got {n_boot}.")
    scored = score(entrants, benchmark, protocol, seed, progress)
    return report_of(scored, benchmark, protocol.label, seed=seed, n_boot=n_boot, prices=prices, date=date)


def report_of(
    scored: Scored,
    benchmark: Benchmark,
    protocol: str,
    *,
    seed: int,
    n_boot: int,
    prices: Mapping[str, float] | None = None,
    date: str | None = None,
) -> Report:
    """The report on scores that are known; the arguments are those of `evaluate`, the protocol as rows name it.

    Raises:
        DataError: If the strong model is not better than the weak one.
    """
    usd = {model: request_price_usd(model, prices) for model in (benchmark.strong, benchmark.weak)}
    outcomes = pair_outcomes(benchmark, scored, usd)
    if not outcomes.strong.mean() > outcomes.weak.mean():
        raise DataError(
            f"{benchmark.strong!r} must be better than {benchmark.weak!r} on the {len(scored.rows)} questions of "
            f"{benchmark.name}, got {outcomes.strong.mean():.4f} and {outcomes.weak.mean():.4f} (in 0-1): PGR is a "
            "share of the gap. Choose another pair, or exchange the two."
        )
    scores = _all_scores(benchmark, scored, outcomes)
    found = bootstrap(scores, outcomes, n_boot=n_boot, seed=seed)
    pool = pool_figures(benchmark, scored, n_boot=n_boot, seed=seed)
    shared = _shared(benchmark, protocol, scored, outcomes, found, seed)
    rows, curves = _rows(scores, outcomes, scored, found, shared)
    _add_pool(rows, pool, shared)
    add_differences(rows, found)
    for row in rows:
        row["warnings"] = _warnings(row, scored)
    costs = _cost_notes(benchmark, outcomes, prices)
    return Report(rows, _bands(benchmark, curves, found), _provenance(benchmark, seed, n_boot, date, costs))


def _all_scores(benchmark: Benchmark, scored: Scored, outcomes: PairOutcomes) -> dict[str, FloatArray]:
    """Scores of every row that has a curve. Random is one block of ties: its curve is the analytic line."""
    n = len(scored.rows)
    lengths = np.array([len(benchmark.outcomes.prompts[i]) for i in scored.rows], dtype=np.float64)
    scores = {**scored.scores, "random": np.zeros(n), "length": lengths, "oracle": outcomes.gain}
    if scored.subject_prior is not None:
        scores[SUBJECT_PRIOR] = scored.subject_prior
    return scores


def _shared(
    benchmark: Benchmark, protocol: str, scored: Scored, outcomes: PairOutcomes, found: Bootstrap, seed: int
) -> Row:
    """The fields that every row of one evaluation shares."""
    unit = benchmark.unit
    shared: Row = {
        "benchmark": benchmark.name,
        "protocol": protocol,
        "seed": seed,
        "n": len(scored.rows),
        "n_left_out": scored.n_left_out,
        "n_seen": scored.n_left_out - benchmark.n_left_out,
        "train_n": scored.train_n,
        "embedder": None,
        "strong": benchmark.strong,
        "weak": benchmark.weak,
        "quality_unit": unit.name,
    }
    put(shared, "strong_quality", float(unit.of(outcomes.strong.mean())), np.asarray(unit.of(found.strong)))
    put(shared, "weak_quality", float(unit.of(outcomes.weak.mean())), np.asarray(unit.of(found.weak)))
    for model in ("strong", "weak"):
        costs = outcomes.strong_cost_usd if model == "strong" else outcomes.weak_cost_usd
        shared[f"{model}_cost_usd"] = None if costs is None else float(costs.mean())
    return shared | {"aiq": None, "aiq_low": None, "aiq_high": None}


def _rows(
    scores: Mapping[str, FloatArray], outcomes: PairOutcomes, scored: Scored, found: Bootstrap, shared: Row
) -> tuple[list[Row], dict[str, Curve]]:
    roles = dict.fromkeys(scored.scores, "router") | dict.fromkeys(_BASELINES, "baseline")
    roles |= {"oracle": "bound", SUBJECT_PRIOR: "reference"}
    rows: list[Row] = []
    curves: dict[str, Curve] = {}
    for name, values in scores.items():
        curves[name], figures = point_figures(values, outcomes)
        row = row_of(name, roles[name], shared, figures, found.metrics[name])
        rows.append(row | {"embedder": scored.embedders.get(name)})
    # By definition: one model at every share, which recovers nothing or the whole of the gap.
    rows.append(row_of("always-weak", "baseline", shared, {"apgr": 0.0, "paper_apgr": 0.0}, None))
    whole = {"apgr": 1.0, "paper_apgr": 1.0, "cpt50": 1.0, "cpt80": 1.0}
    if shared["strong_cost_usd"] is not None:
        whole |= {"cpt50_cost_usd": shared["strong_cost_usd"], "cpt80_cost_usd": shared["strong_cost_usd"]}
    rows.append(row_of("always-strong", "baseline", shared, whole, None))
    order = {"router": 0, "baseline": 1, "bound": 2, "reference": 3}
    return sorted(rows, key=lambda row: order[row["role"]]), curves


def _add_pool(rows: list[Row], pool: Mapping[str, PoolFigure], shared: Row) -> None:
    if SINGLES in pool:
        rows.append(row_of(SINGLES, "reference", shared, {}, None))
    for row in rows:
        if row["router"] in pool:
            put(row, "aiq", pool[row["router"]].value, pool[row["router"]].draws)


def _warnings(row: Row, scored: Scored) -> list[str]:
    if row["role"] != "router":
        return []
    said = list(scored.warnings[row["router"]])
    flat = flat_warning(scored.scores[row["router"]])
    if flat is not None:
        said.append(flat)
    low, high = row["apgr_low"], row["apgr_high"]
    if low is None or high is None:
        said.append("the strong model is not better in half of the resamples: there is no interval; bring more data")
    elif low <= 0.5 <= high:
        said.append(f"its interval [{low:.3f}, {high:.3f}] includes random's 0.5: not shown to be better than chance")
    elif high < 0.5:
        said.append(f"worse than random: its interval [{low:.3f}, {high:.3f}] lies below 0.5")
    than_length = row["vs_length"] or {"high": None}
    if than_length["high"] is not None and than_length["high"] < 0:
        said.append("worse than prompt length alone")
    if row["undefined_share"] > 0.01:
        said.append(f"the strong model is not better in {row['undefined_share']:.0%} of the resamples, left out")
    return said


def _bands(benchmark: Benchmark, curves: Mapping[str, Curve], found: Bootstrap) -> dict[str, Band]:
    unit = benchmark.unit
    bands = {}
    for name, curve in curves.items():
        thin = curve.thinned(_CURVE_POINTS)
        edges = np.asarray(unit.of(np.percentile(found.band[name], [2.5, 97.5], axis=0)))  # (2, g)
        drawn = Curve(thin.strong_share, np.asarray(unit.of(thin.quality)), thin.threshold)
        bands[name] = Band(drawn, SHARES, edges[0], edges[1])
    return bands


def _cost_notes(benchmark: Benchmark, outcomes: PairOutcomes, prices: Mapping[str, float] | None) -> str | None:
    """Where the costs of the pair come from; None where they are not known."""
    if outcomes.strong_cost_usd is None or outcomes.weak_cost_usd is None:
        return None
    notes = []
    for model, costs in ((benchmark.strong, outcomes.strong_cost_usd), (benchmark.weak, outcomes.weak_cost_usd)):
        is_flat = bool((costs == request_price_usd(model, prices)).all())
        notes.append(price_note(model, prices) if is_flat else f"{model} as the data says")
    return ", ".join(notes)


def _provenance(benchmark: Benchmark, seed: int, n_boot: int, date: str | None, costs: str | None) -> dict[str, Any]:
    return {
        "intervals": f"Intervals: percentile 95% over {n_boot:,} resamples of questions, the same for every row; "
        "routers are not refitted, so the draw of the training set is not in them.",
        "notes": list(benchmark.notes),
        "date": date,
        "source": benchmark.source,
        "licence": benchmark.licence,
        "data_sha256": data_sha256(benchmark.outcomes),
        "costs": costs,
        "seed": seed,
        "n_boot": n_boot,
        "git_sha": git_sha(),
        **{f"{name}_version": version for name, version in versions().items()},
    }
