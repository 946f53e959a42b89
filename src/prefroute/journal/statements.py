"""From rows to the fewest statements: one multi-row INSERT for each table of a batch.

The door is `write_rows`. The SQL is written here rather than by SQLAlchemy's compiler, and goes to the driver's cursor,
because of where the time goes: a group of one row costs twice as much through SQLAlchemy. A driver lets go of the
interpreter's lock around each statement, and gets it back only when the event loop lets it: one statement for 32 rows
waits once, `executemany` waits 32 times. PostgreSQL reads the rows of a batch from one JSON value; SQLite has no type
for bytes in JSON, and gets the values as they are.
"""

# ruff: noqa: S608 - the SQL is made of the names in `tables` and of placeholders
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from operator import attrgetter
from typing import Any

import orjson
from sqlalchemy import Connection, Table

from prefroute.journal.escape import escape
from prefroute.journal.redaction import Redaction
from prefroute.journal.rows import RequestRow
from prefroute.journal.tables import attempts, requests, texts

__all__ = ["UNRECORDED", "Storing", "write_rows"]

UNRECORDED = "log_store_unavailable"
"""The `error` of a request that was refused because its row was not committed in time."""

_MAX_ROWS = 32  # of one INSERT of SQLite, which takes 32,766 values; each number of rows is a statement to keep

_COLUMNS = [column.name for column in requests.columns if column.name != "running_in"]  # in the order of the table
_values = attrgetter(*_COLUMNS)
_REQUESTED, _SCORES, _STATUS, _ERROR = (_COLUMNS.index(name) for name in ("requested", "scores", "status", "error"))

_KEEP = "DO NOTHING"
# A row that has ended stays as it is, whatever is written under its id again; one that was only begun, or that was
# given up for dead too early, takes the new values. So does one whose client was told, while it was being written after
# all, that it could not be.
_FINISH = (
    "(request_id) DO UPDATE SET "
    + ", ".join(f"{column.name} = excluded.{column.name}" for column in requests.columns if not column.primary_key)
    + f" WHERE requests.running_in IS NOT NULL OR requests.error = 'interrupted' OR excluded.error = '{UNRECORDED}'"
)


@dataclass(frozen=True, slots=True)
class Storing:
    """What is kept beyond numbers and names.

    Attributes:
        prompts: Whether the text that was scored is kept.
        embeddings: Whether its embedding is kept.
        redaction: What is cut out of the text first; None for nothing.
    """

    prompts: bool = False
    embeddings: bool = False
    redaction: Redaction | None = None


def write_rows(
    connection: Connection,
    finished: Sequence[RequestRow],
    begun: Sequence[RequestRow],
    *,
    instance: str,
    storing: Storing,
) -> None:
    """Write requests that have ended and requests that have begun; writing a row twice changes nothing.

    Args:
        connection: In a transaction that was begun, not one that a first statement would begin; the caller commits it.
        finished: Rows with distinct ids.
        begun: Rows with distinct ids, none of them in `finished`.
        instance: Who serves what has begun.
        storing: What is kept of the text.

    Raises:
        Exception: The driver's own errors.
    """
    _insert(connection, requests, [_begun_values(row, instance) for row in begun], _KEEP)
    _insert(connection, requests, [_finished_values(row) for row in finished], _FINISH)
    tries = [
        (row.request_id, n, each.model, each.outcome, each.status, each.latency_s)
        for row in finished
        for n, each in enumerate(row.attempts)
    ]
    _insert(connection, attempts, tries, _KEEP)
    if storing.prompts or storing.embeddings:
        kept = (_text_values(row, storing) for row in finished)
        _insert(connection, texts, [values for values in kept if values is not None], _KEEP)


def _begun_values(row: RequestRow, instance: str) -> list[Any]:
    values = _finished_values(row)
    # the row is filled in while it waits here: what it says of its end is not true before it is finished
    values[_STATUS] = values[_ERROR] = None
    values[-1] = instance
    return values


def _finished_values(row: RequestRow) -> list[Any]:
    values = list(_values(row))
    if values[_REQUESTED] is not None:
        values[_REQUESTED] = escape(values[_REQUESTED])
    if values[_SCORES] is not None:
        values[_SCORES] = orjson.dumps(dict(values[_SCORES])).decode()
    values.append(None)  # `running_in`
    return values


def _text_values(row: RequestRow, storing: Storing) -> tuple[Any, ...] | None:
    prompt = row.prompt if storing.prompts else None
    embedding = row.embedding if storing.embeddings else None
    if prompt is None and embedding is None:
        return None
    if prompt is not None:
        prompt = escape(storing.redaction(prompt) if storing.redaction else prompt)
    return row.request_id, prompt, embedding, None if embedding is None else row.embedder


def _insert(connection: Connection, table: Table, rows: Sequence[Sequence[Any]], on_conflict: str) -> None:
    if not rows:
        return
    if connection.dialect.name == "postgresql":
        names = [str(column.name) for column in table.columns]  # orjson takes no subclasses of str as keys
        objects = orjson.dumps([dict(zip(names, row, strict=True)) for row in rows], default=_hexadecimal)
        _execute(connection, _json_sql(table, on_conflict), (objects.decode(),))
        return
    for start in range(0, len(rows), _MAX_ROWS):
        chunk = rows[start : start + _MAX_ROWS]
        _execute(connection, _values_sql(table, len(chunk), on_conflict), tuple(chain.from_iterable(chunk)))


def _execute(connection: Connection, sql: str, values: tuple[Any, ...]) -> None:
    cursor = connection.connection.cursor()
    try:
        cursor.execute(sql, values)
    finally:
        cursor.close()


@lru_cache(maxsize=256)
def _values_sql(table: Table, n_rows: int, on_conflict: str) -> str:
    row = f"({', '.join('?' * len(table.columns))})"
    return f"INSERT INTO {table.name} ({_names(table)}) VALUES {', '.join([row] * n_rows)} ON CONFLICT {on_conflict}"


@lru_cache(maxsize=8)
def _json_sql(table: Table, on_conflict: str) -> str:
    """One parameter for all rows: psycopg takes longer over 800 parameters than everything else together."""
    source = f"json_populate_recordset(NULL::{table.name}, %s::json)"
    return f"INSERT INTO {table.name} ({_names(table)}) SELECT {_names(table)} FROM {source} ON CONFLICT {on_conflict}"


def _names(table: Table) -> str:
    return ", ".join(column.name for column in table.columns)


def _hexadecimal(value: object) -> str:
    """Bytes as PostgreSQL reads them."""
    if isinstance(value, bytes):
        return "\\x" + value.hex()
    raise TypeError(f"cannot be written: {type(value).__name__}")
