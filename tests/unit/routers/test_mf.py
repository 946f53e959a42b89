"""Matrix factorization: what it learns, predicts, resumes, takes in and refuses."""

import subprocess
import sys

import numpy as np
import pytest

from prefroute.checkpoint import fingerprint
from prefroute.errors import CheckpointError, ConfigError, DataError
from prefroute.routers.base import RouterState
from prefroute.routers.mf import MF
from prefroute.testing import HashEmbedder, tiny_battles, tiny_outcomes
from prefroute.types import Battles, Outcomes

SHORT = {"min_steps": 100, "epochs": 1, "dim": 16}


def mf(**options):
    return MF("big", "small", HashEmbedder(), **{**SHORT, **options})


def topics(n=240, seed=0, models=("big", "middle", "small")):
    """Prompts of two topics: on "proof" big beats small nearly always, on "poem" small is as good; 0/1 quality."""
    rng = np.random.default_rng(seed)
    hard = rng.random(n) < 0.5
    prompts = [f"{'proof' if h else 'poem'} number {i}" for i, h in enumerate(hard)]
    chance = {"big": np.where(hard, 0.9, 0.8), "middle": np.where(hard, 0.5, 0.8), "small": np.where(hard, 0.1, 0.8)}
    quality = np.column_stack([rng.random(n) < chance[model] for model in models]).astype(np.float64)
    return Outcomes(prompts, models, quality)


PROOFS, POEMS = [f"proof number {i}" for i in range(900, 910)], [f"poem number {i}" for i in range(900, 910)]


def test_win_rate_is_higher_where_the_strong_model_gains():
    router = mf(min_steps=600).fit(topics())

    assert router.win_rate(PROOFS).mean() > router.win_rate(POEMS).mean() + 0.15


def test_win_rate_is_learned_from_battles_that_go_through_a_third_model():
    # big and small never meet: what joins them is middle
    table = topics(400)
    pairs = [("big", "middle"), ("middle", "small")]
    rows = []
    for i, (prompt, quality) in enumerate(zip(table.prompts, table.quality, strict=True)):
        a, b = pairs[i % 2]
        rows.append((prompt, a, b, (1 + quality[table.column(a)] - quality[table.column(b)]) / 2))
    battles = Battles.of(*(list(column) for column in zip(*rows, strict=True)))

    router = mf(min_steps=600).fit(battles)

    assert router.win_rate(PROOFS).mean() > router.win_rate(POEMS).mean() + 0.1
    assert set(router.models) == {"big", "middle", "small"}


def test_swapping_the_contestants_of_every_battle_gives_the_same_router():
    battles = tiny_battles()
    swapped = Battles(battles.prompts, battles.models, battles.model_b, battles.model_a, 1 - battles.outcome)

    assert fingerprint(mf().fit(battles)) == fingerprint(mf().fit(swapped))


def test_another_seed_gives_another_router():
    assert fingerprint(mf(seed=1).fit(tiny_battles())) != fingerprint(mf(seed=2).fit(tiny_battles()))


def test_predict_on_outcomes_is_close_to_the_mean_quality_of_each_model():
    table = topics()
    router = mf(min_steps=1000).fit(table)

    assert router.predict(table.prompts).mean(axis=0) == pytest.approx(table.quality.mean(axis=0), abs=0.06)


def test_predict_on_battles_is_the_win_rate_against_the_rest():
    router = mf().fit(tiny_battles())

    predicted = router.predict(["fix a bug", "plan a trip"])

    # each of the 3 pairs shares out one win: means over 2 opponents add up to 3 / 2
    assert predicted.sum(axis=1) == pytest.approx([1.5, 1.5])


def test_predict_ranks_a_pair_as_win_rate_does():
    router = mf().fit(topics())
    prompts = PROOFS + POEMS
    quality = router.predict(prompts)

    strong, weak = router.models.index("big"), router.models.index("small")
    assert ((quality[:, strong] > quality[:, weak]) == (router.win_rate(prompts) > 0.5)).all()


def test_dropping_ties_learns_from_the_other_rows_only():
    battles = tiny_battles()
    decided = battles.take(battles.outcome != 0.5)

    dropped = mf(ties="drop").fit(battles)

    assert fingerprint(dropped) == fingerprint(mf(ties="drop").fit(decided))


def test_pairs_per_prompt_bounds_the_rows_and_keeps_the_pair():
    table = topics(50)

    router = mf(pairs_per_prompt=1).fit(table)

    assert router.models == ("big", "small")
    assert router.training_.n_train + router.training_.n_held_out == 50


def test_equal_prompts_are_on_one_side_of_the_split():
    table = topics(40)
    twice = Outcomes(
        [*table.prompts, *(p.upper() for p in table.prompts)], table.models, np.tile(table.quality, (2, 1))
    )

    router = mf(pairs_per_prompt=1).fit(twice)

    assert router.training_.n_held_out == 2 * 4  # a tenth of the 40 distinct prompts


def test_interrupted_training_resumes_to_the_same_router(tmp_path):
    def kill(done, most, look):
        if done == 50:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        mf().fit(tiny_battles(), resume=tmp_path / "state", progress=kill)
    assert (tmp_path / "state").exists()

    resumed = mf().fit(tiny_battles(), resume=tmp_path / "state")

    assert fingerprint(resumed) == fingerprint(mf().fit(tiny_battles()))


@pytest.mark.parametrize(("strong", "weak"), [("big", "small"), ("small", "big")])
def test_held_out_rows_are_told_as_the_pair_is_named(strong, weak):
    quality = np.array([[1.0, i % 2] for i in range(60)])
    data = Outcomes([f"question {i} {'easy' if i % 2 else 'hard'}" for i in range(60)], ("big", "small"), quality)

    held_out = MF(strong, weak, HashEmbedder(), min_steps=200).fit(data).held_out_

    assert held_out is not None
    of_big = np.array([0.5 if prompt.endswith("easy") else 1.0 for prompt in held_out.prompts])
    assert held_out.win.tolist() == (of_big if strong == "big" else 1 - of_big).tolist()
    assert np.corrcoef(held_out.win, held_out.win_rate)[0, 1] > 0
    assert held_out.is_learned_later


def test_the_second_training_tells_its_steps_and_no_held_out_loss():
    told = []

    mf().fit(tiny_battles(), progress=lambda *step: told.append(step))

    again = told[next(i for i in range(1, len(told)) if told[i][0] < told[i - 1][0]) :]
    losses = [look for _, _, look in again if look is not None]
    assert [done for done, _, _ in again] == list(range(1, again[0][1] + 1))[: len(again)]
    assert {look.held_out_loss for look in losses} == {None}
    assert losses[-1].train_loss < losses[0].train_loss


def test_state_of_a_training_on_other_data_is_refused(tmp_path):
    mf().fit(tiny_battles(), resume=tmp_path / "state")

    with pytest.raises(CheckpointError, match="other data or settings"):
        mf().fit(tiny_battles(seed=1), resume=tmp_path / "state")


def test_training_report_has_losses_and_calibration():
    report = mf().fit(topics()).training_

    assert report.history[0]["step"] == 2  # 100 steps, 50 checks
    assert 0 <= report.calibration.ece_after <= 1


def test_scoring_a_loaded_router_needs_no_torch(tmp_path):
    code = (
        "import sys\n"
        "sys.modules['torch'] = None\n"
        "from prefroute.checkpoint import open_checkpoint\n"
        "from prefroute.testing import HashEmbedder\n"
        "router = open_checkpoint(sys.argv[1], embedder=HashEmbedder()).router\n"
        "print(router.win_rate(['hi']).shape, router.predict(['hi']).shape)"
    )
    from prefroute.checkpoint import save_checkpoint

    save_checkpoint(mf().fit(tiny_outcomes()), tmp_path / "mf")
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "mf"], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "(1,) (1, 3)"


def test_missing_torch_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)

    with pytest.raises(ImportError, match=r"prefroute\[train\]"):
        mf().fit(tiny_battles())


def test_failed_fit_leaves_the_router_as_it_was():
    router = mf().fit(tiny_battles())
    before = fingerprint(router)

    with pytest.raises(DataError):
        router.fit(Outcomes(["a", "b"], ("big", "small"), np.full((2, 2), 0.5)))

    assert fingerprint(router) == before


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (Outcomes(["a", "b"], ("big", "small"), np.ones((2, 2))), "All 2 comparisons came out 0.5"),
        (Outcomes(["a", "b"], ("big", "small"), np.array([[1.0, 0], [1, 0]])), "All 2 comparisons came out 1"),
        (
            Outcomes(["a", "b"], ("big", "small"), np.array([[1.0, np.nan], [np.nan, 0]])),
            "No prompt was answered by two",
        ),
        (Outcomes(["a"], ("big",), np.ones((1, 1))), "small"),
        (Battles.of(["a", "b"], ["big", "big"], ["other", "other"], [1, 0]), "small"),
        (Battles.of(["a", "A"], ["big", "big"], ["small", "small"], [1, 0]), "distinct prompts"),
    ],
)
def test_data_without_anything_to_learn_is_refused(data, message):
    with pytest.raises(DataError, match=message):
        mf().fit(data)


def test_all_ties_are_refused_when_ties_are_dropped():
    battles = Battles.of(["a", "b"], ["big", "big"], ["small", "small"], [0.5, 0.5])

    with pytest.raises(DataError, match="once ties are dropped"):
        mf(ties="drop").fit(battles)


@pytest.mark.parametrize(
    "options",
    [
        {"dim": 0},
        {"dim": 10**12},
        {"batch_size": 1.5},
        {"lr": -1},
        {"noise": float("nan")},
        {"held_out_share": 0.9},
        {"ties": "no"},
    ],
)
def test_parameter_out_of_range_is_refused(options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        mf(**options).fit(tiny_battles())


def test_factors_that_do_not_fit_together_are_refused():
    state = mf().fit(tiny_battles()).state()
    arrays = {**state.arrays, "bias": np.zeros(3)}

    with pytest.raises(CheckpointError, match="do not fit together"):
        mf().restore(RouterState(arrays, state.meta))


def newcomer(n, seed=5):
    """A model that is good at poems alone, seen on n prompts beside big and small."""
    table = topics(n, seed)
    rng = np.random.default_rng(seed)
    chance = np.array([0.1 if p.startswith("proof") else 0.9 for p in table.prompts])
    quality = np.column_stack([table.quality[:, 0], (rng.random(n) < chance).astype(float), table.quality[:, 2]])
    return Outcomes(table.prompts, ("big", "poet", "small"), quality)


def test_added_model_is_predicted_well_where_it_is_good():
    router = mf(min_steps=600).fit(topics())

    added = router.add_model("poet", newcomer(200))

    assert added.router.models == ("big", "middle", "small", "poet")
    poet = added.router.predict(PROOFS + POEMS)[:, -1]
    assert poet[10:].mean() > poet[:10].mean() + 0.3
    assert added.skill.low > 0
    assert added.observed.low < added.observed.value < added.observed.high


def test_adding_a_model_changes_no_other_score():
    router = mf().fit(topics())

    added = router.add_model("poet", newcomer(50)).router

    assert np.array_equal(added.win_rate(PROOFS), router.win_rate(PROOFS))
    assert np.array_equal(added.predict(PROOFS)[:, :3], router.predict(PROOFS))
    assert router.models == ("big", "middle", "small")


def test_model_is_added_to_a_router_of_battles_by_its_wins():
    router = mf().fit(tiny_battles())
    table = tiny_outcomes(80, seed=3)
    renamed = Outcomes(table.prompts, ("big", "new", "small"), table.quality)

    added = router.add_model("new", renamed)

    assert added.measure == "win_rate"
    assert added.predicted.value == pytest.approx(added.observed.value, abs=0.1)


def test_model_seen_alone_is_added_by_its_quality():
    router = mf().fit(topics())

    added = router.add_model("poet", newcomer(60).select(["poet"]))

    assert added.measure == "quality"
    assert added.n == 60


@pytest.mark.parametrize(
    ("name", "table", "message"),
    [
        ("big", topics(20), "in the pool already"),
        ("poet", topics(20), "poet"),
        ("poet", newcomer(5), "at least 10"),
    ],
)
def test_model_that_cannot_be_added_is_refused(name, table, message):
    with pytest.raises(DataError, match=message):
        mf().fit(topics()).add_model(name, table)


def test_model_seen_alone_is_refused_by_a_router_of_battles():
    with pytest.raises(DataError, match="fitted on battles"):
        mf().fit(tiny_battles()).add_model("poet", newcomer(60).select(["poet"]))
