from collections import Counter

import numpy as np
import pytest

from prefroute.augment import gold_battles
from prefroute.errors import ConfigError, DataError
from prefroute.types import Outcomes

NAN = float("nan")


def table(quality, models=("big", "mid", "small")):
    return Outcomes([f"q{i}" for i in range(len(quality))], models, np.array(quality, dtype=float))


def wide(n, m, seed=0):
    """n prompts, m models: model j is right with probability (j + 1) / (m + 1)."""
    right = np.random.default_rng(seed).random((n, m)) < (np.arange(m) + 1) / (m + 1)
    return table(right, tuple(f"m{j}" for j in range(m)))


def rows_of(gold):
    battles = gold.battles
    names = [(battles.models[a], battles.models[b]) for a, b in zip(battles.model_a, battles.model_b, strict=True)]
    return list(zip(battles.prompts, names, battles.outcome.tolist(), strict=True))


def test_each_prompt_that_two_models_answered_is_a_battle_and_ties_stay():
    gold = gold_battles(table([[1, 0, NAN], [1, 1, 0.5]]), balance="none")

    assert rows_of(gold) == [
        ("q0", ("big", "mid"), 1.0),
        ("q1", ("big", "mid"), 0.5),
        ("q1", ("big", "small"), 0.75),  # (1 + 1 - 0.5) / 2
        ("q1", ("mid", "small"), 0.75),
    ]


def test_chosen_pairs_only_and_in_the_order_given():
    gold = gold_battles(table([[1, 0, 0]]), pairs=[("small", "big")], balance="none")

    assert rows_of(gold) == [("q0", ("small", "big"), 0.0)]


def test_groups_above_the_median_are_cut_down_to_it_and_others_stay_whole():
    sources = ["a"] * 10 + ["b"] * 30 + ["c"] * 50
    gold = gold_battles(wide(90, 2), balance="source", sources=sources)

    kept = {group.source: (group.n_possible, group.n_kept) for group in gold.groups}
    assert kept == {"a": (10, 10), "b": (30, 30), "c": (50, 30)}


def test_per_prompt_bounds_each_prompt_and_prefers_rare_groups():
    quality = wide(400, 4).quality
    quality[100:, 3] = NAN  # battles of the best model are rare
    outcomes = Outcomes([f"q{i}" for i in range(400)], ("m0", "m1", "m2", "m3"), quality)

    even = gold_battles(outcomes, balance="tier", per_prompt=1)
    plain = gold_battles(outcomes, balance="none", per_prompt=1)

    assert max(Counter(even.battles.prompts).values()) == 1
    assert len(plain.battles) == 400
    rare = [
        sum(int(a == 3 or b == 3) for a, b in zip(g.battles.model_a, g.battles.model_b, strict=True))
        for g in (even, plain)
    ]
    assert rare[0] / len(even.battles) > 1.3 * rare[1] / len(plain.battles)


def test_tiers_follow_the_models_strength():
    gold = gold_battles(wide(500, 3))

    assert gold.tiers == {"m2": 0, "m1": 1, "m0": 2}


def test_same_seed_same_battles_and_another_seed_others():
    outcomes = wide(60, 4)

    one, same, other = (rows_of(gold_battles(outcomes, per_prompt=2, seed=seed)) for seed in (1, 1, 2))

    assert one == same
    assert one != other


def test_a_prompt_that_stands_twice_is_two_rows():
    outcomes = Outcomes(["q", "q"], ("big", "small"), np.array([[1.0, 0.0], [0.0, 0.0]]))

    assert gold_battles(outcomes).battles.outcome.tolist() == [1.0, 0.5]


@pytest.mark.parametrize(
    ("more", "error", "said"),
    [
        ({"per_prompt": 0}, ConfigError, "`per_prompt` must be at least 1, got 0"),
        ({"balance": "all"}, ConfigError, "`balance` must be tier, source, both or none"),
        ({"sources": ["a"]}, DataError, "`sources` must be one for each of 2 prompts, got 1"),
        ({"pairs": [("big", "big")]}, ConfigError, "A pair needs two models"),
        ({"pairs": [("big", "mid"), ("mid", "big")]}, ConfigError, "A pair stands twice"),
        ({"pairs": [("big", "smal")]}, DataError, "Did you mean 'small'"),
    ],
)
def test_what_cannot_be_done_is_refused(more, error, said):
    with pytest.raises(error, match=said):
        gold_battles(table([[1, 0, 0], [0, 1, 0]]), **more)


@pytest.mark.parametrize("quality", [np.empty((0, 3)), [[1, NAN, NAN], [NAN, 1, NAN]]], ids=["no rows", "nobody meets"])
def test_outcomes_without_any_pair_are_refused(quality):
    with pytest.raises(DataError, match="was answered by two of the 3 models"):
        gold_battles(table(quality))


def test_pairs_that_never_met_are_refused():
    with pytest.raises(DataError, match="never answered the same prompt"):
        gold_battles(table([[1, 0, NAN], [NAN, 1, 0]]), pairs=[("big", "small")])
