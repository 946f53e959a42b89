"""What each policy chooses, and what it refuses."""

import numpy as np
import pytest

from prefroute.errors import ConfigError, DataError
from prefroute.policy import CostQuality, Threshold, policy_from_dict


def test_threshold_above_all_scores_routes_everything_to_weak():
    assert not Threshold(0.9).choose(np.array([0.1, 0.5, 0.89])).any()


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("win_rate", [0.0, 0.1, 0.3, 0.30000000000000004, 1.0])
def test_one_win_rate_is_decided_as_in_an_array(alpha, win_rate):
    policy = Threshold(alpha)

    assert policy.takes_strong(win_rate) is bool(policy.choose(np.array([win_rate]))[0])


def test_threshold_zero_routes_everything_to_strong():
    assert Threshold(0.0).choose(np.array([0.0, 0.5, 1.0])).all()


def test_a_win_rate_equal_to_alpha_goes_to_strong():
    assert Threshold(0.3).choose(np.array([0.3])).tolist() == [True]


@pytest.mark.parametrize("alpha", [-0.01, 1.01, float("nan"), float("inf"), "0.5", None, True])
def test_alpha_outside_0_and_1_is_refused(alpha):
    with pytest.raises(ConfigError, match="`alpha`"):
        Threshold(alpha)


@pytest.mark.parametrize("bad", [-0.1, 1.1, float("nan")])
def test_a_win_rate_outside_0_and_1_is_refused_with_its_row(bad):
    with pytest.raises(DataError, match=r"Row 1: `win_rate` must be in \[0, 1\], got"):
        Threshold(0.5).choose(np.array([0.5, bad]))


def test_weight_zero_takes_the_best_whatever_it_costs():
    assert CostQuality(0.0).choose(np.array([[0.9, 0.8]]), np.array([100.0, 0.0])).tolist() == [0]


def test_of_equal_values_the_cheaper_is_chosen_then_the_first():
    quality = np.array([[0.5, 0.5, 0.5]])

    assert CostQuality(0.0).choose(quality, np.array([2.0, 1.0, 1.0])).tolist() == [1]


def test_prices_may_differ_by_prompt():
    quality = np.array([[0.9, 0.8], [0.9, 0.8]])

    chosen = CostQuality(1.0).choose(quality, np.array([[0.5, 0.1], [0.1, 0.1]]))

    assert chosen.tolist() == [1, 0]  # .4 against .7, then .8 against .7


def test_no_prompts_choose_nothing():
    assert CostQuality(1.0).choose(np.empty((0, 2)), np.array([1.0, 2.0])).shape == (0,)


@pytest.mark.parametrize("weight", [-1.0, float("nan"), float("inf"), "1"])
def test_a_weight_that_is_no_price_of_money_is_refused(weight):
    with pytest.raises(ConfigError, match="`usd_weight`"):
        CostQuality(weight)


@pytest.mark.parametrize(
    ("quality", "price", "message"),
    [
        ([[0.5, np.nan]], [1.0, 1.0], "`quality` must be finite"),
        ([[0.5, 0.5]], [1.0, -1.0], "`price_usd` must be finite and >= 0"),
        ([[0.5, 0.5]], [1.0, np.inf], "`price_usd` must be finite and >= 0"),
        ([[0.5, 0.5]], [1.0], "must have shape"),
        ([0.5, 0.5], [1.0, 1.0], "must have shape"),
    ],
)
def test_what_is_not_a_table_of_numbers_is_refused(quality, price, message):
    with pytest.raises(DataError, match=message):
        CostQuality(1.0).choose(np.array(quality), np.array(price))


def test_unknown_policy_names_the_nearest():
    with pytest.raises(ConfigError, match=r"Unknown policy 'treshold'\. Did you mean 'threshold'\?"):
        policy_from_dict({"kind": "treshold", "alpha": 0.5})


@pytest.mark.parametrize(
    "stored",
    [{"kind": "threshold"}, {"kind": "threshold", "alpha": 0.5, "beta": 1}, {"kind": "threshold", "alpha": "0.5"}],
)
def test_a_stored_policy_with_other_keys_or_types_is_refused(stored):
    with pytest.raises(ConfigError, match="policy 'threshold'"):
        policy_from_dict(stored)


def test_a_policy_of_another_kind_is_not_read_as_this_one():
    with pytest.raises(ConfigError, match="is stored as the keys"):
        Threshold.from_dict({"kind": "cost_quality", "alpha": 0.5})
