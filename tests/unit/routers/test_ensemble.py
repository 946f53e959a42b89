"""`ensemble`: how members are weighed, what they share, and what is refused."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from prefroute.errors import CheckpointError, ConfigError, DataError
from prefroute.routers import Router, RouterState, routers
from prefroute.routers.ensemble import Ensemble
from prefroute.routers.linear import Linear
from prefroute.testing import HashEmbedder, tiny_battles, tiny_outcomes
from prefroute.types import Outcomes


class Memory(Router):
    """Knows every prompt that it was fitted on by heart, and nothing else."""

    kind = "memory"

    def __init__(self, strong, weak):
        self.strong, self.weak = strong, weak

    def fit(self, data):
        self.win_ = dict(zip(data.prompts, (1 + data.gain(self.strong, self.weak)) / 2, strict=True))
        return self

    def win_rate(self, prompts):
        rng = np.random.default_rng(len(prompts))
        return np.array(
            [self.win_.get(prompt, guess) for prompt, guess in zip(prompts, rng.random(len(prompts)), strict=True)]
        )

    def state(self):
        return RouterState(meta={"win": self.win_})

    def restore(self, state):
        self.win_ = dict(state.meta["win"])
        return self


class Counting(HashEmbedder):
    """Counts the texts that it embeds."""

    def __init__(self):
        super().__init__()
        self.texts = 0

    def encode(self, prompts):
        self.texts += len(prompts)
        return super().encode(prompts)


@pytest.fixture
def memory(monkeypatch):
    """`memory` among the registered kinds."""
    monkeypatch.setitem(routers.builtin, "memory", f"{__name__}:Memory")


def gains(n=200, seed=0):
    """Prompts of random words; the strong model wins where "prove" stands, else the two tie."""
    rng = np.random.default_rng(seed)
    hard = rng.random(n) < 0.5
    words = ("red", "green", "blue", "white", "black", "grey")
    prompts = [f"{' '.join(rng.choice(words, 5))} {'prove' if h else 'say'} {i}" for i, h in enumerate(hard)]
    return Outcomes(prompts, ("big", "small"), np.stack([np.ones(n), np.where(hard, 0.0, 1.0)], axis=1))


def ensemble(members=("linear", "knn"), embedder=None, folds=2):
    return Ensemble("big", "small", embedder or HashEmbedder(), members=members, folds=folds)


@pytest.fixture(scope="module")
def fitted():
    return ensemble().fit(gains())


def test_the_score_is_the_link_of_the_members_weighted_log_odds(fitted):
    prompts = ["blue prove red", "blue say red"]

    rates = np.stack([member.win_rate(prompts) for member in fitted.members_], axis=1)
    slope, intercept = fitted.link_
    by_hand = 1 / (1 + np.exp(-slope * (np.log(rates / (1 - rates)) @ fitted.weights_) - intercept))

    assert fitted.win_rate(prompts) == pytest.approx(by_hand, abs=1e-9)


def test_what_a_member_says_of_its_own_training_rows_earns_it_little_weight(memory):
    router = ensemble(("linear", "memory")).fit(gains())

    # on rows that it has seen, `memory` is never wrong and `linear` is; on the others it guesses
    assert router.weights_[1] < 0.5 * router.weights_[0]


def test_a_member_that_knows_nothing_costs_little():
    fresh = gains(seed=1)
    win = (1 + fresh.gain("big", "small")) / 2
    alone = Linear("big", "small", HashEmbedder()).fit(gains())
    both = ensemble(("linear", "random")).fit(gains())

    error, of_linear = (float(np.mean((router.win_rate(fresh.prompts) - win) ** 2)) for router in (both, alone))

    assert error < of_linear + 0.005  # the labels' own variance is 0.0625


def test_weights_are_never_negative():
    rng = np.random.default_rng(3)
    data = gains()
    shuffled = Outcomes(data.prompts, data.models, data.quality[rng.permutation(len(data))])

    assert (ensemble().fit(shuffled).weights_ >= 0).all()


def test_every_text_is_embedded_once_for_all_members():
    embedder = Counting()

    router = ensemble(("linear", "knn", "sw_ranking"), embedder).fit(gains())
    assert embedder.texts == 200
    router.win_rate(["one", "two"])

    assert embedder.texts == 202


def test_threads_that_score_at_once_get_what_one_gets(fitted):
    batches = [[f"blue prove {i} {j}" for j in range(20)] for i in range(16)]
    alone = [fitted.win_rate(batch) for batch in batches]

    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(fitted.win_rate, batches))

    for one, other in zip(alone, together, strict=True):
        assert other == pytest.approx(one, abs=1e-6)


def test_a_fit_that_fails_leaves_the_router_as_it_was(fitted):
    before = fitted.win_rate(["blue prove red"])
    one_prompt = Outcomes(["hi", "hi"], ("big", "small"), np.array([[1.0, 0.0], [1.0, 1.0]]))

    with pytest.raises(DataError, match="2 folds need at least 2 distinct prompts, got 1"):
        fitted.fit(one_prompt)

    assert fitted.win_rate(["blue prove red"]) == before


@pytest.mark.slow
def test_matrix_factorization_is_a_member_by_default():
    data = tiny_battles(200)

    router = Ensemble("big", "small", HashEmbedder(), folds=2).fit(data)
    again = Ensemble("big", "small", HashEmbedder(), folds=2).restore(router.state())

    assert [member.kind for member in again.members_] == ["linear", "mf"]
    assert np.array_equal(again.win_rate(data.prompts), router.win_rate(data.prompts))


@pytest.mark.parametrize("members", ["linear", [], ["linear"], ["linear", "linear"]])
def test_members_that_are_no_two_different_kinds_are_refused(members):
    with pytest.raises(ConfigError, match="`members` must be a list of two or more different kinds, got"):
        ensemble(members).fit(tiny_battles())


def test_an_unknown_member_is_refused_by_the_nearest_name():
    with pytest.raises(ConfigError, match=r"Unknown router 'linaer'\. Did you mean 'linear'\?"):
        ensemble(("linaer", "knn")).fit(tiny_battles())


@pytest.mark.parametrize("folds", [1, 101, 2.5])
def test_folds_out_of_their_range_are_refused(folds):
    with pytest.raises(ConfigError, match=f"`folds` must be a whole number from 2 to 100, got {folds}."):
        ensemble(folds=folds).fit(tiny_outcomes())


def test_weights_for_other_members_are_refused(fitted):
    state = fitted.state()

    with pytest.raises(CheckpointError, match="do not fit its members"):
        ensemble(("linear", "sw_ranking")).restore(state)
