"""Time of one decision in process, with the shipped router: prints one JSON object.

    python benchmarks/route_latency.py [--prompts 1000] [--bytes 1024] [--text mmlu-pro --data DIR]

Every prompt is different and no score is cached: a decision is tokenising, embedding, scoring and comparing with the
threshold. One thread. `import_ms` is importing prefroute and opening the router's rooms, over numpy alone; `load_ms`
reads the shipped checkpoint with its embedding; both are medians over fresh processes. `long_*` is the same for prompts
of 50 KB. `cpu_us_in_batches_of` is processor time a prompt, the least of five passes over new prompts (`seen_*`: over
the same prompts again at once, when every word has just been read; `seen_p50_us` likewise, of the last 300).
`two_*_prompts_per_s` is the rate at which two threads, or two processes, each score one half of a batch of new prompts,
the best of three.

Prompts are made of common words, numbers and random letters. `--text` adds `text_*`, of up to 300 questions of a
benchmark (or prompts in an outcomes table) that are about as long, in random order, after all others were read.
"""

# ruff: noqa: E402 - threads are limited before NumPy is imported

from __future__ import annotations

import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"

import argparse
import functools
import json
import platform
import resource
import statistics
import string
import subprocess
import sys
import time
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from typing import Any

import numpy as np

from prefroute import Threshold, load, load_benchmark
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
    """Distinct prompts of `size` bytes: common words, 6% numbers, 4% random letters that nobody has read."""
    rng = np.random.default_rng(seed)
    known, letters, gaps = _TEXT.split(), list(string.ascii_lowercase), [" ", " ", " ", " ", ", ", ". ", "\n"]
    n = size // 2  # of words, more than enough
    found = []
    for _ in range(count):
        words, draw = rng.choice(known, n).astype(object), rng.random(n)
        is_number, is_new = draw < 0.06, draw >= 0.96
        words[is_number] = rng.integers(10_000, size=is_number.sum()).astype(str)
        words[is_new] = ["".join(word) for word in rng.choice(letters, (is_new.sum(), 8))]
        found.append("".join(words + rng.choice(gaps, n).astype(object))[:size])
    return found


def starts(n: int = 7) -> tuple[float, ...]:
    """Milliseconds that fresh processes take to import prefroute, to import its rooms, and to load the router."""
    runs = []
    for _ in range(n):
        done = subprocess.run([sys.executable, "-c", _START], capture_output=True, text=True, check=True)
        runs.append(json.loads(done.stdout))
    return tuple(map(statistics.median, zip(*runs, strict=True)))


@functools.cache
def shipped() -> Router:
    """The shipped router, once in a process."""
    return load("default")


def score(prompts: list[str]) -> int:
    """How many prompts were scored: all of them."""
    return len(shipped().win_rate(prompts))


def timed(prompts: list[str]) -> list[float]:
    """Wall time of each decision, us."""
    router, policy = shipped(), Threshold(0.5)
    times = []
    for prompt in prompts:
        begin = time.perf_counter()
        policy.takes_strong(router.win_rate([prompt])[0])
        times.append((time.perf_counter() - begin) * 1e6)
    return times


def quantiles(name: str, times: list[float]) -> dict[str, float]:
    """Median and 99th percentile."""
    return {f"{name}p{q}_us": round(float(np.quantile(times, q / 100)), 1) for q in (50, 99)}


def of_text(name: str, data: str | None, n_bytes: int) -> dict[str, float]:
    """Decisions on questions of a benchmark, after all others of it."""
    asked = list(dict.fromkeys(load_benchmark(name, data).outcomes.prompts))
    found = [prompt for prompt in asked if 0.9 * n_bytes <= len(prompt.encode()) <= 1.1 * n_bytes]
    new = dict.fromkeys(found[i] for i in np.random.default_rng(0).permutation(len(found))[:300])
    n_before = score([prompt for prompt in asked if prompt not in new])
    times = {**quantiles("text_", timed([*new])), **quantiles("text_seen_", timed([*new]))}
    return {**times, "text_prompts": len(new), "text_prompts_before": n_before}


def cpu_us_in_batches(n_bytes: int) -> tuple[dict[int, float], dict[int, float]]:
    """Processor time a prompt by size of the batch, in us: of prompts with new words, and of the same ones again."""

    def cpu_us(prompts: list[str], size: int) -> float:
        begin = time.process_time()
        for start in range(0, len(prompts), size):
            shipped().win_rate(prompts[start : start + size])
        return (time.process_time() - begin) * 1e6 / len(prompts)

    new, seen = {}, {}
    for size in (1, 8, 32, 64, 1000):
        passes = [texts(max(size, 128), n_bytes, seed=1000 * size + turn) for turn in range(5)]
        times = [(cpu_us(prompts, size), cpu_us(prompts, size)) for prompts in passes]
        new[size], seen[size] = (round(min(column), 1) for column in zip(*times, strict=True))
    return new, seen


def prompts_per_s(pool: Executor, batches: list[list[str]]) -> int:
    """Rate at which the two workers of the pool score halves of a batch; the best, after one that opens routers."""
    rates = []
    for batch in batches:
        half = len(batch) // 2
        begin = time.perf_counter()
        n_scored = sum(pool.map(score, [batch[:half], batch[half:]]))
        rates.append(n_scored / (time.perf_counter() - begin))
    return round(max(rates[1:]))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=1000)
    parser.add_argument("--bytes", type=int, default=1024)
    parser.add_argument("--text", help="a benchmark's name, or an outcomes table")
    parser.add_argument("--data", help="the folder of the benchmarks' data")
    args = parser.parse_args()
    result: dict[str, Any] = dict(
        zip(("import_ms", "rooms_ms", "load_ms"), np.round(starts(), 1).tolist(), strict=True)
    )

    timed(texts(50, args.bytes, seed=1))  # the first calls load what is loaded once
    prompts = texts(args.prompts, args.bytes, seed=2)
    result |= quantiles("", timed(prompts)) | quantiles("seen_", timed(prompts[-300:]))
    result |= quantiles("long_", timed(texts(max(args.prompts // 10, 10), 50_000, seed=3)))
    result["cpu_us_in_batches_of"], result["seen_cpu_us_in_batches_of"] = cpu_us_in_batches(args.bytes)
    batch = texts(args.prompts, args.bytes, seed=4)
    begin = time.perf_counter()
    score(batch)
    result["batch_prompts_per_s"] = round(len(batch) / (time.perf_counter() - begin))
    result["rss_mb"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)
    batches = [texts(args.prompts, args.bytes, seed=100 + turn) for turn in range(4)]
    with ThreadPoolExecutor(2) as threads, ProcessPoolExecutor(2, mp_context=get_context("spawn")) as processes:
        result["two_threads_prompts_per_s"] = prompts_per_s(threads, batches)
        result["two_processes_prompts_per_s"] = prompts_per_s(processes, batches)
    if args.text:
        result |= of_text(args.text, args.data, args.bytes)
    result |= {"prompts": args.prompts, "bytes": args.bytes, "router": shipped().kind}
    result |= {"python": platform.python_version(), "machine": f"{platform.machine()}, {os.cpu_count()} cores"}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
