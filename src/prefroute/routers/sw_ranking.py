"""Similarity-weighted ranking: Bradley-Terry ratings in which battles on similar prompts count more. No training.

RouteLLM fits a logistic regression over every battle, twice, for each query. Here the weighted wins of a query are one
matrix product and one sum over battles, and a Newton solve on as many numbers as there are tiers; both give the same
ratings.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar, Self

import numpy as np
import numpy.typing as npt

from prefroute.data import assign_tiers, pooled, solve_ratings
from prefroute.errors import CheckpointError, ConfigError, DataError, nearest
from prefroute.routers._vectors import STORAGES, cosines, packed_vectors, row_scale
from prefroute.routers._wins import PromptWins, distinct, model_wins, prompt_wins
from prefroute.routers.base import Router, RouterState, check_data, checked_arrays, embed
from prefroute.types import Battles, Embedder, FloatArray, IndexArray, Mixture, Outcomes

__all__ = ["SWRanking"]

_MAX_QUERIES = 256  # at once
_MIN_EXPONENT = -80.0  # float32 holds e ** -80: a query weighs every battle by something
_MIN_NEAREST = 1e-6  # a query whose nearest battle is no nearer than this is like none of them

_ARRAYS = {
    "vectors": ("|".join(STORAGES), 2),
    "tier": ("int64", 1),
    "wins_row": ("int32", 1),
    "wins_cell": ("int32", 1),
    "wins_won": ("float64", 1),
}


class SWRanking(Router):
    """Similarity-weighted ranking of tiers of models, from all battles, or from outcomes as soft battles.

    A query q weighs battle i by `w_i = gamma ** (1 + S_i)`, `S_i = cos(q, q_i) / max_j cos(q, q_j)`. Ratings maximise
    the weighted Bradley-Terry likelihood; `win_rate = sigmoid(rating of strong's tier - rating of weak's tier)`.

    Args:
        strong: Name of the strong model; must be in the data, in a better or worse tier than `weak`, not the same.
        weak: Name of the weak model.
        embedder: Turns prompts into vectors.
        n_tiers: Tiers that the models are grouped into by their ratings; 0 ranks the models themselves.
        gamma: How much more a similar battle counts, > 1: the nearest counts gamma times one at a right angle.
        gradation: "relative" divides cosines by the query's largest, as in the paper; "absolute" takes them as they
            are, so that a query far from every battle weighs them nearly alike.
        same_tier: What a battle inside a tier does. "anchor" counts it as the tier against a fixed rating of zero, as
            RouteLLM's code does (its design matrix overwrites the one entry with the other), which pulls ratings
            together; "drop" leaves it out. Outcomes always leave it out.
        storage: How the battles' vectors are kept: "float32", "float16" (half the memory) or "int8" (a quarter).
        l2: Penalty on ratings against the number of battles, > 0; keeps a tier finite that never loses.

    Shapes: n distinct prompts, q queries, d dimensions, m models, t tiers.
    Source: Ong et al. 2024, arXiv:2406.18665, sec. 4.1. Differs: a query with no positive cosine weighs all battles
        alike (the code would turn the weights around).
    """

    kind: ClassVar[str] = "sw_ranking"
    uses_embedder: ClassVar[bool] = True
    learns_from = (Battles, Outcomes, Mixture)

    def __init__(  # noqa: PLR0913 - each is a parameter of the method or of its storage
        self,
        strong: str,
        weak: str,
        embedder: Embedder,
        *,
        n_tiers: int = 10,
        gamma: float = 10.0,
        gradation: str = "relative",
        same_tier: str = "anchor",
        storage: str = "float32",
        l2: float = 1e-4,
    ) -> None:
        self.strong = strong
        self.weak = weak
        self.embedder = embedder
        self.n_tiers = n_tiers
        self.gamma = gamma
        self.gradation = gradation
        self.same_tier = same_tier
        self.storage = storage
        self.l2 = l2

    def fit(self, data: Battles | Outcomes | Mixture) -> Self:
        """Embed the prompts, group the models into tiers and keep every battle. See `Router.fit`.

        The rows of a mixture become weighted battles of `strong` against `weak`, whatever its sources call them.

        Raises:
            ConfigError: If a parameter is out of its range.
            DataError: If a model of the pair is not in the data or both fall into one tier, if no battle was decided,
                or if no chain of battles connects the two tiers.
        """
        check_data(self, data)
        self._check_parameters()
        table, weight = pooled(data, self.strong, self.weak)
        tier = self._tiers(table)
        prompts, rows = distinct(table.prompts)
        wins = prompt_wins(table, tier, rows, weight, anchor=self.same_tier == "anchor")
        self._check_wins(wins, tier, table.models)
        return self._become(table.models, tier, packed_vectors(self.embedder, prompts, self.storage), wins)

    def win_rate(self, prompts: Sequence[str]) -> FloatArray:
        """Expected score of strong's tier against weak's, in (0, 1), shape (n,). See `Router.win_rate`."""
        ratings = self._ratings(prompts)
        gap = ratings[:, self._tier_of(self.strong)] - ratings[:, self._tier_of(self.weak)]
        return 1 / (1 + np.exp(-gap))

    def elo(self, prompts: Sequence[str]) -> FloatArray:
        """Rating of every tier for each prompt on the Elo scale: `1000 + 400 / ln(10) * rating`, shape (n, t).

        Raises:
            NotFittedError: Before `fit` or `restore`.
        """
        return 1000 + 400 / math.log(10) * self._ratings(prompts)

    def state(self) -> RouterState:
        """Vectors, tiers and wins of each prompt. See `Router.state`."""
        self._require("tier_")
        arrays = {
            "vectors": self.vectors_,
            "tier": self.tier_.astype(np.int64),
            "wins_row": self.wins_.row,
            "wins_cell": self.wins_.cell,
            "wins_won": self.wins_.won,
        }
        return RouterState(arrays=arrays, meta={"models": list(self.models_)})

    def restore(self, state: RouterState) -> Self:
        """See `Router.restore`.

        Raises:
            CheckpointError: If the tensors do not fit together.
        """
        arrays = checked_arrays(state, _ARRAYS)
        tier, models = arrays["tier"].astype(np.intp), tuple(state.meta["models"])
        fits = 0 <= tier.min(initial=0) <= tier.max(initial=0) < len(models) == len(tier)
        if not fits or not {self.strong, self.weak} <= set(models):
            raise CheckpointError(
                f"The checkpoint's {len(tier)} tiers do not fit its {len(models)} models. Train again."
            )
        row, cell, won = arrays["wins_row"], arrays["wins_cell"], arrays["wins_won"]
        wins = PromptWins(row, cell, won, contestants=int(tier.max()) + 2)
        if not len(row) == len(cell) == len(won) > 0 or not (
            0 <= row.min() <= row.max() < len(arrays["vectors"])
            and 0 <= cell[0] <= cell[-1] < wins.contestants**2
            and (np.diff(cell) >= 0).all()
            and (np.isfinite(won) & (won > 0)).all()
        ):
            raise CheckpointError(
                f"The battles in the checkpoint do not fit together: {len(row)} rows, {len(cell)} cells and {len(won)} "
                f"wins over {len(arrays['vectors'])} vectors and {wins.contestants - 1} tiers. Train again."
            )
        return self._become(models, tier, arrays["vectors"], wins)

    def _become(
        self,
        models: tuple[str, ...],
        tier: IndexArray,
        vectors: np.ndarray[tuple[int, int], np.dtype[np.generic]],
        wins: PromptWins,
    ) -> Self:
        self.models_ = models
        self.tier_ = tier
        self.vectors_ = vectors
        self.wins_ = wins
        self._scale = row_scale(vectors)
        total = wins.total()
        self._n_battles = float(total.sum())
        self._start = solve_ratings(total[None], l2=self.l2)[0]
        return self

    def _check_parameters(self) -> None:
        choices = {"gradation": ("relative", "absolute"), "same_tier": ("anchor", "drop"), "storage": STORAGES}
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise ConfigError(nearest(str(getattr(self, name)), allowed, f"`{name}`"))
        if not (math.isfinite(self.gamma) and self.gamma > 1):
            raise ConfigError(f"`gamma` must be greater than 1, got {self.gamma}. The paper's is 10.")
        if self.n_tiers != 0 and self.n_tiers < 2:
            raise ConfigError(f"`n_tiers` must be 0 (no tiers) or at least 2, got {self.n_tiers}.")
        if not (math.isfinite(self.l2) and self.l2 > 0):
            raise ConfigError(f"`l2` must be greater than 0, got {self.l2}.")

    def _tiers(self, data: Battles | Outcomes) -> IndexArray:
        m = len(data.models)
        if self.n_tiers == 0 or self.n_tiers >= m:
            return np.arange(m)
        wins = np.zeros((1, m + 1, m + 1))
        wins[0, :m, :m] = model_wins(data)
        tier = assign_tiers(solve_ratings(wins, l2=self.l2)[0], self.n_tiers)
        if tier[data.models.index(self.strong)] == tier[data.models.index(self.weak)]:
            raise DataError(
                f"{self.strong!r} and {self.weak!r} fall into one of {self.n_tiers} tiers, where nothing tells them "
                f"apart. Ask for more tiers (`n_tiers`, at most {m}), or 0 to rank the {m} models themselves."
            )
        return tier

    def _check_wins(self, wins: PromptWins, tier: IndexArray, models: tuple[str, ...]) -> None:
        total = wins.total()
        s, w = (int(tier[models.index(model)]) for model in (self.strong, self.weak))
        if not _connected(total, s)[w]:
            raise DataError(
                f"No chain of battles connects {self.strong!r} with {self.weak!r}. Choose a pair that meets, or bring "
                "battles that both fight against the same models."
            )
        if wins.all_ties():
            raise DataError("Every battle is a tie: nothing can be learned. Bring rows in which each of the two wins.")
        if wins.contestants == 3 and not min(total[s, w], total[w, s]):
            raise DataError(
                f"One of {self.strong!r} and {self.weak!r} wins every battle: nothing can be learned from labels that "
                "never differ. Bring rows in which each of the two wins."
            )

    def _tier_of(self, model: str) -> int:
        return int(self.tier_[self.models_.index(model)])

    def _ratings(self, prompts: Sequence[str]) -> FloatArray:
        self._require("tier_")
        queries = embed(self.embedder, prompts)
        ratings = np.empty((len(queries), int(self.tier_.max()) + 1))
        size = max(1, min(_MAX_QUERIES, queries.shape[1] // 2))  # the weights stay below half of the vectors' memory
        for begin in range(0, len(queries), size):
            wins = self._weighted_wins(queries[begin : begin + size])
            ratings[begin : begin + size] = solve_ratings(wins, l2=self.l2, start=self._start)
        return ratings

    def _weighted_wins(self, queries: np.ndarray[tuple[int, int], np.dtype[np.float32]]) -> FloatArray:
        weights = cosines(self.vectors_, self._scale, queries)  # (n, q)
        slope = np.full(len(queries), math.log(self.gamma), dtype=np.float32)
        if self.gradation == "relative":
            nearest_cosine = weights.max(axis=0)
            slope = np.where(nearest_cosine > _MIN_NEAREST, slope / np.maximum(nearest_cosine, _MIN_NEAREST), 0)
        weights *= slope
        np.maximum(weights, _MIN_EXPONENT, out=weights)
        np.exp(weights, out=weights)  # gamma ** S; the factor gamma ** 1 falls out below
        wins = self.wins_.weighted(weights)  # (q, t + 1, t + 1)
        wins *= self._n_battles / wins.sum(axis=(1, 2), keepdims=True)  # each sums to the number of battles
        return wins


def _connected(wins: FloatArray, contestant: int) -> npt.NDArray[np.bool_]:
    """Which contestants a chain of battles leads to from this one, itself included, shape (t + 1,)."""
    met = wins + wins.T > 0
    found: npt.NDArray[np.bool_] = np.arange(len(wins)) == contestant
    while True:
        further = found | met[found].any(axis=0)
        if further.sum() == found.sum():
            return found
        found = further
