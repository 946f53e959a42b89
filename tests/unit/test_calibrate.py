"""Thresholds for a share, a cost or a quality; ties; targets out of reach; the interval on new traffic."""

import json

import numpy as np
import pytest

from prefroute.calibrate import TARGETS, calibrate
from prefroute.errors import ConfigError, DataError
from prefroute.routers.base import Router, RouterState
from prefroute.settings import load_settings
from prefroute.types import Outcomes

PRICES = {"big": 0.010, "small": 0.001}


class Said(Router):
    """The prompt is its own score."""

    kind = "said"
    strong, weak = "big", "small"

    def fit(self, data):
        return self

    def win_rate(self, prompts):
        return np.array([float(prompt) for prompt in prompts])

    def state(self):
        return RouterState()

    def restore(self, state):
        return self


def says(scores):
    return [str(score) for score in scores]


TEN = says([0.05, 0.15, 0.25, 0.35, 0.45, 0.55, 0.65, 0.75, 0.85, 0.95])


class Unsteady(Said):
    """Scores move with the row by less than anybody sees, as matrix products do."""

    def win_rate(self, prompts):
        return super().win_rate(prompts) + 1e-10 * np.arange(len(prompts))


def outcomes(scores, strong, weak, cost=None):
    return Outcomes(says(scores), ("small", "big"), np.column_stack([weak, strong]).astype(float), cost)


def value(found):
    """The figure of an interval that must be there."""
    assert found is not None
    return found.value


def test_threshold_cuts_half_way_between_two_scores():
    found = calibrate(Said(), TEN, strong_share=0.3)

    assert found.policy.alpha == pytest.approx(0.7)
    assert found.strong_share.value == pytest.approx(0.3)
    assert found.note == ""


def test_equal_prompts_are_never_torn_apart_whatever_their_rows():
    found = calibrate(Unsteady(), says([0.5, 0.2] * 10), strong_share=0.25)

    assert value(found.strong_share) == 0.0
    assert "10 of 20 prompts share the score" in found.note


@pytest.mark.parametrize("share", [0.0, 0.1, 0.3, 0.55, 0.999, 1.0])
def test_the_policy_sends_what_was_promised_and_never_more_than_wanted(share):
    found = calibrate(Said(), TEN, strong_share=share)

    sent = found.policy.choose(Said().win_rate(TEN)).mean()
    assert sent == pytest.approx(found.strong_share.value)
    assert sent <= share


def test_a_block_of_ties_across_the_target_stays_whole_and_is_told():
    found = calibrate(Said(), says([0.9, 0.5, 0.5, 0.5, 0.1]), strong_share=0.5)

    assert found.strong_share.value == pytest.approx(0.2)
    assert found.note == (
        "3 of 5 prompts share the score 0.5 and cannot be torn apart: strong_share is 0.2, wanted 0.5; "
        "the next place would give 0.8."
    )


def test_a_target_at_the_edge_of_a_block_needs_no_note():
    found = calibrate(Said(), says([0.9, 0.9, 0.5, 0.5, 0.5]), strong_share=0.4)

    assert found.strong_share.value == pytest.approx(0.4)
    assert found.note == ""


def test_constant_scores_are_all_or_nothing():
    nothing = calibrate(Said(), says([0.5] * 10), strong_share=0.9)
    everything = calibrate(Said(), says([0.5] * 10), strong_share=1.0)

    assert (nothing.strong_share.value, nothing.policy.alpha) == (0.0, 1.0)
    assert (everything.strong_share.value, everything.policy.alpha) == (1.0, 0.0)


def test_scores_of_exactly_1_cannot_be_kept_from_the_strong_model():
    with pytest.raises(DataError, match="The highest win rate is exactly 1"):
        calibrate(Said(), says([1.0, 1.0, 0.5]), strong_share=0.3)


def test_neighbouring_floats_are_told_apart():
    low = 0.5
    high = np.nextafter(low, 1)

    found = calibrate(Said(), says([low, high]), strong_share=0.5)

    assert found.policy.choose(np.array([low, high])).tolist() == [False, True]


def test_mean_cost_comes_from_prices():
    found = calibrate(Said(), TEN, mean_cost_usd=0.0030, prices=PRICES)

    # .001 + share * .009 <= .003: share .2222, so two of ten
    assert found.strong_share.value == pytest.approx(0.2)
    assert value(found.mean_cost_usd) == pytest.approx(0.0028)


def test_costs_in_outcomes_come_before_prices():
    cost = np.column_stack([np.full(4, 0.001), np.array([0.1, 0.2, 0.3, 0.4])])
    table = outcomes([0.9, 0.8, 0.7, 0.6], np.ones(4), np.zeros(4), cost)

    found = calibrate(Said(), table, mean_cost_usd=0.08, prices=PRICES)

    # (.1 + .2 + 2 * .001) / 4 = .0755; a third strong answer would make it .15025
    assert value(found.mean_cost_usd) == pytest.approx(0.0755)


def test_a_cost_below_the_cheapest_cut_is_refused():
    with pytest.raises(DataError, match=r"A mean cost of 0\.0005 USD cannot be reached: the cheapest cut on these"):
        calibrate(Said(), TEN, mean_cost_usd=0.0005, prices=PRICES)


def test_a_cost_without_prices_is_refused_by_model():
    with pytest.raises(ConfigError, match="No price is known for 'small'"):
        calibrate(Said(), TEN, mean_cost_usd=0.01, prices={"big": 0.01})


def test_pgr_takes_the_smallest_share_that_reaches_it():
    table = outcomes([0.9, 0.8, 0.7, 0.6], strong=[1, 1, 1, 1], weak=[0, 1, 0, 1])

    found = calibrate(Said(), table, pgr=0.6)

    # gains 1, 0, 1, 0 of 2: PGR .5 after one and two, 1 after three
    assert found.strong_share.value == pytest.approx(0.75)
    assert value(found.pgr) == pytest.approx(1.0)
    assert value(found.quality) == pytest.approx(1.0)
    assert found.policy.alpha == pytest.approx(0.65)


def test_pgr_tells_of_a_block_that_overshoots():
    table = outcomes([0.9, 0.9, 0.1], strong=[1, 1, 1], weak=[0, 0, 1])

    found = calibrate(Said(), table, pgr=0.5)

    assert found.note.startswith("2 of 3 prompts share the score 0.9 and cannot be torn apart: pgr is 1, wanted 0.5")


def test_pgr_without_a_gap_is_refused():
    table = outcomes([0.9, 0.1], strong=[0, 1], weak=[1, 0])

    with pytest.raises(DataError, match="The strong model is not better than the weak one on these prompts"):
        calibrate(Said(), table, pgr=0.5)


def test_a_share_can_be_calibrated_where_there_is_no_gap():
    found = calibrate(Said(), outcomes([0.9, 0.1], strong=[0, 1], weak=[1, 0]), strong_share=0.5)

    assert found.pgr is None
    assert value(found.quality) == 0.0


def test_pgr_needs_outcomes():
    with pytest.raises(ConfigError, match="Calibrating for PGR needs outcomes"):
        calibrate(Said(), TEN, pgr=0.5)


def test_rows_that_one_model_did_not_answer_do_not_count():
    found = calibrate(Said(), outcomes([0.9, 0.5, 0.1], [1, 1, 1], [0, np.nan, 0]), strong_share=0.5)

    assert found.n == 2


@pytest.mark.parametrize("given", [{}, {"strong_share": 0.5, "pgr": 0.5}])
def test_exactly_one_target_is_wanted(given):
    with pytest.raises(ConfigError, match="Calibrate for exactly one of strong_share, mean_cost_usd, pgr, got"):
        calibrate(Said(), TEN, **given)


@pytest.mark.parametrize(
    "given",
    [
        {"strong_share": 1.1},
        {"strong_share": float("nan")},
        {"mean_cost_usd": -1.0},
        {"mean_cost_usd": float("inf")},
        {"pgr": 0.0},
        {"pgr": 1.5},
    ],
)
def test_targets_out_of_range_are_refused(given):
    with pytest.raises(ConfigError, match="must be"):
        calibrate(Said(), outcomes([0.9, 0.1], [1, 1], [0, 0]), **given)


def test_no_prompts_are_refused():
    with pytest.raises(DataError, match="Calibration needs prompts"):
        calibrate(Said(), [], strong_share=0.5)


def test_no_resamples_are_refused():
    with pytest.raises(ConfigError, match="`n_boot` must be at least 1"):
        calibrate(Said(), TEN, strong_share=0.5, n_boot=0)


def test_nan_scores_are_refused_with_their_row():
    with pytest.raises(DataError, match="Row 1: `win_rate` must be a finite number"):
        calibrate(Said(), ["0.5", "nan"], strong_share=0.5)


def test_the_share_interval_is_about_as_wide_as_the_binomial_one():
    rng = np.random.default_rng(0)

    found = calibrate(Said(), says(rng.random(1000)), strong_share=0.3)

    # 1.96 * sqrt(.3 * .7 / 1000) = .0284 to each side
    assert found.strong_share.high - found.strong_share.low == pytest.approx(2 * 0.0284, rel=0.1)


def test_a_large_block_keeps_the_uncertainty_of_its_own_size():
    scores = np.repeat([0.9, 0.5], [100, 900])

    found = calibrate(Said(), says(scores), strong_share=0.5)

    # the share is that of the 0.9s: .1 with 1.96 * sqrt(.1 * .9 / 1000) = .0186 to each side
    assert found.strong_share.low == pytest.approx(0.1 - 0.0186, abs=0.004)
    assert found.strong_share.high == pytest.approx(0.1 + 0.0186, abs=0.004)


@pytest.mark.slow
def test_the_intervals_hold_on_new_traffic_as_often_as_they_say():
    rng = np.random.default_rng(1)
    truth = np.linspace(0.0005, 0.9995, 4000)  # scores of all traffic; the strong model is right with this probability
    hits = {"strong_share": 0, "quality": 0}
    n_trials = 200
    for _ in range(n_trials):
        score = rng.random(300)
        found = calibrate(
            Said(),
            outcomes(score, rng.random(300) < 0.4 + 0.6 * score, rng.random(300) < 0.4),
            strong_share=0.3,
            n_boot=300,
        )
        sent = truth >= found.policy.alpha
        real = {"strong_share": sent.mean(), "quality": np.where(sent, 0.4 + 0.6 * truth, 0.4).mean()}
        for name, achieved in real.items():
            hits[name] += getattr(found, name).low <= achieved <= getattr(found, name).high

    # 95% promised; 200 trials of a true 95% stay above 90% with probability .998
    assert all(count >= 0.9 * n_trials for count in hits.values()), hits


def test_json_has_no_nan():
    table = outcomes([0.9, 0.8, 0.7, 0.6], strong=[1, 0, 1, 1], weak=[0, 1, 1, 0])

    stored = json.loads(json.dumps(calibrate(Said(), table, pgr=0.5).to_dict(), allow_nan=False))

    assert stored["policy"]["kind"] == "threshold"
    assert stored["target"] == "pgr"


def test_the_same_seed_gives_the_same_calibration():
    assert calibrate(Said(), TEN, strong_share=0.4, seed=1) == calibrate(Said(), TEN, strong_share=0.4, seed=1)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("value", [-3.0, 0.0, 0.001, 0.5, 1.0, 1.5, float("inf"), float("nan")])
def test_the_settings_file_takes_the_targets_that_calibration_takes(tmp_path, target, value):
    def is_refused(work):
        try:
            work()
        except ConfigError:
            return True
        except DataError:  # in range, but out of reach on these prompts
            return False
        return False

    table = Outcomes(TEN, ("big", "small"), np.tile([1.0, 0.0], (10, 1)))
    file = tmp_path / "prefroute.yaml"
    file.write_text(f"calibrate: {{{target}: {value}}}".replace(" inf", " .inf").replace(" nan", " .nan"))

    by_calibration = is_refused(lambda: calibrate(Said(), table, **{target: value}, prices=PRICES, n_boot=1))

    assert is_refused(lambda: load_settings(file)) == by_calibration
