"""Ridge regression whose strength is chosen by cross-validation on the training rows. Private to the routers room.

SciPy has all of this; it also weighs half of what the core install may weigh, for two products and one recurrence.

Shapes: n rows, d columns, s strengths.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from prefroute.types import FloatArray, IndexArray

__all__ = ["STRENGTHS", "RidgeFit", "SparseRows", "fit_ridge", "ridge_path"]

STRENGTHS: tuple[float, ...] = tuple(2.0**k for k in range(-1, 10))
"""What a strength is chosen from, for rows of length about one: from hardly any to nearly a constant."""

_STEPS = 48  # of the Lanczos recurrence: enough for three digits at the strengths that are chosen in practice


@dataclass(frozen=True, slots=True, eq=False)
class SparseRows:
    """A sparse matrix as triplets, in the order of their rows.

    Attributes:
        row: Row of each value, rising, shape (k,).
        column: Column of each value, shape (k,).
        value: Shape (k,).
        shape: (n, d).
    """

    row: IndexArray
    column: IndexArray
    value: FloatArray
    shape: tuple[int, int]

    def __matmul__(self, coef: FloatArray) -> FloatArray:
        """Product with a vector, (n, d) @ (d,) -> (n,)."""
        weights = self.value * coef[self.column]
        return np.bincount(self.row, weights=weights, minlength=self.shape[0]).astype(np.float64, copy=False)

    def transposed_product(self, vector: FloatArray) -> FloatArray:
        """Product of the transpose with a vector, (d, n) @ (n,) -> (d,)."""
        weights = self.value * vector[self.row]
        return np.bincount(self.column, weights=weights, minlength=self.shape[1]).astype(np.float64, copy=False)

    def __getitem__(self, rows: IndexArray) -> SparseRows:
        """The chosen rows, which must rise."""
        place = np.full(self.shape[0], -1)
        place[rows] = np.arange(len(rows))
        kept = place[self.row] >= 0
        return SparseRows(place[self.row[kept]], self.column[kept], self.value[kept], (len(rows), self.shape[1]))

    def scaled(self, by: FloatArray) -> SparseRows:
        """Every row times its number, `by` of shape (n,)."""
        return SparseRows(self.row, self.column, self.value * by[self.row], self.shape)


@dataclass(frozen=True, slots=True, eq=False)
class RidgeFit:
    """A fitted ridge regression.

    Attributes:
        coef: Shape (d,).
        l2: The chosen strength.
        held_out: Prediction of each training row by a fit that did not see its fold, shape (n,).
    """

    coef: FloatArray
    l2: float
    held_out: FloatArray


def fit_ridge(
    features: FloatArray | SparseRows,
    target: FloatArray,
    weight: FloatArray,
    folds: IndexArray,
    strengths: tuple[float, ...],
) -> RidgeFit:
    """Minimise `sum_i weight_i (X_i w - y_i)^2 + l2 |w|^2`, with `l2` by the squared error on held-out folds.

    Args:
        features: X, dense or sparse, shape (n, d).
        target: y, centred by the caller, shape (n,).
        weight: Weight of each row, shape (n,).
        folds: Fold of each row, shape (n,), at least two different values.
        strengths: What `l2` is chosen from.
    """
    held_out = np.zeros((len(strengths), len(target)))
    parts = [(np.flatnonzero(folds == fold), np.flatnonzero(folds != fold)) for fold in np.unique(folds)]
    if isinstance(features, SparseRows):
        paths = (ridge_path(features[kept], target[kept], weight[kept], strengths) for _, kept in parts)
    else:  # the sums over the kept rows are those over all rows less those over the fold: each row is read twice
        gram, moment = _sums(features, target, weight)
        less = (_sums(features[out], target[out], weight[out]) for out, _ in parts)
        paths = (_dense_path(gram - fold_gram, moment - fold_moment, strengths) for fold_gram, fold_moment in less)
    for (out, _), path in zip(parts, paths, strict=True):
        held_out[:, out] = [features[out] @ coef for coef in path]
    errors = ((held_out - target) ** 2) @ weight
    best = int(np.argmin(errors))
    coef = ridge_path(features, target, weight, strengths[best : best + 1])[0]
    return RidgeFit(coef, strengths[best], held_out[best])


def ridge_path(
    features: FloatArray | SparseRows,
    target: FloatArray,
    weight: FloatArray,
    strengths: tuple[float, ...],
    steps: int = _STEPS,
) -> list[FloatArray]:
    """Coefficients for every strength, in order; arguments as in `fit_ridge`.

    Fewer `steps` stop a sparse solve early, which smooths as a stronger penalty would.
    """
    if isinstance(features, SparseRows):
        root = np.sqrt(weight)
        return _krylov_path(features.scaled(root), target * root, strengths, steps)
    return _dense_path(*_sums(features, target, weight), strengths)


def _sums(features: FloatArray, target: FloatArray, weight: FloatArray) -> tuple[FloatArray, FloatArray]:
    """`X^T W X` and `X^T W y`, shapes (d, d) and (d,)."""
    weighted = features * weight[:, None]
    return weighted.T @ features, weighted.T @ target


def _dense_path(gram: FloatArray, moment: FloatArray, strengths: tuple[float, ...]) -> list[FloatArray]:
    values, vectors = np.linalg.eigh(gram)  # (d,), (d, d)
    projected = vectors.T @ moment
    return [vectors @ (projected / (np.maximum(values, 0) + l2)) for l2 in strengths]


def _krylov_path(rows: SparseRows, target: FloatArray, strengths: tuple[float, ...], steps: int) -> list[FloatArray]:
    """Ridge solutions `X^T (X X^T + l2)^-1 y` for every strength from one Lanczos recurrence on `X X^T`.

    A shift by `l2` leaves the Krylov space as it is, so the recurrence is run once and each strength costs a solve of a
    small tridiagonal system. Source: Golub and Van Loan, Matrix Computations, 4th ed., sec. 10.1 and 11.3 (Lanczos,
    conjugate gradients); with full reorthogonalisation.
    """
    norm = float(np.linalg.norm(target))
    if norm == 0:
        return [np.zeros(rows.shape[1])] * len(strengths)
    basis = np.zeros((min(steps, len(target)), len(target)))  # (steps, n)
    diagonal, below = np.zeros((2, len(basis)))
    vector = target / norm
    for step in range(len(basis)):
        basis[step] = vector
        vector = rows @ rows.transposed_product(vector)
        diagonal[step] = basis[step] @ vector
        vector -= basis[: step + 1].T @ (basis[: step + 1] @ vector)
        below[step] = np.linalg.norm(vector)
        if below[step] < 1e-10 * norm:
            basis = basis[: step + 1]
            break
        vector /= below[step]
    k = len(basis)
    tridiagonal = np.diag(diagonal[:k]) + np.diag(below[: k - 1], 1) + np.diag(below[: k - 1], -1)
    first = np.zeros(k)
    first[0] = norm
    solutions = [np.linalg.solve(tridiagonal + l2 * np.eye(k), first) for l2 in strengths]
    return [rows.transposed_product(basis.T @ solution) for solution in solutions]
