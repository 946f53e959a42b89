"""How the shipped router does on questions that neither it nor its embedder was trained on.

The door is `held_out`: figures of `prefroute.evaluate`, of each task, calibration, and what each ready-made threshold
costs and recovers, JSON values all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from prefroute.benchmarks import Benchmark, load_benchmark
from prefroute.checkpoint import Checkpoint
from prefroute.evaluate import AsIs, Fitted, evaluate
from prefroute.evaluate.rows import pair_outcomes, point_figures
from prefroute.evaluate.scoring import score
from prefroute.metrics import PairOutcomes, bootstrap, interval, resample_counts
from prefroute.prices import request_price_usd
from prefroute.prompts import is_train_half
from prefroute.routers.experts import Experts
from prefroute.train.calibration import brier_score, expected_calibration_error, reliability
from prefroute.types import FloatArray, IndexArray

__all__ = ["BENCHMARKS", "NEW", "SHARES", "cell", "held_out", "novelty_of", "rounded"]

BENCHMARKS = ("mmlu", "gsm8k", "routerbench", "mmlu-pro", "mt-bench")
SHARES = tuple(f"{tenth / 10:g}" for tenth in range(1, 10))
"""Shares of strong calls that have a row in the tables, as the checkpoint's thresholds are called."""

NEW = 0.5
"""Novelty above which `prefroute route` and the gateway call a prompt new to the router."""

_TEMPLATE = {"mmlu": "moral_scenarios"}  # a subject of one template, with three times the gap of the rest
_WITH_TASKS = ("routerbench", "mmlu-pro")  # pools of tasks; MMLU's 57 subjects are too small to tell apart
_N_BOOT = 2000
_N_BINS = 20  # most win rates lie between .45 and .75
_FIGURES = ("n", "n_left_out", "strong", "weak", "quality_unit", "strong_quality", "weak_quality")


def held_out(checkpoint: Checkpoint, name: str, data: Path) -> dict[str, Any]:
    """Everything that is known of one benchmark."""
    benchmark = load_benchmark(name, data)
    entrant = Fitted("default", checkpoint.router, checkpoint.training)
    rows = {row["router"]: row for row in evaluate([entrant], benchmark).rows}
    mine = rows["default"]
    scored = score([entrant], benchmark, AsIs(), 0, None)
    usd = {model: request_price_usd(model, None) for model in (benchmark.strong, benchmark.weak)}
    outcomes = pair_outcomes(benchmark, scored, usd)
    assert isinstance(checkpoint.router, Experts)
    win_rate, novelty = checkpoint.router.scored([benchmark.outcomes.prompts[i] for i in scored.rows])
    return {
        "benchmark": name,
        **{key: rounded(mine[key]) for key in _FIGURES},
        **{key: _interval_of(mine, key) for key in ("apgr", "cpt50", "cpt80")},
        "length": _interval_of(rows["length"], "apgr"),
        "minus_length": [rounded(mine["vs_length"][key]) for key in ("diff", "low", "high")],
        "odd_half": _of_some(entrant, benchmark, [not is_train_half(prompt) for prompt in benchmark.outcomes.prompts]),
        "without": _without(entrant, benchmark),
        "new": novelty_of(novelty),
        "tasks": _tasks(win_rate, outcomes, benchmark, scored.rows) if name in _WITH_TASKS else [],
        "calibration": _calibration(win_rate, (1 + outcomes.gain) / 2),
        "thresholds": _at_thresholds(win_rate, outcomes, benchmark, checkpoint.manifest["metrics"]["thresholds"]),
    }


def novelty_of(novelty: FloatArray) -> dict[str, float]:
    """The share of prompts that are called new, and the median of their novelty, shape (n,)."""
    return {"new_share": rounded(float((novelty > NEW).mean())), "median": rounded(float(np.median(novelty)))}


def cell(value: float, draws: FloatArray) -> list[float | None]:
    """A figure with the ends of its 95% interval."""
    found = interval(value, draws)
    return [rounded(found.value), rounded(found.low), rounded(found.high)]


def rounded(value: Any) -> Any:
    """A float to six places, None for NaN, anything else as it is: the last digits differ between machines."""
    if not isinstance(value, float):
        return value
    return None if np.isnan(value) else round(value, 6)


def _interval_of(row: Mapping[str, Any], name: str) -> list[float | None]:
    return [rounded(row[f"{name}{end}"]) for end in ("", "_low", "_high")]


def _without(entrant: Fitted, benchmark: Benchmark) -> dict[str, Any] | None:
    """The figures without the subject that is one template, where the benchmark has one."""
    if benchmark.name not in _TEMPLATE:
        return None
    assert benchmark.subjects is not None
    template = _TEMPLATE[benchmark.name]
    rest = _of_some(entrant, benchmark, [subject != template for subject in benchmark.subjects])
    return {"subject": template, **rest}


def _of_some(entrant: Fitted, benchmark: Benchmark, is_chosen: Sequence[bool]) -> dict[str, Any]:
    """The figures on the chosen questions alone, n booleans."""
    kept = np.flatnonzero(is_chosen)
    subjects = None if benchmark.subjects is None else tuple(benchmark.subjects[i] for i in kept)
    some = replace(benchmark, outcomes=benchmark.outcomes.take(kept), subjects=subjects)
    rows = {row["router"]: row for row in evaluate([entrant], some).rows}
    mine, length = (_interval_of(rows[name], "apgr") for name in ("default", "length"))
    return {"n": rows["default"]["n"], "apgr": mine, "length": length}


def _tasks(
    win_rate: FloatArray, outcomes: PairOutcomes, benchmark: Benchmark, rows: IndexArray
) -> list[dict[str, Any]]:
    """APGR on each task, the largest first."""
    assert benchmark.subjects is not None
    subject = np.array(benchmark.subjects)[rows]
    names, counts = np.unique(subject, return_counts=True)
    found = []
    for name in names[np.argsort(-counts, kind="stable")]:
        inside = np.flatnonzero(subject == name)
        part = PairOutcomes(outcomes.strong[inside], outcomes.weak[inside])
        _, figures = point_figures(win_rate[inside], part)
        draws = bootstrap({"default": win_rate[inside]}, part, n_boot=_N_BOOT).metrics["default"]["apgr"]
        found.append({"task": str(name), "n": len(inside), "apgr": cell(figures["apgr"], draws)})
    return found


def _calibration(predicted: FloatArray, observed: FloatArray) -> dict[str, Any]:
    bins = reliability(predicted, observed, _N_BINS)
    return {
        "predicted": rounded(float(predicted.mean())),
        "observed": rounded(float(observed.mean())),
        "ece": rounded(expected_calibration_error(predicted, observed, _N_BINS)),
        "brier": rounded(brier_score(predicted, observed)),
        "brier_of_mean": rounded(float(observed.var())),
        "bins": [{key: rounded(value) for key, value in point.to_dict().items()} for point in bins],
    }


def _at_thresholds(
    win_rate: FloatArray, outcomes: PairOutcomes, benchmark: Benchmark, thresholds: Mapping[str, float]
) -> list[dict[str, Any]]:
    """Strong share, quality, PGR and cost at each of SHARES; all intervals on the same resamples of questions."""
    chosen = np.stack([win_rate >= thresholds[share] for share in SHARES])  # (t, n)
    draws = np.concatenate([_levels(chosen, outcomes, counts) for counts in resample_counts(len(win_rate), _N_BOOT, 0)])
    real = _levels(chosen, outcomes, np.ones((1, len(win_rate))))[0]  # (4, t)
    unit = benchmark.unit
    found = []
    for i, share in enumerate(SHARES):
        quality = cell(float(real[1, i]), draws[:, 1, i])
        found.append(
            {
                "share": share,
                "alpha": rounded(thresholds[share]),
                "strong_share": cell(float(real[0, i]), draws[:, 0, i]),
                "quality": [None if q is None else rounded(float(unit.of(q))) for q in quality],
                "pgr": cell(float(real[2, i]), draws[:, 2, i]),
                "usd_per_1000": cell(float(real[3, i]), draws[:, 3, i]),
            }
        )
    return found


def _levels(chosen: npt.NDArray[np.bool_], outcomes: PairOutcomes, counts: FloatArray) -> FloatArray:
    """Strong share, quality, PGR and USD per 1,000 at each threshold on each resample, (t, n), (b, n) -> (b, 4, t)."""
    n = chosen.shape[1]
    share = counts @ chosen.T / n
    gained = counts @ (chosen * outcomes.gain).T / n
    weak = (counts @ outcomes.weak / n)[:, None]
    gap = (counts @ outcomes.gain / n)[:, None]
    usd = np.full_like(share, np.nan)
    if outcomes.weak_cost_usd is not None and outcomes.extra_cost_usd is not None:
        usd = 1000 * counts @ (outcomes.weak_cost_usd + chosen * outcomes.extra_cost_usd).T / n
    return np.stack([share, weak + gained, gained / np.where(gap > 0, gap, np.nan), usd], axis=1)
