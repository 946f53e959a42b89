"""What a decision costs: CPU time of one prompt at a time, from text to win rate, nothing cached.

Routers are the shipped one and those trained on every source but MT-Bench, `ensemble` and `bert` on 2,000 rows of them:
what a decision of theirs costs does not depend on how many they saw. Prompts are those of MT-Bench and as many of MMLU.
CPU time, not wall time: it is that of one core whatever else the machine does, however many threads a library starts.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from scripts.results.rows import Row
from scripts.results.sources import PAIR, Data

from prefroute.data import PromptKeys
from prefroute.embed import open_embedder
from prefroute.evaluate import Fitted
from prefroute.routers import Router

__all__ = ["cpu_ms", "measure", "overhead"]

_WANTED = (
    ("length", None),
    ("default", "static"),
    ("knn", "static"),
    ("sw_ranking", "static"),
    *((kind, "minilm") for kind in ("linear", "experts", "knn", "sw_ranking", "mf", "ensemble")),
    ("bert", None),
)
_FEW: dict[str, dict[str, Any]] = {"ensemble": {}, "bert": {"steps": 1, "probe": False}}
_FEW_ROWS = 2000


def overhead(data: Data) -> list[Row]:
    """A row for each router."""
    return [measure(data, kind, spec) for kind, spec in _WANTED]


def measure(data: Data, kind: str, spec: str | None) -> Row:
    """The row of one router; `spec` names its embedder."""
    begin = time.process_time()
    is_shipped = kind == "default"
    if kind in _FEW:
        fitted = _trained_on_few(data, kind, spec)
    else:
        fitted = data.shipped()[0] if is_shipped else data.trained_elsewhere(kind, "mt-bench", spec or "static")
    router, prompts = fitted.router, _prompts(data)
    if spec is not None:  # its own embedder has every vector on disk
        again: Any = type(router)
        router = again(embedder=open_embedder(spec), **router.params()).restore(router.state())
    spent_ms = cpu_ms(router, prompts)
    return {
        "router": kind,
        "embedder": spec and data.embedder(spec).id,
        "train_n": None if kind == "length" or fitted.training is None else len(fitted.training),
        "n": len(prompts),
        "mean_bytes": round(float(np.mean([len(prompt.encode()) for prompt in prompts]))),
        "cpu_ms": round(spent_ms, 3),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "data_sha256": data.sha256(),
        "cpu_s": round(time.process_time() - begin, 1),
    }


def _trained_on_few(data: Data, kind: str, spec: str | None) -> Fitted:
    rows = data.others("mt-bench")
    few = rows.take(np.sort(np.random.default_rng(0).permutation(len(rows))[:_FEW_ROWS]))
    router = data.unfitted(kind, *PAIR, embedder=spec or "static", seed=0, **_FEW[kind])
    return Fitted(kind, router.fit(few), PromptKeys.of(few.prompts))


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
