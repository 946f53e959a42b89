"""Cosines in blocks equal cosines at once."""

from __future__ import annotations

import numpy as np
import pytest

from prefroute.data import set_similarity
from prefroute.data.similarity import nearest_cosine
from prefroute.errors import DataError


def test_blocks_give_the_same_as_one_product(monkeypatch):
    monkeypatch.setattr("prefroute.data.similarity._BLOCK", 7)
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(20, 5)), rng.normal(size=(33, 5))
    units = [v / np.linalg.norm(v, axis=1, keepdims=True) for v in (a, b)]

    np.testing.assert_allclose(nearest_cosine(a, b), (units[0] @ units[1].T).max(axis=1), atol=1e-6)


def test_set_with_itself_has_similarity_one():
    vectors = np.random.default_rng(1).normal(size=(10, 4))

    assert set_similarity(vectors, vectors) == pytest.approx(1)


def test_zero_vector_is_near_nothing():
    assert set_similarity(np.zeros((1, 2)), np.eye(2)) == 0


@pytest.mark.parametrize(
    ("a", "b"),
    [(np.eye(2), np.eye(3)), (np.eye(2), np.zeros((0, 2))), (np.zeros((0, 2)), np.eye(2)), (np.ones(2), np.eye(2))],
)
def test_sets_that_do_not_fit_are_refused(a, b):
    with pytest.raises(DataError):
        set_similarity(a, b)


def test_nan_in_a_vector_is_refused():
    with pytest.raises(DataError, match="NaN or infinity"):
        set_similarity(np.array([[np.nan, 1.0]]), np.eye(2))
