"""Splits and folds keep duplicates together and sizes near what was asked."""

from __future__ import annotations

import numpy as np
import pytest

from prefroute.data import prompt_folds, split_by_hash
from prefroute.errors import DataError

PROMPTS = [f"question {i}" for i in range(1000)]


def test_split_is_near_the_asked_share():
    # 1,000 draws at .2: standard deviation .0126, so .05 is four of them
    assert split_by_hash(PROMPTS, 0.2).mean() == pytest.approx(0.2, abs=0.05)


def test_more_data_never_moves_a_prompt_across():
    np.testing.assert_array_equal(split_by_hash(PROMPTS[:100], 0.3), split_by_hash(PROMPTS, 0.3)[:100])


def test_another_seed_gives_another_split():
    assert (split_by_hash(PROMPTS, 0.5, seed=1) != split_by_hash(PROMPTS, 0.5, seed=2)).any()


@pytest.mark.parametrize("share", [0, 1, -0.1, float("nan")])
def test_share_outside_zero_to_one_is_refused(share):
    with pytest.raises(DataError, match="strictly between 0 and 1"):
        split_by_hash(PROMPTS, share)


def test_split_with_an_empty_side_is_refused():
    with pytest.raises(DataError, match="part empty"):
        split_by_hash(["one prompt"], 0.5)


def test_folds_differ_in_size_by_at_most_one():
    sizes = np.bincount(prompt_folds(PROMPTS, 7))

    assert len(sizes) == 7
    assert sizes.max() - sizes.min() <= 1


def test_folds_depend_on_the_seed_only():
    np.testing.assert_array_equal(prompt_folds(PROMPTS, 5, seed=3), prompt_folds(PROMPTS, 5, seed=3))
    assert (prompt_folds(PROMPTS, 5, seed=3) != prompt_folds(PROMPTS, 5, seed=4)).any()


def test_fewer_distinct_prompts_than_folds_are_refused():
    with pytest.raises(DataError, match="at least 3 distinct prompts, got 2"):
        prompt_folds(["a", "b", " A "], 3)


def test_one_fold_is_refused():
    with pytest.raises(DataError, match="at least 2 folds"):
        prompt_folds(PROMPTS, 1)
