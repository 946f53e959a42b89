"""Processor time and memory of a `bert` router with torch and, exported, without. Prints one JSON object.

    python benchmarks/bert_onnx.py --data DIR  # the folder that holds routellm_benchmarks/

all-MiniLM-L6-v2 with a head of a single step, on questions of MMLU; torch has one thread, ONNX Runtime its default.
`cpu_ms` is processor time a prompt, the least of three passes: `alone`, prompt by prompt, and all in one `batch`. Start
and memory are of a fresh process that opens the checkpoint and scores one prompt; memory is read as Linux tells it. It
says nothing of quality.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"

import argparse
import json
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from prefroute.benchmarks import load_benchmark
from prefroute.checkpoint import save_checkpoint
from prefroute.routers import Router
from prefroute.routers.bert import Bert
from prefroute.routers.bert_onnx import BertOnnx
from prefroute.settings import data_dir

_START = """
import json, sys, time
import prefroute
prefroute.load(sys.argv[1]).win_rate(["What is 2 + 2?"])
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
peak_mb = int(status["VmHWM"].split()[0]) // 1024
print(json.dumps({"start_cpu_s": round(time.process_time(), 2), "peak_mb": peak_mb}))
"""


def main() -> None:
    """Make both routers, print what they take."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=data_dir(), help="the folder that holds routellm_benchmarks/")
    parser.add_argument("--prompts", type=int, default=48)
    given = parser.parse_args()
    if given.data is None:
        parser.error("--data DIR is missing: name the folder that holds routellm_benchmarks/, or set PREFROUTE_DATA.")
    benchmark = load_benchmark("mmlu", given.data)
    order = np.random.default_rng(0).permutation(len(benchmark.outcomes))
    learned, asked = order[:40], [benchmark.outcomes.prompts[i] for i in order[40 : 40 + given.prompts]]
    router = Bert(benchmark.strong, benchmark.weak, steps=1, probe=False).fit(benchmark.outcomes.take(learned))
    exported, _ = BertOnnx.of(router)
    difference = float(np.abs(router.win_rate(asked) - exported.win_rate(asked)).max())
    print(
        json.dumps(
            {
                "benchmark": "bert_onnx",
                "prompts": len(asked),
                "mean_tokens": round(float(np.mean([len(row) for row in exported.reader_(asked)])), 1),
                "largest_difference": difference,
                "bert": _figures(router, asked),
                "bert_onnx": _figures(exported, asked),
                "cores": os.cpu_count(),
                "python": platform.python_version(),
            }
        )
    )


def _figures(router: Router, prompts: list[str]) -> dict[str, float]:
    cpu_ms: dict[str, list[float]] = {"alone": [], "batch": []}
    for _ in range(3):
        for name, calls in (("alone", [[prompt] for prompt in prompts]), ("batch", [prompts])):
            start = time.process_time()
            for call in calls:
                router.win_rate(call)
            cpu_ms[name].append((time.process_time() - start) * 1e3 / len(prompts))
    with tempfile.TemporaryDirectory() as folder:
        save_checkpoint(router, Path(folder) / "router")
        words = [sys.executable, "-c", _START, str(Path(folder) / "router")]
        fresh: dict[str, float] = json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout)
    return {f"cpu_ms_{name}": round(min(times), 1) for name, times in cpu_ms.items()} | fresh


if __name__ == "__main__":
    main()
