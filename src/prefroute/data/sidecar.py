"""Prompts that stand in a table of their own: found beside the file and joined by the id that both tables have."""

# ruff: noqa: S608 - the SQL holds names and values only through `source.quote` and `source.text`
from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from prefroute.data.plan import PROMPT_COLUMNS, Options, find, prompt_sql
from prefroute.data.schema_outcomes import ID_COLUMNS
from prefroute.data.source import SIDECARS, Source, find_files, open_source, quote
from prefroute.errors import DataError

__all__ = ["choose_files", "with_prompts"]


def choose_files(path: str | Path) -> tuple[tuple[Path, ...], Path | None]:
    """The files to read, and the prompts table beside them where there is one.

    Raises:
        DataError: If nothing is there, or a folder holds several tables beside one prompts table.
    """
    files = find_files(path)
    folder = files[0].parent
    sidecar = next((file for file in find_files(folder) if _stem(file) in SIDECARS), None)
    if not Path(path).is_dir() or sidecar is None:
        return files, None if sidecar in files else sidecar
    tables = tuple(file for file in files if file != sidecar)
    if len(tables) > 1:
        names = ", ".join(file.name for file in tables)
        raise DataError(
            f"Folder {Path(path).name!r} holds {len(tables)} tables beside {sidecar.name}: {names}. Name one."
        )
    return (tables, sidecar) if tables else (files, None)


def with_prompts(source: Source, sidecar: Path | None, options: Options) -> Source:
    """The source with the column `prompt` of the sidecar, joined by id; unchanged where it has prompts of its own.

    Raises:
        DataError: If the tables share no id, or a row's id has no prompt.
    """
    own = find(source.columns, PROMPT_COLUMNS)
    if sidecar is None or own or find(source.columns, (options.prompt_column or "",)):
        return source
    side = open_source(source.connection, "prompts_beside", (sidecar,))
    key = find(source.columns, [name for name in ID_COLUMNS if find(side.columns, (name,))])
    prompt = prompt_sql(side, options)
    if key is None or prompt is None:
        lacks = "prompts" if key else "an id column (" + ", ".join(ID_COLUMNS) + ") that both tables have"
        raise DataError(f"{sidecar.name} beside {source.files[0].name} lacks {lacks}.")
    key_beside = find(side.columns, (key.lower(),)) or key
    source.connection.execute(
        f"CREATE OR REPLACE TEMP TABLE rows_with_prompts AS SELECT rows_read.*, beside.prompt, "
        f"CAST(rows_read.{quote(key)} AS VARCHAR) AS _key FROM rows_read LEFT JOIN "
        f"(SELECT CAST({quote(key_beside)} AS VARCHAR) AS _id, first({prompt}) AS prompt FROM {side.view} "
        f"GROUP BY _id) AS beside ON CAST(rows_read.{quote(key)} AS VARCHAR) = beside._id ORDER BY _file, _row"
    )
    lost = source.connection.execute(
        "SELECT _file, _row, _key, count(*) OVER () FROM rows_with_prompts WHERE prompt IS NULL "
        "ORDER BY _file, _row LIMIT 1"
    ).fetchall()
    if lost:
        file, row, got, count = lost[0]
        raise DataError(
            f"{source.where(file, row)}, column {key!r}: {got!r} has no prompt in {sidecar.name} ({count:,} such "
            "rows). Bring the missing prompts or drop the rows."
        )
    columns = {**source.columns, "prompt": "VARCHAR", "_key": "VARCHAR"}
    return replace(source, view="rows_with_prompts", columns=columns)


def _stem(file: Path) -> str:
    return file.name.split(".")[0].lower()
