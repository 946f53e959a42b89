"""Protocols, fairness, rows and warnings, with routers that are told what to say."""

import json
import subprocess

import numpy as np
import pytest

from prefroute.benchmarks import Benchmark, Unit
from prefroute.data import PromptKeys
from prefroute.errors import ConfigError, DataError
from prefroute.evaluate import AsIs, Fitted, Folds, Gold, Kind, TrainOn, evaluate, evaluate_held_out, figure, table
from prefroute.evaluate.protocols import draw_gold, without_duplicates
from prefroute.evaluate.provenance import data_sha256, git_sha
from prefroute.evaluate.rows import flat_warning
from prefroute.prompts import prompt_hash
from prefroute.routers.base import PoolRouter, Router, RouterState
from prefroute.train.report import HeldOut
from prefroute.types import Outcomes

STRONG, WEAK = "big", "small"
PROMPTS = ["a", "bb", "ccc", "dddd"]


class Told(Router):
    """Scores a prompt by the number that it ends with, over 1,000; remembers what it was shown."""

    kind = "told"

    def __init__(self, strong=STRONG, weak=WEAK, seed=0, embedder=None):
        self.strong, self.weak, self.seed, self.embedder = strong, weak, seed, embedder

    def fit(self, data):
        self.seen_ = list(data.prompts)
        return self

    def win_rate(self, prompts):
        self.asked_ = list(prompts)
        return np.array([int(prompt.split()[-1]) / 1000 for prompt in prompts])

    def state(self):
        return RouterState()

    def restore(self, state):
        return self


class Flat(Told):
    def win_rate(self, prompts):
        return np.full(len(prompts), 0.5)


class Pool(Told, PoolRouter):
    models = ("mid", STRONG, WEAK)

    def predict(self, prompts):
        score = self.win_rate(prompts)
        return np.column_stack([np.full(len(prompts), 0.5), np.full(len(prompts), 0.8), 0.8 - score])


class TrainedEmbedder:
    id, spec, dim = "taught@1", "taught", 2

    def __init__(self, *prompts):
        self.trained_on = frozenset(prompt_hash(prompt) for prompt in prompts)

    def encode(self, prompts):
        angle = np.array([int(prompt.split()[-1]) / 100 for prompt in prompts])
        return np.column_stack([np.cos(angle), np.sin(angle)]).astype(np.float32)


WORDS = ["plum", "stone", "river", "lamp", "cloud", "fern", "gate", "moss", "tide", "bell"]


def prompts(n):
    """Distinct prompts; the last word is the row's number, so `Told` scores by row."""
    return [f"{WORDS[i % 10]} {WORDS[i // 10 % 10]} {WORDS[i // 100 % 10]} asks {i}" for i in range(n)]


def bench(n=200, subjects=False, **more):
    """The weak model fails the later half; the strong one is always right, so `Told` is the oracle."""
    quality = np.column_stack([np.ones(n), np.arange(n) < n / 2]).astype(float)
    return Benchmark(
        name="made-up",
        outcomes=Outcomes(prompts(n), (STRONG, WEAK), quality),
        strong=STRONG,
        weak=WEAK,
        source="written for this test",
        licence="none",
        subjects=tuple("late" if i >= n / 2 else "early" for i in range(n)) if subjects else None,
        **more,
    )


def told(strong, weak, seed):
    return Told(strong, weak, seed)


def rows_of(report):
    return {row["router"]: row for row in report.rows}


FITTED = Fitted("told", Told(), PromptKeys.of([]))


class TestRows:
    def test_baselines_stand_beside_every_router(self):
        report = evaluate([FITTED], bench(), n_boot=20)

        names = [row["router"] for row in report.rows]
        assert names == ["told", "random", "length", "always-weak", "always-strong", "oracle"]

    def test_random_is_the_analytic_line(self):
        row = rows_of(evaluate([], bench(), n_boot=20))["random"]

        assert (row["apgr"], row["cpt50"], row["cpt80"], row["paper_apgr"]) == (0.5, 0.5, 0.8, 0.5)
        assert (row["apgr_low"], row["apgr_high"]) == (0.5, 0.5)

    def test_single_models_recover_nothing_and_all(self):
        rows = rows_of(evaluate([], bench(), n_boot=20))

        assert (rows["always-weak"]["apgr"], rows["always-weak"]["cpt50"]) == (0.0, None)
        assert (rows["always-strong"]["apgr"], rows["always-strong"]["cpt50"]) == (1.0, 1.0)

    def test_a_router_that_knows_everything_equals_the_oracle(self):
        rows = rows_of(evaluate([FITTED], bench(), n_boot=20))

        # all gains in the first half of the calls: area .25 + .5
        assert rows["told"]["apgr"] == pytest.approx(0.75)
        assert rows["oracle"]["apgr"] == pytest.approx(0.75)
        assert rows["told"]["cpt50"] == pytest.approx(0.25)

    def test_intervals_hold_the_figure(self):
        row = rows_of(evaluate([FITTED], bench(), n_boot=200))["told"]

        for name in ("apgr", "cpt50", "cpt80", "strong_quality", "weak_quality"):
            assert row[f"{name}_low"] <= row[name] <= row[f"{name}_high"]
        assert row["apgr_low"] < row["apgr_high"]

    def test_quality_is_in_the_unit_of_the_benchmark(self):
        row = evaluate([], bench(unit=Unit(1, 10, "judge score")), n_boot=20).rows[0]

        assert (row["strong_quality"], row["weak_quality"], row["quality_unit"]) == (10.0, 5.5, "judge score")

    def test_differences_are_paired(self):
        twin = Fitted("twin", Told(), PromptKeys.of([]))

        row = rows_of(evaluate([FITTED, twin], bench(), n_boot=50))["told"]

        assert row["vs"]["twin"] == {"diff": 0.0, "low": 0.0, "high": 0.0}
        assert row["vs_random"]["diff"] == pytest.approx(0.25)
        assert row["vs_random"]["low"] > 0

    def test_an_entrant_named_as_a_baseline_gets_no_second_row(self):
        report = evaluate([Kind("length", told), Kind("random", told)], bench(), n_boot=20)

        assert [row["router"] for row in report.rows].count("length") == 1

    def test_costs_come_from_the_data_before_prices(self):
        table = bench().outcomes
        paid = Outcomes(table.prompts, table.models, table.quality, np.tile([0.03, 0.01], (len(table), 1)))
        paid_bench = Benchmark("paid", paid, STRONG, WEAK, "test", "none")

        report = evaluate([FITTED], paid_bench, n_boot=20, prices={STRONG: 9.0, WEAK: 8.0})

        row = rows_of(report)["told"]
        assert report.provenance["costs"] == "big as the data says, small as the data says"

        assert (row["strong_cost_usd"], row["weak_cost_usd"]) == pytest.approx((0.03, 0.01))
        assert row["cpt50_cost_usd"] == pytest.approx(0.01 + 0.25 * 0.02)
        assert row["cost_apgr"] == pytest.approx(row["apgr"])

    def test_prices_fill_in_where_the_data_has_no_costs(self):
        row = evaluate([], bench(), n_boot=20, prices={STRONG: 0.2, WEAK: 0.1}).rows[0]

        assert (row["strong_cost_usd"], row["weak_cost_usd"]) == pytest.approx((0.2, 0.1))

    def test_the_report_says_where_costs_come_from(self):
        given = evaluate([], bench(), n_boot=20, prices={STRONG: 0.2, WEAK: 0.1})

        assert given.provenance["costs"] == "big 0.2 USD a request (given), small 0.1 USD a request (given)"
        assert evaluate([], bench(), n_boot=20).provenance["costs"] is None

    def test_no_price_is_null_not_zero(self):
        row = evaluate([], bench(), n_boot=20).rows[0]

        assert (row["strong_cost_usd"], row["cpt50_cost_usd"], row["cost_apgr"]) == (None, None, None)


class TestProtocols:
    def test_a_kind_without_training_data_is_refused(self):
        with pytest.raises(ConfigError, match=r"'told' is a kind of router and must be trained first\. Add --train-on"):
            evaluate([Kind("told", told)], bench(), protocol=AsIs())

    def test_gold_trains_on_n_and_evaluates_on_the_rest(self):
        row = rows_of(evaluate([Kind("told", told)], bench(), protocol=Gold(30), n_boot=20))["told"]

        assert (row["n"], row["train_n"], row["n_left_out"], row["protocol"]) == (170, 30, 0, "gold-30")

    def test_gold_never_scores_what_it_trained_on(self):
        made = []

        def make(strong, weak, seed):
            made.append(Told(strong, weak, seed))
            return made[-1]

        evaluate([Kind("told", make)], bench(), protocol=Gold(30), n_boot=20)

        fitted = made[-1]
        assert len(fitted.seen_) == 30
        assert len(fitted.asked_) == 170
        assert not set(fitted.seen_) & set(fitted.asked_)

    def test_duplicates_of_drawn_questions_leave_the_test_set(self):
        texts = ["Same", "other", " same ", "third"]

        left = without_duplicates(texts, np.array([0]), np.arange(4))

        assert left.tolist() == [1, 3]

    def test_gold_draws_per_subject_by_largest_remainder(self):
        subjects = ["a"] * 50 + ["b"] * 30 + ["c"] * 20

        drawn = draw_gold(subjects, 100, 7, seed=4)

        # 3.5, 2.1, 1.4 of 7: floors 3, 2, 1 and the one left over goes to a
        assert np.bincount(np.digitize(drawn, [50, 80])).tolist() == [4, 2, 1]

    def test_gold_is_the_same_draw_for_the_same_seed(self):
        assert (draw_gold(None, 100, 20, 1) == draw_gold(None, 100, 20, 1)).all()
        assert (draw_gold(None, 100, 20, 1) != draw_gold(None, 100, 20, 2)).any()

    def test_gold_must_leave_something_to_evaluate_on(self):
        with pytest.raises(DataError, match="Cannot train on 200 of 200 questions"):
            evaluate([], bench(), protocol=Gold(200))

    def test_folds_score_every_question_by_a_router_that_did_not_see_it(self):
        class Honest(Told):
            def win_rate(self, asked):
                assert not set(asked) & set(self.seen_)
                return super().win_rate(asked)

        report = evaluate([Kind("honest", Honest)], bench(), protocol=Folds(5), n_boot=20)

        row = rows_of(report)["honest"]
        assert (row["n"], row["train_n"], row["protocol"]) == (200, 160, "folds-5")
        # 0.75 where all questions are ranked together; folds hold 39 to 41 questions that gain, so ranks lose a little.
        assert row["apgr"] == pytest.approx(0.75, abs=0.005)

    def test_a_constant_added_to_one_folds_scores_changes_nothing(self):
        offsets = set()

        class Shifting(Told):
            def win_rate(self, asked):
                offset = sum(int(prompt.split()[-1]) for prompt in self.seen_) % 7 / 14  # one number for each fold
                offsets.add(offset)
                return super().win_rate(asked) / 2 + offset

        plain = rows_of(evaluate([Kind("r", Told)], bench(), protocol=Folds(5), n_boot=5))["r"]
        shifted = rows_of(evaluate([Kind("r", Shifting)], bench(), protocol=Folds(5), n_boot=5))["r"]

        assert len(offsets) > 1
        assert shifted["apgr"] == plain["apgr"]

    @pytest.mark.parametrize("make", [lambda: Gold(0), lambda: Folds(1)])
    def test_protocols_refuse_nonsense(self, make):
        with pytest.raises(ConfigError, match="must be at least"):
            make()

    def test_the_subject_prior_is_a_reference_not_a_router(self):
        row = rows_of(evaluate([], bench(subjects=True), protocol=Gold(20), n_boot=20))["subject prior"]

        # the two subjects are exactly the halves with gain 0 and 1: as good as the oracle, one tie block each
        assert row["role"] == "reference"
        assert row["apgr"] == pytest.approx(0.75)

    def test_no_subject_prior_without_training(self):
        assert "subject prior" not in rows_of(evaluate([], bench(subjects=True), n_boot=20))

    def test_progress_is_told_for_every_router_and_fold(self):
        steps = []

        evaluate([FITTED], bench(), protocol=Folds(3), n_boot=20, progress=lambda *step: steps.append(step))

        assert steps == [(1, 3), (2, 3), (3, 3)]


class TestFairness:
    def test_questions_of_a_checkpoints_training_set_are_left_out_for_all(self):
        seen = Fitted("seen", Told(), PromptKeys.of(prompts(200)[:40]))

        rows = rows_of(evaluate([FITTED, seen], bench(n_left_out=3), n_boot=20))

        assert {row["n"] for row in rows.values()} == {160}
        assert rows["told"]["n_left_out"] == 43

    def test_questions_of_an_embedders_training_set_are_left_out(self):
        taught = Told(embedder=TrainedEmbedder(prompts(200)[0].upper(), prompts(200)[150]))

        row = rows_of(evaluate([Fitted("taught", taught, PromptKeys.of([]))], bench(), n_boot=20))["taught"]

        assert (row["n"], row["n_left_out"], row["embedder"]) == (198, 2, "taught@1")

    def test_training_data_that_holds_questions_shrinks_the_benchmark(self):
        data = bench().outcomes.take(np.arange(60, 140))

        row = rows_of(evaluate([Kind("told", told)], bench(), protocol=TrainOn(data, "mine"), n_boot=20))["told"]

        assert (row["n"], row["train_n"], row["n_left_out"], row["protocol"]) == (120, 80, 80, "train-on mine")

    def test_questions_near_a_training_prompt_by_embedding_are_left_out(self):
        data = Outcomes(["quite another text 7"], (STRONG, WEAK), np.array([[1.0, 0.0]]))

        def make(strong, weak, seed):
            return Told(strong, weak, seed, embedder=TrainedEmbedder())

        row = rows_of(evaluate([Kind("told", make)], bench(), protocol=TrainOn(data), n_boot=20))["told"]

        # row i lies at i / 100 rad, the training prompt at .07: cosine >= .95 up to .3176 rad apart, rows 0 to 38
        assert (row["n"], row["n_left_out"]) == (161, 39)

    def test_nothing_left_is_refused(self):
        whole = Fitted("whole", Told(), PromptKeys.of(prompts(200)))

        with pytest.raises(DataError, match="No question of made-up is left to evaluate on: all 200"):
            evaluate([whole], bench())

    def test_names_must_differ(self):
        with pytest.raises(ConfigError, match="got 'told' twice"):
            evaluate([FITTED, FITTED], bench())

    def test_the_oracles_name_is_taken(self):
        with pytest.raises(ConfigError, match="'oracle' names a row that every report has"):
            evaluate([Fitted("oracle", Told(), None)], bench())

    def test_a_pair_without_a_gap_is_refused(self):
        table = bench().outcomes
        turned = Benchmark("turned", table, WEAK, STRONG, "test", "none")

        with pytest.raises(DataError, match="'small' must be better than 'big' on the 200 questions of turned"):
            evaluate([], turned)

    def test_no_resamples_are_refused(self):
        with pytest.raises(ConfigError, match="`n_boot` must be at least 1"):
            evaluate([], bench(), n_boot=0)


class TestWarnings:
    def test_constant_scores_are_named_and_not_better_than_chance(self):
        report = evaluate([Fitted("flat", Flat(), PromptKeys.of([]))], bench(), n_boot=50)

        assert report.warnings == [
            "flat: scores are nearly constant: one value holds 100% of the questions",
            "flat: its interval [0.500, 0.500] includes random's 0.5: not shown to be better than chance",
            "flat: worse than prompt length alone",
        ]

    def test_scores_in_a_narrow_range_are_named(self):
        assert flat_warning(0.5 + np.arange(100) / 100_000) is not None

    def test_well_spread_scores_are_not(self):
        assert flat_warning(np.arange(100) / 100) is None

    def test_worse_than_random_is_said(self):
        class Wrong(Told):
            def win_rate(self, asked):
                return 1 - super().win_rate(asked)

        report = evaluate([Fitted("wrong", Wrong(), PromptKeys.of([]))], bench(), n_boot=50)

        first, second = report.warnings
        assert first.startswith("wrong: worse than random")
        assert second == "wrong: worse than prompt length alone"

    def test_a_router_of_many_pairs_is_not_said_to_be_of_another(self):
        report = evaluate([Fitted("all", Told("strong", "weak"), PromptKeys.of([]))], bench(), n_boot=50)

        assert not any("another pair" in warning for warning in report.warnings)

    def test_unknown_training_prompts_and_another_pair_are_said(self):
        report = evaluate([Fitted("lost", Told("x", "y"), None)], bench(), n_boot=50)

        assert "nothing is known of its training prompts" in report.warnings[0]
        assert report.warnings[1] == "lost: trained for x / y, scored on another pair"

    def test_a_gap_that_half_the_resamples_lack_gives_no_interval(self):
        quality = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 0.9]])
        tiny = Benchmark("tiny", Outcomes(prompts(4), (STRONG, WEAK), quality), STRONG, WEAK, "test", "none")

        row = rows_of(evaluate([FITTED], tiny, n_boot=400))["told"]

        assert 0.3 < row["undefined_share"] < 0.6
        assert any("of the resamples" in text for text in row["warnings"])


POOLED = Fitted("pool", Pool(), PromptKeys.of([]))


def pool_bench(cost):
    """Three models: strong is always right, weak in the early half, mid half right throughout."""
    n = 60
    late = np.arange(n) >= n / 2
    quality = np.column_stack([np.ones(n), np.where(late, 0.0, 1.0), np.full(n, 0.5)])
    outcomes = Outcomes(prompts(n), (STRONG, WEAK, "mid"), quality, np.broadcast_to(np.array(cost), (n, 3)).copy())
    return Benchmark("pool", outcomes, STRONG, WEAK, "test", "none")


class TestPool:
    @pytest.fixture
    def report(self):
        return evaluate([POOLED], pool_bench([0.010, 0.001, 0.004]), n_boot=30)

    def test_aiq_of_single_models_is_the_envelope_of_their_means(self, report):
        row = rows_of(report)["single models"]

        # weak (.001, .5) to strong (.010, 1): a straight line, mean height .75; mid (.004, .5) lies below
        assert row["aiq"] == pytest.approx(0.75)
        assert row["role"] == "reference"

    def test_the_oracle_bounds_every_aiq(self, report):
        rows = rows_of(report)

        # corners (.001, .5), mid for the late half (.0025, .75), strong for it (.0055, 1):
        # (.0015 * .625 + .003 * .875 + .0045 * 1) / .009
        assert rows["oracle"]["aiq"] == pytest.approx(0.8958333)
        assert rows["single models"]["aiq"] < rows["pool"]["aiq"] <= rows["oracle"]["aiq"] + 1e-12

    def test_rows_without_predictions_have_no_aiq(self, report):
        assert rows_of(report)["length"]["aiq"] is None

    def test_the_table_shows_aiq(self, report):
        head, *body = table(report.rows)

        assert body[-1][0] == "single models (reference, not a router)"
        assert body[-1][head.index("AIQ")].startswith("0.750")

    def test_one_price_for_all_gives_no_aiq(self):
        assert rows_of(evaluate([POOLED], pool_bench(cost=0.01), n_boot=5))["pool"]["aiq"] is None

    def test_without_a_complete_row_aiq_is_refused(self):
        with pytest.raises(DataError, match="No question of pool has an answer and a cost of every model"):
            evaluate([POOLED], pool_bench(cost=np.nan), n_boot=5)


class TestReport:
    def test_json_has_the_schema_and_no_nan(self):
        told_json = evaluate([FITTED], bench(), n_boot=20, date="2026-01-02").to_json()

        back = json.loads(json.dumps(told_json, allow_nan=False))
        assert back["schema"] == 1
        needed = "router benchmark n apgr apgr_low apgr_high cpt50 cpt80 strong_quality weak_quality strong weak seed"
        assert all({*needed.split(), "embedder", "n_left_out", "protocol"} <= set(row) for row in back["results"])
        assert back["provenance"]["date"] == "2026-01-02"

    def test_every_row_has_the_same_keys(self):
        report = evaluate([FITTED], bench(subjects=True), protocol=Folds(2), n_boot=20)

        assert len({tuple(sorted(row)) for row in report.rows}) == 1

    def test_the_same_seed_gives_the_same_report(self):
        one, other = (evaluate([FITTED], bench(), protocol=Gold(20), seed=3, n_boot=30) for _ in range(2))

        assert one.to_json() == other.to_json()

    def test_markdown_shows_facts_table_and_provenance(self):
        text = evaluate([FITTED], bench(notes=("only a test",)), n_boot=20, date="2026-01-02").to_markdown()

        assert text.startswith("## made-up, as-is, 200 questions\n")
        assert "- Strong big: 100.00; weak small: 50.00 [" in text
        assert "| router | APGR | CPT50 |" in text
        assert "routers are not refitted" in text
        assert "- Note: only a test." in text
        assert "date 2026-01-02" in text

    def test_markdown_says_what_trained_and_what_is_a_reference(self):
        flat = Kind("flat", Flat)

        text = evaluate([flat], bench(subjects=True), protocol=Gold(20), n_boot=20).to_markdown()

        assert (
            "- 180 questions evaluated, 0 left out (0 seen in training, 0 by the benchmark's own rules), routers"
            in text
        )
        assert "- Reference rows use what a router may not see; they are not routers." in text
        assert "\nWarnings:\n- flat: scores are nearly constant" in text

    def test_markdown_shows_each_pair_of_routers_once(self):
        twin = Fitted("twin", Told(), PromptKeys.of([]))

        text = evaluate([FITTED, twin], bench(), n_boot=20).to_markdown()

        assert "\nPaired differences:\n- told minus twin: APGR +0.000\n" in text

    def test_markdown_cells_cannot_break_the_table(self):
        text = evaluate([Fitted("a|b", Told(), PromptKeys.of([]))], bench(), n_boot=20).to_markdown()

        assert "| a\\|b | 0.750" in text

    def test_table_shows_money_only_where_it_is_known(self):
        without = table(evaluate([], bench(), n_boot=20).rows)
        priced = table(evaluate([], bench(), n_boot=20, prices={STRONG: 0.2, WEAK: 0.1}).rows)

        assert "USD/1k at CPT50" not in without[0]
        assert priced[1][priced[0].index("USD/1k at CPT50")].startswith("150.00")

    def test_a_figure_without_meaning_is_a_dash(self):
        assert figure({"cpt50": None, "cpt50_low": None, "cpt50_high": None}, "cpt50") == "\u2013"

    def test_curves_have_at_most_200_points(self):
        bands = evaluate([FITTED], bench(300), n_boot=20).bands

        assert len(bands["told"].curve.strong_share) == 200
        assert (bands["told"].low <= bands["told"].high).all()


class TestProvenance:
    def test_equal_tables_have_equal_hashes_and_others_not(self):
        table = bench().outcomes

        assert data_sha256(table) == data_sha256(bench().outcomes)
        assert data_sha256(table) != data_sha256(table.take(np.arange(199)))

    def test_git_sha_is_read_without_running_git(self, tmp_path):
        (tmp_path / "pyproject.toml").touch()
        heads = tmp_path / ".git" / "refs" / "heads"
        heads.mkdir(parents=True)
        (tmp_path / ".git" / "HEAD").write_text("ref: refs/heads/main\n")

        assert git_sha(tmp_path / "module.py") is None  # a branch without a commit
        (heads / "main").write_text("0123abc\n")
        assert git_sha(tmp_path / "module.py") == "0123abc"
        (tmp_path / ".git" / "HEAD").write_text("4567def\n")
        assert git_sha(tmp_path / "module.py") == "4567def"

    def test_git_sha_of_a_packed_branch(self, tmp_path):
        (tmp_path / "pyproject.toml").touch()
        (tmp_path / ".git").mkdir()
        (tmp_path / ".git" / "HEAD").write_text("ref: refs/heads/main\n")
        (tmp_path / ".git" / "packed-refs").write_text(
            "# pack-refs with: peeled fully-peeled sorted\n0000aaa refs/heads/mainly\n89abcde refs/heads/main\n"
        )

        assert git_sha(tmp_path / "module.py") == "89abcde"

    @pytest.mark.parametrize("is_packed", [False, True])
    def test_git_sha_in_a_linked_working_tree(self, tmp_path, is_packed):
        def git(folder, *words):
            said = subprocess.run(["git", "-C", folder, *words], check=True, capture_output=True, text=True)
            return said.stdout.strip()

        tree, linked = tmp_path / "tree", tmp_path / "linked"
        git(tmp_path, "init", "--quiet", tree)
        (tree / "pyproject.toml").touch()
        git(tree, "add", ".")
        git(tree, "-c", "user.name=a", "-c", "user.email=a@b.c", "commit", "--quiet", "--message", "first")
        git(tree, "worktree", "add", "--quiet", "-b", "topic/one", linked)
        if is_packed:
            git(tree, "pack-refs", "--all")

        assert git_sha(linked / "module.py") == git(linked, "rev-parse", "HEAD")

    def test_outside_a_working_tree_there_is_no_sha(self, tmp_path):
        assert git_sha(tmp_path / "module.py") is None


class TestHeldOut:
    def test_figures_are_those_of_the_scores_that_were_held_out(self):
        held_out = HeldOut(PROMPTS, np.array([0.1, 0.2, 0.8, 0.9]), np.array([0.5, 0.5, 1.0, 1.0]))

        rows = {row["router"]: row for row in evaluate_held_out("mine", held_out, STRONG, WEAK, n_boot=50)}

        # the two prompts that the strong model wins come first: half of the calls recover the whole gap
        assert (rows["mine"]["cpt50"], rows["mine"]["cpt80"], rows["mine"]["apgr"]) == pytest.approx((0.25, 0.4, 0.75))
        assert rows["mine"]["n"] == 4
        assert {"random", "length", "oracle"} < set(rows)

    @pytest.mark.parametrize("is_learned_later", [False, True])
    def test_what_the_rows_were_used_for_is_said(self, is_learned_later):
        held_out = HeldOut(PROMPTS, np.array([0.1, 0.2, 0.8, 0.9]), np.array([0.5, 0.5, 1.0, 1.0]), is_learned_later)

        warnings = evaluate_held_out("mine", held_out, STRONG, WEAK, n_boot=50)[0]["warnings"]

        assert warnings[0].startswith("these rows also chose when training ended")
        assert any("learned from these rows too" in text for text in warnings) == is_learned_later

    def test_rows_on_which_the_strong_model_does_not_win_say_nothing(self):
        held_out = HeldOut(PROMPTS, np.full(4, 0.5), np.array([0.5, 0.5, 0.0, 0.5]))

        with pytest.raises(DataError, match="PGR is a share of the gap"):
            evaluate_held_out("mine", held_out, STRONG, WEAK)
