"""Facts that hold for any data."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from prefroute.data import PromptKeys, assign_tiers, contamination, prompt_folds, split_by_hash
from prefroute.data.contamination import question_stem

prompts = st.lists(st.text(max_size=40), min_size=1, max_size=20)


@settings(deadline=None)
@given(prompts, st.integers(0, 5))
def test_duplicates_never_straddle_a_split(texts, seed):
    anchors = [f"anchor {i}" for i in range(60)]
    many = [*anchors, *texts, *(f"  {text.upper().lower()}\n" for text in anchors)]

    mask = split_by_hash(many, 0.5, seed)

    np.testing.assert_array_equal(mask[:60], mask[-60:])


@settings(deadline=None)
@given(prompts, st.integers(2, 5), st.integers(0, 5))
def test_duplicates_share_a_fold(texts, k, seed):
    many = [*(f"anchor {i}" for i in range(5)), *texts, *texts]

    folds = prompt_folds(many, k, seed)

    np.testing.assert_array_equal(folds[5 : 5 + len(texts)], folds[5 + len(texts) :])
    assert set(folds.tolist()) == set(range(k))


@settings(deadline=None)
@given(prompts)
def test_every_training_prompt_is_found_again(texts):
    found = contamination(texts, PromptKeys.of(texts))

    full = np.array([bool(text.strip()) for text in texts])
    np.testing.assert_array_equal(found.exact, full)
    np.testing.assert_array_equal(found.stem, full)


@settings(deadline=None)
@given(prompts, prompts)
def test_merged_keys_equal_keys_of_all(first, second):
    merged = PromptKeys.merge([PromptKeys.of(first), PromptKeys.of(second)]).to_arrays()

    for name, array in PromptKeys.of([*first, *second]).to_arrays().items():
        np.testing.assert_array_equal(merged[name], array)


@settings(deadline=None)
@given(st.text(max_size=300))
def test_a_stem_is_its_own_stem(text):
    stem = question_stem(text)

    assert question_stem(stem) == stem


@settings(deadline=None)
@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=12), st.data())
def test_tiers_follow_the_order_of_ratings(values, data):
    ratings = np.array(values)
    k = data.draw(st.integers(1, len(values)))

    tiers = assign_tiers(ratings, k)

    assert (np.diff(tiers[np.argsort(-ratings, kind="stable")]) >= 0).all()
    assert set(tiers.tolist()) == set(range(k))
