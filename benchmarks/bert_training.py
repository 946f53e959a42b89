"""Minutes and memory of training `bert` on 10,000 prompts, at most once through them. Prints one JSON object.

    python benchmarks/bert_training.py --data DIR  # the folder that holds routellm_benchmarks/

Questions of MMLU with their gold outcomes, all-MiniLM-L6-v2 as the encoder, every layer trained unless told otherwise.
It says nothing of quality: nothing is held out but what the training itself wants.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import time
from pathlib import Path

import numpy as np
import torch

from prefroute.benchmarks import load_benchmark
from prefroute.routers.bert import Bert
from prefroute.settings import data_dir


def main() -> None:
    """Train once, print what it took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=data_dir(), help="the folder that holds routellm_benchmarks/")
    parser.add_argument("--prompts", type=int, default=10_000)
    parser.add_argument("--frozen-layers", type=int, default=0)
    given = parser.parse_args()
    if given.data is None:
        parser.error("--data DIR is missing: name the folder that holds routellm_benchmarks/, or set PREFROUTE_DATA.")
    benchmark = load_benchmark("mmlu", given.data)
    chosen = np.random.default_rng(0).permutation(len(benchmark.outcomes.prompts))[: given.prompts]
    router = Bert(
        benchmark.strong,
        benchmark.weak,
        frozen_layers=given.frozen_layers,
        steps=round(0.9 * len(chosen) / 16),  # what is not held out, once
    )
    start, start_cpu = time.perf_counter(), time.process_time()
    router.fit(benchmark.outcomes.take(chosen))
    report = router.training_
    assert report is not None
    print(
        json.dumps(
            {
                "benchmark": "bert_training",
                "prompts": len(chosen),
                "frozen_layers": given.frozen_layers,
                "minutes": round((time.perf_counter() - start) / 60, 1),
                "cpu_minutes": round((time.process_time() - start_cpu) / 60, 1),
                "threads": torch.get_num_threads(),
                "steps": report.history[-1]["step"],
                "most_steps": router.steps,
                "peak_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
                "python": platform.python_version(),
            }
        )
    )


if __name__ == "__main__":
    main()
