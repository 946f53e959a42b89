"""The quality figures of docs/performance.md: means over seeds 0-4, printed as one JSON object.

    python scripts/quality_figures.py --data DIR [--seeds 5]

Every row is what `prefroute evaluate KIND --benchmark NAME --embedder SPEC (--gold 1531 | --folds 5) --seed S` prints;
embeddings are cached, so that a second run takes minutes. The shipped router needs no seed.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

from prefroute.benchmarks import load_benchmark
from prefroute.checkpoint import open_checkpoint
from prefroute.embed import open_embedder
from prefroute.evaluate import AsIs, Fitted, Folds, Gold, Kind, evaluate
from prefroute.routers import Router, routers
from prefroute.settings import cache_dir
from prefroute.types import Embedder

RUNS = (
    ("mmlu", Gold(1531), ("linear", "knn", "sw_ranking"), ("static", "minilm")),
    ("gsm8k", Folds(5), ("linear", "knn", "sw_ranking"), ("static", "minilm")),
)
HELD_OUT = ("mmlu", "gsm8k", "mt-bench", "routerbench", "mmlu-pro")


def main() -> None:
    """Evaluate and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder that holds routellm_benchmarks/")
    parser.add_argument("--seeds", type=int, default=5)
    args = parser.parse_args()
    figures: dict[str, Any] = {}
    for name, protocol, kinds, specs in RUNS:
        benchmark = load_benchmark(name, args.data)
        for spec in specs:
            embedder = open_embedder(spec, cache_dir=cache_dir())
            entrants = [Kind(kind, _maker(kind, embedder)) for kind in kinds]
            apgr: dict[str, list[float]] = {kind: [] for kind in (*kinds, "length")}
            for seed in range(args.seeds):
                report = evaluate(entrants, benchmark, protocol=protocol, seed=seed, n_boot=200)
                for row in report.rows:
                    if row["router"] in apgr:
                        apgr[row["router"]].append(row["apgr"])
            for kind, values in apgr.items():
                figures[f"{name} {protocol.label} {spec} {kind}"] = {
                    "apgr_mean": round(statistics.fmean(values), 4),
                    "apgr_by_seed": [round(value, 4) for value in values],
                }
    shipped = open_checkpoint("default")
    for name in HELD_OUT:
        entrant = Fitted("default", shipped.router, shipped.training)
        report = evaluate([entrant], load_benchmark(name, args.data), protocol=AsIs())
        for row in report.rows:
            if row["router"] in ("default", "length"):
                kept = ("apgr", "apgr_low", "apgr_high", "cpt50", "cpt80", "n", "n_left_out")
                figures[f"{name} held out {row['router']}"] = {
                    key: round(row[key], 4) if isinstance(row[key], float) else row[key] for key in kept
                }
    print(json.dumps(figures, indent=1))


def _maker(kind: str, embedder: Embedder) -> Any:
    """What makes an unfitted router of a kind for a pair."""

    def make(strong: str, weak: str, seed: int) -> Router:
        made = routers.get(kind)
        extra = {"seed": seed} if kind == "linear" else {}
        return made(strong, weak, embedder, **extra)  # type: ignore[call-arg]

    return make


if __name__ == "__main__":
    main()
