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

import numpy as np

from prefroute.types import FloatArray

__all__ = ["LANDMARKS", "Kernel", "Whitening"]

LANDMARKS = 512
_COMPONENTS = 32
_SURFACE_SCALE = 2.0**0.5
_LEAST = 1e-6  # smaller eigenvalues are directions of rounding errors


@dataclass(frozen=True, slots=True, eq=False)
class Kernel:
    """Likeness to the landmarks.

    Attributes:
        basis: Principal components of the embedding, shape (d, p).
        landmarks: Components and surface of each landmark z, and last -|z|^2 / 2, shape (p + f + 1, m).
    """

    basis: FloatArray
    landmarks: FloatArray

    @classmethod
    def of(cls, vectors: FloatArray, surface: FloatArray, seed: int) -> Kernel:
        """Landmarks drawn from the training rows: centred vectors (n, d), scaled surface (n, f)."""
        basis = np.linalg.eigh(vectors.T @ vectors)[1][:, -_COMPONENTS:]
        chosen = np.sort(np.random.default_rng(seed).permutation(len(vectors))[:LANDMARKS])
        place = np.hstack([vectors[chosen] @ basis, _SURFACE_SCALE * surface[chosen]])
        return cls(basis, _with_squares(place.T))

    def moved(self, by: FloatArray) -> Kernel:
        """The same kernel for vectors whose components are larger by `by`, shape (p,)."""
        place = self.landmarks[:-1].copy()
        place[: len(by)] += by[:, None]
        return Kernel(self.basis, _with_squares(place))

    def likeness(self, components: FloatArray, surface: FloatArray) -> FloatArray:
        """To each landmark, in [0, 1], of prompts with components (n, p) and surface (n, f); shape (n, m)."""
        p = components.shape[1]
        place = np.empty((len(components), len(self.landmarks)))
        place[:, :p] = components
        np.multiply(surface, _SURFACE_SCALE, out=place[:, p:-1])
        place[:, -1] = 1
        exponent = place @ self.landmarks  # x . z - |z|^2 / 2
        exponent -= (np.einsum("np,np->n", place, place)[:, None] - 1) / 2
        exponent *= 2
        likeness: FloatArray = np.exp(np.minimum(exponent, 0, out=exponent), out=exponent)
        return likeness


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
    def of(cls, kernel: Kernel, likeness: FloatArray) -> Whitening:
        """From the likeness of the training rows, shape (n, m)."""
        place, half = kernel.landmarks[:-1], kernel.landmarks[-1]
        among = np.exp(np.minimum(2 * (place.T @ place + half + half[:, None]), 0))  # (m, m)
        values, vectors = np.linalg.eigh(among)
        kept = values > _LEAST
        return cls(vectors[:, kept] / np.sqrt(values[kept]), likeness.mean(axis=0))

    def features(self, likeness: FloatArray) -> FloatArray:
        """Centred, shape (n, r)."""
        rows: FloatArray = (likeness - self.mean) @ self.matrix
        return rows


def _with_squares(place: FloatArray) -> FloatArray:
    return np.vstack([place, -np.einsum("pm,pm->m", place, place) / 2])
