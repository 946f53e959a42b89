"""What a router is: it scores prompt text, and only that.

A router never chooses a model (a policy does), never sees prices or a benchmark's metadata, and does no I/O once
loaded unless its embedder is remote. The same class is trained, evaluated and served.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from prefroute.errors import CheckpointError, ConfigError, DataError, NotFittedError
from prefroute.train.progress import Progress
from prefroute.train.report import HeldOut, TrainingReport
from prefroute.types import Battles, Embedder, FloatArray, Mixture, Outcomes

__all__ = ["NoveltyRouter", "PoolRouter", "Router", "RouterState", "SteppedRouter"]


_ONE_TABLE = "Give it one table (--data in place of --source), or choose another kind for several: linear, experts."


@dataclass(frozen=True, slots=True)
class RouterState:
    """Everything that a fitted router knows beyond its constructor's arguments.

    Attributes:
        arrays: Numeric state by name; a checkpoint stores it as safetensors.
        meta: The rest, JSON values only (names, counts, vocabularies).
    """

    arrays: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)
    meta: Mapping[str, Any] = field(default_factory=dict)


class Router(ABC):
    """Scores prompts: how likely is it that the strong model's answer is preferred to the weak one's?

    A subclass's constructor only stores its arguments, under their own names; `fit` sets attributes that end in an
    underscore and returns self. `prefroute.testing.check_router` holds every subclass to this contract.

    Attributes:
        kind: The registered name of the class, one word; also its file's name and its name on the command line.
        uses_embedder: Whether the constructor takes `embedder`.
        learns_from: The tables that `fit` takes; none for a kind that is made of another router, whose `fit` refuses.
        strong: Name of the strong model of the pair that is scored.
        weak: Name of the weak model of the pair.
    """

    kind: ClassVar[str]
    uses_embedder: ClassVar[bool] = False
    learns_from: ClassVar[tuple[type[Battles | Outcomes | Mixture], ...]] = (Battles, Outcomes)
    strong: str
    weak: str

    @abstractmethod
    def fit(self, data: Battles | Outcomes | Mixture) -> Self:
        """Learn from data; the same data and seed give the same router. Leaves the data untouched.

        Raises:
            DataError: If the data does not hold what this kind learns from.
        """

    @abstractmethod
    def win_rate(self, prompts: Sequence[str]) -> FloatArray:
        """P(strong preferred to weak | prompt), ties counted half, in [0, 1], shape (n,).

        Neither the order of prompts nor how many come at once changes a score.

        Raises:
            NotFittedError: Before `fit` or `restore`.
        """

    @abstractmethod
    def state(self) -> RouterState:
        """What a checkpoint must keep.

        Raises:
            NotFittedError: Before `fit` or `restore`.
        """

    @abstractmethod
    def restore(self, state: RouterState) -> Self:
        """Become the router that `state` was taken from; the constructor got the same arguments."""

    def params(self) -> dict[str, Any]:
        """The constructor's arguments by name, without the embedder; JSON values only."""
        names = inspect.signature(type(self)).parameters
        return {name: getattr(self, name) for name in names if name != "embedder"}

    def _require(self, attribute: str) -> None:
        if not hasattr(self, attribute):
            name = type(self).__name__
            raise NotFittedError(f'{name} is not fitted. Call fit(...) or prefroute.load("DIR") first.')

    def __repr__(self) -> str:
        """The class with its arguments, the embedder by its id."""
        shown = [f"{name}={value!r}" for name, value in self.params().items()]
        if self.uses_embedder:
            shown.append(f"embedder={getattr(self, 'embedder').id!r}")  # noqa: B009 - only some subclasses have it
        return f"{type(self).__name__}({', '.join(shown)})"


class PoolRouter(Router):
    """A router that knows more than a pair.

    Attributes:
        models: The models that `predict` scores, m names; set by `fit`.
    """

    models: tuple[str, ...]

    @abstractmethod
    def predict(self, prompts: Sequence[str]) -> FloatArray:
        """Expected quality of each model's answer, in [0, 1], columns as in `models`, shape (n, m)."""


class NoveltyRouter(Router):
    """A router that knows what it does not know."""

    @property
    @abstractmethod
    def tells_novelty(self) -> bool:
        """Whether what it was fitted on lets it tell: it takes several sources."""

    @abstractmethod
    def novelty(self, prompts: Sequence[str]) -> FloatArray:
        """How surely each prompt is unlike everything that the router was trained on, in [0, 1], shape (n,).

        Raises:
            DataError: If it does not tell.
        """

    def scored(self, prompts: Sequence[str]) -> tuple[FloatArray, FloatArray]:
        """`win_rate` and `novelty` together, each of shape (n,); the second is NaN where the router does not tell.

        Overridden where one reading of the prompts gives both.
        """
        novelty = self.novelty(prompts) if self.tells_novelty else np.full(len(prompts), np.nan)
        return self.win_rate(prompts), novelty


class SteppedRouter(Router):
    """A router that is trained in steps: it shows how far it is, and goes on where it was interrupted.

    Attributes:
        shares_steps: Whether the processes that `torchrun` starts share every step.
        training_: Report of the training; None on a router that was loaded.
        held_out_: The held-out rows of the training, as they were scored; None likewise, or where none tells of the
            pair.
    """

    shares_steps: ClassVar[bool] = False

    training_: TrainingReport | None
    held_out_: HeldOut | None

    @abstractmethod
    def fit(
        self,
        data: Battles | Outcomes | Mixture,
        *,
        resume: Path | None = None,
        progress: Progress | None = None,
    ) -> Self:
        """Learn from data.

        Args:
            data: As for `Router.fit`.
            resume: A file for the state of the training; where it exists, the training goes on from there. The caller
                removes it once the router is saved.
            progress: Told of every step, and of the losses where they are taken.
        """


def check_data(router: Router, data: Battles | Outcomes | Mixture) -> None:
    """Refuse to fit on what the router does not learn from, on an empty table, or for a pair that is no pair.

    Raises:
        ConfigError: If `strong` and `weak` are one name.
        DataError: If `data` is of another type or has no rows.
    """
    check_pair(router.strong, router.weak)
    if not isinstance(data, router.learns_from):
        wanted = " or ".join(kind.__name__ for kind in router.learns_from)
        raise DataError(
            f"{type(router).__name__}.fit needs {wanted}, got {type(data).__name__}. "
            + (_ONE_TABLE if isinstance(data, Mixture) else "Read a table with prefroute.data.load(path).")
        )
    if not len(data):
        raise DataError(f"{type(router).__name__}.fit got a table without rows; at least one is needed.")


def check_pair(strong: str, weak: str) -> None:
    """Refuse a pair that is no pair.

    Raises:
        ConfigError: If the two names are equal.
    """
    if strong == weak:
        raise ConfigError(f"`strong` and `weak` must be two models, got {strong!r} twice.")


def check_prompts(prompts: Sequence[str]) -> Sequence[str]:
    """The prompts, unless they are one string, whose characters would be scored one by one.

    Raises:
        DataError: If `prompts` is a string.
    """
    if isinstance(prompts, str):
        raise DataError("`prompts` must be a list of strings, got one string. Wrap it: [prompt].")
    return prompts


def checked_arrays(state: RouterState, wanted: Mapping[str, tuple[str, int]]) -> dict[str, npt.NDArray[Any]]:
    """The state's arrays after a check of their names, dtypes and numbers of dimensions.

    Args:
        state: What `restore` got.
        wanted: Name -> (dtypes separated by "|", number of dimensions), such as `{"vectors": ("float32|float16", 2)}`.

    Raises:
        CheckpointError: If an array is missing, unknown, or of another dtype or number of dimensions.
    """
    if set(state.arrays) != set(wanted):
        missing, extra = sorted(set(wanted) - set(state.arrays)), sorted(set(state.arrays) - set(wanted))
        raise CheckpointError(
            f"The router's tensors do not fit its kind: missing {missing}, unknown {extra}. Train again."
        )
    for name, (dtypes, ndim) in wanted.items():
        array = state.arrays[name]
        if array.dtype.name not in dtypes.split("|") or array.ndim != ndim:
            raise CheckpointError(
                f"Tensor {name!r} must be {dtypes.replace('|', ' or ')} with {ndim} dimension(s), "
                f"got {array.dtype.name} with {array.ndim}. Train again."
            )
    return dict(state.arrays)


def embed(embedder: Embedder, prompts: Sequence[str], *, unit: bool = True) -> npt.NDArray[np.float32]:
    """The prompts' vectors, scaled to length one unless `unit` is false, shape (n, d).

    Raises:
        DataError: If the embedder gives another shape than it promises, NaN or infinity.
    """
    if not len(prompts):
        return np.zeros((0, embedder.dim), dtype=np.float32)
    vectors = embedder.encode(check_prompts(prompts))
    wanted = (len(prompts), embedder.dim)
    if vectors.shape != wanted:
        raise DataError(f"Embedder {embedder.id!r} must give shape {wanted}, got {vectors.shape}. Check the embedder.")
    rows = np.asarray(vectors, dtype=np.float32)
    scaled = unit_rows(rows)  # refuses NaN in any case
    return scaled if unit else rows


def unit_rows(vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The rows scaled to length one; a zero row stays zero, shape (n, d).

    Raises:
        DataError: If a value is NaN or infinite; the message names the row.
    """
    norms = np.sqrt(np.einsum("nd,nd->n", vectors, vectors, dtype=np.float64))
    bad = np.flatnonzero(~np.isfinite(norms))
    if bad.size:
        raise DataError(f"The embedding of prompt {int(bad[0])} holds NaN or infinity. Check the embedder.")
    scale = np.where(norms > 0, norms, 1.0).astype(np.float32)
    return vectors / scale[:, None]
