"""Prompts from files: every line in order, and a bad one named by its place."""

import gzip
import json

import duckdb
import pytest

from prefroute.data import read_prompts
from prefroute.errors import DataError


def test_a_lone_surrogate_is_refused_as_in_a_table_with_its_line_and_column(tmp_path):
    file = tmp_path / "p.jsonl"
    file.write_text('{"prompt": "whole \\ud83d\\ude00"}\n\n{"prompt": "cut \\ud83d"}\n')

    with pytest.raises(DataError, match=r"p\.jsonl, line 3, column 'prompt': got half of a character"):
        list(read_prompts(str(file)))


def test_prompts_before_a_bad_line_are_read(tmp_path):
    file = tmp_path / "p.jsonl"
    file.write_text('{"prompt": "first"}\n{"prompt": 2}\n')

    assert next(read_prompts(str(file))) == "first"


@pytest.mark.parametrize("name", ["p.csv", "p.tsv", "p.csv.gz", "p.jsonl", "p.ndjson.gz", "p.parquet", "p.pq"])
@pytest.mark.parametrize("column", ["prompt", "question", "Instruction"])
def test_tables_of_every_suffix_and_name_of_the_column_give_the_same_prompts(tmp_path, name, column):
    prompts, file = ["say hi", "prove it, please"], tmp_path / name
    if name.endswith((".parquet", ".pq")):
        rows = " UNION ALL ".join(f"SELECT {i} AS id, '{text}' AS {column}" for i, text in enumerate(prompts))
        duckdb.connect().execute(f"COPY ({rows}) TO '{file}' (FORMAT parquet)")
    else:
        sign = "\t" if ".tsv" in name else ","
        lines = [f'{i}{sign}"{text}"' for i, text in enumerate(prompts)]
        content = "\n".join([f"id{sign}{column}", *lines])
        if "json" in name:
            content = "\n".join(json.dumps({"id": i, column: text}) for i, text in enumerate(prompts))
        file.write_bytes(gzip.compress(content.encode()) if name.endswith(".gz") else content.encode())

    assert list(read_prompts(str(file))) == prompts


def test_a_table_without_prompts_names_the_column_that_looks_like_it(tmp_path):
    (tmp_path / "p.csv").write_text("promt,id\nhi,1\n")

    with pytest.raises(DataError, match=r"no column with the prompts\. 'promt' looks like it"):
        list(read_prompts(str(tmp_path / "p.csv")))


def test_a_row_without_a_prompt_is_named(tmp_path):
    rows = "SELECT 'hi' AS prompt UNION ALL SELECT NULL"
    duckdb.connect().execute(f"COPY ({rows}) TO '{tmp_path}/p.parquet' (FORMAT parquet)")

    with pytest.raises(DataError, match=r"p\.parquet, row 2: the prompt must be text, got nothing"):
        list(read_prompts(str(tmp_path / "p.parquet")))
