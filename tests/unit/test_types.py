"""The nouns check themselves once, and say what is wrong."""

from __future__ import annotations

import numpy as np
import pytest

from prefroute.errors import DataError
from prefroute.types import Battles, Mixture, Outcomes, Source

PAIR = ("big", "small")


def outcomes(quality=((1.0, 0.0),), cost=None):
    table = np.array(quality)
    return Outcomes([f"p{i}" for i in range(len(table))], PAIR, table, None if cost is None else np.array(cost))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Outcomes(["a"], ("x", "x"), np.ones((1, 2))), "`models` must hold each name once, got 'x' twice"),
        (lambda: Outcomes(["a"], ("x", ""), np.ones((1, 2))), "`models` must be non-empty strings"),
        (lambda: Outcomes(["a"], ("x", "y", "z"), np.ones((3, 1))), r"= \(1, 3\), got \(3, 1\). Transpose it."),
        (lambda: outcomes(((1.0, 1.5),)), "Row 0, model 'small': `quality` must be in"),
        (lambda: outcomes(cost=((1.0, -1.0),)), "Row 0, model 'small': `cost_usd` must be >= 0"),
        (lambda: outcomes(cost=((1.0,),)), "`cost_usd` must have shape"),
        (lambda: Battles.of(["a"], ["x"], ["x"], [1.0]), "Row 0: a battle needs two different models, got 'x' twice"),
        (lambda: Battles.of(["a"], ["x"], ["y"], [2.0]), r"Row 0: `outcome` must be in \[0, 1\]"),
        (lambda: Battles.of(["a", "b"], ["x", "x"], ["y", "y"], [1.0]), r"`outcome` must have shape \(n_battles,\)"),
        (lambda: Battles(["a"], PAIR, np.array([5], np.int32), np.array([0], np.int32), np.ones(1)), "in \\[0, 2\\)"),
        (lambda: Mixture(()), "A mixture needs at least one source, got none."),
        (lambda: Source("s", outcomes(), *PAIR, weight=0), "The weight of source 's' must be from 1e-6 to 1e6, got 0"),
        (lambda: Mixture((Source("s", outcomes(), *PAIR),) * 2), "`sources` must hold each name once, got 's' twice"),
        (lambda: outcomes().column("smal"), "Did you mean 'small'"),
    ],
)
def test_what_is_wrong_is_said(make, message):
    with pytest.raises(DataError, match=message):
        make()


def test_not_observed_is_allowed_and_gives_no_gain():
    gain = outcomes(((1.0, np.nan), (0.5, 0.25))).gain("big", "small")

    assert np.isnan(gain[0])
    assert gain[1] == 0.25


def test_take_keeps_rows_in_the_order_asked_for():
    table = outcomes(((1.0, 0.0), (0.0, 1.0), (0.5, 0.5)), cost=((1, 2), (3, 4), (5, 6)))

    taken = table.take(np.array([2, 0]))

    assert list(taken.prompts) == ["p2", "p0"]
    assert taken.cost_usd is not None
    assert taken.cost_usd.tolist() == [[5, 6], [1, 2]]


def test_a_mask_and_rising_indices_take_the_same_rows_of_a_mixture():
    mixture = Mixture(tuple(Source(name, outcomes(((1.0, 0.0), (0.0, 1.0))), *PAIR) for name in "abc"))

    by_mask, by_index = mixture.take(np.array([0, 1, 0, 0, 1, 0], dtype=bool)), mixture.take(np.array([1, 4]))

    assert [source.name for source in by_mask.sources] == [source.name for source in by_index.sources] == ["a", "c"]
    assert by_mask.prompts == by_index.prompts == ["p1", "p0"]


@pytest.mark.parametrize("rows", [[2, 0], [1, 1], [-1, 0]])
def test_indices_that_a_mixture_could_not_keep_in_order_are_refused(rows):
    mixture = Mixture(tuple(Source(name, outcomes(((1.0, 0.0), (0.0, 1.0))), *PAIR) for name in "ab"))

    with pytest.raises(DataError, match="indices from 0 that rise"):
        mixture.take(np.array(rows))


def test_a_mask_and_indices_take_the_same_battles():
    battles = Battles.of(["a", "b", "c"], ["x", "y", "x"], ["y", "x", "y"], [1.0, 0.0, 0.5])

    by_mask, by_index = battles.take(np.array([True, False, True])), battles.take(np.array([0, 2]))

    assert list(by_mask.prompts) == list(by_index.prompts) == ["a", "c"]
    assert by_mask.outcome.tolist() == by_index.outcome.tolist() == [1.0, 0.5]


def test_select_reorders_columns():
    assert outcomes(((1.0, 0.0),)).select(["small", "big"]).quality.tolist() == [[0.0, 1.0]]


def test_reprs_show_sizes_and_no_prompt():
    mixture = Mixture((Source("mine", outcomes(), *PAIR),))

    assert (repr(outcomes()), repr(mixture)) == ("Outcomes(n=1, models=2)", "Mixture(mine=1)")
    assert len(mixture) == 1
