"""Bradley-Terry ratings equal those of a direct maximum-likelihood fit over single battles."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize

from prefroute.data import bradley_terry, solve_ratings, win_matrix
from prefroute.errors import DataError
from prefroute.types import Battles


def random_battles(seed, n=400, m=6):
    rng = np.random.default_rng(seed)
    names = np.array([f"m{i}" for i in range(m)])
    a = rng.integers(m, size=n)
    b = (a + rng.integers(1, m, size=n)) % m
    skill = rng.normal(size=m)
    win = rng.random(n) < 1 / (1 + np.exp(skill[b] - skill[a]))
    outcome = np.where(rng.random(n) < 0.2, 0.5, win)
    return Battles.of(["q"] * n, names[a].tolist(), names[b].tolist(), outcome.tolist())


def direct_fit(battles, weights, l2):
    """The same likelihood, battle by battle, by a general optimiser."""

    def loss(ratings):
        margin = ratings[battles.model_a] - ratings[battles.model_b]
        fit = battles.outcome * np.logaddexp(0, -margin) + (1 - battles.outcome) * np.logaddexp(0, margin)
        return (weights * fit).sum() + l2 / 2 * ratings @ ratings

    found = minimize(loss, np.zeros(len(battles.models)), method="BFGS", options={"gtol": 1e-7}).x
    return found - found.mean()


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_ratings_equal_a_direct_fit(seed):
    battles = random_battles(seed)
    weights = np.random.default_rng(seed).random(len(battles)) * 10

    np.testing.assert_allclose(bradley_terry(battles, weights, l2=1e-4), direct_fit(battles, weights, 1e-4), atol=1e-4)


def test_two_models_differ_by_the_log_of_their_wins():
    battles = Battles.of(["q"] * 5, ["a"] * 5, ["b"] * 5, [1, 1, 1, 1, 0.0])

    a, b = bradley_terry(battles)

    assert a - b == pytest.approx(np.log(4 / 1), abs=1e-5)
    assert a + b == pytest.approx(0)


def test_ties_count_half_for_each():
    battles = Battles.of(["q"] * 4, ["a"] * 4, ["b"] * 4, [1, 1, 0.5, 0.5])

    a, b = bradley_terry(battles)

    assert a - b == pytest.approx(np.log(3 / 1), abs=1e-5)  # 2 + 2/2 wins against 2/2


def test_swapped_sides_give_the_same_ratings():
    battles = random_battles(3)
    swapped = Battles(battles.prompts, battles.models, battles.model_b, battles.model_a, 1 - battles.outcome)

    np.testing.assert_allclose(bradley_terry(battles), bradley_terry(swapped), atol=1e-9)


def test_model_that_never_loses_gets_a_finite_rating():
    ratings = bradley_terry(Battles.of(["q"] * 50, ["a"] * 50, ["b"] * 50, [1.0] * 50))

    assert np.isfinite(ratings).all()
    assert ratings[0] > ratings[1]


def test_weights_scale_wins():
    battles = Battles.of(["q", "r"], ["a", "a"], ["b", "b"], [1.0, 0.5])

    np.testing.assert_array_equal(win_matrix(battles, np.array([2.0, 4.0])), [[0, 4], [2, 0]])


@pytest.mark.parametrize("weights", [[1.0], [1.0, -1.0], [1.0, np.nan], [1.0, np.inf]])
def test_weights_that_do_not_fit_are_refused(weights):
    battles = Battles.of(["q", "r"], ["a", "a"], ["b", "b"], [1.0, 0.5])

    with pytest.raises(DataError, match="`weights`"):
        bradley_terry(battles, np.array(weights))


def test_no_battles_and_no_ridge_are_refused():
    battles = Battles.of(["q"], ["a"], ["b"], [1.0])

    with pytest.raises(DataError, match="at least one battle"):
        bradley_terry(battles.take(np.array([], dtype=np.intp)))
    with pytest.raises(DataError, match="`l2`"):
        bradley_terry(battles, l2=0)


def test_ratings_are_finite_where_one_side_always_wins():
    wins = np.zeros((1, 3, 3))
    wins[0, 0, 1] = 1000.0

    ratings = solve_ratings(wins, l2=1e-4)

    assert np.isfinite(ratings).all()
    assert ratings[0, 0] - ratings[0, 1] > 5


def test_ratings_do_not_depend_on_where_the_search_starts():
    rng = np.random.default_rng(0)
    wins = rng.integers(0, 9, (5, 7, 7)).astype(float)
    wins[:, range(7), range(7)] = 0

    far = solve_ratings(wins, l2=1e-3, start=rng.normal(scale=8, size=6))

    assert far == pytest.approx(solve_ratings(wins, l2=1e-3), abs=1e-8)


def test_many_matrices_at_once_give_what_each_gives_alone():
    wins = np.random.default_rng(1).integers(0, 9, (5, 7, 7)).astype(float)
    wins[:, range(7), range(7)] = 0

    alone = np.concatenate([solve_ratings(one[None], l2=1e-3) for one in wins])

    assert solve_ratings(wins, l2=1e-3) == pytest.approx(alone, abs=1e-9)


def test_ratings_of_a_long_chain_of_constant_winners_reach_the_maximum():
    wins = np.zeros((1, 41, 41))
    wins[0, range(39), range(1, 40)] = 1000.0  # each beats the next, always

    ratings = solve_ratings(wins, l2=1e-3)[0]

    surplus = 1000 / (1 + np.exp(ratings[:-1] - ratings[1:]))  # wins beyond the expected ones, of each against the next
    gradient = np.append(surplus, 0) - np.append(0, surplus) - 1e-3 * ratings
    assert gradient == pytest.approx(0, abs=1e-8)
