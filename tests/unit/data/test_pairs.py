"""Battles and outcomes become the same labelled prompts of one pair."""

from __future__ import annotations

import numpy as np
import pytest

from prefroute.data import win_examples
from prefroute.errors import DataError
from prefroute.types import Battles, Mixture, Outcomes, Source

BATTLES = Battles.of(
    ["q", "r", "s", "t"], ["big", "small", "big", "other"], ["small", "big", "small", "big"], [1.0, 1.0, 0.5, 1.0]
)


def test_battles_of_the_pair_are_turned_so_that_one_means_strong():
    examples = win_examples(BATTLES, "big", "small")

    assert list(examples.prompts) == ["q", "r", "s"]
    assert examples.win.tolist() == [1.0, 0.0, 0.5]


def test_outcomes_give_half_of_one_plus_the_gain_where_both_were_observed():
    quality = np.array([[1.0, 0.0], [0.0, 0.5], [np.nan, 1.0]])

    examples = win_examples(Outcomes(["q", "r", "s"], ("big", "small"), quality), "big", "small")

    assert list(examples.prompts) == ["q", "r"]
    assert examples.win.tolist() == [1.0, 0.25]  # (1 + 1 - 0) / 2 and (1 + 0 - .5) / 2


def test_unknown_model_is_named_with_the_nearest():
    with pytest.raises(DataError, match="Did you mean 'small'"):
        win_examples(BATTLES, "big", "smal")


def test_pair_that_never_meets_is_refused():
    with pytest.raises(DataError, match="No row compares 'other' with 'small'"):
        win_examples(BATTLES, "other", "small")


def test_one_sided_outcomes_are_refused_with_what_can_learn_from_them():
    one_sided = Outcomes(["q", "r"], ("big", "small"), np.array([[1.0, np.nan], [np.nan, 1.0]]))

    with pytest.raises(DataError, match=r"No prompt was answered by both 'big' and 'small'.*: prefroute adapt --data"):
        win_examples(one_sided, "big", "small")


def test_labels_that_never_differ_are_refused():
    with pytest.raises(DataError, match="All 1 labels"):
        win_examples(BATTLES, "other", "big")


def test_each_source_of_a_mixture_brings_its_own_pair_and_weight():
    one = Battles.of(["q"], ["big"], ["small"], [1.0])
    two = Outcomes(["r", "s"], ("huge", "tiny"), np.array([[1.0, 1.0], [0.0, 0.5]]))

    examples = win_examples(
        Mixture((Source("votes", one, "big", "small"), Source("gold", two, "huge", "tiny", weight=3.0))), "big", "small"
    )

    assert list(examples.prompts) == ["q", "r", "s"]
    assert examples.win.tolist() == [1.0, 0.5, 0.25]
    assert examples.source.tolist() == [0, 1, 1]
    assert examples.weight.tolist() == [1.0, 3.0, 3.0]
    assert examples.sources == ("votes", "gold")
