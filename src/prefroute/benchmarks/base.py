"""What a benchmark is: prompts with known outcomes, the pair that is routed between, and where it all comes from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from prefroute.errors import DataError
from prefroute.types import FloatArray, Outcomes

__all__ = ["PERCENT", "Benchmark", "Loader", "Unit"]


@dataclass(frozen=True, slots=True)
class Unit:
    """The unit that a benchmark's quality is reported in.

    Attributes:
        low: What quality 0 is called.
        high: What quality 1 is called.
        name: "percent" or "judge score".
    """

    low: float
    high: float
    name: str

    def of(self, quality: FloatArray | float) -> FloatArray | float:
        """Quality in [0, 1] in this unit.

        Example:
            >>> Unit(1, 10, "judge score").of(0.5)
            5.5
        """
        return self.low + quality * (self.high - self.low)


PERCENT = Unit(0.0, 100.0, "percent")


@dataclass(frozen=True, slots=True, eq=False)
class Benchmark:
    """Questions with the outcomes of a pool of models.

    Attributes:
        name: Short name, or the name of the file.
        outcomes: Quality of every model of the pool; of the pair, no cell is missing.
        strong: The strong model of the pair.
        weak: The weak model of the pair.
        source: Where questions and outcomes come from.
        licence: Under which licence.
        unit: The unit that quality is reported in.
        subjects: The subject of each question, where the benchmark has subjects; n strings.
        n_left_out: Questions that were dropped (contaminated in the paper's sense, or not observed for the pair).
        notes: What else a reader of the numbers should know.

    Raises:
        DataError: If a name of the pair is not in the pool, the two are equal, or an outcome of the pair is missing.
    """

    name: str
    outcomes: Outcomes
    strong: str
    weak: str
    source: str
    licence: str
    unit: Unit = PERCENT
    subjects: tuple[str, ...] | None = None
    n_left_out: int = 0
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check the pair and the subjects once; see Raises."""
        if self.strong == self.weak:
            raise DataError(f"Benchmark {self.name}: strong and weak must be two models, got {self.strong!r} twice.")
        gain = self.outcomes.gain(self.strong, self.weak)
        if not len(gain) or np.isnan(gain).any():
            raise DataError(f"Benchmark {self.name}: no question, or one without an outcome of the pair.")
        if self.subjects is not None and len(self.subjects) != len(gain):
            raise DataError(f"Benchmark {self.name}: {len(self.subjects)} subjects for {len(gain)} questions.")

    def __len__(self) -> int:
        """Number of questions, n."""
        return len(self.outcomes)

    def __repr__(self) -> str:
        """Name, size and pair."""
        return f"Benchmark({self.name!r}, n={len(self)}, strong={self.strong!r}, weak={self.weak!r})"

    @property
    def strong_quality(self) -> float:
        """Mean quality of always using the strong model, in the benchmark's unit."""
        return float(self.unit.of(float(self.outcomes.quality[:, self.outcomes.column(self.strong)].mean())))

    @property
    def weak_quality(self) -> float:
        """Mean quality of always using the weak model, in the benchmark's unit."""
        return float(self.unit.of(float(self.outcomes.quality[:, self.outcomes.column(self.weak)].mean())))


class Loader(Protocol):
    """What the registry `benchmarks` holds: reads one benchmark from the data folder."""

    def __call__(self, data_dir: Path, strong: str | None, weak: str | None) -> Benchmark:
        """The benchmark, with its own pair where a name is None."""
        ...
