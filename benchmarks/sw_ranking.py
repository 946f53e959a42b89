"""Similarity-weighted ranking against RouteLLM's own code, in one run on the same battles. Prints one JSON object.

    python benchmarks/sw_ranking.py --peer-python /path/to/venv/bin/python

The peer's environment needs `routellm==0.2.0` (installed with --no-deps), `scikit-learn<1.10`, pandas and numpy. Its
call to an embedding service is replaced by the given vectors; nothing else of it is changed. 65,000 battles among 64
models with a true ranking, on synthetic embeddings of 1,536 dimensions that gather around topics. All is seeded.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from prefroute.routers.sw_ranking import SWRanking
from prefroute.types import Battles

PEER = Path(__file__).with_name("sw_ranking_peer.py")
STRONG, WEAK = "model-05", "model-30"


class GivenVectors:
    """An embedder that knows the vector of every prompt beforehand."""

    id = spec = "given"
    trained_on: frozenset[str] = frozenset()

    def __init__(self, vectors: npt.NDArray[np.float32]) -> None:
        self.vectors = vectors
        self.dim = vectors.shape[1]

    def encode(self, prompts: Sequence[str]) -> npt.NDArray[np.float32]:
        """The rows that the prompts name, shape (n, d)."""
        return self.vectors[[int(prompt.rsplit(" ", 1)[1]) for prompt in prompts]]


def make_battles(n: int, d: int, n_queries: int, seed: int) -> tuple[Battles, list[str], npt.NDArray[np.float32]]:
    """Battles, query prompts, and the vectors of both, shape (n + n_queries, d)."""
    rng = np.random.default_rng(seed)
    n_models, n_topics = 64, 50
    topics = rng.standard_normal((n_topics, d), dtype=np.float32)
    topic = rng.integers(n_topics, size=n + n_queries)
    vectors = 0.8 * topics[topic] + rng.standard_normal((n + n_queries, d), dtype=np.float32) + 0.3
    skill = np.linspace(1.5, -1.5, n_models) + 0.3 * rng.standard_normal((n_topics, n_models))
    a = rng.integers(n_models, size=n)
    b = (a + rng.integers(1, n_models, size=n)) % n_models
    gap = skill[topic[:n], a] - skill[topic[:n], b]
    outcome = (rng.random(n) < 1 / (1 + np.exp(-gap))).astype(np.float64)
    outcome[rng.random(n) < 0.3] = 0.5
    prompts = [f"synthetic prompt number {i}" for i in range(n + n_queries)]
    models = tuple(f"model-{i:02d}" for i in range(n_models))
    battles = Battles(prompts[:n], models, a.astype(np.int32), b.astype(np.int32), outcome)
    return battles, prompts[n:], vectors


def seconds(call: Callable[[], object]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def run_peer(
    python: str, router: SWRanking, battles: Battles, vectors: npt.NDArray[np.float32], n_queries: int
) -> dict[str, Any]:
    """Seconds, win rates and tier ratings of RouteLLM for the first queries."""
    with tempfile.TemporaryDirectory() as folder:
        given = Path(folder) / "given.npz"
        np.savez(
            given,
            vectors=vectors[: len(battles) + n_queries],
            model_a=battles.model_a,
            model_b=battles.model_b,
            outcome=battles.outcome,
            models=np.array(battles.models),
            tier=router.tier_,
            pair=np.array([STRONG, WEAK]),
        )
        environment = {**os.environ, "OPENAI_API_KEY": "unused"}
        command = [python, str(PEER), str(given)]
        done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    if done.returncode:
        sys.exit(f"The peer failed:\n{done.stderr}")
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def memory_ratio(battles: Battles, embedder: GivenVectors, queries: list[str]) -> float:
    """Peak memory of fitting and scoring a batch, over the size of the embedding matrix."""
    tracemalloc.start()
    router = SWRanking(STRONG, WEAK, embedder).fit(battles)
    router.win_rate(queries)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / (len(battles) * embedder.dim * 4)


def storage_cost(battles: Battles, embedder: GivenVectors, exact: SWRanking, queries: list[str]) -> dict[str, Any]:
    """How far scores move, and what a query costs, when vectors are kept in fewer bytes."""
    win, elo = exact.win_rate(queries), exact.elo(queries)
    found: dict[str, Any] = {}
    for storage in ("float16", "int8"):
        router = SWRanking(STRONG, WEAK, embedder, storage=storage).fit(battles)
        single_s, batch_s = own_seconds(router, queries)
        found[storage] = {
            "max_win_rate_difference": float(np.abs(router.win_rate(queries) - win).max()),
            "max_elo_difference": float(np.abs(router.elo(queries) - elo).max()),
            "memory_share": router.vectors_.nbytes / exact.vectors_.nbytes,
            "single_s": single_s,
            "batch_s_per_query": batch_s,
        }
    return found


def own_seconds(router: SWRanking, queries: list[str]) -> tuple[float, float]:
    """Median seconds of one query alone, and of one query in a batch of all."""
    router.win_rate(queries[:2])
    single_s = statistics.median(seconds(functools.partial(router.win_rate, [query])) for query in queries[:31])
    return single_s, statistics.median(seconds(lambda: router.win_rate(queries)) for _ in range(3)) / len(queries)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer-python", required=True, help="python of an environment with routellm 0.2.0")
    parser.add_argument("--battles", type=int, default=65_000)
    parser.add_argument("--dims", type=int, default=1_536)
    parser.add_argument("--peer-queries", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()

    battles, queries, vectors = make_battles(given.battles, given.dims, 256, given.seed)
    embedder = GivenVectors(vectors)
    fit_s = seconds(lambda: SWRanking(STRONG, WEAK, embedder).fit(battles))
    router = SWRanking(STRONG, WEAK, embedder).fit(battles)
    single_s, batch_s = own_seconds(router, queries)
    peer = run_peer(given.peer_python, router, battles, vectors, given.peer_queries)
    peer_s = statistics.median(peer["seconds"])
    ours = router.elo(queries[: given.peer_queries])
    result = {
        "battles": given.battles,
        "dims": given.dims,
        "tiers": int(router.tier_.max()) + 1,
        "seed": given.seed,
        "machine": f"{os.cpu_count()} {platform.machine()} cores, NumPy {np.__version__}",
        "peer": f"routellm {peer['routellm']}, scikit-learn {peer['sklearn']}",
        "fit_s": fit_s,
        "single_s": single_s,
        "batch_s_per_query": batch_s,
        "peer_s_per_query": peer_s,
        "single_ratio": peer_s / single_s,
        "batch_ratio": peer_s / batch_s,
        "max_elo_difference": float(np.abs(ours - np.array(peer["elo"])).max()),
        "max_win_rate_difference": float(
            np.abs(router.win_rate(queries[: given.peer_queries]) - peer["win_rate"]).max()
        ),
        "memory_ratio": memory_ratio(battles, embedder, queries),
        "storage": storage_cost(battles, embedder, router, queries),
    }
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
