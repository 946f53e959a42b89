"""What holds for every set of scores and outcomes."""

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from prefroute.curve import Curve
from prefroute.metrics import aiq, apgr, cpt, envelope, oracle_curve

QUARTERS = st.integers(0, 4).map(lambda value: value / 4)


@st.composite
def cases(draw):
    """Scores with ties, and qualities of two models, as three columns."""
    n = draw(st.integers(1, 30))
    columns = [draw(st.lists(QUARTERS, min_size=n, max_size=n)) for _ in range(3)]
    return tuple(np.array(column) for column in columns)


@given(cases())
def test_curve_ends_are_the_single_models(case):
    score, strong, weak = case

    curve = Curve.from_scores(score, strong, weak)

    np.testing.assert_allclose(curve.quality[[0, -1]], [weak.mean(), strong.mean()], atol=1e-12)


@given(cases(), st.randoms(use_true_random=False))
def test_row_order_never_matters(case, random):
    score, strong, weak = case
    order = np.array(random.sample(range(len(score)), len(score)))

    a = Curve.from_scores(score, strong, weak)
    b = Curve.from_scores(score[order], strong[order], weak[order])

    np.testing.assert_allclose(a.quality, b.quality, atol=1e-12)


@given(cases())
def test_only_the_order_of_scores_matters(case):
    score, strong, weak = case

    a = Curve.from_scores(score, strong, weak)
    b = Curve.from_scores(np.exp(3 * score), strong, weak)

    assert (a.quality == b.quality).all()


@given(cases())
def test_no_scores_beat_the_oracle_at_any_share(case):
    score, strong, weak = case

    curve, best = Curve.from_scores(score, strong, weak), oracle_curve(strong, weak)

    assert all(curve.at(share) <= best.at(share) + 1e-12 for share in np.linspace(0, 1, 11))


@given(cases())
def test_opposite_scores_have_apgr_that_adds_to_one(case):
    score, strong, weak = case
    assume(strong.mean() > weak.mean())
    ends = weak.mean(), strong.mean()

    there = apgr(Curve.from_scores(score, strong, weak), *ends)
    back = apgr(Curve.from_scores(-score, strong, weak), *ends)

    assert abs(there + back - 1) < 1e-9


@given(cases(), st.floats(0.05, 0.95), st.floats(0.05, 0.95))
def test_a_higher_target_never_needs_fewer_calls(case, one, other):
    score, strong, weak = case
    assume(strong.mean() > weak.mean())
    curve, ends = Curve.from_scores(score, strong, weak), (weak.mean(), strong.mean())

    low, high = sorted([one, other])

    assert 0 <= cpt(curve, *ends, low) <= cpt(curve, *ends, high) + 1e-12 <= 1 + 2e-12


@given(st.lists(st.tuples(st.integers(0, 20), QUARTERS), min_size=1, max_size=20))
def test_envelope_lies_above_every_point_and_is_concave_and_rising(points):
    cost, quality = (np.array(column, dtype=float) for column in zip(*points, strict=True))

    x, y = envelope(cost, quality)

    assert (np.interp(cost, x, y) >= quality - 1e-12).all()
    assert (np.diff(y) > 0).all()
    slopes = np.diff(y) / np.diff(x)
    assert (np.diff(slopes) < 0).all()


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 20), QUARTERS), min_size=1, max_size=10), QUARTERS, st.integers(0, 20))
def test_another_policy_never_lowers_aiq(points, quality, cost):
    x, y = (np.array(column, dtype=float) for column in zip(*points, strict=True))

    before = aiq(x, y, 0.0, 20.0)
    after = aiq(np.append(x, cost), np.append(y, quality), 0.0, 20.0)

    assert after >= before - 1e-12
