"""`experts`: each source keeps its own lesson, and the gate knows what it has not seen."""

from __future__ import annotations

import numpy as np
import pytest

from prefroute.errors import CheckpointError
from prefroute.routers import RouterState
from prefroute.routers.experts import Experts
from prefroute.routers.linear import Linear
from prefroute.testing import HashEmbedder, tiny_battles
from prefroute.types import Mixture, Outcomes, Source

WORDS = {
    "colours": ("red", "green", "blue", "white", "black", "grey"),
    "animals": ("cat", "dog", "cow", "hen", "fox", "owl"),
    "tools": ("saw", "nail", "file", "drill", "clamp", "rasp"),
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


def test_sources_that_disagree_keep_their_own_lesson(fitted):
    colours_now, colours_then = fitted.win_rate(["red blue grey green now", "red blue grey green then"])
    animals_now, animals_then = fitted.win_rate(["cat dog hen owl now", "cat dog hen owl then"])

    assert colours_now > colours_then + 0.2
    assert animals_then > animals_now + 0.2


def test_the_gate_finds_the_source_of_a_prompt(fitted):
    share, familiar = fitted.gate(["red blue grey green now", "cat dog hen owl now"])

    assert share.argmax(axis=1).tolist() == [0, 1]
    np.testing.assert_allclose(share.sum(axis=1), 1)
    assert (familiar > 0.5).all()


def test_text_of_no_source_is_less_familiar_than_text_of_one(fitted):
    _, familiar = fitted.gate(["red blue grey green now", "bonjour madame comment allez vous", ""])

    assert familiar[0] > 2 * familiar[1]
    assert familiar[0] > 2 * familiar[2]


def test_data_that_is_no_mixture_gives_the_linear_router():
    votes = tiny_battles()
    prompts = ["prove a theorem 3", "plan a trip", ""]

    one = Experts("big", "small", HashEmbedder()).fit(votes).win_rate(prompts)
    linear = Linear("big", "small", HashEmbedder()).fit(votes).win_rate(prompts)

    np.testing.assert_allclose(one, linear, atol=1e-12)


def test_a_mixture_survives_saving_and_restoring(fitted):
    prompts = ["red blue now", "cat dog then", "something else"]

    again = Experts("big", "small", HashEmbedder(32), folds=3).restore(fitted.state())

    assert again.win_rate(prompts).tolist() == fitted.win_rate(prompts).tolist()
    assert again.sources_ == ("colours", "animals", "tools")


def test_tensors_that_do_not_fit_the_sources_are_refused(fitted):
    state = fitted.state()

    with pytest.raises(CheckpointError, match="do not fit its sources"):
        Experts("big", "small", HashEmbedder(32)).restore(RouterState(state.arrays, {"sources": ["a", "b"]}))
