"""What a decision costs: CPU time of one prompt at a time, from text to win rate, nothing cached.

Routers are the shipped one and those trained on every source but MT-Bench; prompts are those of MT-Bench and as many of
MMLU. CPU time, not wall time: it is that of one core whatever else the machine does, however many threads a library
starts.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Sequence

import numpy as np
from scripts.results.rows import Row
from scripts.results.sources import Data

from prefroute.embed import open_embedder
from prefroute.routers import Router

__all__ = ["cpu_ms", "measure", "overhead"]

_WANTED = (
    ("length", None),
    ("default", "static"),
    ("knn", "static"),
    ("sw_ranking", "static"),
    *((kind, "minilm") for kind in ("linear", "experts", "knn", "sw_ranking", "mf")),
)


def overhead(data: Data) -> list[Row]:
    """A row for each router."""
    return [measure(data, kind, spec) for kind, spec in _WANTED]


def measure(data: Data, kind: str, spec: str | None) -> Row:
    """The row of one router; `spec` names its embedder."""
    begin = time.process_time()
    is_shipped = kind == "default"
    fitted = data.shipped()[0] if is_shipped else data.trained_elsewhere(kind, "mt-bench", spec or "static")
    router, prompts = fitted.router, _prompts(data)
    remembering = getattr(router, "embedder", None)
    if spec is not None:
        router.embedder = open_embedder(spec)  # type: ignore[attr-defined]  # its own has every vector on disk
    spent_ms = cpu_ms(router, prompts)
    if spec is not None:
        router.embedder = remembering  # type: ignore[attr-defined]
    return {
        "router": kind,
        "embedder": spec and data.embedder(spec).id,
        "train_n": len(fitted.training) if spec and fitted.training is not None else None,
        "n": len(prompts),
        "mean_bytes": round(float(np.mean([len(prompt.encode()) for prompt in prompts]))),
        "cpu_ms": round(spent_ms, 3),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "data_sha256": data.sha256(),
        "cpu_s": round(time.process_time() - begin, 1),
    }


def cpu_ms(router: Router, prompts: Sequence[str]) -> float:
    """Mean CPU milliseconds of a decision."""
    router.win_rate(prompts[:3])  # what is loaded once is loaded now
    begin = time.process_time()
    for prompt in prompts:
        router.win_rate([prompt])
    return 1000 * (time.process_time() - begin) / len(prompts)


def _prompts(data: Data) -> list[str]:
    asked = data.benchmark("mt-bench").outcomes.prompts
    exam = data.benchmark("mmlu").outcomes.prompts
    drawn = np.random.default_rng(0).choice(len(exam), size=len(asked), replace=False)
    return [*asked, *(exam[i] for i in drawn)]
