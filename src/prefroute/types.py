"""The nouns that every room shares: `Battles`, `Outcomes`, a `Mixture` of them, and what an `Embedder` is.

Imports NumPy and nothing else. Both tables check themselves once, when they are made; code below trusts them.

Shapes: n prompts (or battles), m models, d embedding dimensions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from prefroute.errors import DataError, nearest

__all__ = ["Battles", "Embedder", "FloatArray", "IndexArray", "Mixture", "Outcomes", "Source"]

FloatArray = npt.NDArray[np.float64]
IndexArray = npt.NDArray[np.intp]


@runtime_checkable
class Embedder(Protocol):
    """Turns text into vectors.

    Attributes:
        id: Names the exact weights, e.g. "static-minilm@53aa51172d14". Two embedders with one id give the same vectors.
        spec: What opens it again: "static", "minilm", a folder or a hub name (`prefroute.embed.open_embedder`).
        dim: Length of a vector, d.
        trained_on: Hashes (`prefroute.prompts.prompt_hash`) of the labelled prompts that the weights were trained on;
            empty for an embedder that never saw a label.
    """

    id: str
    spec: str
    dim: int
    trained_on: frozenset[str]

    def encode(self, prompts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Vectors of the prompts, shape (n, d); not necessarily of unit length; zeros where nothing is known."""
        ...


def _check_names(what: str, names: tuple[str, ...]) -> None:
    if len(set(names)) != len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise DataError(f"`{what}` must hold each name once, got {twice[0]!r} twice. Rename or merge it.")
    if not all(isinstance(name, str) and name for name in names):
        raise DataError(f"`{what}` must be non-empty strings, got {names!r}.")


@dataclass(frozen=True, slots=True, eq=False)
class Battles:
    """Votes between two models' answers to one prompt.

    Attributes:
        prompts: The prompt of each battle, n strings.
        models: Every model that may meet, m distinct names.
        model_a: Index into `models` of the first contestant, shape (n,).
        model_b: Index into `models` of the second contestant, shape (n,), never equal to `model_a`.
        outcome: 1 where a was preferred, 0 where b was, 0.5 for a tie; soft labels in between are allowed, shape (n,).

    Raises:
        DataError: If lengths differ, an index is out of range, a model meets itself, or an outcome is outside [0, 1].

    Example:
        >>> battles = Battles.of(["hi", "2+2?"], ["big", "small"], ["small", "big"], [1.0, 0.5])
        >>> len(battles), battles.models
        (2, ('big', 'small'))
    """

    prompts: Sequence[str]
    models: tuple[str, ...]
    model_a: npt.NDArray[np.int32]
    model_b: npt.NDArray[np.int32]
    outcome: FloatArray

    def __post_init__(self) -> None:
        """Check the table once; see Raises."""
        n = len(self.prompts)
        _check_names("models", self.models)
        for name in ("model_a", "model_b", "outcome"):
            column = getattr(self, name)
            if column.shape != (n,):
                raise DataError(f"`{name}` must have shape (n_battles,) = ({n},), got {column.shape}.")
        if n == 0:
            return
        lowest = min(int(self.model_a.min()), int(self.model_b.min()))
        highest = max(int(self.model_a.max()), int(self.model_b.max()))
        if lowest < 0 or highest >= len(self.models):
            raise DataError(f"Model indices must be in [0, {len(self.models)}), got {lowest} to {highest}.")
        same = np.flatnonzero(self.model_a == self.model_b)
        if same.size:
            row = int(same[0])
            name = self.models[int(self.model_a[row])]
            raise DataError(f"Row {row}: a battle needs two different models, got {name!r} twice. Drop the row.")
        bad = np.flatnonzero(~((self.outcome >= 0) & (self.outcome <= 1)))
        if bad.size:
            row = int(bad[0])
            raise DataError(
                f"Row {row}: `outcome` must be in [0, 1] (1 = a preferred, 0.5 = tie), got {self.outcome[row]}."
            )

    @classmethod
    def of(
        cls, prompts: Sequence[str], model_a: Sequence[str], model_b: Sequence[str], outcome: Sequence[float]
    ) -> Battles:
        """Battles from columns of names; `models` is sorted by name."""
        names = tuple(sorted({*model_a, *model_b}))
        index = {name: i for i, name in enumerate(names)}
        return cls(
            prompts=prompts,
            models=names,
            model_a=np.array([index[name] for name in model_a], dtype=np.int32),
            model_b=np.array([index[name] for name in model_b], dtype=np.int32),
            outcome=np.asarray(outcome, dtype=np.float64),
        )

    def __len__(self) -> int:
        """Number of battles, n."""
        return len(self.prompts)

    def __repr__(self) -> str:
        """Sizes only: prompts may be private."""
        return f"Battles(n={len(self)}, models={len(self.models)})"

    def take(self, rows: npt.NDArray[np.intp] | npt.NDArray[np.bool_]) -> Battles:
        """The chosen rows (indices or a mask of shape (n,)), in their order, over the same models."""
        index = np.flatnonzero(rows) if rows.dtype == np.bool_ else rows
        return Battles(
            prompts=[self.prompts[i] for i in index],
            models=self.models,
            model_a=self.model_a[index],
            model_b=self.model_b[index],
            outcome=self.outcome[index],
        )


@dataclass(frozen=True, slots=True, eq=False)
class Outcomes:
    """How well each model answered each prompt.

    Attributes:
        prompts: n strings.
        models: m distinct names, the columns of `quality`.
        quality: In [0, 1]; NaN where a model's answer was not observed, shape (n, m).
        cost_usd: What the answer cost, >= 0, NaN where not known, shape (n, m); None where nothing is known.

    Raises:
        DataError: If shapes differ or a value is out of range.

    Example:
        >>> table = Outcomes(["hi"], ("big", "small"), np.array([[1.0, 0.0]]), None)
        >>> table.gain("big", "small")
        array([1.])
    """

    prompts: Sequence[str]
    models: tuple[str, ...]
    quality: FloatArray
    cost_usd: FloatArray | None = None

    def __post_init__(self) -> None:
        """Check the table once; see Raises."""
        shape = (len(self.prompts), len(self.models))
        _check_names("models", self.models)
        if self.quality.shape != shape:
            hint = " Transpose it." if self.quality.shape == shape[::-1] else ""
            raise DataError(
                f"`quality` must have shape (n_prompts, n_models) = {shape}, got {self.quality.shape}.{hint}"
            )
        bad = np.argwhere(~np.isnan(self.quality) & ~((self.quality >= 0) & (self.quality <= 1)))
        if len(bad):
            row, column = (int(i) for i in bad[0])
            raise DataError(
                f"Row {row}, model {self.models[column]!r}: `quality` must be in [0, 1], "
                f"got {self.quality[row, column]}. Rescale it: judge scores s in 1-10 become (s - 1) / 9."
            )
        if self.cost_usd is None:
            return
        if self.cost_usd.shape != shape:
            raise DataError(f"`cost_usd` must have shape {shape} like `quality`, got {self.cost_usd.shape}.")
        bad = np.argwhere(~np.isnan(self.cost_usd) & ~((self.cost_usd >= 0) & (self.cost_usd < np.inf)))
        if len(bad):
            row, column = (int(i) for i in bad[0])
            raise DataError(
                f"Row {row}, model {self.models[column]!r}: `cost_usd` must be >= 0, got {self.cost_usd[row, column]}."
            )

    def __len__(self) -> int:
        """Number of prompts, n."""
        return len(self.prompts)

    def __repr__(self) -> str:
        """Sizes only: prompts may be private."""
        return f"Outcomes(n={len(self)}, models={len(self.models)})"

    def column(self, model: str) -> int:
        """Index of a model.

        Raises:
            DataError: If the table has no such model; the message names the nearest.
        """
        if model not in self.models:
            raise DataError(nearest(model, self.models, "model"))
        return self.models.index(model)

    def gain(self, strong: str, weak: str) -> FloatArray:
        """Quality of `strong` minus quality of `weak`, in [-1, 1], NaN where either was not observed, shape (n,)."""
        return self.quality[:, self.column(strong)] - self.quality[:, self.column(weak)]

    def take(self, rows: npt.NDArray[np.intp] | npt.NDArray[np.bool_]) -> Outcomes:
        """The chosen rows (indices or a mask of shape (n,)), in their order."""
        index = np.flatnonzero(rows) if rows.dtype == np.bool_ else rows
        return Outcomes(
            prompts=[self.prompts[i] for i in index],
            models=self.models,
            quality=self.quality[index],
            cost_usd=None if self.cost_usd is None else self.cost_usd[index],
        )

    def select(self, models: Sequence[str]) -> Outcomes:
        """The same prompts with the chosen models' columns, in the given order."""
        columns = [self.column(model) for model in models]
        return Outcomes(
            prompts=self.prompts,
            models=tuple(models),
            quality=self.quality[:, columns],
            cost_usd=None if self.cost_usd is None else self.cost_usd[:, columns],
        )


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """One table of a mixture, with the pair that it compares.

    Attributes:
        name: What reports call it.
        data: The table.
        strong: The strong model's name in this table; another source may have another strong model.
        weak: The weak model's name in this table.
        weight: How much a row counts, from 1e-6 to 1e6.

    Raises:
        DataError: If the weight is out of range.
    """

    name: str
    data: Battles | Outcomes
    strong: str
    weak: str
    weight: float = 1.0

    def __post_init__(self) -> None:
        """Check the weight once; see Raises."""
        if not 1e-6 <= self.weight <= 1e6:
            raise DataError(f"The weight of source {self.name!r} must be from 1e-6 to 1e6, got {self.weight}.")


@dataclass(frozen=True, slots=True, eq=False)
class Mixture:
    """Training data from several sources, each with its own pair of models.

    Attributes:
        sources: At least one, with distinct names.

    Raises:
        DataError: If there is none, or two share a name.

    Example:
        >>> table = Outcomes(["hi"], ("big", "small"), np.array([[1.0, 0.0]]))
        >>> Mixture((Source("mine", table, "big", "small"),)).prompts
        ['hi']
    """

    sources: tuple[Source, ...]

    def __post_init__(self) -> None:
        """Check the names once; see Raises."""
        _check_names("sources", tuple(source.name for source in self.sources))
        if not self.sources:
            raise DataError("A mixture needs at least one source, got none.")

    @property
    def prompts(self) -> list[str]:
        """The prompts of all sources, in order."""
        return [prompt for source in self.sources for prompt in source.data.prompts]

    @property
    def models(self) -> tuple[str, ...]:
        """Every model of any source, sorted."""
        return tuple(sorted({model for source in self.sources for model in source.data.models}))

    def take(self, rows: npt.NDArray[np.intp] | npt.NDArray[np.bool_]) -> Mixture:
        """The chosen rows (a mask over the rows of all sources, or rising indices); a source without any is left out.

        Raises:
            DataError: If an index repeats, or comes after a greater one: sources keep their order.
        """
        index = np.flatnonzero(rows) if rows.dtype == np.bool_ else rows
        if (np.diff(index, prepend=-1) < 1).any():
            raise DataError(
                "Rows of a mixture must be taken by indices from 0 that rise, since its sources keep their order. "
                "Sort them and take each once, or take the rows of one source's table."
            )
        chosen = np.zeros(len(self), dtype=np.bool_)
        chosen[index] = True
        parts = np.split(chosen, np.cumsum([len(source.data) for source in self.sources])[:-1])
        kept = zip(self.sources, parts, strict=True)
        return Mixture(tuple(replace(source, data=source.data.take(part)) for source, part in kept if part.any()))

    def __len__(self) -> int:
        """Number of rows of all sources."""
        return sum(len(source.data) for source in self.sources)

    def __repr__(self) -> str:
        """Names and sizes only."""
        return f"Mixture({', '.join(f'{source.name}={len(source.data)}' for source in self.sources)})"
