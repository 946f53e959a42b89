"""`abilities`: any number of models on a difficulty that others taught, from few and one-sided answers."""

from __future__ import annotations

import numpy as np
import pytest

from prefroute.errors import CheckpointError, ConfigError, DataError
from prefroute.routers import RouterState
from prefroute.routers.abilities import Abilities
from prefroute.routers.experts import Experts
from prefroute.testing import HashEmbedder, tiny_outcomes
from prefroute.types import Mixture, Outcomes, Source

WORDS = {"colours": ("red", "green", "blue", "white"), "animals": ("cat", "dog", "cow", "hen")}


def prompts_of(name, n, seed):
    """Prompts of the source's own words, every other one hard: it says "prove", an easy one "greet"."""
    rng = np.random.default_rng(seed)
    return [f"{' '.join(rng.choice(WORDS[name], 5))} {('prove', 'greet')[i % 2]} {i}" for i in range(n)]


def source(name, seed):
    """The weak model fails where it is hard, the strong one half of the time."""
    prompts = prompts_of(name, 200, seed)
    is_hard = np.array(["prove" in prompt for prompt in prompts])
    strong = np.where(is_hard, np.arange(200) % 4 < 2, 1.0)
    return Source(name, Outcomes(prompts, ("big", "small"), np.stack([strong, ~is_hard], axis=1)), "big", "small")


@pytest.fixture(scope="module")
def ruler():
    return Experts("big", "small", HashEmbedder(32), folds=3).fit(Mixture((source("colours", 0), source("animals", 1))))


def answers(n=120, seed=2):
    """A "sage" that fails one hard prompt in six, a "novice" that fails all of them, a "coin" that knows no hard."""
    prompts = prompts_of("colours", n, seed)
    is_hard = np.array(["prove" in prompt for prompt in prompts])
    sage = np.where(is_hard, np.arange(n) % 12 > 1, 1.0)
    coin = np.random.default_rng(3).integers(2, size=n)
    return Outcomes(prompts, ("sage", "novice", "coin"), np.stack([sage, ~is_hard, coin], axis=1).astype(float))


HARD, EASY = "red red blue white prove 7", "red red blue white greet 7"


def test_a_prompt_is_placed_by_its_ease_and_its_source(ruler):
    ease, sources = ruler.place([EASY, HARD, "明日の朝、駅まで歩いて行くのに"])

    assert ease[0] > ease[1] + 1
    assert np.abs(ease).max() <= 3
    assert sources[:2].argmax(axis=1).tolist() == [0, 0]  # colours
    np.testing.assert_allclose(sources.sum(axis=1), 1 - ruler.novelty([EASY, HARD, "明日の朝、駅まで歩いて行くのに"]))


def test_models_that_taught_nothing_are_told_apart_where_it_is_hard(ruler):
    router, _ = Abilities.on(ruler, answers(), "sage", "novice")

    hard, easy = router.predict([HARD, EASY])

    assert router.models == ("sage", "novice", "coin")
    assert hard[0] > hard[1] + 0.3
    assert easy[:2].min() > 0.8
    assert abs(hard[2] - easy[2]) < 0.2
    assert router.win_rate([HARD])[0] > router.win_rate([EASY])[0] + 0.15


def test_win_rate_is_half_of_one_plus_the_expected_gain(ruler):
    router, _ = Abilities.on(ruler, answers(), "sage", "coin")

    quality = router.predict([HARD, EASY, ""])

    assert router.models[:2] == ("sage", "coin")
    np.testing.assert_allclose(router.win_rate([HARD, EASY, ""]), (1 + quality[:, 0] - quality[:, 1]) / 2)


def test_one_sided_answers_are_enough(ruler):
    table = answers(300)
    one_sided = table.quality.copy()
    one_sided[np.arange(300) // 2 % 2 == 0, 0] = np.nan  # as a gateway leaves them: one model answered each prompt
    one_sided[np.arange(300) // 2 % 2 == 1, 1] = np.nan

    router, known = Abilities.on(ruler, Outcomes(table.prompts, table.models, one_sided), "sage", "novice")

    hard, easy = router.predict([HARD, EASY])
    assert hard[0] > hard[1] + 0.3
    assert easy[:2].min() > 0.8
    assert [ability.n for ability in known] == [150, 150, 300]


def test_skill_tells_a_model_whose_failures_are_foreseen_from_one_whose_are_not(ruler):
    _, known = Abilities.on(ruler, answers(), "sage", "novice")

    novice, coin = known[1], known[2]
    assert novice.skill.low > 0.05
    assert coin.skill.low < 0.02
    assert novice.observed.value == pytest.approx(0.5)
    assert novice.observed.low < 0.5 < novice.observed.high


def test_mean_qualities_come_out_as_they_were_given(ruler):
    prompts = prompts_of("animals", 80, seed=5)

    router = Abilities.rated(ruler, {"high": 0.9, "low": 0.3}, prompts, "high", "low")

    np.testing.assert_allclose(router.predict(prompts).mean(axis=0), [0.9, 0.3], atol=1e-6)
    assert router.curves_[:, 1].tolist() == [1, 1]


def test_what_is_new_to_the_ruler_is_new_to_the_pool(ruler):
    router, _ = Abilities.on(ruler, answers(), "sage", "novice")

    known, odd = router.novelty([HARD, "明日の朝、駅まで歩いて行くのに"])

    assert router.tells_novelty
    assert known < 0.3
    assert odd > 0.7


def test_win_rate_and_novelty_are_the_same_from_one_reading(ruler):
    router, _ = Abilities.on(ruler, answers(), "sage", "novice")
    prompts = [HARD, EASY, "明日の朝、駅まで歩いて行くのに"]

    win_rate, novelty = router.scored(prompts)

    np.testing.assert_allclose(win_rate, router.win_rate(prompts), atol=1e-12)
    np.testing.assert_allclose(novelty, router.novelty(prompts), atol=1e-12)


def test_rarely_seen_models_are_left_out_and_a_rarely_seen_pair_is_refused(ruler):
    table = answers()
    table.quality[9:, 2] = np.nan

    router, _ = Abilities.on(ruler, table, "sage", "novice")

    assert router.models == ("sage", "novice")
    with pytest.raises(DataError, match=r"'coin' was observed on 9 distinct prompts; at least 10 are needed, and 100"):
        Abilities.on(ruler, table, "sage", "coin")


def test_a_pair_that_is_not_there_is_named_with_the_nearest(ruler):
    with pytest.raises(DataError, match="Did you mean 'novice'"):
        Abilities.on(ruler, answers(), "sage", "novize")
    with pytest.raises(ConfigError, match="Did you mean 'high'"):
        Abilities.rated(ruler, {"high": 0.9, "low": 0.3}, [HARD], "hihg", "low")


@pytest.mark.parametrize("mean", [0.0, 1.0, 87.0, float("nan")])
def test_a_mean_quality_that_no_curve_has_is_refused(ruler, mean):
    with pytest.raises(ConfigError, match="mean quality of 'low' must be between 0 and 1"):
        Abilities.rated(ruler, {"high": 0.9, "low": mean}, [HARD], "high", "low")


def test_mean_qualities_need_prompts(ruler):
    with pytest.raises(DataError, match="needs prompts"):
        Abilities.rated(ruler, {"high": 0.9, "low": 0.3}, [], "high", "low")


def test_a_pool_survives_saving_and_restoring(ruler):
    router, _ = Abilities.on(ruler, answers(), "sage", "novice")

    again = Abilities("sage", "novice", HashEmbedder(32), folds=3).restore(router.state())

    assert again.predict([HARD, EASY]).tolist() == router.predict([HARD, EASY]).tolist()
    assert again.models == router.models


def test_curves_that_do_not_fit_are_refused(ruler):
    state = Abilities.on(ruler, answers(), "sage", "novice")[0].state()
    other = RouterState(state.arrays, {**state.meta, "models": ["sage", "novice"]})

    with pytest.raises(CheckpointError, match="do not fit its models and sources"):
        Abilities("sage", "novice", HashEmbedder(32), folds=3).restore(other)


def test_fitted_from_scratch_it_knows_every_model_of_the_table():
    router = Abilities("big", "small", HashEmbedder(), folds=2).fit(tiny_outcomes())

    assert router.predict(["Prove it."]).shape == (1, 3)
    assert not router.tells_novelty
    with pytest.raises(DataError, match="fitted on one"):
        router.novelty(["Prove it."])
