"""Time of one decision in process, with the shipped router: prints one JSON object.

    python benchmarks/route_latency.py [--prompts 1000] [--bytes 1024]

Every prompt is different and no score is cached: a decision is tokenising, embedding, scoring and comparing with the
threshold. One thread. `import_ms` is importing prefroute and opening the router's rooms, over numpy alone; `load_ms`
reads the shipped checkpoint with its embedding; both are medians over fresh processes. `long_*` is the same for prompts
of 50 KB. `cpu_us_in_batches_of` is processor time a prompt, the least of five passes over new prompts (`seen_*`: over
the same prompts again at once, when every word has just been read; `seen_p50_us` likewise, of the last 300).
"""

# ruff: noqa: E402 - threads are limited before NumPy is imported

from __future__ import annotations

import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"

import argparse
import json
import platform
import resource
import statistics
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from prefroute.routers import Router

_START = """
import json, time
import numpy
t0 = time.perf_counter()
import prefroute
t1 = time.perf_counter()
from prefroute.checkpoint import open_checkpoint
t2 = time.perf_counter()
open_checkpoint("default")
t3 = time.perf_counter()
print(json.dumps([(t1 - t0) * 1e3, (t2 - t1) * 1e3, (t3 - t2) * 1e3]))
"""
_TEXT = """
please explain the difference between a mutex and semaphore in operating systems with short example written python
then prove that sum of two even numbers is why does my function return None when list empty translate following
sentence into French summarise article about climate policy find area triangle sides 3 4 5 what capital Australia
write polite email manager asking leave next Friday compute integral x squared from 0 to 1
"""


def texts(count: int, size: int, seed: int) -> list[str]:
    """Distinct prompts of about `size` bytes: sentences of common words, numbers and some unseen words."""
    rng, known = np.random.default_rng(seed), _TEXT.split()
    found = []
    for _ in range(count):
        words: list[str] = []
        length = 0
        while length < size:
            draw = rng.random()
            word = str(rng.choice(known))
            if draw < 0.06:
                word = str(rng.integers(10_000))
            elif draw < 0.10:
                word = "".join(rng.choice(list("abcdefghijklmnopqrstuvwxyz"), size=8))
            word += str(rng.choice([" ", " ", " ", " ", ", ", ". ", "\n"]))
            words.append(word)
            length += len(word)
        found.append("".join(words)[:size])
    return found


def starts(n: int = 7) -> tuple[float, ...]:
    """Milliseconds that fresh processes take to import prefroute, to import its rooms, and to load the router."""
    runs = []
    for _ in range(n):
        done = subprocess.run([sys.executable, "-c", _START], capture_output=True, text=True, check=True)
        runs.append(json.loads(done.stdout))
    return tuple(map(statistics.median, zip(*runs, strict=True)))


def cpu_us_in_batches(router: Router, n_bytes: int) -> tuple[dict[int, float], dict[int, float]]:
    """Processor time a prompt by size of the batch, in us: of prompts with new words, and of the same ones again."""

    def cpu_us(prompts: list[str], size: int) -> float:
        begin = time.process_time()
        for start in range(0, len(prompts), size):
            router.win_rate(prompts[start : start + size])
        return (time.process_time() - begin) * 1e6 / len(prompts)

    new, seen = {}, {}
    for size in (1, 8, 32, 64, 1000):
        passes = [texts(max(size, 128), n_bytes, seed=1000 * size + turn) for turn in range(5)]
        times = [(cpu_us(prompts, size), cpu_us(prompts, size)) for prompts in passes]
        new[size], seen[size] = (round(min(column), 1) for column in zip(*times, strict=True))
    return new, seen


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=1000)
    parser.add_argument("--bytes", type=int, default=1024)
    args = parser.parse_args()
    imports, rooms, loads = starts()

    from prefroute.checkpoint import open_checkpoint
    from prefroute.policy import Threshold

    router = open_checkpoint("default").router
    policy = Threshold(0.5)

    def timed(prompts: list[str]) -> list[float]:
        times = []
        for prompt in prompts:
            begin = time.perf_counter()
            policy.choose(router.win_rate([prompt]))
            times.append((time.perf_counter() - begin) * 1e6)
        return times

    timed(texts(50, args.bytes, seed=1))  # the first calls load what is loaded once
    prompts = texts(args.prompts, args.bytes, seed=2)
    short, again = timed(prompts), timed(prompts[-300:])
    long = timed(texts(max(args.prompts // 10, 10), 50_000, seed=3))

    new, seen = cpu_us_in_batches(router, args.bytes)
    batch = texts(args.prompts, args.bytes, seed=4)
    begin = time.perf_counter()
    router.win_rate(batch)
    result = {
        "p50_us": round(float(np.quantile(short, 0.5)), 1),
        "p99_us": round(float(np.quantile(short, 0.99)), 1),
        "seen_p50_us": round(float(np.quantile(again, 0.5)), 1),
        "long_p50_us": round(float(np.quantile(long, 0.5)), 1),
        "long_p99_us": round(float(np.quantile(long, 0.99)), 1),
        "batch_prompts_per_s": round(len(batch) / (time.perf_counter() - begin)),
        "cpu_us_in_batches_of": new,
        "seen_cpu_us_in_batches_of": seen,
        "import_ms": round(imports, 1),
        "rooms_ms": round(rooms, 1),
        "load_ms": round(loads, 1),
        "rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
        "prompts": args.prompts,
        "bytes": args.bytes,
        "router": router.kind,
        "python": platform.python_version(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
