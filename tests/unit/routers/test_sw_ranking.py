from __future__ import annotations

import numpy as np
import pytest

from prefroute.errors import CheckpointError, ConfigError, DataError
from prefroute.routers import RouterState
from prefroute.routers._wins import PromptWins, prompt_wins
from prefroute.routers.sw_ranking import SWRanking
from prefroute.testing import HashEmbedder, tiny_battles, tiny_outcomes
from prefroute.types import Battles, Outcomes


def make(**parameters) -> SWRanking:
    return SWRanking("big", "small", HashEmbedder(), **parameters)


def matrices(wins: PromptWins, n: int) -> np.ndarray:
    """Each prompt's wins, shape (n, contestants, contestants)."""
    return wins.weighted(np.eye(n, dtype=np.float32))


def test_two_models_score_the_similarity_weighted_share_of_wins():
    prompts = ["one two", "two three", "four"]
    data = Battles.of(prompts, ["big"] * 3, ["small"] * 3, [1.0, 0.5, 0.0])
    embedder = HashEmbedder()
    unit = embedder.encode([*prompts, "one"])
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    cosine = unit[:3] @ unit[3]
    weight = 10 ** (1 + cosine / cosine.max())

    score = SWRanking("big", "small", embedder, l2=1e-9).fit(data).win_rate(["one"])[0]

    # two contestants: the maximum of the likelihood is the weighted share of wins itself
    assert score == pytest.approx(weight @ np.array([1.0, 0.5, 0.0]) / weight.sum(), abs=1e-6)


def test_outcomes_of_a_pair_score_as_the_battles_they_stand_for():
    prompts = ["one", "two", "three", "four"]
    gain = np.array([1.0, 0.0, -1.0, 1.0])
    quality = np.stack([np.maximum(gain, 0), np.maximum(-gain, 0)], axis=1)
    battles = Battles.of(prompts, ["big"] * 4, ["small"] * 4, ((1 + gain) / 2).tolist())

    from_outcomes = make().fit(Outcomes(prompts, ("big", "small"), quality)).win_rate(prompts)

    assert from_outcomes == pytest.approx(make().fit(battles).win_rate(prompts), abs=1e-9)


def test_every_pair_of_observed_models_is_a_battle():
    quality = np.array([[1.0, 0.25, 0.0], [0.5, np.nan, 1.0]])
    data = Outcomes(["one", "two"], ("big", "middle", "small"), quality)

    wins = matrices(make(n_tiers=0).fit(data).wins_, 2)

    # first prompt: big-middle (1 + .75) / 2, big-small (1 + 1) / 2, middle-small (1 + .25) / 2; second: big-small .25
    assert wins[0, 0, 1] == pytest.approx(0.875)
    assert wins[0, 1, 0] == pytest.approx(0.125)
    assert wins[0, 0, 2] == pytest.approx(1.0)
    assert wins[0, 1, 2] == pytest.approx(0.625)
    assert wins[1, 0, 2] == pytest.approx(0.25)
    assert wins[1, :, 1].sum() == 0


def test_battle_inside_a_tier_counts_against_the_anchor_or_not_at_all():
    data = Battles.of(["a", "b", "c"], ["big", "big", "small"], ["twin", "small", "twin"], [1.0, 1.0, 1.0])

    tier = np.array([0, 1, 0])  # models sort to big, small, twin
    rows = np.arange(3)
    anchored = matrices(prompt_wins(data, tier, rows, np.ones(len(data)), anchor=True), 3)
    dropped = matrices(prompt_wins(data, tier, rows, np.ones(len(data)), anchor=False), 3)

    assert anchored[0, 2, 0] == 1.0  # the anchor (2) beats tier 0, as RouteLLM's design matrix has it
    assert dropped[0].sum() == 0
    assert np.array_equal(anchored[1:], dropped[1:])


def test_prompt_without_similar_battles_weighs_all_alike():
    data = tiny_battles()
    router = make(n_tiers=0).fit(data)
    flat = SWRanking("big", "small", HashEmbedder(), n_tiers=0, gamma=1 + 1e-9).fit(data)

    assert router.win_rate([""]) == pytest.approx(flat.win_rate(["anything"]), abs=1e-6)


def test_absolute_gradation_differs_from_relative_and_keeps_the_contract():
    prompts = ["add two numbers again", "something else"]
    relative, absolute = (
        make(gradation=name).fit(tiny_battles()).win_rate(prompts) for name in ("relative", "absolute")
    )

    assert (relative != absolute).any()


@pytest.mark.parametrize(("storage", "tolerance"), [("float16", 1e-4), ("int8", 1e-2)])
def test_smaller_storage_moves_scores_little(storage, tolerance):
    prompts = ["add two numbers", "fix a bug", ""]
    exact, small = (make(storage=kind).fit(tiny_battles()) for kind in ("float32", storage))

    assert small.vectors_.dtype == storage
    assert small.win_rate(prompts) == pytest.approx(exact.win_rate(prompts), abs=tolerance)


def test_storages_agree_in_a_large_batch():
    prompts = [f"prompt {i}" for i in range(40)]
    for storage in ("float16", "int8"):
        router = make(storage=storage).fit(tiny_battles())
        alone = np.concatenate([router.win_rate([prompt]) for prompt in prompts])

        assert router.win_rate(prompts) == pytest.approx(alone, abs=1e-6)


def test_pair_inside_one_tier_is_refused():
    prompts = [f"prompt {i}" for i in range(40)]
    data = Battles.of(
        prompts, ["big", "big", "small", "bad"] * 10, ["small", "bad", "bad", "big"] * 10, [0.5, 1.0, 0.9, 0.1] * 10
    )

    with pytest.raises(DataError, match="fall into one of 2 tiers"):
        make(n_tiers=2).fit(data)


def test_all_ties_are_refused():
    data = Battles.of(["a", "b"], ["big", "small"], ["small", "big"], [0.5, 0.5])

    with pytest.raises(DataError, match="Every battle is a tie"):
        make().fit(data)


def test_labels_that_never_differ_are_refused():
    data = Battles.of(["a", "b"], ["big", "small"], ["small", "big"], [1.0, 0.0])

    with pytest.raises(DataError, match="wins every battle"):
        make().fit(data)


def test_pair_that_no_chain_of_battles_connects_is_refused():
    data = Battles.of(["a", "b"], ["big", "small"], ["other", "another"], [1.0, 0.0])

    with pytest.raises(DataError, match="No chain of battles connects 'big' with 'small'"):
        make(n_tiers=0).fit(data)


def test_unknown_model_is_refused_with_the_nearest_name():
    with pytest.raises(DataError, match="Did you mean 'small'"):
        SWRanking("big", "smal", HashEmbedder()).fit(tiny_battles())


@pytest.mark.parametrize(
    ("name", "value"),
    [("gamma", 1.0), ("n_tiers", 1), ("l2", 0.0), ("storage", "float8"), ("gradation", "x"), ("same_tier", "keep")],
)
def test_parameter_out_of_range_is_refused_by_fit(name, value):
    with pytest.raises(ConfigError, match=f"`{name}`"):
        make(**{name: value}).fit(tiny_battles())


@pytest.mark.parametrize(
    ("name", "broken"),
    [
        ("wins_row", lambda row: row + 100),
        ("wins_row", lambda row: row - 100),
        ("wins_row", lambda row: row[1:]),
        ("wins_cell", lambda cell: cell + 100),
        ("wins_cell", lambda cell: cell[::-1].copy()),
        ("wins_won", lambda won: -won),
        ("wins_won", lambda won: won * np.nan),
    ],
)
def test_wins_that_do_not_fit_together_are_refused(name, broken):
    state = make().fit(tiny_outcomes()).state()
    arrays = {**state.arrays, name: broken(state.arrays[name])}

    with pytest.raises(CheckpointError, match="do not fit together"):
        make().restore(RouterState(arrays, state.meta))


def test_weighted_wins_are_the_sum_over_prompts_in_any_number_of_blocks():
    rng = np.random.default_rng(0)
    n, models = 700, np.array(["a", "b", "c"])
    first = rng.integers(3, size=n)
    second = (first + rng.integers(1, 3, size=n)) % 3
    data = Battles.of(["q"] * n, models[first].tolist(), models[second].tolist(), rng.choice([0, 0.5, 1.0], n).tolist())
    rows = rng.integers(300, size=n)  # some prompts are fought over more than once
    weights = rng.random((300, 256), dtype=np.float32)  # 2 ** 17 of them at once: several blocks
    expected = np.zeros((256, 4, 4))
    for row, i, j, outcome in zip(rows, first, second, data.outcome, strict=True):
        expected[:, i, j] += weights[row] * outcome
        expected[:, j, i] += weights[row] * (1 - outcome)

    wins = prompt_wins(data, np.arange(3), rows, np.ones(len(data)), anchor=False)

    assert len(wins.row) > 2**17 // 256
    assert wins.weighted(weights) == pytest.approx(expected, abs=1e-9)
    assert wins.total() == pytest.approx(matrices(wins, 300).sum(axis=0))


def test_missing_tensor_is_named():
    state = make().fit(tiny_outcomes()).state()
    arrays = {name: array for name, array in state.arrays.items() if name != "tier"}

    with pytest.raises(CheckpointError, match=r"missing \['tier'\]"):
        make().restore(RouterState(arrays, state.meta))
