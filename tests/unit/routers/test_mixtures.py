"""What a mixture is to the kinds that know nothing of sources: rows of one pair that count by their weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from prefroute.data import concatenate, pooled
from prefroute.errors import DataError
from prefroute.routers import Router, routers
from prefroute.routers.bert import Bert
from prefroute.testing import HashEmbedder
from prefroute.types import Battles, Mixture, Outcomes, Source

HARD = [f"prove theorem {i} on primes" for i in range(40)]
EASY = [f"hello, how are you, friend {i}?" for i in range(40)]
SETTINGS: dict[str, dict[str, Any]] = {
    "knn": {},
    "sw_ranking": {"n_tiers": 0},
    "mf": {"min_steps": 200},
    "ensemble": {"members": ["linear", "knn"], "folds": 2},
    "bert": {"lr": 3e-3},
    "causal_llm": {"lr": 3e-3},
}
BASES = {"bert": "tiny_encoder", "causal_llm": "tiny_decoder"}


@pytest.fixture
def make(request: pytest.FixtureRequest) -> Callable[..., Router]:
    """An unfitted router of a kind, for the pair ("big", "small"); a tiny network takes so many steps."""

    def made(kind: str, steps: int = 3) -> Router:
        router_class: Callable[..., Router] = routers.get(kind)
        own: dict[str, Any] = {"embedder": HashEmbedder()}
        if kind in BASES:
            own = {"base": str(request.getfixturevalue(BASES[kind])), "steps": steps}
        return router_class("big", "small", **own, **SETTINGS[kind])

    return made


def outcomes(hard_wins: float, pair: tuple[str, str]) -> Outcomes:
    """The strong model wins the hard prompts so much, and the easy ones so much less."""
    quality = np.array([[hard_wins, 1 - hard_wins]] * len(HARD) + [[1 - hard_wins, hard_wins]] * len(EASY))
    return Outcomes([*HARD, *EASY], pair, quality)


def votes(n: int, seed: int) -> Battles:
    rng = np.random.default_rng(seed)
    prompts = [(HARD, EASY)[i % 2][int(rng.integers(40))] for i in range(n)]
    return Battles.of(prompts, ["big"] * n, ["small"] * n, (rng.integers(0, 3, n) / 2).tolist())


@pytest.mark.slow
@pytest.mark.parametrize("kind", SETTINGS)
def test_where_sources_disagree_the_heavier_one_is_believed(kind, make):
    yes, no = outcomes(1.0, ("big", "small")), outcomes(0.0, ("huge", "tiny"))

    def lean(weight: float) -> float:
        mixture = Mixture((Source("yes", yes, "big", "small"), Source("no", no, "huge", "tiny", weight=weight)))
        router = make(kind, steps=50).fit(mixture)
        return float(router.win_rate(HARD).mean() - router.win_rate(EASY).mean())

    assert lean(0.05) > 0.03
    assert lean(20.0) < -0.03


@pytest.mark.parametrize("kind", ["knn", "sw_ranking"])
def test_a_row_of_weight_two_counts_as_two_rows(kind, make):
    one, other = votes(60, seed=0), votes(40, seed=1)
    weighted = Mixture((Source("one", one, "big", "small"), Source("other", other, "big", "small", weight=2.0)))

    router, repeated = make(kind).fit(weighted), make(kind).fit(concatenate([one, other, other]))

    assert router.win_rate([*HARD, "new"]) == pytest.approx(repeated.win_rate([*HARD, "new"]), abs=1e-9)


@pytest.mark.parametrize("kind", ["mf", "bert", "causal_llm"])
def test_weights_that_are_all_equal_change_no_bit_of_what_is_trained(kind, make):
    table = votes(60, seed=0)
    weighted = Mixture((Source("one", table, "big", "small", weight=4.0),))

    router, plain = make(kind).fit(weighted), make(kind).fit(table)

    assert np.array_equal(router.win_rate(HARD), plain.win_rate(HARD))


def test_loss_of_a_row_of_weight_two_is_that_of_two_rows(tiny_encoder):
    import torch

    from prefroute.routers._networks import Objective

    router = Bert("big", "small", base=str(tiny_encoder), steps=1).fit(votes(20, seed=0))
    rows = router.parts_.reader(["short", "a text that is rather long"])
    targets = router._targets(np.array([1.0, 0.25]))
    network, twice = router.parts_.network.eval(), np.array([0, 1, 1])

    weighted = Objective(network, rows, targets, np.array([2 / 3, 4 / 3]), left=False, half=False)
    plain = Objective(network, [rows[i] for i in twice], targets[twice], np.ones(3), left=False, half=False)

    with torch.no_grad():
        assert float(weighted.loss(np.arange(2))) == pytest.approx(float(plain.loss(np.arange(3))), abs=1e-6)
    assert weighted.held_out_loss(np.arange(2)) == pytest.approx(plain.held_out_loss(np.arange(3)), abs=1e-6)


def test_a_kind_that_needs_one_table_refuses_a_mixture_and_says_what_to_do():
    mixture = Mixture((Source("one", votes(20, seed=0), "big", "small"),))

    with pytest.raises(DataError, match=r"Abilities\.fit needs Outcomes, got Mixture\. Give it one table"):
        routers.get("abilities")("big", "small", HashEmbedder()).fit(mixture)  # type: ignore[call-arg]


@pytest.mark.parametrize("kind", ["mf", "sw_ranking"])
def test_one_sided_outcomes_are_sent_to_adapt(kind, make):
    quality = np.array([[1.0, np.nan], [np.nan, 0.5]] * 20)

    with pytest.raises(DataError, match=r"answered by two models \(40 rows read\).*prefroute adapt --data PATH"):
        make(kind).fit(Outcomes(HARD, ("big", "small"), quality))


def test_a_table_that_is_no_mixture_is_pooled_as_it_is():
    table = votes(5, seed=0)

    same, weight = pooled(table, "big", "small")

    assert same is table
    assert weight.tolist() == [1.0] * 5
