"""How routers come to be trained before they are scored: not at all, on other data, or on part of the benchmark.

The draws here are conventions that other people's scripts rely on (docs/reference/evaluate.md): the same seed gives
the same questions everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from prefroute.errors import ConfigError, DataError
from prefroute.prompts import prompt_hash
from prefroute.types import Battles, IndexArray, Outcomes

__all__ = ["AsIs", "Folds", "Gold", "Protocol", "TrainOn", "draw_gold", "without_duplicates"]


@dataclass(frozen=True, slots=True)
class AsIs:
    """Routers that are already fitted, scored as they are."""

    @property
    def label(self) -> str:
        """The protocol as result rows name it."""
        return "as-is"


@dataclass(frozen=True, slots=True, eq=False)
class TrainOn:
    """Routers trained on other data; questions of the benchmark that stand in it are left out of the evaluation.

    Attributes:
        data: What they are trained on.
        name: What the data is called in the report.
    """

    data: Battles | Outcomes
    name: str = "data"

    @property
    def label(self) -> str:
        """The protocol as result rows name it."""
        return f"train-on {self.name}"


@dataclass(frozen=True, slots=True)
class Gold:
    """Routers trained on `n` questions of the benchmark, drawn by seed, and scored on the others.

    Attributes:
        n: Number of training questions.

    Raises:
        ConfigError: If `n` is below 1.
    """

    n: int

    def __post_init__(self) -> None:
        """Check the number once; see Raises."""
        if self.n < 1:
            raise ConfigError(f"`gold` must be at least 1 question, got {self.n}.")

    @property
    def label(self) -> str:
        """The protocol as result rows name it."""
        return f"gold-{self.n}"


@dataclass(frozen=True, slots=True)
class Folds:
    """Cross-validation: each of `k` parts is scored by a router trained on the others; ranks within parts are pooled.

    Attributes:
        k: Number of folds.

    Raises:
        ConfigError: If `k` is below 2.
    """

    k: int

    def __post_init__(self) -> None:
        """Check the number once; see Raises."""
        if self.k < 2:
            raise ConfigError(f"`folds` must be at least 2, got {self.k}.")

    @property
    def label(self) -> str:
        """The protocol as result rows name it."""
        return f"folds-{self.k}"


Protocol: TypeAlias = AsIs | TrainOn | Gold | Folds


def draw_gold(subjects: Sequence[str] | None, n_rows: int, n: int, seed: int) -> IndexArray:
    """The rows that `Gold(n)` trains on, rising, shape (n,).

    Per subject in proportion, by largest remainder (of equal remainders, the first subject by name); inside a subject
    without replacement. Subjects are visited by name, all from one `numpy.random.default_rng(seed)`.

    Args:
        subjects: Subject of each row, n_rows of them; None draws from all rows alike.
        n_rows: Number of rows to draw from.
        n: Number of rows to draw.
        seed: Of the generator.

    Raises:
        DataError: If fewer than `n + 1` rows are there: one must be left to evaluate on.

    Example:
        >>> draw_gold(["law", "law", "law", "art", "art", "art"], 6, 2, seed=0).tolist()
        [1, 5]
    """
    if n >= n_rows:
        raise DataError(f"Cannot train on {n} of {n_rows} questions and evaluate on the rest. Draw fewer.")
    rng = np.random.default_rng(seed)
    names, group = np.unique(np.array(["all"] * n_rows if subjects is None else subjects), return_inverse=True)
    exact = np.bincount(group) * (n / n_rows)
    quota = np.floor(exact).astype(np.intp)
    most_owed = np.argsort(-(exact - quota), kind="stable")
    quota[most_owed[: n - quota.sum()]] += 1
    drawn = [rng.choice(np.flatnonzero(group == i), size=quota[i], replace=False) for i in range(len(names))]
    return np.sort(np.concatenate(drawn))


def without_duplicates(prompts: Sequence[str], drawn: IndexArray, rows: IndexArray) -> IndexArray:
    """The rows that are neither drawn nor, after normalisation, the same prompt as a drawn one.

    Args:
        prompts: Every prompt of the benchmark.
        drawn: Rows that are trained on.
        rows: Rows to choose from.
    """
    known = {prompt_hash(prompts[i]) for i in drawn}
    return np.array([i for i in rows if prompt_hash(prompts[i]) not in known], dtype=np.intp)
