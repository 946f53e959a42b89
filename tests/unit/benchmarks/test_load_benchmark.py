"""Benchmarks have the paper's sizes and means, and say what is missing."""

from __future__ import annotations

import json

import numpy as np
import pytest

from prefroute.benchmarks import Benchmark, Unit, benchmarks, load_benchmark
from prefroute.data import PromptKeys, contamination, load, read_columns
from prefroute.errors import ConfigError, DataError
from prefroute.types import Outcomes

STRONG, WEAK = "gpt-4-1106-preview", "mixtral-8x7b-instruct-v0.1"


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "n", "n_left_out", "strong_quality", "weak_quality"),
    [
        # PAPER.md, "What we measured on the same question sets"
        ("mmlu", 14_037, 5, 80.587, 68.091),
        ("gsm8k", 1_307, 12, 85.769, 63.734),
        ("mt-bench", 72, 8, 9.2118, 8.2812),
        # the data folder's own README and counts
        ("routerbench", 3_164, 0, 87.990, 74.178),
        ("mmlu-pro", 5_222, 6_810, 72.482, 37.246),
        ("mt-bench-human", 65, 15, 61.318, 38.682),
    ],
)
def test_benchmark_has_its_size_and_means(data_dir, name, n, n_left_out, strong_quality, weak_quality):
    benchmark = load_benchmark(name, data_dir)

    assert (len(benchmark), benchmark.n_left_out) == (n, n_left_out)
    assert benchmark.strong_quality == pytest.approx(strong_quality, abs=1e-3)
    assert benchmark.weak_quality == pytest.approx(weak_quality, abs=1e-3)


@pytest.mark.data
def test_every_registered_benchmark_loads(data_dir):
    for name in benchmarks.names():
        assert load_benchmark(name, data_dir).name == name


@pytest.mark.data
def test_subjects_are_those_of_the_source(data_dir):
    assert len(set(load_benchmark("mmlu", data_dir).subjects or ())) == 57
    assert set(load_benchmark("routerbench", data_dir).subjects or ()) == {"arc-challenge", "mbpp", "winogrande"}


@pytest.mark.data
def test_routerbench_knows_costs_and_asks_the_last_question(data_dir):
    benchmark = load_benchmark("routerbench", data_dir)

    assert benchmark.outcomes.cost_usd is not None
    assert not np.isnan(benchmark.outcomes.cost_usd).any()
    assert not np.isnan(benchmark.outcomes.quality).any()  # the 154 duplicate rows without a score are gone


@pytest.mark.data
def test_another_pair_of_the_pool_can_be_chosen(data_dir):
    benchmark = load_benchmark("mmlu-pro", data_dir, strong="DeepSeek-Coder-V2", weak="Meta-Llama-3-8B")

    assert len(benchmark) == 3_760  # the questions that DeepSeek-Coder-V2 was asked


@pytest.mark.data
def test_overlap_of_the_pairs_with_mmlu_is_found_by_stem(data_dir):
    pairs = read_columns(data_dir / "strong_weak_pairs" / "pairs.parquet", ["prompt", "overlaps_routellm_eval"])
    mmlu = read_columns(data_dir / "routellm_benchmarks" / "mmlu.parquet", ["prompt"])["prompt"]

    found = contamination(list(pairs["prompt"]), PromptKeys.of(mmlu))

    assert found.counts["exact"] == 0
    assert found.counts["stem"] >= 7_551
    assert not (found.any & ~pairs["overlaps_routellm_eval"]).any()


@pytest.mark.data
@pytest.mark.parametrize(
    ("table", "n"), [("strong_weak_pairs/pairs", 5), ("arena_bench_v1/prompts", 1), ("alpaca_eval/prompts", 2)]
)
def test_mt_bench_questions_in_other_sources_are_found(data_dir, table, n):
    prompts = list(read_columns(data_dir / f"{table}.parquet", ["prompt"])["prompt"])
    questions = read_columns(data_dir / "routellm_benchmarks" / "mt_bench.parquet", ["turn1"])["turn1"]

    assert contamination(prompts, PromptKeys.of(questions)).counts["any"] == n


@pytest.mark.data
@pytest.mark.parametrize(
    ("table", "kind", "rows"),
    [
        ("strong_weak_pairs", "battles", 23_091),  # 23,100 less 9 that the judge's answer could not be read of
        ("alpaca_eval", "battles", 131_338),  # 134,073 less 1,125 unreadable and 1,610 of the baseline against itself
        ("mt_bench_human_judgments/human_votes.parquet", "battles", 3_355),
        ("mt_bench_human_judgments/gpt4_pair_votes.parquet", "battles", 2_400),
        ("arena_bench_v1/scores.parquet", "outcomes", 302),
        ("arena_bench_v1/judgments_long.parquet", "outcomes", 302),
        ("mmlu_pro_multi", "outcomes", 12_032),
        ("routerbench_routerdc_subset", "outcomes", 3_164),
        ("routellm_benchmarks/mmlu.parquet", "outcomes", 14_042),
        ("routellm_benchmarks/gsm8k.parquet", "outcomes", 1_319),
        ("routellm_benchmarks/mt_bench.parquet", "outcomes", 80),
    ],
)
def test_tables_of_the_data_folder_load_as_they_are(data_dir, table, kind, rows):
    data = load(data_dir / table)

    assert type(data).__name__.lower() == kind
    assert len(data) == rows


def published(folder):
    """A copy of RouteLLM's evals folder in miniature."""
    (folder / "mmlu/responses").mkdir(parents=True)
    (folder / "gsm8k").mkdir()
    (folder / "mt_bench").mkdir()
    head = f"prompt,{WEAK},{STRONG}\n"
    (folder / "mmlu/responses/mmlu_law.csv").write_text(head + "law 1,True,True\nlaw 2,False,True\n")
    (folder / "mmlu/responses/mmlu_art.csv").write_text(head + '"art\n1",False,False\n')
    (folder / "gsm8k/gsm8k_responses.csv").write_text(head + "sum 1,False,True\nsum 2,True,False\nsum 3,True,True\n")
    questions: list[dict[str, object]] = [
        {"question_id": i, "category": "x", "turns": [f"first {i}", f"second {i}"]} for i in (81, 82)
    ]
    judged: list[dict[str, object]] = [
        {"question_id": q, "model": model, "turn": turn, "score": score, "judge": ["gpt-4", "single"], "judgment": "x"}
        for (q, model), scores in {
            (82, STRONG): (10, 9),
            (82, WEAK): (5, 6),
            (81, STRONG): (1, 1),
            (81, WEAK): (1, 1),
        }.items()
        for turn, score in zip((1, 2), scores, strict=True)
    ]
    write: dict[str, list[dict[str, object]]] = {
        "mt_bench/question.jsonl": questions,
        "mt_bench/judgements.jsonl": judged,
    }
    for name, prompt in {"mmlu": "law 2", "gsm8k": "sum 3", "mt_bench": "second 81"}.items():
        write[f"{name}/contaminated_prompts.jsonl"] = [{"train_prompt": "t", "eval_prompt": prompt}]
    for name, rows in write.items():
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.mark.parametrize("below", ["", "routellm/evals"])
def test_files_that_routellm_publishes_are_read(tmp_path, below):
    folder = tmp_path / below
    folder.mkdir(parents=True, exist_ok=True)
    published(folder)

    mmlu, gsm8k, mt_bench = (load_benchmark(name, tmp_path) for name in ("mmlu", "gsm8k", "mt-bench"))

    assert list(mmlu.outcomes.prompts) == ["art\n1", "law 1"]
    assert mmlu.subjects == ("art", "law")
    assert (mmlu.n_left_out, gsm8k.n_left_out, mt_bench.n_left_out) == (1, 1, 1)
    assert (gsm8k.strong_quality, gsm8k.weak_quality) == (50.0, 50.0)
    assert list(mt_bench.outcomes.prompts) == ["first 82"]
    assert (mt_bench.strong_quality, mt_bench.weak_quality) == (9.5, 5.5)


@pytest.mark.parametrize("name", benchmarks.names())
def test_missing_files_are_said_with_what_was_looked_for(tmp_path, name):
    with pytest.raises(DataError, match=f"Benchmark {name}: its files are not in the data folder .*looked for"):
        load_benchmark(name, tmp_path)


def test_unknown_name_is_said_with_the_nearest():
    with pytest.raises(ConfigError, match=r"Did you mean 'mmlu'\?"):
        load_benchmark("mmul", "folder")


def test_named_benchmark_needs_the_folder():
    with pytest.raises(ConfigError, match="needs the data folder"):
        load_benchmark("mmlu")


def test_table_of_two_models_takes_the_better_one_as_strong(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text("prompt,cheap,dear\na,0,1\nb,1,1\nc,,1\n")

    benchmark = load_benchmark(path)

    assert (benchmark.name, benchmark.strong, benchmark.weak) == ("mine.csv", "dear", "cheap")
    assert (len(benchmark), benchmark.n_left_out) == (2, 1)
    assert (benchmark.strong_quality, benchmark.weak_quality) == (100.0, 50.0)


def test_half_a_pair_is_completed_from_two_models(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text("prompt,cheap,dear\na,0,1\nb,1,1\n")

    assert load_benchmark(path, strong="cheap").weak == "dear"
    assert load_benchmark(path, weak="dear").strong == "cheap"


def test_table_of_three_models_needs_the_pair(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text("prompt,a,b,c\nq,0,1,1\nr,1,0,1\n")

    with pytest.raises(DataError, match="Name two of them with --strong and --weak"):
        load_benchmark(path)
    assert load_benchmark(path, strong="b", weak="c").outcomes.models == ("a", "b", "c")


def test_pair_that_was_never_observed_together_is_refused(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text("prompt,a,b\nq,0,\nr,,0\n")

    with pytest.raises(DataError, match="No question has outcomes of both"):
        load_benchmark(path, strong="a", weak="b")


def test_unit_maps_quality_to_the_reported_scale():
    assert Unit(1, 10, "judge score").of(1.0) == 10


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"weak": "big"}, "must be two models"),
        ({"weak": "smal"}, "Did you mean 'small'"),
        ({"subjects": ("x",)}, "1 subjects for 2 questions"),
        ({"outcomes": Outcomes(["q"], ("big", "small"), np.array([[1.0, np.nan]]))}, "without an outcome"),
    ],
)
def test_benchmark_that_does_not_hold_together_is_refused(change, said):
    whole = {"strong": "big", "weak": "small", "outcomes": Outcomes(["q", "r"], ("big", "small"), np.eye(2))}

    with pytest.raises(DataError, match=said):
        Benchmark(name="b", source="s", licence="l", **{**whole, **change})
