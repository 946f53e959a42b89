"""Tables out: battles and outcomes in the columns that `load` reads back (docs/reference/data-formats.md)."""

# ruff: noqa: S608 - the SQL holds names and values only through `source.quote` and `source.text`
from __future__ import annotations

import csv
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from prefroute.data.source import FORMATS, connect, quote, text
from prefroute.errors import DataError
from prefroute.types import Battles, FloatArray, Outcomes

__all__ = ["write_table"]


def write_table(data: Battles | Outcomes, path: str | Path, extra: Mapping[str, FloatArray] | None = None) -> None:
    """Write the table as .parquet, .csv or .jsonl, whole or not at all.

    Battles have the columns prompt, model_a, model_b, outcome; outcomes have prompt, "MODEL|quality" for each model
    and "MODEL|cost_usd" where costs are known. What was not observed is empty.

    Args:
        data: What to write.
        path: The file; its suffix says the format, and one that exists is replaced.
        extra: More columns of numbers by name, each of shape (n,); `load` takes no notice of them in battles.

    Raises:
        DataError: If the suffix is unknown, the folder does not exist, or two models differ only in case, which
            columns of a table cannot.
    """
    file = Path(path)
    kind = FORMATS.get(file.suffix.lower())
    if kind is None or file.suffix.lower() == ".tsv":
        raise DataError(f"{file.name}: cannot write {file.suffix!r}. Wanted: .parquet, .csv or .jsonl.")
    if not file.parent.is_dir():
        raise DataError(f"{file.name}: its folder does not exist. Make it first.")
    with tempfile.TemporaryDirectory(prefix=".prefroute-", dir=file.parent) as folder:
        part = Path(folder) / file.name
        columns = _columns(data) | dict.fromkeys(extra or {}, "DOUBLE")
        lines = _rows(data, [] if extra is None else list(extra.values()))
        if kind == "csv":
            _write_csv(columns, lines, part)
        elif kind == "jsonl":
            _write_jsonl(columns, lines, part)
        else:
            rows = Path(folder) / "rows.jsonl"
            _write_jsonl(columns, lines, rows)
            _to_parquet(rows, part, columns)
        os.replace(part, file)


def _columns(data: Battles | Outcomes) -> dict[str, str]:
    """Column name -> DuckDB type."""
    if isinstance(data, Battles):
        return {"prompt": "VARCHAR", "model_a": "VARCHAR", "model_b": "VARCHAR", "outcome": "DOUBLE"}
    spelled: dict[str, str] = {}
    for model in data.models:
        if (other := spelled.setdefault(model.lower(), model)) != model:
            raise DataError(
                f"The models {other!r} and {model!r} differ only in case, and columns of a table cannot. Rename one."
            )
    columns = {"prompt": "VARCHAR"} | {f"{model}|quality": "DOUBLE" for model in data.models}
    if data.cost_usd is not None:
        columns |= {f"{model}|cost_usd": "DOUBLE" for model in data.models}
    return columns


def _rows(data: Battles | Outcomes, extra: Sequence[FloatArray]) -> Iterator[list[Any]]:
    """Rows in the order of the columns; None where a number is not known, lone surrogates replaced."""
    if isinstance(data, Battles):
        blocks = [data.outcome[:, None]]
        names = [[data.models[a], data.models[b]] for a, b in zip(data.model_a, data.model_b, strict=True)]
    else:
        blocks = [data.quality] if data.cost_usd is None else [data.quality, data.cost_usd]
        names = [[]] * len(data)
    values = np.hstack([*blocks, *(column[:, None] for column in extra)])
    for prompt, pair, row in zip(data.prompts, names, values, strict=True):
        yield [_encodable(prompt), *pair, *(None if np.isnan(value) else float(value) for value in row)]


def _write_csv(columns: Iterable[str], rows: Iterable[list[Any]], file: Path) -> None:
    with file.open("w", encoding="utf-8", newline="") as lines:
        writer = csv.writer(lines)
        writer.writerow(columns)
        writer.writerows(rows)


def _write_jsonl(columns: Iterable[str], rows: Iterable[list[Any]], file: Path) -> None:
    names = list(columns)
    with file.open("wb") as lines:
        for row in rows:
            lines.write(orjson.dumps(dict(zip(names, row, strict=True)), option=orjson.OPT_APPEND_NEWLINE))


def _to_parquet(rows: Path, file: Path, columns: dict[str, str]) -> None:
    types = ", ".join(f"{text(name)}: {text(kind)}" for name, kind in columns.items())
    wanted = ", ".join(quote(name) for name in columns)
    connection = connect()
    try:
        connection.execute(
            f"COPY (SELECT {wanted} FROM read_json({text(str(rows))}, format='newline_delimited', "
            f"columns={{{types}}})) TO {text(str(file))} (FORMAT parquet, COMPRESSION zstd)"
        )
    finally:
        connection.close()


def _encodable(prompt: str) -> str:
    return prompt.encode("utf-8", "replace").decode("utf-8")
