"""Tables in: battles and outcomes from Parquet, CSV and JSONL, wide or long, own and public schemas.

The door is `load`, and `inspect` for what a file holds and what is odd about it. Rows are checked in SQL before they
are read: a bad file raises one line that names file, row and column, and nothing is returned. Rows count from 1,
without the header and blank lines.
"""

# ruff: noqa: S608 - the SQL holds names and values only through `source.quote` and `source.text`
from __future__ import annotations

import contextlib
import logging
import re
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np
import numpy.typing as npt

from prefroute.data.plan import Check, Options, Plan, Scale
from prefroute.data.report import LoadReport, Note, describe
from prefroute.data.schemas import make_plan, require_prompts
from prefroute.data.sidecar import choose_files, with_prompts
from prefroute.data.source import Source, connect, explain, find_files, open_source, quote, text
from prefroute.errors import DataError, nearest
from prefroute.types import Battles, FloatArray, Outcomes

__all__ = ["inspect", "load", "load_with_notes", "read_columns", "read_prompt_column"]

logger = logging.getLogger(__name__)

_BATCH = 65_536
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")  # names are printed, and an escape sequence would act on the terminal


@overload
def load(
    path: str | Path,
    *,
    table: Literal["battles"],
    strong: str | None = ...,
    weak: str | None = ...,
    models: tuple[str, ...] | None = ...,
    prompt_column: str | None = ...,
    scale: Scale = ...,
    turns: Literal["first", "all"] = ...,
) -> Battles: ...


@overload
def load(
    path: str | Path,
    *,
    table: Literal["outcomes"],
    strong: str | None = ...,
    weak: str | None = ...,
    models: tuple[str, ...] | None = ...,
    prompt_column: str | None = ...,
    scale: Scale = ...,
    turns: Literal["first", "all"] = ...,
) -> Outcomes: ...


@overload
def load(
    path: str | Path,
    *,
    table: Literal["auto", "battles", "outcomes"] = ...,
    strong: str | None = ...,
    weak: str | None = ...,
    models: tuple[str, ...] | None = ...,
    prompt_column: str | None = ...,
    scale: Scale = ...,
    turns: Literal["first", "all"] = ...,
) -> Battles | Outcomes: ...


def load(
    path: str | Path,
    *,
    table: Literal["auto", "battles", "outcomes"] = "auto",
    strong: str | None = None,
    weak: str | None = None,
    models: tuple[str, ...] | None = None,
    prompt_column: str | None = None,
    scale: Scale = "auto",
    turns: Literal["first", "all"] = "first",
) -> Battles | Outcomes:
    """The battles or outcomes that a file, a folder of files or a glob holds.

    What is odd but usable (duplicates, unreadable judge answers, empty prompts) is logged as counted warnings;
    `inspect` returns them.

    Args:
        path: A .parquet, .csv, .tsv or .jsonl file (the last three also .gz), a folder or a glob of files with the
            same columns. Outcomes without prompts are joined with the prompts or questions table beside them.
        table: What to read it as; "auto" takes what the columns say.
        strong: For tables of strong and weak scores: one name under which every strong model is pooled. For others: a
            model that must be in the data.
        weak: The same for the weak model.
        models: The score columns of a wide table; None takes every column of numbers or booleans that is not known
            to be something else.
        prompt_column: The column with the prompts, where it is not the usual one.
        scale: "unit" for scores in [0, 1], "judge" for 1-10, which become (s - 1) / 9; "auto" decides by the values.
        turns: Of a prompt that is a list of turns, the "first" or "all", one per line.

    Raises:
        DataError: If the file cannot be read, the columns fit no known table, or a row is bad.
    """
    options = Options(table, strong, weak, models, prompt_column, scale, turns)
    data, _, notes = load_with_notes(path, options)
    for note in notes:
        logger.warning("%s: %s", Path(path).name, note)
    return data


def inspect(path: str | Path, *, table: Literal["auto", "battles", "outcomes"] = "auto") -> LoadReport:
    """What a file, folder or glob holds: rows, models, labels, duplicates and counted warnings.

    Raises:
        DataError: As `load`.
    """
    data, schema, notes = load_with_notes(path, Options(table))
    return describe(Path(path).name, schema, data, notes)


def read_columns(path: str | Path, names: Sequence[str]) -> dict[str, npt.NDArray[Any]]:
    """Columns of a table as they are, in the file's order: text as objects, numbers and booleans by their own type.

    A missing number is NaN, missing text is None. Values of CSV and JSONL are text.

    Args:
        path: A table file or a glob of files with the same columns.
        names: The columns to read.

    Raises:
        DataError: If the file cannot be read or lacks a column; the message names the nearest.
    """
    with _opened() as connection:
        source = open_source(connection, "rows_read", find_files(path))
        for name in names:
            if name not in source.columns:
                raise DataError(f"{source.files[0].name}: {nearest(name, source.columns, 'column')}")
        return _columns(source, names)


def read_prompt_column(path: str | Path) -> npt.NDArray[Any]:
    """The column of a table that `load` would take for the prompts, as it is, shape (n,).

    Raises:
        DataError: If the file cannot be read or has no such column.
    """
    with _opened() as connection:
        source = open_source(connection, "rows_read", find_files(path))
        name = require_prompts(source, Options())
        return _columns(source, [name])[name]


def _columns(source: Source, names: Sequence[str]) -> dict[str, npt.NDArray[Any]]:
    try:
        found = source.connection.execute(f"SELECT {', '.join(map(quote, names))} FROM {source.view}").fetchnumpy()
    except Exception as error:  # DuckDB has no one error type for unreadable files
        raise explain(source, error) from error
    return {name: _filled(found[name], None if found[name].dtype == object else np.nan) for name in names}


def load_with_notes(path: str | Path, options: Options) -> tuple[Battles | Outcomes, str, tuple[Note, ...]]:
    """The data, the name of the schema that was recognised, and what was odd.

    Raises:
        DataError: As `load`.
    """
    files, sidecar = choose_files(path)
    with _opened() as connection:
        source = open_source(connection, "rows_read", files)
        try:
            source = with_prompts(source, sidecar, options)
            plan = make_plan(source, options)
            connection.execute(f"CREATE OR REPLACE TEMP VIEW canon AS {plan.select}")
            notes = _check(source, plan)
            data, more = _read(source, plan)
        except DataError:
            raise
        except Exception as error:  # DuckDB has no one error type for unreadable files
            raise explain(source, error) from error
    if odd := next((name for name in data.models if _CONTROL.search(name)), None):
        raise DataError(f"{files[0].name}: the model name {odd!r} holds control characters. Rename the model.")
    if plan.schema not in ("pair_scores", "reference_judge"):
        _require_models(data, options)
    return data, plan.schema, (*(Note(text, 0) for text in plan.notes), *notes, *more)


@contextlib.contextmanager
def _opened() -> Iterator[Any]:
    """A connection that spills to a folder of its own, both gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="prefroute-") as folder:
        connection = connect()
        try:
            connection.execute(f"SET temp_directory = {text(folder)}")
            yield connection
        finally:
            connection.close()


def _check(source: Source, plan: Plan) -> list[Note]:
    """Refuse bad rows; count those that are left out and those that are odd. One pass over the rows."""
    kept_rows = _kept(plan)
    parts = [
        "count(*)",
        f"count(*) FILTER (WHERE {kept_rows})",
        f"count(*) FILTER (WHERE trim(prompt) = '' AND {kept_rows})",
    ]
    for check in plan.checks:
        bad = f"({check.when})" if check.drop else f"({check.when}) AND {kept_rows}"
        place = f"struct_pack(f := _file, r := _row, got := CAST({check.got} AS VARCHAR))"
        parts += [
            f"count(*) FILTER (WHERE {bad})",
            f"arg_min({place}, _file * 1000000000000 + _row) FILTER (WHERE {bad})",
        ]
    rows, kept, empty, *found = source.connection.execute(f"SELECT {', '.join(parts)} FROM canon").fetchall()[0]
    if not rows:
        names = ", ".join(file.name for file in source.files[:3])
        raise DataError(f"{names}: a header without rows. Wanted: at least one row.")
    notes: list[Note] = []
    for check, count, place in zip(plan.checks, found[0::2], found[1::2], strict=True):
        if count and not check.drop:
            raise DataError(_bad_row(source, check, count, place))
        if count:
            notes.append(Note(f"rows left out: column {check.column!r}: wanted {check.wanted}", int(count)))
    if not kept:
        raise DataError(f"{source.files[0].name}: none of {rows} rows can be used. {notes[0] if notes else ''}")
    return [*notes, *([Note("empty prompts", int(empty))] if empty else [])]


def _bad_row(source: Source, check: Check, count: int, place: Any) -> str:
    got = "nothing" if place["got"] is None else repr(str(place["got"])[:60])
    more = f" There are {count:,} such rows." if count > 1 else ""
    return (
        f"{source.where(place['f'], place['r'])}, column {check.column!r}: got {got}, wanted {check.wanted}."
        f" Mend or drop the row.{more}"
    )


def _kept(plan: Plan) -> str:
    """SQL condition: no check that drops rows finds this one."""
    drops = [f"NOT coalesce({check.when}, false)" for check in plan.checks if check.drop]
    return " AND ".join(drops) or "true"


def _read(source: Source, plan: Plan) -> tuple[Battles | Outcomes, list[Note]]:
    if plan.kind == "battles":
        return _read_battles(source, plan), []
    return _read_long(source, plan) if plan.kind == "long" else (_read_wide(source, plan), [])


def _read_battles(source: Source, plan: Plan) -> Battles:
    run = source.connection.execute
    kept = f"FROM canon WHERE {_kept(plan)}"
    names = run(f"SELECT DISTINCT a {kept} UNION SELECT DISTINCT b {kept}").fetchall()
    models = tuple(sorted({str(row[0]) for row in names}))
    codes = ", ".join(f"enum_code(CAST({side} AS {_enum(models)})) AS {side}" for side in ("a", "b"))
    columns = run(f"SELECT {codes}, outcome {kept}").fetchnumpy()
    return Battles(
        prompts=_prompts(source, f"SELECT prompt {kept}"),
        models=models,
        model_a=_filled(columns["a"], -1).astype(np.int32),
        model_b=_filled(columns["b"], -1).astype(np.int32),
        outcome=_filled(columns["outcome"], np.nan).astype(np.float64),
    )


def _read_long(source: Source, plan: Plan) -> tuple[Outcomes, list[Note]]:
    """One row a distinct prompt, in the order of first appearance; several answers of one model are averaged."""
    run = source.connection.execute
    kept = f"FROM canon WHERE {_kept(plan)}"
    place = "_file * 1000000000000 + _row"
    # two answers may stand in one row, and without `nth` it would be chance which comes first
    in_order = f"SELECT model {kept} GROUP BY model ORDER BY min(2 * ({place}) + nth)"
    models = tuple(str(row[0]) for row in run(in_order).fetchall())
    run(
        f"CREATE OR REPLACE TEMP TABLE prompts_read AS SELECT key, prompt, row_number() OVER (ORDER BY place) - 1 AS k "
        f"FROM (SELECT key, arg_min(prompt, {place}) AS prompt, min({place}) AS place {kept} GROUP BY key)"
    )
    cells = run(
        f"SELECT k, enum_code(CAST(model AS {_enum(models)})) AS m, avg(quality) AS quality, avg(cost) AS cost, "
        f"count(*) AS n, coalesce(min(quality) < max(quality), false) AS conflict "
        f"FROM (SELECT * {kept}) AS answers JOIN prompts_read USING (key) GROUP BY k, model"
    ).fetchnumpy()
    prompts = _prompts(source, "SELECT prompt FROM prompts_read ORDER BY k")
    row, column = _filled(cells["k"], 0).astype(np.intp), _filled(cells["m"], 0).astype(np.intp)
    tables: list[FloatArray] = []
    for name in ("quality", "cost"):
        values = np.full((len(prompts), len(models)), np.nan)
        values[row, column] = _filled(cells[name], np.nan).astype(np.float64)
        tables.append(values)
    repeats = int(np.maximum(_filled(cells["n"], 0).astype(np.int64) - 1, 0).sum())
    conflicts = int(_filled(cells["conflict"], False).sum())
    notes = [Note("rows that repeat a prompt and model, averaged", repeats)] if repeats else []
    notes += [Note("answers with conflicting scores, kept as soft means", conflicts)] if conflicts else []
    return Outcomes(prompts, models, tables[0], tables[1] if plan.has_cost else None), notes


def _read_wide(source: Source, plan: Plan) -> Outcomes:
    m = len(plan.models)
    names = [f"q{i}" for i in range(m)] + ([f"c{i}" for i in range(m)] if plan.has_cost else [])
    casts = ", ".join(f"CAST({name} AS DOUBLE) AS {name}" for name in names)
    columns = source.connection.execute(f"SELECT {casts} FROM canon").fetchnumpy()
    values = np.column_stack([_filled(columns[name], np.nan).astype(np.float64) for name in names])
    prompts = _prompts(source, "SELECT prompt FROM canon")
    return Outcomes(prompts, plan.models, values[:, :m].copy(), values[:, m:].copy() if plan.has_cost else None)


def _prompts(source: Source, select: str) -> list[str]:
    """A column of text, fetched in batches so that DuckDB's rows and Python's never all stand side by side."""
    cursor = source.connection.execute(select)
    prompts: list[str] = []
    while batch := cursor.fetchmany(_BATCH):
        prompts.extend(row[0] for row in batch)
    return prompts


def _filled(column: Any, missing: Any) -> Any:
    """A fetched column with NULL replaced."""
    if not isinstance(column, np.ma.MaskedArray):
        return column
    if missing is not None:
        return column.filled(missing)
    filled = column.data.copy()  # `filled(None)` would mean NumPy's own filler, "?"
    filled[np.ma.getmaskarray(column)] = None
    return filled


def _enum(models: tuple[str, ...]) -> str:
    return f"ENUM({', '.join(text(name) for name in models)})"


def _require_models(data: Battles | Outcomes, options: Options) -> None:
    for name in (options.strong, options.weak):
        if name is not None and name not in data.models:
            raise DataError(nearest(name, data.models, "model"))
