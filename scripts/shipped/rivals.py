"""The shipped router beside the routers that can be trained on the same prompts with a heavier embedder and torch.

    python -m scripts.shipped.rivals --data DIR  # by hand: ten minutes of one core, MiniLM's vectors in the cache

Each kind is trained once, with the settings that it comes with, on the very rows that the shipped router was trained
on, with all-MiniLM-L6-v2; nothing is chosen by looking at what comes out. All are scored on the held-out questions of
`held_out`. The mean over the benchmarks counts each the same; its interval resamples the questions of each.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from scripts.results.sources import Data
from scripts.shipped.held_out import BENCHMARKS, cell
from scripts.train_default import training_parts

from prefroute.benchmarks import load_benchmark
from prefroute.checkpoint import open_checkpoint
from prefroute.cli.output import write_text
from prefroute.data import PromptKeys, pooled
from prefroute.evaluate import AsIs, Fitted
from prefroute.evaluate.rows import pair_outcomes, point_figures
from prefroute.evaluate.scoring import score
from prefroute.metrics import bootstrap
from prefroute.types import FloatArray, Mixture

__all__ = ["KINDS", "RIVALS", "compared"]

RIVALS = Path(__file__).parents[2] / "docs" / "shipped-router-rivals.json"

KINDS = ("linear", "experts", "ensemble", "mf", "knn")
_TOLD_SOURCES = ("linear", "experts")
_SHIPPED = "default"
_EMBEDDER = "minilm"
_N_BOOT = 2000


def main() -> None:
    """Train, score, and write the figures; `python -m scripts.shipped --write-only` then writes the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder that holds routellm_benchmarks/")
    data = Data(parser.parse_args().data)
    checkpoint = open_checkpoint(_SHIPPED)
    mixture = Mixture(tuple(part.source for part in training_parts(data.folder)))
    entrants, cpu_s = [Fitted(_SHIPPED, checkpoint.router, checkpoint.training)], {}
    for kind in KINDS:
        begin = time.process_time()
        entrants.append(_trained(kind, data, mixture))
        cpu_s[kind] = round(time.process_time() - begin)
        print(f"{kind}: {cpu_s[kind]} s", flush=True)
    found = compared({name: _draws(entrants, name, data) for name in BENCHMARKS})
    content = {
        "schema": 1,
        "fingerprint": checkpoint.fingerprint,
        "embedder": data.embedder(_EMBEDDER).id,
        "train_n": len(mixture.prompts),
        "cpu_s": cpu_s,
        "routers": found,
    }
    write_text(RIVALS, json.dumps(content, indent=1) + "\n")


def compared(figures: Mapping[str, Mapping[str, tuple[float, FloatArray]]]) -> dict[str, dict[str, Any]]:
    """APGR of each router on each benchmark, in the mean, and how far the shipped router's mean is above it.

    Args:
        figures: Benchmark -> router -> its APGR, and the APGR of each resample, shape (b,), resamples of the routers
            of one benchmark being the same.
    """
    found = {}
    shipped = _mean(figures, _SHIPPED)
    for router in next(iter(figures.values())):
        value, draws = _mean(figures, router)
        found[router] = {name: cell(*of_benchmark[router]) for name, of_benchmark in figures.items()}
        found[router] |= {"mean": cell(value, draws), "shipped_minus": cell(shipped[0] - value, shipped[1] - draws)}
    return found


def _mean(figures: Mapping[str, Mapping[str, tuple[float, FloatArray]]], router: str) -> tuple[float, FloatArray]:
    values, draws = zip(*(of_benchmark[router] for of_benchmark in figures.values()), strict=True)
    return float(np.mean(values)), np.mean(draws, axis=0)


def _trained(kind: str, data: Data, mixture: Mixture) -> Fitted:
    """The kind, told the sources apart where that is what it is for."""
    router = data.unfitted(kind, "strong", "weak", embedder=_EMBEDDER, seed=0)
    table = mixture if kind in _TOLD_SOURCES else pooled(mixture, "strong", "weak")[0]  # every weight is 1
    return Fitted(kind, router.fit(table), PromptKeys.of(mixture.prompts))


def _draws(entrants: list[Fitted], name: str, data: Data) -> dict[str, tuple[float, FloatArray]]:
    """Router -> APGR, and that of each resample."""
    benchmark = load_benchmark(name, data.folder)
    scored = score(entrants, benchmark, AsIs(), 0, None)
    outcomes = pair_outcomes(benchmark, scored, {})
    seed = BENCHMARKS.index(name)  # the questions of two benchmarks are drawn one without the other
    drawn = bootstrap(scored.scores, outcomes, n_boot=_N_BOOT, seed=seed).metrics
    return {
        router: (point_figures(win_rate, outcomes)[1]["apgr"], drawn[router]["apgr"])
        for router, win_rate in scored.scores.items()
    }


if __name__ == "__main__":
    main()
