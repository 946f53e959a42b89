"""Nearest neighbours: what happened on the most similar prompts, and the average where nothing similar is known."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from prefroute.data import win_examples
from prefroute.errors import CheckpointError, ConfigError, DataError
from prefroute.routers._wins import distinct
from prefroute.routers.base import PoolRouter, RouterState, check_data, checked_arrays, embed, unit_rows
from prefroute.types import Battles, Embedder, FloatArray, IndexArray, Mixture, Outcomes

__all__ = ["KNN"]

Float32Array = npt.NDArray[np.float32]

_MIN_OFFSET = 1e-4
_MAX_QUERIES = 256  # at once

_ARRAYS = {"centre": ("float32", 1), "vectors": ("float32", 2), "sums": ("float64", 2), "counts": ("float64", 2)}


class KNN(PoolRouter):
    """Weighted mean over the k nearest training prompts, drawn towards the overall mean.

    Vectors are compared by cosine after the mean of the training vectors is taken off. Neighbour i of a query weighs
    `cos_i - cos_{k+1}`, where k + 1 is the first prompt left out: weights fall to zero at the edge of the
    neighbourhood, so a score does not jump when two prompts at the edge change places. With a total weight W and a
    weighted mean y the score is `(W * y + prior * mean) / (W + prior)`: between 0 and 1 because all labels are, and
    near the mean where no prompt is nearer than the others.

    `win_rate` averages what the pair did (`prefroute.data.win_examples`). Fitted on outcomes, the router also knows
    every model of the table: `predict` averages their quality, each over the neighbours where it was observed.

    Args:
        strong: Name of the strong model.
        weak: Name of the weak model.
        embedder: Turns prompts into vectors.
        k: Number of neighbours, >= 1; all but the farthest prompt where the data has no more.
        prior: Weight of the overall mean, on the scale of the neighbours' summed weights, > 0.

    Source: nearest neighbours with the triangular kernel of local regression (Fan and Gijbels 1996, sec. 2.2). The
        defaults were chosen on the train halves (`prefroute.prompts.is_train_half`) of MMLU and GSM8K.

    Shapes: n distinct training prompts, q queries, d dimensions, c columns (the pair's win, then m models' quality).
    """

    kind: ClassVar[str] = "knn"
    uses_embedder: ClassVar[bool] = True
    learns_from = (Battles, Outcomes, Mixture)

    def __init__(
        self,
        strong: str,
        weak: str,
        embedder: Embedder,
        *,
        k: int = 200,
        prior: float = 1.0,
    ) -> None:
        self.strong = strong
        self.weak = weak
        self.embedder = embedder
        self.k = k
        self.prior = prior

    def fit(self, data: Battles | Outcomes | Mixture) -> Self:
        """Keep the vectors and labels of every prompt; equal prompts become one, with all their labels.

        A row of weight w in a mixture counts as w equal rows.

        Raises:
            ConfigError: If a parameter is out of its range.
            DataError: If the data does not compare the pair, or its labels never differ.
        """
        check_data(self, data)
        self._check_parameters()
        examples = win_examples(data, self.strong, self.weak)
        prompts, labels, weight = examples.prompts, examples.win[:, None], examples.weight
        models: tuple[str, ...] = (self.strong, self.weak)
        if isinstance(data, Outcomes):
            prompts, models, labels = _outcome_labels(data, self.strong, self.weak)
            weight = np.ones(len(prompts))
        texts, rows = distinct(prompts)
        seen = ~np.isnan(labels)
        sums, counts = np.zeros((2, len(texts), labels.shape[1]))
        np.add.at(sums, rows, np.where(seen, labels, 0.0) * weight[:, None])
        np.add.at(counts, rows, seen * weight[:, None])
        vectors = embed(self.embedder, texts)
        centre = vectors.mean(axis=0)
        return self._become(models, centre, _centred(vectors, centre), sums, counts)

    def win_rate(self, prompts: Sequence[str]) -> FloatArray:
        """Mean win of the strong model near each prompt, in [0, 1], shape (n,). See `Router.win_rate`."""
        self._require("vectors_")
        return self._smoothed(prompts, slice(0, 1), self._incomparable)[:, 0]

    def predict(self, prompts: Sequence[str]) -> FloatArray:
        """Mean quality of each of `models` near each prompt, in [0, 1], shape (n, m). See `PoolRouter.predict`.

        Raises:
            NotFittedError: Before `fit` or `restore`.
            DataError: If the router was fitted on battles, which tell who won but not how good an answer was, or on a
                mixture, whose sources have models of their own.
        """
        self._require("vectors_")
        if self.sums_.shape[1] == 1:
            raise DataError(
                "KNN was fitted on battles, which hold no quality, or on a mixture of pairs. Fit it on outcomes, or "
                "use `win_rate`."
            )
        return self._smoothed(prompts, slice(1, None), np.arange(0))

    def state(self) -> RouterState:
        """Vectors, label sums and label counts. See `Router.state`."""
        self._require("vectors_")
        arrays: dict[str, npt.NDArray[Any]] = {
            "centre": self.centre_,
            "vectors": self.vectors_,
            "sums": self.sums_,
            "counts": self.counts_,
        }
        return RouterState(arrays=arrays, meta={"models": list(self.models)})

    def restore(self, state: RouterState) -> Self:
        """See `Router.restore`.

        Raises:
            CheckpointError: If the tensors do not fit together.
        """
        arrays = checked_arrays(state, _ARRAYS)
        models = tuple(str(model) for model in state.meta["models"])
        n, columns = arrays["sums"].shape
        fits = (
            len(arrays["vectors"]) == n and arrays["counts"].shape == (n, columns) and columns in (1, 1 + len(models))
        )
        fits = fits and arrays["centre"].shape == arrays["vectors"].shape[1:]
        sound = fits and ((arrays["sums"] >= 0) & (arrays["sums"] <= arrays["counts"])).all()
        if not (sound and (arrays["counts"].sum(axis=0) > 0).all()):
            raise CheckpointError("The neighbours in the checkpoint do not fit together. Train again.")
        return self._become(models, arrays["centre"], arrays["vectors"], arrays["sums"], arrays["counts"])

    def _become(
        self, models: tuple[str, ...], centre: Float32Array, vectors: Float32Array, sums: FloatArray, counts: FloatArray
    ) -> Self:
        self.models = models
        self.centre_ = centre
        self.vectors_ = vectors
        self.sums_ = sums
        self.counts_ = counts
        self._incomparable = np.flatnonzero(counts[:, 0] == 0)  # rows that know other models, not the pair
        return self

    def _check_parameters(self) -> None:
        if not (isinstance(self.k, int) and self.k >= 1):
            raise ConfigError(f"`k` must be a whole number of at least 1, got {self.k!r}.")
        if not (math.isfinite(self.prior) and self.prior > 0):
            raise ConfigError(f"`prior` must be greater than 0, got {self.prior}.")

    def _smoothed(self, prompts: Sequence[str], columns: slice, left_out: IndexArray) -> FloatArray:
        """Means of the label columns near each prompt, drawn in, shape (q, c); rows `left_out` are no neighbours."""
        queries = _centred(embed(self.embedder, prompts), self.centre_)
        sums, counts = self.sums_[:, columns], self.counts_[:, columns]
        mean = sums.sum(axis=0) / counts.sum(axis=0)  # (c,)
        k = min(self.k, len(self.vectors_) - len(left_out) - 1)
        scores = np.empty((len(queries), len(mean)))
        for begin in range(0, len(queries), _MAX_QUERIES):
            cosines = queries[begin : begin + _MAX_QUERIES] @ self.vectors_.T  # (q, n)
            cosines[:, left_out] = -np.inf
            index, weights = _neighbours(cosines, k)
            won = np.einsum("qk,qkc->qc", weights, sums[index]) + self.prior * mean
            scores[begin : begin + _MAX_QUERIES] = won / (np.einsum("qk,qkc->qc", weights, counts[index]) + self.prior)
        return scores


def _centred(vectors: Float32Array, centre: Float32Array) -> Float32Array:
    """Directions from the centre; zero for a vector that lies in it, whose direction would be rounding noise."""
    offset = vectors - centre
    offset[np.abs(offset).max(axis=1, initial=0.0) < _MIN_OFFSET] = 0.0
    return unit_rows(offset)


def _neighbours(cosines: Float32Array, k: int) -> tuple[IndexArray, FloatArray]:
    """Rows of the k + 1 nearest prompts and their weights, zero for the farthest of them, shapes (q, k + 1)."""
    edge = cosines.shape[1] - k - 1
    index = np.argpartition(cosines, edge, axis=1)[:, edge:]
    near = np.take_along_axis(cosines, index, axis=1).astype(np.float64)
    return index, near - near[:, :1]


def _outcome_labels(data: Outcomes, strong: str, weak: str) -> tuple[Sequence[str], tuple[str, ...], FloatArray]:
    """Prompts with an observation, models with one, and labels: the pair's win, then each model's quality."""
    seen = ~np.isnan(data.quality)
    rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
    labels = np.column_stack([(1 + data.gain(strong, weak)) / 2, data.quality[:, columns]])[rows]
    return [data.prompts[int(i)] for i in rows], tuple(data.models[i] for i in columns), labels
