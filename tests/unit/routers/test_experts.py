"""`experts`: each source keeps its own lesson, difficulty carries over, and the gate knows what it has not seen."""

from __future__ import annotations

import base64

import numpy as np
import pytest

import prefroute
from prefroute.errors import CheckpointError, ConfigError, DataError
from prefroute.routers import RouterState
from prefroute.routers.experts import Experts
from prefroute.routers.linear import Linear
from prefroute.testing import HashEmbedder, tiny_battles
from prefroute.types import Battles, Mixture, Outcomes, Source

WORDS = {
    "colours": ("red", "green", "blue", "white", "black", "grey"),
    "animals": ("cat", "dog", "cow", "hen", "fox", "owl"),
    "tools": ("saw", "nail", "file", "drill", "clamp", "rasp"),
}
ODD = {
    "empty": "",
    "French": "Bonjour madame, comment allez-vous ce matin, et que puis-je faire pour vous ?",
    "Japanese": "明日の朝、駅まで歩いて行くのにどれくらいかかりますか。",
    "base64": base64.b64encode(bytes(range(256))).decode(),
    "APL": "life←{⊃1 ⍵=3 4+/,¯1 0 1∘.⊖¯1 0 1∘.⌽⊂⍵}",
    "100 KB": "lorem ipsum dolor sit amet " * 3800,
}


def source(name, hard_word, n=150, seed=0):
    """Prompts of the source's own words; the strong model wins where `hard_word` stands, else the two tie."""
    rng = np.random.default_rng(seed)
    words = ("now", "then")
    chosen = rng.integers(2, size=n)
    prompts = [f"{' '.join(rng.choice(WORDS[name], 6))} {words[c]} {i}" for i, c in enumerate(chosen)]
    hard = np.array([words[c] == hard_word for c in chosen])
    quality = np.stack([np.ones(n), np.where(hard, 0.0, 1.0)], axis=1)
    return Source(name, Outcomes(prompts, ("big", "small"), quality), "big", "small")


@pytest.fixture(scope="module")
def fitted():
    """Sources that disagree: "now" is hard among colours and tools, "then" among animals."""
    mixture = Mixture((source("colours", "now"), source("animals", "then", seed=1), source("tools", "now", seed=2)))
    return Experts("big", "small", HashEmbedder(32), folds=3).fit(mixture)


@pytest.fixture(scope="module")
def shipped():
    """The router in the package."""
    router = prefroute.load("default")
    assert isinstance(router, Experts)
    return router


def test_sources_that_disagree_keep_their_own_lesson(fitted):
    colours_now, colours_then = fitted.win_rate(["red blue grey green now", "red blue grey green then"])
    animals_now, animals_then = fitted.win_rate(["cat dog hen owl now", "cat dog hen owl then"])

    assert colours_now > colours_then + 0.2
    assert animals_then > animals_now + 0.2


def test_difficulty_that_sources_agree_on_carries_over_to_a_source_never_seen():
    mixture = Mixture((source("colours", "now"), source("animals", "now", seed=1)))
    router = Experts("big", "small", HashEmbedder(32), folds=3).fit(mixture)

    hard, easy = router.win_rate(["saw nail file drill clamp now", "saw nail file drill clamp then"])

    assert hard > easy + 0.02


def test_a_router_that_expects_new_prompts_only_asks_for_difficulty_alone():
    mixture = Mixture((source("colours", "now"), source("animals", "then", n=60, seed=1)))
    router = Experts("big", "small", HashEmbedder(32), folds=3, odds=0).fit(mixture)
    known = ["red blue grey green now", "cat dog hen owl now"]

    assert (router.novelty(known) > 0.999).all()
    colours, animals = router.win_rate(known)
    assert colours == pytest.approx(animals, abs=0.05)  # that the sources disagree is forgotten


def test_odds_below_none_are_refused():
    with pytest.raises(ConfigError, match=r"`odds` must be 0 or more, got -1\."):
        Experts("big", "small", HashEmbedder(), odds=-1).fit(tiny_battles())


def test_the_gate_finds_the_source_of_a_prompt(fitted):
    share = fitted.gate(["red blue grey green now", "cat dog hen owl now"])

    assert share.argmax(axis=1).tolist() == [0, 1]
    np.testing.assert_allclose(share.sum(axis=1), 1)


@pytest.mark.parametrize("kind", ODD)
def test_text_like_no_source_is_new_and_is_scored_near_the_mean_win_rate(fitted, kind):
    known, odd = fitted.novelty(["red blue grey green now", ODD[kind]])

    assert known < 0.3
    assert odd > 0.7
    assert fitted.win_rate([ODD[kind]])[0] == pytest.approx(0.75, abs=0.15)  # half of the rows are wins, half are ties


def test_votes_say_nothing_of_difficulty_and_a_source_never_seen_gets_the_mean_win_rate():
    parts = []
    for seed, name in enumerate(("colours", "animals")):
        table = source(name, "now", seed=seed).data
        first = np.zeros(len(table), dtype=np.int32)
        outcome = (1 + table.quality[:, 0] - table.quality[:, 1]) / 2
        parts.append(Source(name, Battles(table.prompts, ("big", "small"), first, first + 1, outcome), "big", "small"))
    router = Experts("big", "small", HashEmbedder(32), folds=3).fit(Mixture(tuple(parts)))

    known_hard, known_easy, odd = router.win_rate(["red blue grey now", "red blue grey then", ODD["Japanese"]])

    assert known_hard > known_easy + 0.2
    assert odd == pytest.approx(0.75, abs=0.1)


def test_data_that_is_no_mixture_gives_the_linear_router():
    votes = tiny_battles()
    prompts = ["prove a theorem 3", "plan a trip", ""]

    one = Experts("big", "small", HashEmbedder()).fit(votes).win_rate(prompts)
    linear = Linear("big", "small", HashEmbedder()).fit(votes).win_rate(prompts)

    np.testing.assert_allclose(one, linear, atol=1e-12)


def test_novelty_needs_a_source_to_leave_out():
    router = Experts("big", "small", HashEmbedder()).fit(tiny_battles())

    assert router.gate(["plan a trip"]).tolist() == [[1.0]]
    with pytest.raises(DataError, match=r"leaving out sources in turn, and this router was fitted on one\. Fit it"):
        router.novelty(["plan a trip"])


def test_win_rate_and_novelty_are_the_same_from_one_reading(fitted):
    prompts = ["red blue now", "cat dog then", ODD["Japanese"], ""]

    win_rate, novelty = fitted.scored(prompts)
    unsure = Experts("big", "small", HashEmbedder()).fit(tiny_battles()).scored(prompts)[1]

    np.testing.assert_allclose(win_rate, fitted.win_rate(prompts), atol=1e-12)
    np.testing.assert_allclose(novelty, fitted.novelty(prompts), atol=1e-12)
    assert np.isnan(unsure).all()


def test_a_mixture_survives_saving_and_restoring(fitted):
    prompts = ["red blue now", "cat dog then", "something else"]

    again = Experts("big", "small", HashEmbedder(32), folds=3).restore(fitted.state())

    assert again.win_rate(prompts).tolist() == fitted.win_rate(prompts).tolist()
    assert again.novelty(prompts).tolist() == fitted.novelty(prompts).tolist()
    assert again.sources_ == ("colours", "animals", "tools")


def test_tensors_that_do_not_fit_the_sources_are_refused(fitted):
    state = fitted.state()

    with pytest.raises(CheckpointError, match="do not fit its sources"):
        Experts("big", "small", HashEmbedder(32)).restore(RouterState(state.arrays, {"sources": ["a", "b"]}))


@pytest.mark.parametrize("kind", ODD)
def test_the_shipped_router_knows_an_exam_question_from_odd_text(shipped, kind):
    exam = "Which of these gases is noble?\nA. Iron\nB. Neon\nC. Oxygen\nD. Carbon\nAnswer:"

    known, odd = shipped.novelty([exam, ODD[kind]])

    assert known < 0.2
    assert odd > 0.6
    assert abs(shipped.win_rate([ODD[kind]])[0] - 0.615) < 0.05  # the mean win rate of its sources, by its card
