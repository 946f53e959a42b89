"""Bad tables are refused with one line that says what, where, what was wanted."""

from __future__ import annotations

import duckdb
import numpy as np
import pytest

from prefroute.data import load, read_columns
from prefroute.errors import DataError

HEAD = "prompt,model_a,model_b,winner\n"


def refusal(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError) as caught:
        load(path)
    message = str(caught.value)
    assert "\n" not in message
    return message


CASES = {
    "empty file": ("b.csv", "", "b.csv: the file is empty"),
    "header only": ("b.csv", HEAD, "a header without rows"),
    "unknown winner": ("b.csv", HEAD + "q,x,y,tie\nq,x,y,z\n", "b.csv, row 2, column 'winner': got 'z'"),
    "no winner": ("b.csv", HEAD + "q,x,y,\n", "row 1, column 'winner': got nothing"),
    "model meets itself": ("b.csv", HEAD + "q,x,x,tie\n", "row 1, column 'model_b': got 'x'"),
    "no model": ("b.csv", HEAD + "q,,y,tie\n", "row 1, column 'model_a': got nothing"),
    "two flags": (
        "b.csv",
        "prompt,model_a,model_b,winner_model_a,winner_model_b,winner_tie\nq,x,y,1,1,0\n",
        "column 'winner_model_a': got '1.0/1.0/0.0'",
    ),
    "outcome out of range": ("b.csv", "prompt,model_a,model_b,outcome\nq,x,y,1.5\n", "column 'outcome': got '1.5'"),
    "outcome NaN": ("b.csv", "prompt,model_a,model_b,outcome\nq,x,y,nan\n", "column 'outcome': got 'nan'"),
    "misspelt prompt": ("b.csv", "promt,model_a,model_b,winner\nq,x,y,tie\n", "'promt' looks like it"),
    "misspelt columns": ("b.csv", "prompt,modela,model_b,winer\nq,x,y,tie\n", "'winer' looks like 'winner'"),
    "unknown columns": ("b.csv", "question,answer\nq,r\n", "fit no known table"),
    "column twice": ("b.csv", "prompt,big,big\nq,1,0\n", "line 1: got the column 'big' twice"),
    "short row": ("b.csv", HEAD + "q,x,y,tie\nq,x,y\n", "line 3: got 3 fields, wanted 4"),
    "long row": ("b.csv", HEAD + "q,x,y,tie,z\n", "line 2: got 5 fields, wanted 4"),
    "open quote": ("b.csv", HEAD + '"q,x,y,tie\n', "not valid CSV"),
    "latin-1": ("b.csv", HEAD.encode() + "caf\xe9,x,y,tie\n".encode("latin-1"), "b.csv, line 2: not UTF-8 (byte 0xe9"),
    "word for a score": ("w.csv", "prompt,big,small\nq,1,0\nr,abc,1\ns,1,1\n", "row 2, column 'big': got 'abc'"),
    "infinite score": ("w.csv", "prompt,big,small\nq,inf,0\n", "row 1, column 'big': got 'inf'"),
    "percent score": ("w.csv", "prompt,big,small\nq,1,0\nr,87,0\n", "row 2, column 'big': got '87'"),
    "negative cost": ("l.csv", "prompt,model,score,cost_usd\nq,x,1,-1\n", "column 'cost_usd': got '-1'"),
    "long without model": ("l.csv", "prompt,model,score\nq,,1\n", "row 1, column 'model': got nothing"),
    "pair score too high": ("p.csv", "prompt,strong_score,weak_score\nq,87,87\n", "got '87/87'"),
    "pair score a word": ("p.csv", "prompt,strong_score,weak_score\nq,1,abc\n", "got '1/abc'"),
    "judge score too high": ("j.jsonl", '{"prompt": "q", "mixtral_score": 6}\n', "column 'mixtral_score': got '6'"),
    "bad JSON line": (
        "l.jsonl",
        '{"prompt": "q", "model": "x", "score": 1}\n{"prompt": "q", nope\n',
        "l.jsonl, line 2",
    ),
    "JSON list": ("l.jsonl", "[1, 2]\n", "l.jsonl, line 1: a JSON list, not an object"),
    "lone surrogate": (
        "l.jsonl",
        '{"prompt": "q", "model": "x", "score": 1}\n{"prompt": "\\ud800", "model": "x", "score": 1}\n',
        "l.jsonl, line 2, column 'prompt': got half of a character",
    ),
    "lone surrogate deep in a value": ("l.jsonl", '{"model": "x", "p": ["\\udfff"]}\n', "line 1, column 'p': got half"),
    "columns differ in case": ("w.csv", "prompt,Big,big\nq,1,0\n", "the columns 'Big' and 'big' differ only in case"),
    "marked columns differ in case": ("w.csv", "prompt,a|quality,A|quality\nq,1,0\n", "'a|quality' and 'A|quality'"),
    "keys differ in case": ("w.jsonl", '{"prompt": "q", "m": 1}\n{"Prompt": "q", "m": 0}\n', "'prompt' and 'Prompt'"),
    "escape sequence": (
        "l.csv",
        "prompt,model,score\nq,b\x1b[2J,1\n",
        "l.csv: the model name 'b\\x1b[2J' holds control",
    ),
    "a name of our own": ("w.csv", "prompt,_row,big\nq,1,0\n", "a column is named '_row', which cannot be read"),
    "a key without a name": ("w.jsonl", '{"prompt": "q", "": 1, "m": 0}\n', "a column is named '', which cannot"),
    "JSON with byte order mark": ("l.jsonl", '\ufeff{"prompt": "q", "model": "x", "score": 1}\n', "byte order mark"),
    "not a Parquet file": ("l.parquet", b"PAR1 and nothing", "not a whole Parquet file"),
    "not gzipped": ("l.csv.gz", b"plain", "l.csv.gz"),
    "unknown suffix": ("l.xlsx", b"x", "unknown suffix '.xlsx'. Wanted: .parquet"),
}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.replace(" ", "-"))
def test_bad_table_is_refused_with_its_place(tmp_path, case):
    name, content, said = CASES[case]

    assert said in refusal(tmp_path, name, content)


def test_messages_hold_no_prompt(tmp_path):
    message = refusal(tmp_path, "b.csv", HEAD + "my secret question,x,y,nobody\n")

    assert "secret" not in message


@pytest.mark.parametrize("kept_share", [0.1, 0.5, 0.9, 0.999])
def test_truncated_parquet_is_refused(tmp_path, kept_share):
    whole = tmp_path / "whole.parquet"
    select = "SELECT 'q' || i AS prompt, 'x' AS model, i % 2 AS score FROM range(5000) AS t(i)"
    duckdb.connect().execute(f"COPY ({select}) TO '{whole}' (FORMAT parquet)")
    content = whole.read_bytes()

    message = refusal(tmp_path, "cut.parquet", content[: int(len(content) * kept_share)])

    assert "cut.parquet: not a whole Parquet file" in message


def parquet(tmp_path, columns, name="t.parquet"):
    path = tmp_path / name
    duckdb.connect().execute(f"COPY (SELECT {columns}) TO '{path}' (FORMAT parquet)")
    return path


def test_parquet_columns_that_differ_only_in_case_are_refused(tmp_path):
    path = parquet(tmp_path, "{'tag': 1, 'bag': 2} AS nested, 'q' AS prompt, 1.0 AS Big, 0.0 AS bug")
    content = path.read_bytes().replace(b"bug", b"big")  # DuckDB itself cannot write such a file

    assert "the columns 'Big' and 'big' differ only in case" in refusal(tmp_path, "t.parquet", content)


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ("[[1]] AS prompt, 1.0 AS big, 0.0 AS small", "type that cannot be used here, such as 'prompt' (INTEGER[][])"),
        ("'q' AS prompt, 'a' AS model_a, 'b' AS model_b, 1 AS winner", "column 'winner': got '1', wanted model_a"),
        ("'q' AS prompt, 'a' AS model, {'s': 1} AS score", "column 'score': got \"{'s': 1}\", wanted a number"),
    ],
)
def test_a_parquet_column_of_a_wrong_type_is_not_called_a_broken_file(tmp_path, columns, said):
    with pytest.raises(DataError) as caught:
        load(parquet(tmp_path, columns))

    assert said in str(caught.value)
    assert "Binder" not in str(caught.value)


def test_prompts_that_are_numbers_are_no_model(tmp_path):
    (tmp_path / "w.csv").write_text("prompt,big,small\n12,1,0\n7,1,1\n")

    assert load(tmp_path / "w.csv").models == ("big", "small")


def test_models_that_differ_only_in_case_are_read_from_a_long_table(tmp_path):
    (tmp_path / "l.csv").write_text("prompt,model,score\nq,Big,1\nq,big,0\n")

    assert load(tmp_path / "l.csv").models == ("Big", "big")


def test_bad_line_deep_in_a_large_file_is_found(tmp_path):
    good = '{"prompt": "q", "model": "x", "score": 1}\n'

    assert "l.jsonl, line 30001" in refusal(tmp_path, "l.jsonl", good * 30_000 + '{"prompt": \n')


def test_missing_path_is_named(tmp_path):
    with pytest.raises(DataError, match="No file, folder or glob"):
        load(tmp_path / "nothing.csv")


def test_empty_folder_is_named(tmp_path):
    with pytest.raises(DataError, match="holds no table"):
        load(tmp_path)


def test_files_of_a_folder_must_have_the_same_columns(tmp_path):
    (tmp_path / "a.csv").write_text("prompt,big,small\nq,1,0\n")
    (tmp_path / "b.csv").write_text("prompt,big,other\nq,1,0\n")

    with pytest.raises(DataError, match=r"b\.csv and a\.csv have different columns \(such as 'other'\)"):
        load(tmp_path)


def test_several_tables_beside_one_prompts_table_must_be_named(tmp_path):
    (tmp_path / "prompts.csv").write_text("id,prompt\n1,q\n")
    (tmp_path / "a.csv").write_text("id,model,score\n1,x,1\n")
    (tmp_path / "b.csv").write_text("id,model,score\n1,x,1\n")

    with pytest.raises(DataError, match=r"holds 2 tables beside prompts\.csv: a\.csv, b\.csv"):
        load(tmp_path)


def test_tables_without_a_shared_id_are_refused(tmp_path):
    (tmp_path / "prompts.csv").write_text("key,prompt\n1,q\n")
    (tmp_path / "a.csv").write_text("id,model,score\n1,x,1\n")

    with pytest.raises(DataError, match="lacks an id column"):
        load(tmp_path / "a.csv")


def test_every_row_unreadable_is_refused(tmp_path):
    assert "none of 1 rows can be used" in refusal(tmp_path, "p.csv", "prompt,strong_score,weak_score\nq,,1\n")


def test_asked_model_that_is_absent_is_named_with_the_nearest(tmp_path):
    (tmp_path / "w.csv").write_text("prompt,big,small\nq,1,0\n")

    with pytest.raises(DataError, match="Did you mean 'small'"):
        load(tmp_path / "w.csv", weak="smal")


def test_missing_text_of_a_column_is_none(tmp_path):
    rows = "SELECT 'hi' AS prompt, 1.0 AS score UNION ALL SELECT NULL, NULL"
    duckdb.connect().execute(f"COPY ({rows}) TO '{tmp_path}/t.parquet' (FORMAT parquet)")

    found = read_columns(tmp_path / "t.parquet", ["prompt", "score"])

    assert found["prompt"].tolist() == ["hi", None]
    assert np.isnan(found["score"]).tolist() == [False, True]


def test_absent_column_is_named_with_the_nearest(tmp_path):
    (tmp_path / "w.csv").write_text("prompt,subject\nq,x\n")

    with pytest.raises(DataError, match="Did you mean 'subject'"):
        read_columns(tmp_path / "w.csv", ["subjct"])


def test_csv_row_over_four_megabytes_is_refused(tmp_path):
    long = "x" * 5_000_000

    assert "b.csv, line 3" in refusal(tmp_path, "b.csv", f"{HEAD}q,x,y,tie\n{long},x,y,tie\n")


def test_wrong_field_count_is_found_beside_a_long_prompt(tmp_path):
    assert "line 3: got 3 fields" in refusal(tmp_path, "b.csv", f"{HEAD}{'x' * 1_000_000},x,y,tie\nq,x,y\n")


def test_one_megabyte_prompt_is_read_whole(tmp_path):
    (tmp_path / "b.csv").write_text(HEAD + "x" * 1_000_000 + ",m,n,tie\n")

    assert len(load(tmp_path / "b.csv").prompts[0]) == 1_000_000
