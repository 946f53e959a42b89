"""Ridge regression: the sparse path equals the closed form, and held-out predictions are held out."""

from __future__ import annotations

import numpy as np
import pytest

from prefroute.routers._ridge import STRENGTHS, SparseRows, fit_ridge, ridge_path


def dense_and_sparse(n=40, d=25, seed=0):
    rng = np.random.default_rng(seed)
    dense = rng.standard_normal((n, d)) * (rng.random((n, d)) < 0.3)
    row, column = np.nonzero(dense)
    return dense, SparseRows(row, column, dense[row, column], dense.shape)


def closed_form(x, y, weight, l2):
    return np.linalg.solve((x * weight[:, None]).T @ x + l2 * np.eye(x.shape[1]), (x * weight[:, None]).T @ y)


@pytest.mark.parametrize("view", [0, 1], ids=["dense", "sparse"])
def test_every_strength_solves_the_normal_equations(view):
    features = dense_and_sparse()
    rng = np.random.default_rng(1)
    target, weight = rng.standard_normal(40), rng.uniform(0.5, 2, 40)

    path = ridge_path(features[view], target, weight, STRENGTHS)

    for coef, l2 in zip(path, STRENGTHS, strict=True):
        np.testing.assert_allclose(coef, closed_form(features[0], target, weight, l2), atol=1e-8)


def test_a_row_of_weight_two_counts_as_two_rows():
    dense, _ = dense_and_sparse()
    target = np.random.default_rng(2).standard_normal(40)
    weight = np.ones(40)
    weight[3] = 2

    weighted = ridge_path(dense, target, weight, (1.0,))[0]
    repeated = ridge_path(np.vstack([dense, dense[3]]), np.append(target, target[3]), np.ones(41), (1.0,))[0]

    np.testing.assert_allclose(weighted, repeated, atol=1e-10)


def test_products_and_row_choice_equal_those_of_the_dense_matrix():
    dense, sparse = dense_and_sparse()
    rows = np.array([1, 4, 5, 39])
    vector, other = np.arange(25.0), np.arange(40.0)

    np.testing.assert_allclose(sparse @ vector, dense @ vector)
    np.testing.assert_allclose(sparse.transposed_product(other), dense.T @ other)
    np.testing.assert_allclose(sparse[rows] @ vector, dense[rows] @ vector)
    np.testing.assert_allclose(sparse.scaled(other) @ vector, (dense * other[:, None]) @ vector)


def test_held_out_predictions_come_from_fits_without_the_fold():
    dense, sparse = dense_and_sparse()
    target = np.random.default_rng(3).standard_normal(40)
    folds = np.arange(40) % 4

    fit = fit_ridge(sparse, target, np.ones(40), folds, (2.0,))

    for fold in range(4):
        kept = folds != fold
        coef = closed_form(dense[kept], target[kept], np.ones(kept.sum()), 2.0)
        np.testing.assert_allclose(fit.held_out[~kept], dense[~kept] @ coef, atol=1e-8)


def test_noise_gets_a_stronger_penalty_than_a_signal():
    rng = np.random.default_rng(4)
    x = rng.standard_normal((200, 20))
    folds = np.arange(200) % 5

    noise = fit_ridge(x, rng.standard_normal(200), np.ones(200), folds, STRENGTHS)
    signal = fit_ridge(x, x @ rng.standard_normal(20), np.ones(200), folds, STRENGTHS)

    assert noise.l2 > signal.l2


def test_a_target_of_zeros_gives_coefficients_of_zeros():
    _, sparse = dense_and_sparse()

    assert not ridge_path(sparse, np.zeros(40), np.ones(40), (1.0,))[0].any()
