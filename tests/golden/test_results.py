"""docs/results: the page is what the JSON says, and of each table some rows are computed again.

Tolerances: 2e-3 on a share (float32 products differ in the last digits between machines, and one near-tie may swap two
prompts), 1e-4 on a similarity and a Brier score. Rows with the embedder that ships, since the others take minutes.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from scripts.results import overhead, page, similarity, tables
from scripts.results.evidence import evidence_notes, evidence_rows
from scripts.results.rows import OTHERS, OWN, SHIPPED, Row, Setting, Wanted, compute, read
from scripts.results.sources import Data

RESULTS = Path(__file__).parents[2] / "docs" / "results"
FIGURES = ("n", "n_left_out", "train_n", "apgr", "apgr_low", "apgr_high", "cpt50", "cpt80", "vs_length")


@pytest.fixture(scope="module")
def data():
    """The data folder; what is loaded, embedded and trained is shared by the tests of this file."""
    folder = os.environ.get("PREFROUTE_DATA")
    if not folder or not (Path(folder) / "routellm_benchmarks").is_dir():
        pytest.skip("needs real data: set PREFROUTE_DATA to the folder that holds routellm_benchmarks/")
    return Data(Path(folder))


def setting_of(table: str, benchmark: str, weak: str | None = None) -> Setting:
    return next(s for s in tables.EVALUATIONS[table] if s.benchmark == benchmark and weak in (None, s.pair[1]))


def committed(table: str, like: Row) -> dict[str, Any]:
    """The run of seed 0 of the committed row with the same identity."""
    names = [name for name in like if name != "runs"]
    found = [row for row in read(RESULTS / f"{table}.json") if all(row[name] == like[name] for name in names)]
    assert len(found) == 1, f"{table} has {len(found)} rows like {like['router']}, {like['embedder']}: run make results"
    return next(run for run in found[0]["runs"] if run["seed"] == 0)


def check(data: Data, table: str, setting: Setting, wanted: Wanted) -> None:
    assert wanted in setting.wanted, "the row is no longer in the table: compute another here"
    for row in compute(data, setting, wanted, seed=0):
        if row["role"] == "router" or wanted == setting.wanted[0]:
            run = committed(table, row)
            briers = [name for name in row["runs"][0] if name.startswith("brier")]
            for names, tolerance in ((FIGURES, 2e-3), (briers, 1e-4)):
                for name in names:
                    assert row["runs"][0][name] == pytest.approx(run[name], abs=tolerance), (row["router"], name)


def test_the_page_is_what_the_json_says():
    written = RESULTS.with_suffix(".md").read_text(encoding="utf-8")

    assert written == page.page(RESULTS), "run: make results"


def test_every_table_is_committed_and_has_every_row_that_is_wanted():
    for name, settings in tables.EVALUATIONS.items():
        rows = [row for row in read(RESULTS / f"{name}.json") if row["role"] == "router"]
        assert len(rows) == sum(len(setting.wanted) for setting in settings), name
        seeds = [tuple(run["seed"] for run in row["runs"]) for row in rows]
        assert seeds == [wanted.seeds for setting in settings for wanted in setting.wanted], name
    assert read(RESULTS / "similarity.json")
    assert read(RESULTS / "overhead.json")


def test_random_and_length_stand_in_every_table():
    for name, settings in tables.EVALUATIONS.items():
        baselines = [row["router"] for row in read(RESULTS / f"{name}.json") if row["role"] == "baseline"]
        assert baselines.count("random") == baselines.count("length") == len(settings), name


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.parametrize("name", ["mmlu", "gsm8k"])
def test_a_row_trained_on_the_questions_comes_out_again(data, name):
    seeds = setting_of(name, name).wanted[0].seeds

    check(data, name, setting_of(name, name), Wanted("knn", OWN, "static", seeds))


@pytest.mark.data
@pytest.mark.slow
def test_a_row_trained_elsewhere_comes_out_again(data):
    check(data, "elsewhere", setting_of("elsewhere", "mt-bench"), Wanted("sw_ranking", OTHERS, "static"))


@pytest.mark.data
@pytest.mark.slow
def test_a_row_of_another_pair_comes_out_again(data):
    weak = "gpt-3.5-turbo"

    check(
        data,
        "generalisation",
        setting_of("generalisation", "mt-bench-human", weak),
        Wanted("sw_ranking", OTHERS, "static"),
    )


@pytest.mark.data
@pytest.mark.slow
def test_the_shipped_router_does_as_it_did(data):
    check(data, "shipped", setting_of("shipped", "gsm8k"), Wanted("default", SHIPPED, "static"))


@pytest.mark.data
@pytest.mark.slow
def test_similarities_come_out_again(data):
    again = list(similarity.similarities(data, "mt-bench", "static"))

    kept = {(r["benchmark"], r["source"], r["embedder"]): r for r in read(RESULTS / "similarity.json")}
    assert {row["source"] for row in again} > {"mmlu", "arena_bench_v1", similarity.ALL}
    for row in again:
        same = kept[row["benchmark"], row["source"], row["embedder"]]
        assert row["similarity"] == pytest.approx(same["similarity"], abs=1e-4)
        assert (row["n"], row["n_source"]) == (same["n"], same["n_source"])


@pytest.mark.data
@pytest.mark.slow
def test_overhead_is_of_the_same_routers_on_the_same_prompts(data):
    kept = next(r for r in read(RESULTS / "overhead.json") if r["router"] == "sw_ranking" and "static" in r["embedder"])

    again = overhead.measure(data, "sw_ranking", "static")

    timed = ("cpu_ms", "cpu_s", "machine")
    assert {key: again[key] for key in again if key not in timed} == {
        key: kept[key] for key in kept if key not in timed
    }
    assert again["cpu_ms"] > 0


def test_figures_are_means_over_seeds():
    runs = [{"apgr": 0.6, "apgr_low": 0.5, "apgr_high": 0.7}, {"apgr": 0.7, "apgr_low": 0.6, "apgr_high": 0.8}]

    assert page._mean({"runs": runs}, "apgr") == "0.650 [0.550, 0.750]"
    assert page._mean({"runs": [*runs, runs[0] | {"apgr_low": None}]}, "apgr") == "0.633"


def test_a_brier_score_stands_beside_its_distance_from_the_priors():
    run = {"brier": 0.0802, "brier_excess": 0.0009, "brier_excess_low": -0.0007, "brier_excess_high": 0.0025}

    assert page._brier_cells({"runs": [run]}) == ["0.0802", "+0.0009 [-0.0007, +0.0025]"]


def test_savings_are_random_over_the_router():
    run = {"cpt50": 0.25, "cpt50_low": 0.2, "cpt50_high": 0.5}

    # 0.5 / 0.25; the ends turn round: 0.5 / 0.5 and 0.5 / 0.2
    assert page._saving({"runs": [run]}, "cpt50", 0.5) == "2.00 [1.00, 2.50]"


def test_evidence_made_by_hand_joins_its_table(tmp_path):
    figures = dict.fromkeys(
        ("apgr", "cpt50", "cpt80", "cpt50_cost_usd", "cpt80_cost_usd", "strong_quality", "weak_quality"), 0.6
    )
    figures |= {f"{name}_{end}": 0.6 for name in figures for end in ("low", "high")}
    row: dict[str, Any] = {
        "role": "router",
        "router": "bert",
        "embedder": None,
        "benchmark": "mmlu",
        "protocol": "gold-1531",
    }
    row |= {"strong": "big", "weak": "small", "quality_unit": "percent", "n": 9, "n_left_out": 1, "n_seen": 0}
    row |= {"train_n": 5, "vs_length": None, **figures}
    told: dict[str, Any] = {"table": "mmlu", "command": "make it", "date": "2026-01-01", "machine": "m", "minutes": 60}
    told |= {"trained_on": "some", "provenance": {"data_sha256": "x"}}
    results = [
        row | {"seed": 1},
        row | {"seed": 0, "apgr": 0.7},
        row | {"seed": 0, "role": "baseline", "router": "length"},
    ]
    (tmp_path / "bert.json").write_text(json.dumps({"schema": 1, **told, "results": results}))

    rows = evidence_rows(tmp_path, "mmlu")

    assert [(r["router"], r["trained_on"], [run["seed"] for run in r["runs"]]) for r in rows] == [
        ("bert", "some", [0, 1])
    ]
    assert evidence_rows(tmp_path, "gsm8k") == []
    assert evidence_notes(tmp_path, "mmlu")[0].startswith("bert: made by hand on 2026-01-01 with `make it`, 60 minutes")
