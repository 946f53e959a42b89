"""Invariants of the policies. Values are small dyadic fractions, so that sums are exact and ties are real ties."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from prefroute.policy import CostQuality, Threshold

EIGHTHS = st.integers(0, 8).map(lambda value: value / 8)
TABLES = hnp.arrays(np.float64, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=6), elements=EIGHTHS)


@given(TABLES, st.data())
def test_a_constant_added_to_a_row_changes_no_choice(quality, data):
    n, m = quality.shape
    price = np.array(data.draw(st.lists(EIGHTHS, min_size=m, max_size=m)))
    shift = np.array(data.draw(st.lists(st.integers(-4, 4), min_size=n, max_size=n)), dtype=float)
    policy = CostQuality(data.draw(EIGHTHS))

    assert (policy.choose(quality, price) == policy.choose(quality + shift[:, None], price)).all()


@given(TABLES, st.data())
def test_a_larger_usd_weight_never_raises_the_mean_price(quality, data):
    m = quality.shape[1]
    price = np.array(data.draw(st.lists(EIGHTHS, min_size=m, max_size=m)))
    low, high = sorted([data.draw(EIGHTHS), data.draw(EIGHTHS)])

    spent_low = price[CostQuality(low).choose(quality, price)].mean()
    spent_high = price[CostQuality(high).choose(quality, price)].mean()

    assert spent_high <= spent_low


@given(TABLES, st.data())
def test_permuting_models_permutes_the_choice(quality, data):
    m = quality.shape[1]
    price = np.array(data.draw(st.permutations([i / 16 for i in range(m)])))  # distinct: no tie is left to the order
    order = np.array(data.draw(st.permutations(range(m))))
    policy = CostQuality(data.draw(EIGHTHS))

    assert (order[policy.choose(quality[:, order], price[order])] == policy.choose(quality, price)).all()


@given(hnp.arrays(np.float64, st.integers(1, 20), elements=st.floats(0, 1)), st.floats(0, 1), st.floats(0, 1))
def test_a_higher_alpha_never_sends_more_to_strong(win_rate, one, other):
    low, high = sorted([one, other])

    assert not (Threshold(high).choose(win_rate) & ~Threshold(low).choose(win_rate)).any()


@given(TABLES.filter(lambda table: table.shape[1] == 2), st.integers(-4, 4), EIGHTHS)
def test_a_threshold_on_the_difference_is_blind_to_a_constant(quality, shift, alpha):
    def win(table):
        return (1 + table[:, 0] - table[:, 1]) / 2

    assert (Threshold(alpha).choose(win(quality)) == Threshold(alpha).choose(win(quality + shift))).all()
