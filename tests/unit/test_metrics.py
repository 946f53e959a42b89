"""PGR, APGR, CPT, cost, AIQ and their intervals, on cases small enough to work out by hand."""

import numpy as np
import pytest

from prefroute.curve import Curve
from prefroute.errors import DataError
from prefroute.metrics import (
    PairOutcomes,
    aiq,
    apgr,
    bootstrap,
    call_share,
    cost_apgr,
    cpt,
    envelope,
    interval,
    mean_chosen,
    oracle_curve,
    pgr,
    resample_counts,
)


def test_call_share_is_the_share_of_strong_calls():
    assert call_share(np.array([True, True, False, False, False])) == 0.4


def test_call_share_of_nothing_is_refused():
    with pytest.raises(DataError, match="at least one prompt, got 0"):
        call_share(np.array([], dtype=bool))


def test_mean_chosen_of_costs_is_usd_per_request():
    # strong, weak, weak: (0.010 + 0.001 + 0.003) / 3
    cost = mean_chosen(np.array([True, False, False]), np.array([0.01, 0.01, 0.02]), np.array([0.002, 0.001, 0.003]))

    assert cost == pytest.approx(0.014 / 3)


def test_mean_chosen_refuses_unequal_lengths():
    with pytest.raises(DataError, match="must have one shape"):
        mean_chosen(np.array([True]), np.array([1.0, 1.0]), np.array([1.0, 1.0]))


@pytest.mark.parametrize(("quality", "wanted"), [(0.5, 0.0), (0.7, 0.5), (0.9, 1.0), (1.1, 1.5), (0.3, -0.5)])
def test_pgr_may_leave_0_to_1(quality, wanted):
    assert pgr(quality, weak=0.5, strong=0.9) == pytest.approx(wanted)


@pytest.mark.parametrize("strong", [0.5, 0.4, float("nan")])
def test_a_gap_that_is_none_is_refused(strong):
    with pytest.raises(DataError, match="`strong` must be better than `weak` on these questions"):
        pgr(0.5, weak=0.5, strong=strong)


def test_apgr_of_the_random_line_is_a_half():
    assert apgr(Curve.line(0.2, 0.7), 0.2, 0.7) == 0.5


def test_apgr_worked_by_hand():
    # gains 1, 0 in order of score: PGR 0, 1, 1 at shares 0, .5, 1; area = .25 + .5
    curve = Curve.from_scores(np.array([0.9, 0.1]), np.array([1.0, 1.0]), np.array([0.0, 1.0]))

    assert apgr(curve, weak=0.5, strong=1.0) == 0.75


def test_reversed_scores_mirror_apgr_around_a_half():
    rng = np.random.default_rng(0)
    score, strong, weak = rng.random(50), rng.random(50) + 0.2, rng.random(50)
    ends = weak.mean(), strong.mean()

    forward = apgr(Curve.from_scores(score, strong, weak), *ends)
    backward = apgr(Curve.from_scores(-score, strong, weak), *ends)

    assert forward + backward == pytest.approx(1.0)


def test_cpt_is_the_first_crossing_where_the_curve_falls_again():
    # PGR .0, .6, .4, 1.0: it reaches .5 first at five sixths of the first third
    points = np.array([0, 1 / 3, 2 / 3, 1])
    curve = Curve(points, np.array([0.0, 0.6, 0.4, 1.0]), points[::-1])

    assert cpt(curve, 0.0, 1.0, 0.5) == pytest.approx(5 / 18)


def test_cpt_of_the_whole_gap_is_at_most_1():
    assert cpt(Curve.line(0.1, 0.4), 0.1, 0.4, 1.0) == 1.0


def test_cpt_is_1_where_rounding_keeps_the_curve_below():
    assert cpt(Curve.line(0.0, 1.0 - 1e-16), 0.0, 1.0, 1.0) == 1.0


def test_cpt_is_0_where_the_curve_begins_above():
    assert cpt(Curve.line(0.9, 1.0), 0.0, 1.0, 0.5) == 0.0


@pytest.mark.parametrize("share", [0.0, -0.5, 1.5, float("nan")])
def test_cpt_refuses_a_share_outside_its_range(share):
    with pytest.raises(DataError, match=r"`share` must be in \(0, 1\], got"):
        cpt(Curve.line(0.0, 1.0), 0.0, 1.0, share)


def test_cost_apgr_equals_apgr_where_prices_are_flat():
    rng = np.random.default_rng(1)
    score, strong, weak = rng.random(30), rng.random(30) + 0.2, rng.random(30)
    curve = Curve.from_scores(score, strong, weak)
    cost = Curve.from_scores(score, np.full(30, 0.01), np.full(30, 0.002))
    ends = weak.mean(), strong.mean()

    assert cost_apgr(curve, cost, *ends) == pytest.approx(apgr(curve, *ends))


def test_cost_apgr_is_lower_for_a_router_that_picks_dear_prompts():
    score, strong, weak = np.array([0.9, 0.1]), np.array([1.0, 1.0]), np.array([0.0, 1.0])
    curve = Curve.from_scores(score, strong, weak)
    cost = Curve.from_scores(score, np.array([0.03, 0.01]), np.zeros(2))

    # cost shares 0, .75, 1 against PGR 0, 1, 1: .375 + .25
    assert cost_apgr(curve, cost, 0.5, 1.0) == pytest.approx(0.625)


def test_cost_apgr_needs_a_dearer_strong_model():
    with pytest.raises(DataError, match="The strong model must cost more than the weak one, got 1 and 1 USD"):
        cost_apgr(Curve.line(0.0, 1.0), Curve.line(1.0, 1.0), 0.0, 1.0)


def test_oracle_sends_true_gains_first():
    curve = oracle_curve(np.array([1.0, 0.0, 1.0]), np.array([1.0, 1.0, 0.0]))

    # gains 0, -1, 1; weak mean 2/3
    np.testing.assert_allclose(curve.quality, [2 / 3, 1, 1, 2 / 3])


def test_envelope_drops_what_a_mix_of_others_beats():
    cost, quality = envelope(np.array([1.0, 2.0, 3.0]), np.array([0.0, 0.4, 1.0]))

    assert cost.tolist() == [1, 3]  # half of each neighbour gives .5 at cost 2
    assert quality.tolist() == [0, 1]


def test_envelope_stops_at_its_best_quality():
    cost, quality = envelope(np.array([1.0, 2.0, 3.0]), np.array([0.2, 0.9, 0.5]))

    assert (cost.tolist(), quality.tolist()) == ([1, 2], [0.2, 0.9])


def test_envelope_keeps_the_better_of_two_at_one_cost():
    cost, quality = envelope(np.array([1.0, 1.0]), np.array([0.2, 0.6]))

    assert (cost.tolist(), quality.tolist()) == ([1], [0.6])


@pytest.mark.parametrize("bad", [[0.1, np.nan], [0.1, 0.2, 0.3], []])
def test_envelope_refuses_what_is_not_points(bad):
    with pytest.raises(DataError, match="`cost_usd` and `quality` must"):
        envelope(np.array(bad), np.array([0.5, 0.6])[: len(bad)])


def test_aiq_is_flat_right_of_the_last_corner():
    # .5 to .9 over costs 1 to 3, then .9 until 5: (2 * .7 + 2 * .9) / 4
    assert aiq(np.array([1.0, 3.0]), np.array([0.5, 0.9]), 1.0, 5.0) == pytest.approx(0.8)


def test_aiq_gives_nothing_below_the_cheapest_policy():
    assert aiq(np.array([2.0]), np.array([0.8]), 0.0, 4.0) == pytest.approx(0.4)
    assert aiq(np.array([9.0]), np.array([0.8]), 0.0, 4.0) == 0.0


def test_aiq_refuses_an_empty_range():
    with pytest.raises(DataError, match="AIQ needs a range of costs, got 2 to 2 USD"):
        aiq(np.array([1.0]), np.array([0.5]), 2.0, 2.0)


def test_interval_is_the_middle_95_percent():
    found = interval(0.5, np.arange(1001) / 1000)

    assert (found.low, found.high, found.undefined_share) == (0.025, 0.975, 0.0)


def test_interval_leaves_undefined_resamples_out_and_counts_them():
    draws = np.concatenate([np.arange(101) / 100, np.full(99, np.nan)])

    found = interval(0.5, draws)

    assert (found.low, found.high) == (0.025, 0.975)
    assert found.undefined_share == pytest.approx(99 / 200)


def test_interval_is_undefined_where_most_resamples_are():
    found = interval(0.5, np.array([0.1, np.nan, np.nan]))

    assert np.isnan([found.low, found.high]).all()


def test_each_resample_draws_as_many_questions_as_there_are():
    blocks = list(resample_counts(7, 10, seed=3))

    counts = np.concatenate(blocks)
    assert counts.shape == (10, 7)
    assert (counts.sum(axis=1) == 7).all()


def test_bootstrap_refuses_scores_of_another_length():
    with pytest.raises(DataError, match="`scores of knn` must have shape"):
        bootstrap({"knn": np.zeros(3)}, PairOutcomes(np.ones(2), np.zeros(2)))


def test_bootstrap_of_nothing_is_refused():
    with pytest.raises(DataError, match="at least one question, got 0"):
        bootstrap({}, PairOutcomes(np.array([]), np.array([])))


def test_constant_scores_give_exactly_random_in_every_resample():
    rng = np.random.default_rng(0)
    outcomes = PairOutcomes(rng.random(40) + 0.5, rng.random(40))

    found = bootstrap({"flat": np.zeros(40)}, outcomes, n_boot=50)

    np.testing.assert_allclose(found.metrics["flat"]["apgr"], 0.5)
    np.testing.assert_allclose(found.metrics["flat"]["cpt80"], 0.8)


def test_resamples_without_a_gap_are_undefined():
    # one question in which strong wins and one in which weak wins by less: half the resamples have a gap
    outcomes = PairOutcomes(np.array([1.0, 0.0]), np.array([0.0, 1.0]))

    found = bootstrap({"any": np.array([0.1, 0.9])}, outcomes, n_boot=400)

    # a gap exists only where the first question is drawn twice, 1 resample in 4
    assert np.isnan(found.metrics["any"]["apgr"]).mean() == pytest.approx(0.75, abs=0.08)
    assert (np.isnan(found.metrics["any"]["cpt50"]) == np.isnan(found.metrics["any"]["apgr"])).all()


def test_costs_must_be_known_for_both_models():
    with pytest.raises(DataError, match="for both models or for neither"):
        PairOutcomes(np.ones(1), np.zeros(1), strong_cost_usd=np.ones(1))


def test_routers_are_compared_on_the_same_resamples():
    rng = np.random.default_rng(5)
    score = rng.random(60)
    outcomes = PairOutcomes(rng.random(60) + 0.3, rng.random(60))

    found = bootstrap({"one": score, "other": 2 * score + 1}, outcomes, n_boot=100)

    assert (found.metrics["one"]["apgr"] == found.metrics["other"]["apgr"]).all()  # one order, no difference
