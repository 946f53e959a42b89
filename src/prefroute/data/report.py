"""What a table holds, in numbers: `LoadReport`, made by `prefroute.data.inspect`."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from prefroute.prompts import normalise
from prefroute.types import Battles, Outcomes

__all__ = ["LoadReport", "Note", "describe"]


@dataclass(frozen=True, slots=True)
class Note:
    """Something odd that did not stop the reading.

    Attributes:
        text: What it is.
        count: How many rows or cells; 0 where counting makes no sense.
    """

    text: str
    count: int

    def __str__(self) -> str:
        """The count, then the text."""
        return f"{self.count:,} {self.text}" if self.count else self.text


@dataclass(frozen=True, slots=True)
class LoadReport:
    """A table in numbers.

    Attributes:
        name: Name of the file, folder or glob, without its path.
        table: Battles or outcomes.
        schema: Name of the recognised schema (docs/reference/data-formats.md).
        rows: Battles, or prompts with outcomes.
        models: Model -> in how many battles it is, or how many of its answers were observed.
        duplicates: Rows whose normalised prompt occurred in a row before.
        missing_cells: Of outcomes, the answers that were not observed; 0 for battles.
        balance: Of battles, the shares of `a`, `tie` and `b` (soft labels go to the nearest); of outcomes, the mean
            quality of each model.
        warnings: What is odd, counted.
    """

    name: str
    table: Literal["battles", "outcomes"]
    schema: str
    rows: int
    models: dict[str, int]
    duplicates: int
    missing_cells: int
    balance: dict[str, float]
    warnings: tuple[Note, ...]

    def to_json(self) -> dict[str, Any]:
        """The report as JSON values."""
        return asdict(self)


def describe(name: str, schema: str, data: Battles | Outcomes, notes: tuple[Note, ...]) -> LoadReport:
    """The report on loaded data."""
    n = len(data)
    duplicates = n - len({hash(normalise(prompt)) for prompt in data.prompts})
    if isinstance(data, Battles):
        m = len(data.models)
        seen = np.bincount(data.model_a, minlength=m) + np.bincount(data.model_b, minlength=m)
        a, b = float((data.outcome > 0.75).mean()), float((data.outcome < 0.25).mean())
        balance = {"a": a, "tie": 1 - a - b, "b": b}
        missing = 0
        extra = [Note("every battle has the same outcome", 0)] if np.ptp(data.outcome) == 0 else []
    else:
        observed = ~np.isnan(data.quality)
        seen = observed.sum(axis=0)
        sums = np.where(observed, data.quality, 0.0).sum(axis=0)
        balance = {model: float(sums[i] / seen[i]) for i, model in enumerate(data.models) if seen[i]}
        missing = int(n * len(data.models) - seen.sum())
        extra = [Note(f"{model}: every score is the same", 0) for model in _constant(data)]
        extra += [Note("only one model: nothing to choose between", 0)] if len(data.models) == 1 else []
    return LoadReport(
        name=name,
        table="battles" if isinstance(data, Battles) else "outcomes",
        schema=schema,
        rows=n,
        models={model: int(seen[i]) for i, model in enumerate(data.models)},
        duplicates=duplicates,
        missing_cells=missing,
        balance=balance,
        warnings=(*notes, *extra),
    )


def _constant(data: Outcomes) -> list[str]:
    found = []
    for i, model in enumerate(data.models):
        values = data.quality[:, i]
        values = values[~np.isnan(values)]
        if len(values) > 1 and np.ptp(values) == 0:
            found.append(model)
    return found
