"""Tiers equal the best partition that brute force finds."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from prefroute.data import assign_tiers, tier_classes
from prefroute.errors import DataError
from prefroute.types import Battles


def spread(ratings, tiers):
    return sum(((ratings[tiers == t] - ratings[tiers == t].mean()) ** 2).sum() for t in np.unique(tiers))


def brute_force(ratings, k):
    """The least spread over every way to cut the sorted ratings into k groups."""
    ordered = np.sort(ratings)
    cuts = itertools.combinations(range(1, len(ratings)), k - 1)
    parts = ([ordered[i:j] for i, j in itertools.pairwise((0, *cut, len(ordered)))] for cut in cuts)
    return min(sum(((part - part.mean()) ** 2).sum() for part in groups) for groups in parts)


@pytest.mark.parametrize(("m", "k"), [(1, 1), (5, 2), (8, 3), (9, 5), (10, 4), (7, 7)])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_spread_equals_brute_force(m, k, seed):
    ratings = np.random.default_rng(seed).normal(size=m) + 1000

    tiers = assign_tiers(ratings, k)

    assert sorted(set(tiers.tolist())) == list(range(k))
    assert spread(ratings, tiers) == pytest.approx(brute_force(ratings, k), abs=1e-9)


def test_tier_zero_is_the_best_and_tiers_are_contiguous():
    ratings = np.random.default_rng(5).normal(size=12)

    tiers = assign_tiers(ratings, 4)

    assert (np.diff(tiers[np.argsort(-ratings)]) >= 0).all()


def test_clear_groups_are_found():
    assert assign_tiers(np.array([1.0, 9.1, 5.0, 9.0, 1.1]), 3).tolist() == [2, 0, 1, 0, 2]


@pytest.mark.parametrize("k", [0, 4])
def test_impossible_number_of_tiers_is_refused(k):
    with pytest.raises(DataError, match=f"between 1 and the number of models, 3; got {k}"):
        assign_tiers(np.arange(3.0), k)


def test_ratings_that_are_not_finite_are_refused():
    with pytest.raises(DataError, match="finite"):
        assign_tiers(np.array([1.0, np.nan]), 1)


def ladder():
    """Four models; a better one (lower letter) wins nine times in ten against each worse one."""
    rows = [(f"{x}{y}{i}", x, y, float(i < 9)) for x, y in itertools.combinations("abcd", 2) for i in range(10)]
    return Battles.of(*(list(column) for column in zip(*rows, strict=True)))


def test_classes_are_the_weak_models_tier_and_all_above():
    classes = tier_classes(ladder(), "a", "c", n_tiers=4)

    # a and b against c: 2 pairs of 10 battles; d is in neither class
    assert classes.models == ("a", "c")
    assert len(classes) == 20
    assert classes.outcome.mean() == pytest.approx(0.9)
    assert set(classes.model_a.tolist()) == {0}


def test_strong_model_must_stand_above_the_weak_one():
    with pytest.raises(DataError, match="must stand in a tier above"):
        tier_classes(ladder(), "c", "a", n_tiers=4)


def test_unknown_model_is_named():
    with pytest.raises(DataError, match="Unknown model 'z'"):
        tier_classes(ladder(), "z", "a")
