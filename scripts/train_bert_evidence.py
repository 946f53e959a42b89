"""Evaluate fine-tuned routers on MMLU by the gold-1531 protocol, and print the report's JSON.

    python scripts/train_bert_evidence.py --data DIR --seeds 0 1 2 3 4
    python scripts/train_bert_evidence.py --data DIR --kind causal_llm --param base=FOLDER --param lora_rank=8

Every seed draws its own 1,531 training questions, spread over the subjects, and is scored on the others. Settings are
fixed in advance: the defaults were chosen on MMLU-Pro questions that are not in MMLU.
"""

from __future__ import annotations

import argparse
import json
import logging
import time
from pathlib import Path
from typing import Any

import numpy as np

from prefroute.benchmarks import load_benchmark
from prefroute.evaluate import Gold, Kind, evaluate
from prefroute.routers import Router, routers


def main() -> None:
    """Train and evaluate once for each seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder that holds routellm_benchmarks/")
    parser.add_argument("--kind", default="bert", help="bert or causal_llm")
    parser.add_argument("--benchmark", default="mmlu")
    parser.add_argument("--gold", type=int, default=1531, help="training questions")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--param", action="append", default=[], metavar="NAME=VALUE", help="JSON value; repeatable")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    params = dict(_param(text) for text in args.param)
    benchmark = load_benchmark(args.benchmark, args.data)

    def make(strong: str, weak: str, seed: int) -> Router:
        kind: Any = routers.get(args.kind)
        return kind(strong, weak, seed=seed, **params)  # type: ignore[no-any-return]

    rows = []
    for seed in args.seeds:
        begin = time.perf_counter()
        report = evaluate([Kind(args.kind, make)], benchmark, protocol=Gold(args.gold), seed=seed)
        seconds = round(time.perf_counter() - begin, 1)
        rows += [row | {"fit_and_evaluate_s": seconds} for row in report.to_json()["results"]]
    apgr = [row["apgr"] for row in rows if row["router"] == args.kind]
    summary = {"kind": args.kind, "params": params, "seeds": args.seeds, "mean_apgr": float(np.mean(apgr))}
    print(json.dumps({"schema": 1, "summary": summary, "results": rows}, indent=1))


def _param(text: str) -> tuple[str, Any]:
    name, _, value = text.partition("=")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


if __name__ == "__main__":
    main()
