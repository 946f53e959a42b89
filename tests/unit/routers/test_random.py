from __future__ import annotations

import numpy as np

from prefroute.routers.random import Random
from prefroute.testing import tiny_battles, tiny_outcomes


def test_scores_are_uniform():
    router = Random("big", "small").fit(tiny_battles())

    scores = router.win_rate([f"prompt {i}" for i in range(4000)])

    # mean and deviation of a uniform draw: 1/2 and 1/sqrt(12); four standard errors of 4,000 draws are 0.018
    assert abs(scores.mean() - 0.5) < 0.018
    assert abs(scores.std() - 12**-0.5) < 0.01


def test_another_seed_gives_other_scores():
    prompts = ["one", "two", "three"]
    first = Random("big", "small", seed=0).fit(tiny_battles()).win_rate(prompts)
    second = Random("big", "small", seed=1).fit(tiny_battles()).win_rate(prompts)

    assert (first != second).all()


def test_data_does_not_change_scores():
    prompts = ["one", "two"]
    first = Random("big", "small").fit(tiny_battles()).win_rate(prompts)
    second = Random("big", "small").fit(tiny_outcomes()).win_rate(prompts)

    assert np.array_equal(first, second)


def test_prompts_that_differ_in_case_and_space_score_equally():
    scores = Random("big", "small").fit(tiny_battles()).win_rate(["What is 2?", " what  IS 2? "])

    assert scores[0] == scores[1]
