"""Tables of one kind become one over the union of their models."""

from __future__ import annotations

import numpy as np
import pytest

from prefroute.data import concatenate
from prefroute.errors import DataError
from prefroute.types import Battles, Outcomes


def test_battles_keep_their_contestants():
    joined = concatenate([Battles.of(["q"], ["z"], ["a"], [1.0]), Battles.of(["r"], ["m"], ["z"], [0.25])])

    assert isinstance(joined, Battles)
    assert joined.models == ("a", "m", "z")
    assert [joined.models[i] for i in joined.model_a] == ["z", "m"]
    assert [joined.models[i] for i in joined.model_b] == ["a", "z"]
    assert joined.outcome.tolist() == [1.0, 0.25]


def test_outcomes_of_absent_models_are_not_observed():
    first = Outcomes(["q"], ("z", "a"), np.array([[1.0, 0.0]]), np.array([[0.5, 0.25]]))

    joined = concatenate([first, Outcomes(["r"], ("m",), np.array([[0.5]]))])

    assert isinstance(joined, Outcomes)
    assert joined.models == ("a", "m", "z")
    np.testing.assert_array_equal(joined.quality, [[0, np.nan, 1], [np.nan, 0.5, np.nan]])
    np.testing.assert_array_equal(joined.cost_usd, [[0.25, np.nan, 0.5], [np.nan, np.nan, np.nan]])


def test_battles_and_outcomes_do_not_mix():
    with pytest.raises(DataError, match="all battles or all outcomes, got 1 of battles and 1 of outcomes"):
        concatenate([Battles.of(["q"], ["z"], ["a"], [1.0]), Outcomes(["r"], ("m",), np.array([[0.5]]))])


def test_nothing_cannot_be_joined():
    with pytest.raises(DataError):
        concatenate([])
