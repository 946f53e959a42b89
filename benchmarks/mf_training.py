"""Seconds and memory of training `mf` on 100,000 battles with given vectors. Prints one JSON object.

    python benchmarks/mf_training.py

64 models with a true ranking, synthetic vectors of 384 dimensions that gather around topics. All is seeded.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import time
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from prefroute.routers.mf import MF
from prefroute.types import Battles


class GivenVectors:
    """An embedder that knows the vector of every prompt beforehand, as a cache does."""

    id = spec = "given"
    trained_on: frozenset[str] = frozenset()

    def __init__(self, vectors: npt.NDArray[np.float32]) -> None:
        self.vectors = vectors
        self.dim = vectors.shape[1]

    def encode(self, prompts: Sequence[str]) -> npt.NDArray[np.float32]:
        """The rows that the prompts name, shape (n, d)."""
        return self.vectors[[int(prompt.rsplit(" ", 1)[1]) for prompt in prompts]]


def make_battles(n: int, d: int, seed: int) -> tuple[Battles, npt.NDArray[np.float32]]:
    """Battles and the vectors of their prompts, shape (n, d)."""
    rng = np.random.default_rng(seed)
    n_models, n_topics = 64, 50
    topics = rng.standard_normal((n_topics, d), dtype=np.float32)
    topic = rng.integers(n_topics, size=n)
    vectors = 0.8 * topics[topic] + rng.standard_normal((n, d), dtype=np.float32)
    skill = np.linspace(1.5, -1.5, n_models) + 0.5 * rng.standard_normal((n_topics, n_models))
    a = rng.integers(n_models, size=n)
    b = (a + rng.integers(1, n_models, size=n)) % n_models
    outcome = (rng.random(n) < 1 / (1 + np.exp(skill[topic, b] - skill[topic, a]))).astype(np.float64)
    outcome[rng.random(n) < 0.3] = 0.5
    names = tuple(f"model-{i:02d}" for i in range(n_models))
    prompts = [f"synthetic prompt number {i}" for i in range(n)]
    return Battles(prompts, names, a.astype(np.int32), b.astype(np.int32), outcome), vectors


def main() -> None:
    """Train once, print what it took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--battles", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=384)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    battles, vectors = make_battles(given.battles, given.dim, given.seed)
    router = MF("model-00", "model-40", GivenVectors(vectors), seed=given.seed)
    start = time.perf_counter()
    router.fit(battles)
    seconds = time.perf_counter() - start
    report = router.training_
    assert report is not None
    print(
        json.dumps(
            {
                "benchmark": "mf_training",
                "battles": given.battles,
                "models": 64,
                "dim": given.dim,
                "seconds": round(seconds, 2),
                "steps": report.history[-1]["step"],
                "held_out_loss": round(min(entry["held_out_loss"] for entry in report.history), 4),
                "peak_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
                "python": platform.python_version(),
            }
        )
    )


if __name__ == "__main__":
    main()
