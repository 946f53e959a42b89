"""A Gaussian kernel on surface and embedding together. Private to the routers room.

A long question about law and a long sum are hard for different reasons: what a surface count means depends on the
topic, and a linear view cannot say so. Two prompts are alike here where both their surfaces and their embeddings are:

    k(x, x') = exp(-2 |s - s'|^2 - |e - e'|^2)

The kernel is looked at through `LANDMARKS` training prompts, so that a decision costs the same however many there are.

Source: Williams and Seeger 2001, "Using the Nystroem method to speed up kernel machines". Differs: embeddings are cut
to their `_COMPONENTS` principal components first.

Shapes: n prompts, d embedding dimensions, f surface features, p = min(d, `_COMPONENTS`), m <= `LANDMARKS`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from prefroute.types import FloatArray

__all__ = ["LANDMARKS", "Kernel", "Whitening", "likeness"]

_Floats: TypeAlias = npt.NDArray[np.floating[Any]]  # float64 where a kernel is learned, float32 where it scores

LANDMARKS = 512
_COMPONENTS = 32
_SURFACE_SCALE = 2.0**0.5
_LEAST = 1e-6  # smaller eigenvalues are directions of rounding errors


@dataclass(frozen=True, slots=True, eq=False)
class Kernel:
    """What a prompt is compared with.

    Attributes:
        basis: Principal components of the embedding, shape (d, p).
        landmarks: Twice the components and surface of each landmark z, and last -|z|^2, shape (p + f + 1, m).
    """

    basis: FloatArray
    landmarks: FloatArray

    @classmethod
    def of(cls, vectors: FloatArray, surface: FloatArray, seed: int) -> Kernel:
        """Landmarks drawn from the training rows: centred vectors (n, d), scaled surface (n, f)."""
        basis = np.linalg.eigh(vectors.T @ vectors)[1][:, -_COMPONENTS:]
        chosen = np.sort(np.random.default_rng(seed).permutation(len(vectors))[:LANDMARKS])
        place = np.hstack([vectors[chosen] @ basis, _SURFACE_SCALE * surface[chosen]])
        return cls(basis, _landmarks(place.T))

    def moved(self, by: FloatArray) -> Kernel:
        """The same kernel for vectors whose components are larger by `by`, shape (p,)."""
        place = self.landmarks[:-1] / 2
        place[: len(by)] += by[:, None]
        return Kernel(self.basis, _landmarks(place))


def likeness(landmarks: _Floats, components: _Floats, surface: _Floats) -> _Floats:
    """To each landmark, in [0, 1] to rounding, in the type of the landmarks, shape (n, m).

    Args:
        landmarks: Of a kernel, shape (p + f + 1, m).
        components: Of the prompts' embeddings, shape (n, p).
        surface: Scaled, shape (n, f).
    """
    place = np.concatenate([components, _SURFACE_SCALE * surface], axis=1, dtype=landmarks.dtype, casting="same_kind")
    exponent = place @ landmarks[:-1]  # 2 x . z
    exponent += landmarks[-1]  # -|z|^2
    exponent -= np.add.reduce(place * place, axis=1, keepdims=True)
    found: _Floats = np.exp(exponent, out=exponent)
    return found


@dataclass(frozen=True, slots=True, eq=False)
class Whitening:
    """Turns likeness to landmarks into features whose products are the kernel.

    Attributes:
        matrix: Shape (m, r), r <= m.
        mean: Mean likeness of the training rows, shape (m,).
    """

    matrix: FloatArray
    mean: FloatArray

    @classmethod
    def of(cls, kernel: Kernel, alike: _Floats) -> Whitening:
        """From the likeness of the training rows, shape (n, m)."""
        twice, square = kernel.landmarks[:-1], kernel.landmarks[-1]
        among = np.exp(twice.T @ twice / 2 + square + square[:, None])  # (m, m)
        values, vectors = np.linalg.eigh(among)
        kept = values > _LEAST
        return cls(vectors[:, kept] / np.sqrt(values[kept]), alike.mean(axis=0))

    def features(self, alike: _Floats) -> FloatArray:
        """Of rows with this likeness, centred, (n, m) -> (n, r)."""
        rows: FloatArray = (alike - self.mean) @ self.matrix
        return rows


def _landmarks(place: FloatArray) -> FloatArray:
    return np.vstack([2 * place, -np.einsum("pm,pm->m", place, place)])
