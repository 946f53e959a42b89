"""`prefroute train` on a mixture of sources, and in steps."""

import json

import numpy as np
import pytest

from prefroute.data import load, write_table
from prefroute.types import Outcomes

WORDS = {"colours": ("red", "green", "blue", "white"), "animals": ("cat", "dog", "cow", "hen")}


@pytest.fixture
def tables(tmp_path):
    """Two tables with other pairs, as files."""
    rng = np.random.default_rng(0)
    paths = {}
    for name, pair in (("colours", ("big", "small")), ("animals", ("huge", "tiny"))):
        hard = rng.random(60) < 0.5
        prompts = [f"{' '.join(rng.choice(WORDS[name], 4))} {'prove' if h else 'say'} {i}" for i, h in enumerate(hard)]
        quality = np.stack([np.ones(60), np.where(hard, 0.0, 1.0)], axis=1)
        paths[name] = tmp_path / f"{name}.parquet"
        write_table(Outcomes(prompts, pair, quality), paths[name])
    return paths


def test_experts_are_trained_from_sources_with_pairs_of_their_own(run, tables, tmp_path):
    out = tmp_path / "both"
    run(
        "train", "experts", "--source", f"colours={tables['colours']}",
        "--source", f"animals={tables['animals']},strong=huge,weak=tiny,weight=0.5",
        "--strong", "big", "--weak", "small", "--out", out,
    )  # fmt: skip

    routed = json.loads(run("route", "--router", out, "--json", "-", "red blue green red prove 7").stdout)

    assert routed["win_rate"] > 0.5
    assert json.loads((out / "router.json").read_text())["meta"]["sources"] == ["colours", "animals"]


def test_a_kind_that_needs_one_table_says_so(run, tables, tmp_path):
    message = run.refused(
        "train", "abilities", "--source", f"a={tables['colours']}", "--strong", "big", "--weak", "small",
        "--out", tmp_path / "abilities",
    )  # fmt: skip

    assert message.startswith("Abilities.fit needs Outcomes, got Mixture. Give it one table (--data in place of")


def test_the_weight_of_a_source_reaches_a_kind_that_knows_nothing_of_sources(run, tables, tmp_path):
    flipped = tmp_path / "flipped.parquet"
    table = load(tables["colours"])
    assert isinstance(table, Outcomes)
    write_table(Outcomes(table.prompts, ("big", "small"), table.quality[:, ::-1]), flipped)

    def win_rate(weight):
        out = tmp_path / f"knn-{weight}"
        words = ("--source", f"right={tables['colours']}", "--source", f"wrong={flipped},weight={weight}")
        run("train", "knn", *words, "--strong", "big", "--weak", "small", "--out", out)
        return json.loads(run("route", "--router", out, "--json", "-", "red blue green red prove 7").stdout)["win_rate"]

    assert win_rate(0.1) > 0.5 > win_rate(10)


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("colours", "--source must look like NAME=PATH"),
        ("a=x.csv,wieght=2", "--source a: Unknown field 'wieght'. Did you mean 'weight'?"),
        ("a=x.csv,weight=much", "--source a: weight must be a number, got 'much'."),
    ],
)
def test_a_source_that_does_not_read_is_refused(run, tmp_path, word, message):
    said = run.refused("train", "linear", "--source", word, "--strong", "a", "--weak", "b", "--out", tmp_path / "x")

    assert said.startswith(message)


def test_training_in_steps_leaves_a_report_and_no_state_behind(run, tables, tmp_path):
    out = tmp_path / "mf"

    run("train", "mf", "--data", tables["colours"], "--strong", "big", "--weak", "small", "--out", out)

    assert (tmp_path / "mf-training" / "training.html").exists()
    assert not (tmp_path / "mf.training").exists()


def test_leaving_sources_out_prints_and_reports_what_each_adds(run, tables, tmp_path):
    out = tmp_path / "both"
    done = run(
        "train", "linear", "--source", f"colours={tables['colours']}",
        "--source", f"animals={tables['animals']},strong=huge,weak=tiny",
        "--strong", "big", "--weak", "small", "--out", out, "--leave-one-out",
    )  # fmt: skip

    assert "colours adds" in done.stdout
    assert "Similarity of the questions to each source" in done.stdout
    report = json.loads((tmp_path / "both-training" / "training.json").read_text())
    cells = {(row["scored_on"], row["left_out"]): row for row in report["leave_one_out"]}
    assert set(cells) == {(test, left) for test in tables for left in (None, *tables)}
    assert cells["colours", "colours"]["train_n"] < cells["colours", None]["train_n"]
    assert {(row["scored_on"], row["source"]) for row in report["similarity"]} == {
        (a, b) for a in tables for b in tables
    }
    assert "What the left-out source adds" in (tmp_path / "both-training" / "training.html").read_text()


def test_leaving_out_the_only_source_is_refused_before_any_work(run, tables, tmp_path):
    message = run.refused(
        "train", "linear", "--source", f"a={tables['colours']}", "--strong", "big", "--weak", "small",
        "--out", tmp_path / "x", "--leave-one-out",
    )  # fmt: skip

    assert message.startswith("--leave-one-out measures what the sources of a mixture add.")
    assert not (tmp_path / "x").exists()
