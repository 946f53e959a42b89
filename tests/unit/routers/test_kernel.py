"""The kernel view: likeness is the formula, and the features multiply to it."""

from __future__ import annotations

import numpy as np

from prefroute.routers._kernel import LANDMARKS, Kernel, Whitening, likeness


def rows(n=30, d=8, f=3, seed=0):
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((n, d)) / d**0.5
    return vectors - vectors.mean(axis=0), rng.standard_normal((n, f)) / f**0.5


def formula(vectors, surface, other_vectors, other_surface):
    by_surface = ((surface[:, None] - other_surface) ** 2).sum(axis=2)
    by_topic = ((vectors[:, None] - other_vectors) ** 2).sum(axis=2)
    return np.exp(-2 * by_surface - by_topic)


def test_likeness_to_each_landmark_is_the_formula():
    vectors, surface = rows()
    kernel = Kernel.of(vectors, surface, seed=0)  # 30 rows: all are landmarks, in order

    found = likeness(kernel.landmarks, vectors @ kernel.basis, surface)

    np.testing.assert_allclose(found, formula(vectors, surface, vectors, surface), atol=1e-12)


def test_products_of_the_features_are_the_kernel_where_all_rows_are_landmarks():
    vectors, surface = rows()
    kernel = Kernel.of(vectors, surface, seed=0)
    alike = likeness(kernel.landmarks, vectors @ kernel.basis, surface)
    centred = alike - alike.mean(axis=0)

    features = Whitening.of(kernel, alike).features(alike)

    np.testing.assert_allclose(features @ features.T, centred @ np.linalg.pinv(alike) @ centred.T, atol=1e-6)


def test_a_moved_kernel_gives_moved_vectors_the_same_likeness():
    vectors, surface = rows()
    kernel = Kernel.of(vectors, surface, seed=0)
    mean = np.full(8, 0.3)

    moved = likeness(kernel.moved(mean @ kernel.basis).landmarks, (vectors + mean) @ kernel.basis, surface)

    np.testing.assert_allclose(moved, likeness(kernel.landmarks, vectors @ kernel.basis, surface), atol=1e-12)


def test_many_rows_are_seen_through_a_bounded_number_of_landmarks_that_the_seed_draws():
    vectors, surface = rows(n=LANDMARKS + 50)

    first, again, other = (Kernel.of(vectors, surface, seed).landmarks for seed in (0, 0, 1))

    assert first.shape[1] == LANDMARKS
    assert (first == again).all()
    assert not (first == other).all()
