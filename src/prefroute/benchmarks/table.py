"""Any outcomes table as a benchmark."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from prefroute.benchmarks.base import Benchmark
from prefroute.benchmarks.files import observed_pair
from prefroute.data import load
from prefroute.errors import DataError
from prefroute.types import Outcomes

__all__ = ["load_table"]


def load_table(
    path: Path, strong: str | None = None, weak: str | None = None, usual: tuple[str, str] | None = None
) -> Benchmark:
    """The table's prompts for which both models of the pair were observed; the rest is left out and counted.

    Where the pair is left unsaid, it is the usual one if the table has both; else, of a table with two models, the
    one with the higher mean quality is strong.

    Raises:
        DataError: If the table holds no outcomes, or has more than two models and the pair is not given.
    """
    outcomes = load(path, table="outcomes", strong=strong, weak=weak)
    if strong and weak:
        pair = (strong, weak)
    elif usual and not (strong or weak) and set(usual) <= set(outcomes.models):
        pair = usual
    else:
        pair = _by_quality(outcomes, path.name)
    strong, weak = strong or next(m for m in pair if m != weak), weak or next(m for m in pair[::-1] if m != strong)
    kept = observed_pair(outcomes.quality, outcomes.models, strong, weak)
    return Benchmark(
        name=path.name,
        outcomes=outcomes.take(kept),
        strong=strong,
        weak=weak,
        source=path.name,
        licence="as its owner says",
        n_left_out=len(outcomes) - len(kept),
    )


def _by_quality(outcomes: Outcomes, name: str) -> tuple[str, str]:
    """The two models of the table, the better one first."""
    if len(outcomes.models) != 2:
        models = ", ".join(outcomes.models)
        raise DataError(f"{name}: {len(outcomes.models)} models ({models}). Name two of them with --strong and --weak.")
    both = outcomes.quality[~np.isnan(outcomes.quality).any(axis=1)]
    order = np.argsort(-both.mean(axis=0), kind="stable") if len(both) else np.arange(2)
    return outcomes.models[int(order[0])], outcomes.models[int(order[1])]
