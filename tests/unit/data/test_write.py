"""What is written is read back the same."""

from __future__ import annotations

import numpy as np
import pytest

from prefroute.data import load, read_columns, write_table
from prefroute.errors import DataError
from prefroute.types import Battles, Outcomes

PROMPTS = ["plain", 'quotes " and, commas', "two\nlines", "", "naïve 数学 🙂"]


def read(path, **options):
    """`load` as plain Python: each test knows which table it reads."""
    return load(path, **options)


@pytest.mark.parametrize("name", ["t.parquet", "t.csv", "t.jsonl"])
def test_battles_survive_a_round_trip(tmp_path, name):
    battles = Battles.of(PROMPTS, ["a", "b", "a", "c", "a"], ["b", "a", "c", "b", "b"], [1.0, 0.0, 0.5, 0.25, 1.0])

    write_table(battles, tmp_path / name)
    again = read(tmp_path / name)

    assert list(again.prompts) == PROMPTS
    assert again.models == battles.models
    np.testing.assert_array_equal(again.model_a, battles.model_a)
    np.testing.assert_array_equal(again.model_b, battles.model_b)
    np.testing.assert_array_equal(again.outcome, battles.outcome)


@pytest.mark.parametrize("name", ["t.parquet", "t.csv", "t.jsonl"])
def test_extra_columns_stand_beside_battles_and_are_not_read(tmp_path, name):
    battles = Battles.of(["p", "q"], ["a", "a"], ["b", "b"], [1.0, 0.0])

    write_table(battles, tmp_path / name, {"score": np.array([2.0, 5.0])})

    assert read_columns(tmp_path / name, ["score"])["score"].astype(float).tolist() == [2.0, 5.0]
    assert read(tmp_path / name).outcome.tolist() == [1.0, 0.0]


@pytest.mark.parametrize("name", ["t.parquet", "t.csv", "t.jsonl"])
@pytest.mark.parametrize("with_cost", [True, False])
def test_outcomes_survive_a_round_trip(tmp_path, name, with_cost):
    quality = np.array([[1, 0], [0.5, np.nan], [1 / 3, 1], [0, 0], [1, 1]])
    cost_usd = np.array([[0.1, np.nan]] * 5) if with_cost else None
    outcomes = Outcomes(PROMPTS, ("source", "org/model's-1"), quality, cost_usd)

    write_table(outcomes, tmp_path / name)
    again = read(tmp_path / name)

    assert list(again.prompts) == PROMPTS
    assert again.models == outcomes.models
    np.testing.assert_array_equal(again.quality, quality)
    if with_cost:
        np.testing.assert_array_equal(again.cost_usd, cost_usd)
    else:
        assert again.cost_usd is None


def test_lone_surrogate_is_written_as_a_question_mark(tmp_path):
    battles = Battles.of(["bad \ud800 text"], ["a"], ["b"], [1.0])

    write_table(battles, tmp_path / "t.jsonl")

    assert read(tmp_path / "t.jsonl").prompts == ["bad ? text"]


@pytest.mark.parametrize("name", ["t.csv", "t.jsonl", "t.parquet"])
def test_models_that_differ_only_in_case_are_refused_and_the_old_file_stays(tmp_path, name):
    (tmp_path / name).write_text("old")
    outcomes = Outcomes(["q"], ("Big", "big"), np.array([[1.0, 0.0]]), None)

    with pytest.raises(DataError, match="'Big' and 'big' differ only in case"):
        write_table(outcomes, tmp_path / name)

    assert (tmp_path / name).read_text() == "old"


def test_unknown_suffix_is_refused_and_nothing_is_written(tmp_path):
    with pytest.raises(DataError, match=r"cannot write '\.xlsx'"):
        write_table(Battles.of(["q"], ["a"], ["b"], [1.0]), tmp_path / "t.xlsx")

    assert list(tmp_path.iterdir()) == []


def test_failure_half_way_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "t.csv"
    path.write_text("old")
    monkeypatch.setattr("prefroute.data.write._encodable", lambda prompt: 1 / 0)

    with pytest.raises(ZeroDivisionError):
        write_table(Battles.of(["q"], ["a"], ["b"], [1.0]), path)

    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["t.csv"]


def test_folder_that_does_not_exist_is_refused(tmp_path):
    with pytest.raises(DataError, match="folder does not exist"):
        write_table(Battles.of(["q"], ["a"], ["b"], [1.0]), tmp_path / "no" / "t.csv")
