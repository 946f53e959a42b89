"""Cosines between two sets of prompts, in blocks, so that memory stays small."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from prefroute.errors import DataError
from prefroute.types import FloatArray

__all__ = ["nearest_cosine", "set_similarity"]

_BLOCK = 2048


def nearest_cosine(vectors: npt.NDArray[Any], others: npt.NDArray[Any]) -> FloatArray:
    """The highest cosine of each vector with any of `others`, in [-1, 1], shape (n,).

    A zero vector has cosine 0 with everything.

    Args:
        vectors: Shape (n, d).
        others: Shape (k, d), k >= 1.

    Raises:
        DataError: If the dimensions differ, `others` is empty, or a value is NaN or infinite.
    """
    if vectors.ndim != 2 or others.ndim != 2 or vectors.shape[1] != others.shape[1] or not len(others):
        raise DataError(
            f"Vectors must have shapes (n, d) and (k, d) with k >= 1, got {vectors.shape} and {others.shape}. "
            "Embed both sets with the same embedder."
        )
    best = np.full(len(vectors), -1.0)
    for i in range(0, len(vectors), _BLOCK):
        rows = _unit(vectors[i : i + _BLOCK])
        for j in range(0, len(others), _BLOCK):
            highest = (rows @ _unit(others[j : j + _BLOCK]).T).max(axis=1)
            best[i : i + _BLOCK] = np.maximum(best[i : i + _BLOCK], highest)
    return np.asarray(best.clip(-1.0, 1.0), dtype=np.float64)


def set_similarity(bench_vectors: npt.NDArray[Any], train_vectors: npt.NDArray[Any]) -> float:
    """Benchmark-dataset similarity S(B, D): mean over the benchmark of the highest cosine with the data, in [-1, 1].

    Args:
        bench_vectors: The benchmark's prompts, shape (n, d), n >= 1.
        train_vectors: The training prompts by the same embedder, shape (k, d), k >= 1.

    Raises:
        DataError: If a set is empty, the dimensions differ, or a value is NaN or infinite.

    Source: Ong et al. 2024, arXiv:2406.18665, sec. 5.2.

    Example:
        >>> set_similarity(np.eye(2), np.array([[2.0, 0.0]]))  # the mean of 1 and 0
        0.5
    """
    if not len(bench_vectors):
        raise DataError("Similarity needs at least one benchmark vector, got 0.")
    return float(nearest_cosine(bench_vectors, train_vectors).mean())


def _unit(vectors: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    rows = np.asarray(vectors, dtype=np.float32)
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    if not np.isfinite(norms).all():
        raise DataError("An embedding holds NaN or infinity. Check the embedder.")
    return np.divide(rows, np.where(norms > 0, norms, 1.0), dtype=np.float32)
