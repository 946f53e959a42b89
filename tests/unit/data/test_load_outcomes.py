"""Outcome tables, wide and long, come out as `Outcomes` on the scale 0-1."""

from __future__ import annotations

import json

import numpy as np
import pytest

from prefroute.data import inspect, load
from prefroute.errors import DataError


def read(path, **options):
    """`load` as plain Python: each test knows which table it reads."""
    return load(path, **options)


def write(folder, name, text):
    path = folder / name
    path.write_text(text, encoding="utf-8", newline="")
    return path


def test_wide_table_takes_number_and_boolean_columns_as_models(tmp_path):
    path = write(
        tmp_path,
        "w.csv",
        "id,prompt,subject,big,small,contaminated\n1,hi,x,True,False,False\n2,ho,y,,True,True\n",
    )

    outcomes = read(path)

    assert outcomes.models == ("big", "small")
    np.testing.assert_array_equal(outcomes.quality, [[1, 0], [np.nan, 1]])
    assert outcomes.cost_usd is None


def test_models_of_a_wide_table_can_be_named(tmp_path):
    path = write(tmp_path, "w.csv", "prompt,big,small,noise\nhi,1,0,0.5\nho,0,1,0.25\n")

    assert read(path, models=("small", "big")).models == ("small", "big")
    with pytest.raises(DataError, match="Did you mean 'small'"):
        read(path, models=("smal",))


def test_routerbench_wide_table_has_costs(tmp_path):
    path = write(
        tmp_path,
        "rb.csv",
        "sample_id,prompt,eval_name,gpt-4,mix,gpt-4|model_response,gpt-4|total_cost,mix|total_cost,oracle_model_to_route_to\n"
        "s1,hi,mmlu,1.0,0.25,answer,0.5,0.125,gpt-4\n",
    )

    outcomes = read(path)

    assert outcomes.models == ("gpt-4", "mix")
    assert outcomes.quality.tolist() == [[1.0, 0.25]]
    assert outcomes.cost_usd.tolist() == [[0.5, 0.125]]


def test_judge_scores_become_zero_to_one_and_minus_one_is_missing(tmp_path):
    outcomes = read(write(tmp_path, "j.csv", "prompt,big,small\nhi,10,1\nho,5.5,-1\n"))

    # (s - 1) / 9
    np.testing.assert_array_equal(outcomes.quality, [[1, 0], [0.5, np.nan]])


def test_scale_can_be_said(tmp_path):
    path = write(tmp_path, "j.csv", "prompt,big,small\nhi,1,1\n")

    assert read(path).quality.tolist() == [[1, 1]]
    assert read(path, scale="judge").quality.tolist() == [[0, 0]]


def test_mt_bench_table_means_both_turns_and_asks_the_first(tmp_path):
    path = write(
        tmp_path,
        "mt.csv",
        "question_id,turn1,turn2,contaminated,big_turn1,big_turn2,small_turn1,small_turn2\n81,one,two,False,10,1,10,10\n",
    )

    outcomes = read(path)

    assert outcomes.prompts == ["one"]
    assert outcomes.models == ("big", "small")
    assert outcomes.quality.tolist() == [[0.5, 1.0]]  # ((10 - 1) / 9 + (1 - 1) / 9) / 2


def test_long_table_has_a_row_for_each_prompt_in_order_of_appearance(tmp_path):
    rows = [("b", "big", 1, 0.5), ("a", "big", 0, 0.25), ("b", "small", 1, None)]
    lines = [json.dumps(dict(zip(("prompt", "model", "score", "cost_usd"), row, strict=True))) for row in rows]

    outcomes = read(write(tmp_path, "l.jsonl", "\n".join(lines)))

    assert outcomes.prompts == ["b", "a"]
    assert outcomes.models == ("big", "small")
    np.testing.assert_array_equal(outcomes.quality, [[1, 1], [0, np.nan]])
    np.testing.assert_array_equal(outcomes.cost_usd, [[0.5, np.nan], [0.25, np.nan]])


def test_conflicting_duplicates_of_a_long_table_become_a_counted_soft_mean(tmp_path, caplog):
    path = write(tmp_path, "l.csv", "prompt,model,correct\nq,big,True\nq,big,False\nq,big,True\nr,big,True\n")

    outcomes = read(path)

    assert outcomes.quality[0, 0] == pytest.approx(2 / 3)
    assert "2 rows that repeat a prompt and model" in caplog.text
    assert "1 answers with conflicting scores" in caplog.text


def test_nan_among_duplicates_does_not_count(tmp_path):
    outcomes = read(write(tmp_path, "l.csv", "prompt,model,score\nq,big,nan\nq,big,1\nr,big,\n"))

    np.testing.assert_array_equal(outcomes.quality, [[1], [np.nan]])


def test_pair_scores_as_outcomes_leave_preferences_out(tmp_path):
    path = write(
        tmp_path,
        "p.csv",
        "prompt,strong_model,weak_model,strong_score,weak_score,metric\n"
        "a,tall,short,10,1,judge 1-10\nb,tall,short,0.5,0.5,P(beats x)\n",
    )

    outcomes = read(path, table="outcomes")

    assert outcomes.prompts == ["a"]
    assert outcomes.models == ("tall", "short")  # the strong one first, always
    assert outcomes.quality.tolist() == [[1, 0]]


def test_prompt_column_can_be_named(tmp_path):
    path = write(tmp_path, "w.csv", "prompt,prompt_last,big,small\nlong,short,1,0\n")

    assert read(path, prompt_column="prompt_last", models=("big", "small")).prompts == ["short"]


def test_outcomes_are_refused_when_battles_are_asked_for(tmp_path):
    with pytest.raises(DataError, match="holds outcomes"):
        read(write(tmp_path, "w.csv", "prompt,big,small\nhi,1,0\n"), table="battles")


def test_inspect_counts_what_is_there_and_what_is_odd(tmp_path):
    path = write(tmp_path, "w.csv", "prompt,big,small\nHi there,1,\nhi  there,1,0\n,1,1\n")

    report = inspect(path)

    assert (report.table, report.schema, report.rows) == ("outcomes", "outcomes_wide", 3)
    assert report.models == {"big": 3, "small": 2}
    assert report.duplicates == 1
    assert report.missing_cells == 1
    assert report.balance == {"big": 1.0, "small": 0.5}
    assert [str(note) for note in report.warnings] == ["1 empty prompts", "big: every score is the same"]
    assert json.loads(json.dumps(report.to_json()))["rows"] == 3


def test_inspect_gives_the_balance_of_battles(tmp_path):
    path = write(tmp_path, "b.csv", "prompt,model_a,model_b,winner\na,x,y,tie\nb,x,y,model_a\nc,x,y,x\nd,y,x,model_b\n")

    report = inspect(path)

    assert report.balance == {"a": 0.5, "tie": 0.25, "b": 0.25}
    assert report.models == {"x": 4, "y": 4}
