"""Our numbers beside brute force, the paper's definitions, and figures published for the same questions."""

import numpy as np
import pytest

from prefroute.curve import Curve
from prefroute.metrics import PairOutcomes, apgr, bootstrap, call_share, cpt, mean_chosen, pgr, resample_counts
from prefroute.policy import Threshold

# A worked example of the paper's definitions (Ong et al. 2024, arXiv:2406.18665, sec. 2), ten queries.
WIN_RATE = np.array([0.95, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1])
STRONG = np.array([1, 1, 1, 1, 0, 1, 1, 1, 1, 0], dtype=float)  # r_s = 0.8
WEAK = np.array([0, 0, 1, 0, 0, 1, 1, 0, 1, 0], dtype=float)  # r_w = 0.4


def test_definitions_at_one_threshold():
    sent = Threshold(0.75).choose(WIN_RATE)

    # three queries strong, all right; of the seven others the weak model gets 3 right: r = 6 / 10
    assert call_share(sent) == 0.3
    assert mean_chosen(sent, STRONG, WEAK) == pytest.approx(0.6)
    assert pgr(mean_chosen(sent, STRONG, WEAK), weak=0.4, strong=0.8) == pytest.approx(0.5)


def test_apgr_and_cpt_of_the_worked_example():
    curve = Curve.from_scores(WIN_RATE, STRONG, WEAK)

    # PGR at c = 0, .1 ... 1 is gains 1 1 0 1 0 0 0 1 0 0 summed, over 4: 0 .25 .5 .5 .75 .75 .75 .75 1 1 1
    by_hand = (0 / 2 + 0.25 + 0.5 + 0.5 + 0.75 * 4 + 1 + 1 + 1 / 2) / 10
    assert apgr(curve, 0.4, 0.8) == pytest.approx(by_hand)
    assert cpt(curve, 0.4, 0.8, 0.5) == pytest.approx(0.2)
    assert cpt(curve, 0.4, 0.8, 0.8) == pytest.approx(0.7 + 0.1 * 0.2)  # .75 at .7, 1 at .8


def test_exact_curve_equals_every_threshold_by_brute_force():
    rng = np.random.default_rng(0)
    score = rng.integers(0, 12, size=60) / 12  # many ties
    strong, weak = rng.random(60), rng.random(60)

    curve = Curve.from_scores(score, strong, weak)

    for share, quality, alpha in zip(curve.strong_share[1:], curve.quality[1:], curve.threshold[1:], strict=True):
        sent = score >= alpha
        assert share == pytest.approx(sent.mean())
        assert quality == pytest.approx(np.where(sent, strong, weak).mean())


def test_ties_equal_the_mean_over_many_random_orders():
    rng = np.random.default_rng(1)
    score = rng.integers(0, 3, size=30).astype(float)
    strong, weak = rng.random(30) + 0.3, rng.random(30)
    ends = weak.mean(), strong.mean()

    broken = [apgr(Curve.from_scores(score + 1e-6 * rng.random(30), strong, weak), *ends) for _ in range(2000)]

    exact = apgr(Curve.from_scores(score, strong, weak), *ends)
    assert np.mean(broken) == pytest.approx(exact, abs=4 * np.std(broken) / np.sqrt(2000))


def test_bootstrap_equals_repeating_the_drawn_questions():
    rng = np.random.default_rng(2)
    n = 25
    score = rng.integers(0, 8, size=n) / 8
    strong, weak = rng.random(n) + 0.4, rng.random(n)
    strong_cost, weak_cost = rng.random(n) + 1, rng.random(n)
    outcomes = PairOutcomes(strong, weak, strong_cost, weak_cost)

    found = bootstrap({"it": score}, outcomes, n_boot=20, seed=9)

    counts = np.concatenate(list(resample_counts(n, 20, 9))).astype(int)
    for b, times in enumerate(counts):
        rows = np.repeat(np.arange(n), times)
        curve = Curve.from_scores(score[rows], strong[rows], weak[rows])
        cost = Curve.from_scores(score[rows], strong_cost[rows], weak_cost[rows])
        ends = weak[rows].mean(), strong[rows].mean()
        figures = {name: values[b] for name, values in found.metrics["it"].items()}
        assert figures["apgr"] == pytest.approx(apgr(curve, *ends))
        assert figures["cpt50"] == pytest.approx(cpt(curve, *ends, 0.5))
        assert figures["cpt80"] == pytest.approx(cpt(curve, *ends, 0.8))
        assert figures["cpt50_cost_usd"] == pytest.approx(cost.at(cpt(curve, *ends, 0.5)))
        assert found.band["it"][b, 10] == pytest.approx(curve.at(0.5))
        assert (found.weak[b], found.strong[b]) == pytest.approx(ends)


def test_resampled_paper_apgr_equals_the_paper_grid_where_deciles_fall_on_prompts():
    score = np.random.default_rng(3).permutation(1000) / 1000
    strong, weak = np.where(score > 0.6, 1.0, 0.5), np.zeros(1000)
    one = bootstrap({"it": score}, PairOutcomes(strong, weak), n_boot=300, seed=0)

    paper = apgr(Curve.paper_grid(score, strong, weak), 0.0, strong.mean())

    assert one.metrics["it"]["paper_apgr"].mean() == pytest.approx(paper, abs=0.005)


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "length", "oracle"),
    # PAPER.md, "What we measured on the same question sets"; MT-Bench's .556 is on the paper's grid, the exact curve
    # gives .548
    [("mmlu", 0.586, 1.285), ("gsm8k", 0.598, 1.121), ("mt-bench", 0.548, 0.964)],
)
def test_length_and_oracle_have_the_published_apgr(data_dir, name, length, oracle):
    from prefroute.benchmarks import load_benchmark
    from prefroute.evaluate import evaluate

    report = evaluate([], load_benchmark(name, data_dir), n_boot=20)

    rows = {row["router"]: row for row in report.rows}
    assert rows["length"]["apgr"] == pytest.approx(length, abs=5e-4)
    assert rows["oracle"]["apgr"] == pytest.approx(oracle, abs=5e-4)
    assert rows["random"]["apgr"] == 0.5


@pytest.mark.data
def test_mt_bench_length_on_the_paper_grid_is_the_published_figure(data_dir):
    from prefroute.benchmarks import load_benchmark
    from prefroute.evaluate import evaluate

    report = evaluate([], load_benchmark("mt-bench", data_dir), n_boot=20)

    rows = {row["router"]: row for row in report.rows}
    assert rows["length"]["paper_apgr"] == pytest.approx(0.556, abs=6e-4)
    assert (rows["length"]["strong_quality"], rows["length"]["weak_quality"]) == pytest.approx(
        (9.2118, 8.2812), abs=1e-4
    )
