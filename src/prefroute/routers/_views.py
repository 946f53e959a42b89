"""Three views of a prompt and linear heads on them. Private to the routers room.

The views are hashed word n-grams (TF-IDF), the embedding, and surface counts. A head is a linear function of all
three; any number of heads is scored at the price of little more than one, since the views are taken once.

Shapes: n prompts, k heads, V n-gram buckets, d embedding dimensions, f surface features.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from prefroute.routers._ridge import SparseRows, fit_ridge
from prefroute.routers._sigmoid import sigmoid
from prefroute.routers._text import SURFACE_FEATURES, ngram_ids, ngram_rows, surface
from prefroute.routers.base import embed
from prefroute.types import Embedder, FloatArray, IndexArray

__all__ = ["TENSORS", "VIEWS", "Head", "Heads", "Scaling", "fit_head", "logistic_link", "training_views"]

Views: TypeAlias = tuple[SparseRows, FloatArray, FloatArray]

VIEWS = ("text", "embedding", "surface")

_EQUAL = 0.6  # three views that each predict a shrunken part of the target: together a little more than one
_SURFACE_LIMIT = 4.0  # standard deviations: an odd prompt must not drown the other views


@dataclass(frozen=True, slots=True, eq=False)
class Scaling:
    """How raw counts and vectors become views; learned from training prompts, without labels.

    Attributes:
        idf: Weight of each n-gram bucket, shape (V,).
        embedding_mean: Mean of the unit vectors, shape (d,).
        surface_mean: Mean of the surface features, shape (f,).
        surface_scale: What they are divided by, shape (f,).
    """

    idf: npt.NDArray[np.float32]
    embedding_mean: FloatArray
    surface_mean: FloatArray
    surface_scale: FloatArray

    @classmethod
    def of(cls, presence: SparseRows, vectors: FloatArray, counts: FloatArray) -> Scaling:
        """From n-gram presence (n, V), unit vectors (n, d) and surface features (n, f)."""
        seen = np.bincount(presence.column, minlength=presence.shape[1])
        idf = np.log((1 + presence.shape[0]) / (1 + seen)) + 1
        spread = counts.std(axis=0)
        scale = np.where(spread > 1e-9, spread, 1.0) * np.sqrt(counts.shape[1])
        return cls(idf.astype(np.float32), vectors.mean(axis=0), counts.mean(axis=0), scale)

    def surface(self, counts: FloatArray) -> FloatArray:
        """Standardised and bounded, rows of length about one, shape (n, f)."""
        limit = _SURFACE_LIMIT / np.sqrt(len(SURFACE_FEATURES))
        scaled: FloatArray = np.clip((counts - self.surface_mean) / self.surface_scale, -limit, limit)
        return scaled

    def text(self, presence: SparseRows) -> SparseRows:
        """Rows of idf where a bucket is present, each of length one, sparse, shape (n, V)."""
        idf = self.idf[presence.column].astype(np.float64)
        norms = np.sqrt(np.bincount(presence.row, weights=idf**2, minlength=presence.shape[0]))
        return SparseRows(presence.row, presence.column, idf / norms[presence.row], presence.shape)


def training_views(embedder: Embedder, prompts: Sequence[str], ngrams: int, bits: int) -> tuple[Scaling, Views]:
    """The scaling and the three views of the training prompts, shapes (n, V), (n, d), (n, f)."""
    presence = ngram_rows(prompts, ngrams, bits)
    vectors = embed(embedder, prompts).astype(np.float64)
    counts = surface(prompts)
    scaling = Scaling.of(presence, vectors, counts)
    return scaling, (scaling.text(presence), vectors - scaling.embedding_mean, scaling.surface(counts))


@dataclass(frozen=True, slots=True, eq=False)
class Head:
    """A fitted linear function of the views.

    Attributes:
        coefs: Coefficients on each view, the weight of the view included, shapes (V,), (d,), (f,).
        strengths: The chosen ridge strength of each view.
        held_out: Its value at each training row, from fits that did not see the row's fold, shape (n,).
    """

    coefs: tuple[FloatArray, ...]
    strengths: tuple[float, ...]
    held_out: FloatArray


def fit_head(
    views: Views, target: FloatArray, weight: FloatArray, folds: IndexArray, strengths: tuple[float, ...]
) -> Head:
    """A ridge regression on each view, stacked by non-negative least squares on the held-out predictions.

    Args:
        views: Shapes (n, V), (n, d), (n, f).
        target: Centred by the caller, shape (n,).
        weight: Of each row, shape (n,).
        folds: Fold of each row, shape (n,).
        strengths: What the strength of each regression is chosen from.
    """
    fits = [fit_ridge(view, target, weight, folds, strengths) for view in views]
    held_out = np.stack([fit.held_out for fit in fits], axis=1)  # (n, views)
    stack = _stack(held_out, target, weight)
    return Head(
        coefs=tuple(share * fit.coef for share, fit in zip(stack, fits, strict=True)),
        strengths=tuple(fit.l2 for fit in fits),
        held_out=held_out @ stack,
    )


def _stack(held_out: FloatArray, target: FloatArray, weight: FloatArray) -> FloatArray:
    """Non-negative weights of the views that explain the target best, shrunk towards equal ones.

    A thousand rows do not tell the views apart, and dropping one for a lucky sample costs more than keeping it: half
    of the evidence is put on `_EQUAL` each.
    """
    views = held_out.shape[1]
    root = np.sqrt(weight)
    evidence = held_out * root[:, None]
    strength = np.trace(evidence.T @ evidence) / views
    gram = evidence.T @ evidence + strength * np.eye(views)
    moment = evidence.T @ (target * root) + strength * _EQUAL
    best, least = np.zeros(views), 0.0
    for chosen in itertools.product((False, True), repeat=views):  # every set of views that may be in use
        used = np.flatnonzero(chosen)
        weights = np.zeros(views)
        weights[used] = np.linalg.solve(gram[np.ix_(used, used)], moment[used]) if used.size and strength > 0 else 0.0
        loss = weights @ gram @ weights - 2 * weights @ moment
        if (weights >= 0).all() and loss < least:
            best, least = weights, loss
    return best


class Heads:
    """Fitted heads side by side, ready to score.

    Args:
        scaling: How the views were scaled.
        text: idf times coefficient of each bucket, shape (V, k).
        embedding: Shape (d, k).
        surface: Shape (f, k).
        ngrams: Longest n-gram of the text view.
    """

    def __init__(
        self,
        scaling: Scaling,
        text: npt.NDArray[np.float32],
        embedding: FloatArray,
        surface: FloatArray,
        ngrams: int,
    ) -> None:
        self.scaling = scaling
        self.text = text
        self.embedding = embedding
        self.surface = surface
        self.ngrams = ngrams
        self.bits = len(text).bit_length() - 1

    @classmethod
    def of(cls, scaling: Scaling, coefs: Sequence[tuple[FloatArray, ...]], ngrams: int) -> Heads:
        """Heads side by side, from the coefficients of each on the three views."""
        text, embedding, counts = (np.stack([head[view] for head in coefs], axis=1) for view in range(3))
        return cls(scaling, (text * scaling.idf[:, None]).astype(np.float32), embedding, counts, ngrams)

    def score(self, embedder: Embedder, prompts: Sequence[str]) -> FloatArray:
        """Value of each head at each prompt, shape (n, k). A prompt's values depend on itself only."""
        vectors = embed(embedder, prompts) - self.scaling.embedding_mean  # (n, d)
        counts = self.scaling.surface(surface(prompts))  # (n, f)
        scores: FloatArray = np.einsum("nd,dk->nk", vectors, self.embedding) + np.einsum(
            "nf,fk->nk", counts, self.surface
        )
        for i, prompt in enumerate(prompts):
            ids = ngram_ids(prompt, self.ngrams, self.bits)
            if ids.size:
                idf = self.scaling.idf.take(ids)
                scores[i] += self.text.take(ids, axis=0).sum(axis=0) / np.sqrt(idf @ idf)
        return scores

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """What a checkpoint keeps; see `TENSORS`."""
        return {
            "text_idf": self.scaling.idf,
            "embedding_mean": self.scaling.embedding_mean,
            "surface_mean": self.scaling.surface_mean,
            "surface_scale": self.scaling.surface_scale,
            "text_coef": self.text,
            "embedding_coef": self.embedding,
            "surface_coef": self.surface,
        }

    @classmethod
    def restore(cls, arrays: dict[str, npt.NDArray[Any]], ngrams: int) -> Heads:
        """The inverse of `arrays`."""
        names = ("text_idf", "embedding_mean", "surface_mean", "surface_scale")
        scaling = Scaling(*(arrays[name] for name in names))
        return cls(scaling, arrays["text_coef"], arrays["embedding_coef"], arrays["surface_coef"], ngrams)


TENSORS = {
    "text_idf": ("float32", 1),
    "embedding_mean": ("float64", 1),
    "surface_mean": ("float64", 1),
    "surface_scale": ("float64", 1),
    "text_coef": ("float32", 2),
    "embedding_coef": ("float64", 2),
    "surface_coef": ("float64", 2),
}
"""Names, types and dimensions of `Heads.arrays`, for `checked_arrays`."""


def logistic_link(gain: FloatArray, win: FloatArray, weight: FloatArray) -> FloatArray:
    """Slope (not negative) and intercept of `win = sigmoid(slope * gain + intercept)`, by maximum likelihood.

    A small penalty keeps both finite when the rows are few or all alike. Source: Platt 1999 (scaling of scores).
    """
    x = np.stack([gain, np.ones_like(gain)], axis=1)  # (n, 2)
    prior = float(np.average(win, weights=weight))
    beta = np.array([0.0, np.log((prior + 1e-3) / (1 - prior + 1e-3))])
    penalty = 1e-3
    for _ in range(50):
        p = sigmoid(x @ beta)
        gradient = x.T @ (weight * (win - p)) - penalty * beta
        hessian = (x * (weight * p * (1 - p))[:, None]).T @ x + penalty * np.eye(2)
        step = np.linalg.solve(hessian, gradient)
        beta += step
        if np.abs(step).max() < 1e-10:
            break
    return np.array([max(beta[0], 0.0), beta[1]])
