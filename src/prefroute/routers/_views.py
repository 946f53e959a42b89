"""Three views of a prompt and linear heads on them. Private to the routers room.

The views are hashed word n-grams (TF-IDF), the embedding, and a Gaussian kernel on embedding and surface counts. A
head is a linear function of all three; any number of heads is scored at the price of little more than one, since the
views are taken once.

Shapes: n prompts, k heads, V n-gram buckets, d embedding dimensions, f surface features, p components, m landmarks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, cast

import numpy as np
import numpy.typing as npt

from prefroute.errors import CheckpointError
from prefroute.lexicon import Lexicon
from prefroute.routers._kernel import Kernel, Whitening, likeness
from prefroute.routers._ridge import SparseRows, fit_ridge
from prefroute.routers._surface import SURFACE_FEATURES, surface
from prefroute.routers._text import ngrams as ngrams_of
from prefroute.routers._text import sum_rows
from prefroute.routers.base import embed
from prefroute.types import Embedder, FloatArray, IndexArray

__all__ = [
    "TENSORS",
    "VIEWS",
    "Head",
    "Heads",
    "Scaling",
    "Views",
    "dealt",
    "fit_head",
    "predict",
    "take",
    "training_views",
]

Float32Array: TypeAlias = npt.NDArray[np.float32]
Views: TypeAlias = tuple[SparseRows, FloatArray, FloatArray]

VIEWS = ("text", "embedding", "kernel")

_SURFACE_LIMIT = 4.0 / len(SURFACE_FEATURES) ** 0.5  # four standard deviations: one odd count must not be everything
_BATCH = 16  # prompts that are scored at once: larger products start BLAS's threads, which cost more than they give


_words = Lexicon(lambda piece: b"")  # for embedders that have none


class _Reader(Protocol):
    """An embedder with a lexicon, which gives unit vectors of what that knows."""

    lexicon: Lexicon

    def vectors(self, known: Sequence[bytes]) -> npt.NDArray[np.float32]: ...


@dataclass(frozen=True, slots=True, eq=False)
class Scaling:
    """How raw counts and vectors become views; learned from training prompts, without labels.

    Attributes:
        idf: Weight of each n-gram bucket, shape (V,).
        embedding_mean: Mean of the unit vectors, shape (d,).
        surface_mean: Mean of the surface features, shape (f,).
        surface_scale: What they are divided by, shape (f,).
        kernel: Likeness to the landmarks.
        whitening: From likeness to the features of the kernel view.
    """

    idf: FloatArray
    embedding_mean: FloatArray
    surface_mean: FloatArray
    surface_scale: FloatArray
    kernel: Kernel
    whitening: Whitening


def training_views(
    embedder: Embedder, prompts: Sequence[str], ngrams: int, bits: int, seed: int
) -> tuple[Scaling, Views]:
    """The scaling and the three views of the training prompts, shapes (n, V), (n, d), (n, r), r <= m.

    Args:
        embedder: Gives the vectors.
        prompts: n strings.
        ngrams: Longest n-gram of the text view.
        bits: V = 2**bits.
        seed: Draws the landmarks of the kernel.
    """
    words, unit = _read(embedder, prompts)
    buckets = ngrams_of(words, ngrams, bits)
    idf = np.log((1 + len(prompts)) / (1 + np.bincount(np.concatenate(buckets), minlength=2**bits))) + 1
    vectors = unit.astype(np.float64)
    embedding_mean = vectors.mean(axis=0)
    vectors -= embedding_mean
    counts = surface(prompts, list(map(len, words)))
    spread = counts.std(axis=0)
    surface_mean, surface_scale = counts.mean(axis=0), np.where(spread > 1e-9, spread, 1.0) * np.sqrt(counts.shape[1])
    scaled = _scaled_surface(counts, surface_mean, surface_scale)
    kernel = Kernel.of(vectors, scaled, seed)
    alike = likeness(kernel.landmarks, vectors @ kernel.basis, scaled)
    whitening = Whitening.of(kernel, alike)
    scaling = Scaling(idf, embedding_mean, surface_mean, surface_scale, kernel, whitening)
    return scaling, (_tfidf(buckets, idf), vectors, whitening.features(alike))


def _read(embedder: Embedder, prompts: Sequence[str]) -> tuple[list[npt.NDArray[np.uint64]], Float32Array]:
    """Hashes of the words and signs of each prompt, and unit vectors, shape (n, d).

    An embedder that has a lexicon reads the prompts for both.
    """
    if getattr(embedder, "lexicon", None) is None:
        return _words.read(prompts)[0], embed(embedder, prompts)
    reader = cast("_Reader", embedder)
    words, known = reader.lexicon.read(prompts)
    return words, reader.vectors(known)


def _scaled_surface(counts: FloatArray, mean: FloatArray, scale: FloatArray) -> FloatArray:
    """Standardised and bounded, rows of length about one, shape (n, f)."""
    scaled: FloatArray = np.minimum(np.maximum((counts - mean) / scale, -_SURFACE_LIMIT), _SURFACE_LIMIT)
    return scaled


def _tfidf(buckets: Sequence[IndexArray], idf: FloatArray) -> SparseRows:
    """Rows of idf where a bucket is present, each of length one, sparse, shape (n, V)."""
    n = len(buckets)
    row, column = np.repeat(np.arange(n), [len(found) for found in buckets]), np.concatenate(buckets)
    value = idf[column]
    norms = np.sqrt(np.bincount(row, weights=value**2, minlength=n))
    return SparseRows(row, column, value / norms[row], (n, len(idf)))


def take(views: Views, rows: IndexArray) -> Views:
    """The views of the chosen rows, which must rise."""
    return views[0][rows], views[1][rows], views[2][rows]


def predict(views: Views, coefs: Sequence[FloatArray]) -> FloatArray:
    """The linear function with these coefficients on each view, at each row, shape (n,)."""
    text, embedding, kernel = coefs
    found: FloatArray = views[0] @ text + views[1] @ embedding + views[2] @ kernel
    return found


def dealt(folds: IndexArray) -> IndexArray:
    """The folds, or two by turns where all rows lie in one."""
    return folds if len(np.unique(folds)) > 1 else np.arange(len(folds)) % 2


@dataclass(frozen=True, slots=True, eq=False)
class Head:
    """A ridge regression on each view, not yet added up.

    Attributes:
        coefs: Coefficients on each view, shapes (V,), (d,), (r,).
        strengths: The chosen ridge strength of each view.
        held_out: Prediction of each training row by each view, from fits that did not see the row's fold, shape (n, 3).
    """

    coefs: tuple[FloatArray, ...]
    strengths: tuple[float, ...]
    held_out: FloatArray


def fit_head(
    views: Views, target: FloatArray, weight: FloatArray, folds: IndexArray, strengths: tuple[float, ...]
) -> Head:
    """A ridge regression on each view.

    Args:
        views: Shapes (n, V), (n, d), (n, r).
        target: Centred by the caller, shape (n,).
        weight: Of each row, shape (n,).
        folds: Fold of each row, shape (n,).
        strengths: What the strength of each regression is chosen from.
    """
    fits = [fit_ridge(view, target, weight, folds, strengths) for view in views]
    return Head(
        coefs=tuple(fit.coef for fit in fits),
        strengths=tuple(fit.l2 for fit in fits),
        held_out=np.stack([fit.held_out for fit in fits], axis=1),
    )


@dataclass(frozen=True, slots=True, eq=False)
class Heads:
    """Fitted heads side by side, ready to score: everything that is linear is multiplied out.

    Attributes:
        text: idf times coefficient of each bucket; in the last column, idf squared; shape (V, k + 1).
        vector: Coefficients on the embedding, and the components that the kernel reads, shape (d, k + p).
        surface_mean: Mean of the surface features, shape (f,).
        surface_scale: What they are divided by, shape (f,).
        landmarks: Of the kernel, shape (p + f + 1, m).
        likeness: Coefficients on the likeness to each landmark, shape (m, k).
        offset: Shape (k,).
        ngrams: Longest n-gram of the text view.
    """

    text: Float32Array
    vector: Float32Array
    surface_mean: FloatArray
    surface_scale: FloatArray
    landmarks: Float32Array
    likeness: Float32Array
    offset: FloatArray
    ngrams: int

    @classmethod
    def of(cls, scaling: Scaling, coefs: Sequence[tuple[FloatArray, ...]], ngrams: int) -> Heads:
        """Heads side by side, from the coefficients of each on the three views."""
        text, embedding, features = (np.stack([head[view] for head in coefs], axis=1) for view in range(3))
        idf, kernel, whitening = scaling.idf[:, None], scaling.kernel, scaling.whitening
        of_likeness = whitening.matrix @ features  # (m, k)
        mean = scaling.embedding_mean
        return cls(
            text=np.hstack([text * idf, idf**2]).astype(np.float32),
            vector=np.hstack([embedding, kernel.basis]).astype(np.float32),
            surface_mean=scaling.surface_mean,
            surface_scale=scaling.surface_scale,
            landmarks=kernel.moved(mean @ kernel.basis).landmarks.astype(np.float32),  # vectors are not centred here
            likeness=of_likeness.astype(np.float32),
            offset=-(mean @ embedding) - whitening.mean @ of_likeness,
            ngrams=ngrams,
        )

    def score(self, embedder: Embedder, prompts: Sequence[str]) -> FloatArray:
        """Value of each head at each prompt, shape (n, k). A prompt's values depend on itself only."""
        scores = np.empty((len(prompts), len(self.offset)))
        for start in range(0, len(prompts), _BATCH):
            scores[start : start + _BATCH] = self._score(embedder, prompts[start : start + _BATCH])
        return scores

    def _score(self, embedder: Embedder, prompts: Sequence[str]) -> FloatArray:
        k = len(self.offset)
        words, vectors = _read(embedder, prompts)
        product = vectors @ self.vector  # (n, k + p)
        counts = _scaled_surface(surface(prompts, list(map(len, words))), self.surface_mean, self.surface_scale)
        scores = likeness(self.landmarks, product[:, k:], counts) @ self.likeness  # (n, m) -> (n, k)
        scores += product[:, :k]
        sums = sum_rows(self.text, ngrams_of(words, self.ngrams, len(self.text).bit_length() - 1))  # (n, k + 1)
        scores += sums[:, :k] / np.sqrt(np.maximum(sums[:, k:], 1))  # no idf is below one: only an empty prompt's sum
        return scores + self.offset  # float64

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """What a checkpoint keeps; see `TENSORS`."""
        return {name: getattr(self, name) for name in TENSORS}

    @classmethod
    def restore(cls, arrays: dict[str, npt.NDArray[Any]], ngrams: int) -> Heads:
        """The inverse of `arrays`.

        Raises:
            CheckpointError: If the tensors do not fit together.
        """
        heads = cls(**{name: arrays[name] for name in TENSORS}, ngrams=ngrams)
        buckets, outputs = heads.text.shape
        k, m, f = outputs - 1, heads.landmarks.shape[1], len(SURFACE_FEATURES)
        p = heads.vector.shape[1] - k
        wanted = {"offset": (k,), "likeness": (m, k), "landmarks": (p + f + 1, m)}
        wanted |= {"surface_mean": (f,), "surface_scale": (f,)}
        if buckets & (buckets - 1) or any(getattr(heads, name).shape != shape for name, shape in wanted.items()):
            raise CheckpointError("The tensors of the views in the checkpoint do not fit together. Train again.")
        return heads


TENSORS = {
    "text": ("float32", 2),
    "vector": ("float32", 2),
    "surface_mean": ("float64", 1),
    "surface_scale": ("float64", 1),
    "landmarks": ("float32", 2),
    "likeness": ("float32", 2),
    "offset": ("float64", 1),
}
"""Names, types and dimensions of `Heads.arrays`, for `checked_arrays`."""
