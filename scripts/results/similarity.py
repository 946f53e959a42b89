"""Benchmark-dataset similarity S(B, D) of each benchmark with each source that routers are trained on elsewhere.

The same figure as `prefroute.data.set_similarity`; the nearest cosines are kept, since those of all sources together
are the highest of each source's.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
from scripts.results.rows import Row, rounded
from scripts.results.sources import Data

from prefroute.data.similarity import nearest_cosine
from prefroute.evaluate.protocols import draw_gold, without_duplicates

__all__ = ["ALL", "GOLD", "similarities", "similarity"]

ALL = "all other sources"
GOLD = "1,531 of its questions"

_BENCHMARKS = ("mt-bench", "mmlu", "gsm8k")
_SPECS = ("minilm", "static")


def similarity(data: Data) -> list[Row]:
    """A row for each benchmark, source and embedder."""
    return [row for name in _BENCHMARKS for spec in _SPECS for row in similarities(data, name, spec)]


def similarities(data: Data, name: str, spec: str) -> Iterator[Row]:
    """The rows of one benchmark: each source, all of them together, and for MMLU its own gold questions, seed 0."""
    begin = time.process_time()
    benchmark, embedder = data.benchmark(name), data.embedder(spec)
    questions = embedder.encode(benchmark.outcomes.prompts)
    nearest, sizes = {}, {}
    for source in data.others(name).sources:
        nearest[source.name] = nearest_cosine(questions, embedder.encode(source.data.prompts))
        sizes[source.name] = len(source.data)
    nearest[ALL], sizes[ALL] = np.max(list(nearest.values()), axis=0), sum(sizes.values())
    if name == "mmlu":
        drawn = draw_gold(benchmark.subjects, len(benchmark), 1531, seed=0)
        left = without_duplicates(benchmark.outcomes.prompts, drawn, np.arange(len(benchmark)))
        nearest[GOLD], sizes[GOLD] = nearest_cosine(questions[left], questions[drawn]), len(drawn)
    cpu_s = round((time.process_time() - begin) / len(nearest), 1)
    for source_name, cosines in nearest.items():
        yield {
            "benchmark": name,
            "source": source_name,
            "embedder": embedder.id,
            "similarity": rounded(float(cosines.mean())),
            "n": len(cosines),
            "n_source": sizes[source_name],
            "data_sha256": data.sha256(),
            "cpu_s": cpu_s,
        }
