"""One row of a table: what is wanted, computing it, and keeping it in a JSON file.

A row is one router, trained one way, on one set of questions; its `runs` are what `prefroute.evaluate` found, one for
each seed. A run that is kept is not computed again unless the data, the embedder's weights or the shipped router are
others. The code is not compared: after a change of code, start afresh.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from scripts.results.sources import Data, WithOthers

from prefroute.benchmarks import Benchmark
from prefroute.cli.output import write_text
from prefroute.evaluate import AsIs, Entrant, Fitted, Gold, Kind, Protocol, evaluate
from prefroute.evaluate.rows import pair_outcomes
from prefroute.evaluate.scoring import score
from prefroute.metrics import interval, resample_counts
from prefroute.routers import Router
from prefroute.train.calibration import brier_score

__all__ = [
    "BOTH",
    "OTHERS",
    "OWN",
    "QUESTIONS",
    "SHIPPED",
    "Row",
    "Setting",
    "Wanted",
    "add",
    "compute",
    "identity",
    "is_kept",
    "read",
    "rounded",
    "run_of",
    "write",
]

Row: TypeAlias = dict[str, Any]

OWN, OTHERS, BOTH, SHIPPED = "own questions", "other sources", "own questions and other sources", "as shipped"
N_BOOT = 2000

QUESTIONS = ("benchmark", "protocol", "strong", "weak", "quality_unit", "data_sha256")
"""What rows on the same questions share."""

_BASELINES = ("random", "length", "subject prior")
_FIGURES = ("apgr", "cpt50", "cpt80", "cpt50_cost_usd", "cpt80_cost_usd", "strong_quality", "weak_quality")
_RUN = ("seed", "n", "n_left_out", "n_seen", "train_n")


@dataclass(frozen=True)
class Wanted:
    """A row that a table should have.

    Attributes:
        router: Its kind, or `default`.
        trained_on: OWN, OTHERS, BOTH or SHIPPED.
        embedder: Spec.
        seeds: One run for each.
    """

    router: str
    trained_on: str
    embedder: str
    seeds: tuple[int, ...] = (0,)


@dataclass(frozen=True)
class Setting:
    """Questions, with the rows that are wanted on them; the evaluation of the first row brings the baselines.

    Attributes:
        benchmark: Its name.
        wanted: The rows.
        protocol: How kinds are trained.
        pair: Strong and weak model; None for the benchmark's own.
    """

    benchmark: str
    wanted: tuple[Wanted, ...]
    protocol: Protocol = field(default_factory=AsIs)
    pair: tuple[str | None, str | None] = (None, None)


def compute(data: Data, setting: Setting, wanted: Wanted, seed: int) -> list[Row]:
    """The wanted row with one run, and after it those of random, length and, where there is one, the subject prior."""
    begin = time.process_time()
    others = data.others(setting.benchmark) if wanted.trained_on in (OTHERS, BOTH) else None
    benchmark = data.benchmark(setting.benchmark, *setting.pair)
    entrant = _entrant(data, setting, wanted)
    report = evaluate([entrant], benchmark, protocol=setting.protocol, seed=seed, n_boot=N_BOOT)
    mine, *rest = report.rows  # the entrant's row comes first
    run = run_of(mine) | {"cpu_s": round(time.process_time() - begin, 1), "commit": report.provenance["git_sha"]}
    if wanted.trained_on == OTHERS and isinstance(entrant, Fitted):
        run |= _said_of_win_rates(entrant, benchmark, data.prior(setting.benchmark))
    run["train_n"] = None if wanted.trained_on == SHIPPED else (run["train_n"] or 0) + (len(others) if others else 0)
    found = [identity(data, setting, wanted) | {"runs": [run]}]
    for row in rest:
        if row["router"] in _BASELINES:
            named = {"router": row["router"], "role": row["role"], "trained_on": None, "embedder": None}
            found.append(found[0] | named | {"runs": [run_of(row)]})
    return found


def identity(data: Data, setting: Setting, wanted: Wanted) -> Row:
    """What tells a row from others: two rows with one identity differ in their runs only."""
    benchmark = data.benchmark(setting.benchmark, *setting.pair)
    return {
        "router": wanted.router,
        "role": "router",
        "trained_on": _said(data, setting, wanted),
        "embedder": data.embedder(wanted.embedder).id,
        "benchmark": setting.benchmark,
        "protocol": setting.protocol.label,
        "strong": benchmark.strong,
        "weak": benchmark.weak,
        "quality_unit": benchmark.unit.name,
        "data_sha256": data.sha256(),
    }


def run_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """What is kept of one row of `prefroute.evaluate`: counts and figures with their intervals."""
    names = [*_RUN, *(f"{name}{end}" for name in _FIGURES for end in ("", "_low", "_high"))]
    length = row["vs_length"] or {"diff": None, "low": None, "high": None}
    return {name: rounded(row[name]) for name in names} | {
        "vs_length": rounded(length["diff"]),
        "vs_length_low": rounded(length["low"]),
        "vs_length_high": rounded(length["high"]),
    }


def rounded(value: Any) -> Any:
    """A float to six places, anything else as it is: the last digits differ between machines."""
    return round(value, 6) if isinstance(value, float) else value


def add(rows: list[Row], new: Row) -> None:
    """Put the runs of a row to those of the same identity, in the place of runs with the same seed."""
    known = {name: value for name, value in new.items() if name != "runs"}
    for row in rows:
        if all(row.get(name) == value for name, value in known.items()):
            seeds = [run["seed"] for run in new["runs"]]
            row["runs"] = [run for run in row["runs"] if run["seed"] not in seeds] + new["runs"]
            row["runs"].sort(key=lambda run: run["seed"])
            return
    rows.append(new)


def is_kept(rows: Sequence[Row], wanted: Row, seed: int) -> bool:
    """Whether a row of that identity holds a run of that seed."""
    same = [row for row in rows if all(row.get(name) == value for name, value in wanted.items())]
    return any(run["seed"] == seed for row in same for run in row["runs"])


def read(path: Path) -> list[Row]:
    """The rows of a file; none where it is not there yet."""
    if not path.exists():
        return []
    rows: list[Row] = json.loads(path.read_text(encoding="utf-8"))["rows"]
    return rows


def write(path: Path, rows: Sequence[Row]) -> None:
    """Replace the file."""
    write_text(path, json.dumps({"schema": 1, "table": path.stem, "rows": rows}, indent=1) + "\n")


def _said(data: Data, setting: Setting, wanted: Wanted) -> str:
    """What a row was trained on, for people."""
    if wanted.trained_on == SHIPPED:
        return f"train halves (checkpoint {data.shipped()[1][:12]})"
    if wanted.trained_on == OTHERS:
        return "other sources"
    own = f"{setting.protocol.n:,} of its questions" if isinstance(setting.protocol, Gold) else "its other folds"
    return f"{own} + other sources" if wanted.trained_on == BOTH else own


def _said_of_win_rates(entrant: Fitted, benchmark: Benchmark, prior: float) -> dict[str, float]:
    """How far apart they are, and how far from the labels: the router's, the prior's, and the paired difference."""
    scored = score([entrant], benchmark, AsIs(), 0, None)
    observed = (1 + pair_outcomes(benchmark, scored, {}).gain) / 2
    n = len(observed)
    found = {"brier": scored.scores[entrant.name], "brier_of_prior": np.full(n, prior)}
    excess = (found["brier"] - observed) ** 2 - (prior - observed) ** 2  # (n,)
    draws = np.concatenate([counts @ excess / n for counts in resample_counts(n, N_BOOT, 0)])
    difference = interval(float(excess.mean()), draws)
    figures = {name: brier_score(predicted, observed) for name, predicted in found.items()}
    ends = {"brier_excess": difference.value, "brier_excess_low": difference.low, "brier_excess_high": difference.high}
    spread = {"win_rate_sd": float(found["brier"].std())}
    return {name: rounded(value) for name, value in (figures | ends | spread).items()}


def _entrant(data: Data, setting: Setting, wanted: Wanted) -> Entrant:
    if wanted.trained_on == SHIPPED:
        return data.shipped()[0]
    if wanted.trained_on == OTHERS:
        return data.trained_elsewhere(wanted.router, setting.benchmark, wanted.embedder)

    def make(strong: str, weak: str, seed: int) -> Any:
        router: Router = data.unfitted(wanted.router, strong, weak, embedder=wanted.embedder, seed=seed)
        if wanted.trained_on == OWN:
            return router
        return WithOthers(router, setting.benchmark, data.others(setting.benchmark))

    return Kind(wanted.router, make)
