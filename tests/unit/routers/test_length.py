from __future__ import annotations

import math

import numpy as np
import pytest

from prefroute.errors import CheckpointError
from prefroute.routers import RouterState
from prefroute.routers.length import Length
from prefroute.testing import tiny_battles
from prefroute.types import Battles


def test_longer_prompt_scores_higher_up_to_100_kb():
    sizes = [0, 1, 2, 10, 100, 1000, 10_000, 100_000, 100_001]
    scores = Length("big", "small").fit(tiny_battles()).win_rate(["x" * size for size in sizes])

    assert (np.diff(scores) > 0).all()
    assert scores[0] > 0
    assert scores[-1] < 1


def test_direction_is_fixed_even_where_long_prompts_were_lost():
    data = Battles.of(["x", "x" * 99], ["big", "big"], ["small", "small"], [1.0, 0.0])

    short, long = Length("big", "small").fit(data).win_rate(["x", "x" * 99])

    assert short < long


def test_score_is_logistic_in_log_length():
    data = Battles.of(["a" * 9, "a" * 99], ["big", "big"], ["small", "small"], [1.0, 0.0])

    score = Length("big", "small").fit(data).win_rate(["a" * 99])[0]

    # log(1 + n) is log 10 and log 100: median 1.5 log 10, deviation 0.5 log 10; so z = (2 - 1.5) / 0.5 = 1
    assert score == pytest.approx(1 / (1 + math.exp(-1)))


def test_spread_that_is_no_number_is_refused():
    with pytest.raises(CheckpointError, match="must be finite"):
        Length("big", "small").restore(RouterState(meta={"location": 1.0, "spread": float("nan")}))
