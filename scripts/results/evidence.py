"""Rows that take hours: made by hand with this program, kept in docs/results/evidence, shown beside the others.

    python -m scripts.results.evidence --data DIR --kind bert --seeds 0 1 2 3 4 --out FILE
    python -m scripts.results.evidence --data DIR --kind causal_llm --param base=FOLDER --param lora_rank=8 --out FILE

A file is the JSON of `prefroute evaluate` (schema 1: `results`, `provenance`) with what it was made by: `table` (the
table of the page that its rows stand in), `command`, `trained_on`, `date`, `machine`, `minutes`. Settings are fixed in
advance.
"""

from __future__ import annotations

import argparse
import datetime
import json
import logging
import os
import platform
import shlex
import sys
import time
from pathlib import Path
from typing import Any

from scripts.results.rows import Row, add, run_of

from prefroute.benchmarks import load_benchmark
from prefroute.cli.opening import make_router
from prefroute.cli.options import parse_params
from prefroute.cli.output import check_writable, write_text
from prefroute.evaluate import Folds, Gold, Kind, evaluate

__all__ = ["evidence_notes", "evidence_rows"]

_IDENTITY = ("router", "role", "embedder", "benchmark", "protocol", "strong", "weak", "quality_unit")
_TOLD = ("command", "date", "machine")
_ABOUT = {
    "causal_llm": " Its decoder is all-MiniLM-L6-v2 under a causal mask (`scripts/results/decoder.py`): 22 million "
    "parameters that never were a language model, for want of one. The row shows that the training runs, no more."
}


def evidence_rows(folder: Path, table: str) -> list[Row]:
    """The rows of all files for a table, as the table's own look."""
    rows: list[Row] = []
    for path in sorted(folder.glob("*.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["table"] == table:
            shared = {"trained_on": content["trained_on"], "data_sha256": content["provenance"]["data_sha256"]}
            for found in content["results"]:
                if found["role"] == "router":
                    add(rows, {key: found[key] for key in _IDENTITY} | shared | {"runs": [run_of(found)]})
    return rows


def evidence_notes(folder: Path, table: str) -> list[str]:
    """One sentence for each file for a table: how its rows were made."""
    notes = []
    for path in sorted(folder.glob("*.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["table"] == table:
            kinds = ", ".join(sorted({row["router"] for row in content["results"] if row["role"] == "router"}))
            command, date, machine = (content[name] for name in _TOLD)
            notes.append(
                f"{kinds}: made by hand on {date} with `{command}`, {content['minutes']:,.0f} minutes on {machine} "
                f"([{path.name}](results/evidence/{path.name})).{_ABOUT.get(kinds, '')}"
            )
    return notes


def main() -> None:
    """Train and evaluate once for each seed; the file is written after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder that holds routellm_benchmarks/")
    parser.add_argument("--kind", default="bert", help="bert or causal_llm")
    parser.add_argument(
        "--benchmark", default="mmlu", choices=("mmlu", "gsm8k"), help="mmlu: gold-1531; gsm8k: 5 folds"
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--param", action="append", default=[], metavar="NAME=VALUE", help="repeatable")
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    check_writable(args.out, "--out")
    benchmark, params = load_benchmark(args.benchmark, args.data), parse_params(args.param)
    protocol = Gold(1531) if args.benchmark == "mmlu" else Folds(5)

    def make(strong: str, weak: str, seed: int) -> Any:
        return make_router(args.kind, strong, weak, embedder=None, seed=seed, params=params)

    begin = time.perf_counter()
    results: list[Row] = []
    for seed in args.seeds:
        date = datetime.datetime.now(tz=datetime.UTC).date().isoformat()
        report = evaluate([Kind(args.kind, make)], benchmark, protocol=protocol, seed=seed, date=date)
        results += report.rows
        content = {
            "schema": 1,
            "table": args.benchmark,
            "command": shlex.join(["python", "-m", "scripts.results.evidence", *sys.argv[1:]]),
            "trained_on": "1,531 of its questions" if args.benchmark == "mmlu" else "its other folds",
            "date": date,
            "machine": f"{platform.machine()}, {os.cpu_count()} cores",
            "minutes": round((time.perf_counter() - begin) / 60, 1),
            "results": results,
            "provenance": dict(report.provenance),
        }
        write_text(args.out, json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
