"""The exact curve: ends, ties, weights, the paper's grid."""

import numpy as np
import pytest

from prefroute.curve import Curve, score_blocks
from prefroute.errors import DataError

STRONG = np.array([1.0, 1.0, 0.0, 1.0])
WEAK = np.array([0.0, 1.0, 1.0, 0.0])


def test_curve_has_one_point_per_distinct_score_and_the_start():
    curve = Curve.from_scores(np.array([0.9, 0.7, 0.5, 0.3]), STRONG, WEAK)

    # weak mean 0.5; gains in order of score are 1, 0, -1, 1
    assert curve.strong_share.tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert curve.quality.tolist() == [0.5, 0.75, 0.75, 0.5, 0.75]
    assert curve.threshold.tolist() == [np.inf, 0.9, 0.7, 0.5, 0.3]


def test_equal_scores_are_one_straight_segment():
    curve = Curve.from_scores(np.array([0.9, 0.5, 0.5, 0.5]), STRONG, WEAK)

    # after the first prompt the other three (gains 0, -1, 1) add nothing, in whichever order they come
    assert curve.strong_share.tolist() == [0, 0.25, 1]
    assert curve.quality.tolist() == [0.5, 0.75, 0.75]


def test_row_order_does_not_matter_under_ties():
    score = np.array([0.5, 0.9, 0.5, 0.9])
    turned = np.array([3, 2, 1, 0])

    a = Curve.from_scores(score, STRONG, WEAK)
    b = Curve.from_scores(score[turned], STRONG[turned], WEAK[turned])

    assert a.quality.tolist() == b.quality.tolist()


def test_weights_count_a_prompt_as_often_as_they_say():
    score = np.array([0.9, 0.7, 0.5, 0.3])
    times = np.array([2, 0, 1, 3])

    weighted = Curve.from_scores(score, STRONG, WEAK, weights=times.astype(float))
    repeated = Curve.from_scores(np.repeat(score, times), np.repeat(STRONG, times), np.repeat(WEAK, times))

    np.testing.assert_allclose(weighted.strong_share, repeated.strong_share)
    np.testing.assert_allclose(weighted.quality, repeated.quality)


def test_at_interpolates_inside_a_block_of_ties():
    curve = Curve.from_scores(np.array([0.5, 0.5]), np.array([1.0, 1.0]), np.array([0.0, 0.0]))

    assert curve.at(0.25) == 0.25


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_at_refuses_a_share_outside_0_and_1(share):
    with pytest.raises(DataError, match=r"`strong_share` must be in \[0, 1\], got"):
        Curve.line(0.0, 1.0).at(share)


def test_line_is_random_routing():
    assert Curve.line(weak=0.2, strong=0.6).at(0.5) == pytest.approx(0.4)


def test_paper_grid_has_eleven_points_at_the_deciles():
    score = np.arange(100.0)  # deciles are 0, 9.9, 19.8 ... 89.1, 99

    curve = Curve.paper_grid(score, np.ones(100), np.zeros(100))

    # the last cut is strict, so the curve starts at 0; then score >= 89.1 holds 10 prompts, and so on
    assert (curve.strong_share * 100).round().tolist() == [0, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100]
    np.testing.assert_allclose(curve.quality, curve.strong_share)


def test_paper_grid_drops_cuts_that_ties_make_equal():
    curve = Curve.paper_grid(np.array([0.1] * 5 + [0.9] * 5), np.ones(10), np.zeros(10))

    assert curve.strong_share.tolist() == [0, 0.5, 1]


def test_thinned_keeps_both_ends_and_the_bound():
    score = np.linspace(0, 1, 1000)
    curve = Curve.from_scores(score, np.ones(1000), np.zeros(1000))

    thin = curve.thinned(200)

    assert len(thin.strong_share) == 200
    assert (thin.strong_share[0], thin.strong_share[-1]) == (0, 1)
    assert curve.thinned(5000) is curve


def test_blocks_begin_where_the_score_falls():
    order, starts = score_blocks(np.array([0.5, 0.9, 0.5, 0.1]))

    assert order.tolist() == [1, 0, 2, 3]
    assert starts.tolist() == [0, 1, 3]


def test_no_prompts_is_refused():
    with pytest.raises(DataError, match="at least one prompt, got 0"):
        Curve.from_scores(np.array([]), np.array([]), np.array([]))


def test_nan_score_is_refused_with_its_row():
    with pytest.raises(DataError, match=r"Row 1: `win_rate` must be a finite number, got nan \(1 such rows\)"):
        Curve.from_scores(np.array([0.1, np.nan]), np.ones(2), np.zeros(2))


def test_unequal_lengths_are_refused():
    with pytest.raises(DataError, match=r"`quality_weak` must have shape \(n_prompts,\) = \(2,\), got \(3,\)"):
        Curve.from_scores(np.array([0.1, 0.2]), np.ones(2), np.zeros(3))


@pytest.mark.parametrize("weights", [[0.0, 0.0], [1.0, -1.0]])
def test_weights_that_count_nothing_are_refused(weights):
    with pytest.raises(DataError, match="`weights` must be >= 0 with at least one above 0"):
        Curve.from_scores(np.array([0.1, 0.2]), np.ones(2), np.zeros(2), weights=np.array(weights))


@pytest.mark.parametrize("share", [[0.0, 0.5], [0.1, 1.0], [0.0, 0.5, 0.5, 1.0]])
def test_shares_that_do_not_rise_from_0_to_1_are_refused(share):
    points = np.array(share)
    with pytest.raises(DataError, match="`strong_share` must rise from 0 to 1"):
        Curve(points, points, points)


def test_columns_of_different_length_are_no_curve():
    with pytest.raises(DataError, match="of one shape"):
        Curve(np.array([0.0, 1.0]), np.array([0.0]), np.array([1.0, 0.0]))
