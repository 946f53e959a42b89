"""Takes things out of the journal: what is old, what a key or a request left, what a pattern finds in stored text.

The door is `prune`, `delete_requests`, `delete_key` and `redact`. All work in transactions of at most `BATCH` rows and
rest between two of them for as long as one took, so that a gateway writes all the while. One that is interrupted has
done part of its work, and can be run again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Any

from sqlalchemy import Connection, Engine, Select, bindparam, delete, select, update

from prefroute.journal.escape import escape, unescape
from prefroute.journal.redaction import Redaction
from prefroute.journal.tables import attempts, feedback, requests, texts

__all__ = ["BATCH", "Progress", "delete_key", "delete_requests", "prune", "prune_batch", "redact"]

BATCH = 500
Progress = Callable[[int], None]
"""Called with the number of rows that are done."""


def prune(engine: Engine, before: float, progress: Progress | None = None) -> int:
    """Delete requests that started before a time, with everything about them.

    Args:
        engine: Of the journal.
        before: Wall-clock time, seconds since 1970, UTC.
        progress: Called after each batch.

    Returns:
        Number of requests deleted.
    """
    return _repeat(engine, lambda: prune_batch(engine, before), progress)


def prune_batch(engine: Engine, before: float) -> int:
    """One batch of `prune`; 0 when nothing is left."""
    query = select(requests.c.request_id).where(requests.c.started_at < before)
    return _delete_found(engine, query.order_by(requests.c.started_at).limit(BATCH))


def delete_key(engine: Engine, key_id: str, progress: Progress | None = None) -> int:
    """Delete every request of a key, with everything about it; the key itself stays.

    Returns:
        Number of requests deleted.
    """
    query = select(requests.c.request_id).where(requests.c.key_id == key_id).order_by(requests.c.request_id)
    last = ""

    def batch() -> int:
        nonlocal last  # there is no index by key: going on from here reads the table once, not once for each batch
        with engine.begin() as connection:
            ids = connection.execute(query.where(requests.c.request_id > last).limit(BATCH)).scalars().all()
            _delete(connection, ids)
        last = ids[-1] if ids else last
        return len(ids)

    return _repeat(engine, batch, progress)


def delete_requests(engine: Engine, request_ids: Iterable[str]) -> int:
    """Delete requests by their ids, with everything about them.

    Returns:
        Number of requests that were there.
    """
    ids, n_deleted = iter(request_ids), 0

    def batch() -> int:
        nonlocal n_deleted
        chunk = list(islice(ids, BATCH))
        n_deleted += _delete_found(engine, select(requests.c.request_id).where(requests.c.request_id.in_(chunk)))
        return len(chunk)

    _repeat(engine, batch, None)
    return n_deleted


def redact(engine: Engine, redaction: Redaction | None, progress: Progress | None = None) -> int:
    """Cut what the patterns find out of stored prompts. The embedding of a prompt that changed is dropped with it.

    Args:
        engine: Of the journal.
        redaction: What to cut out; None drops all stored text and every embedding.
        progress: Called after each batch, with the number of texts that were read.

    Returns:
        Number of texts that changed or were dropped.
    """
    query = select(texts.c.request_id, texts.c.prompt).order_by(texts.c.request_id)
    last, n_changed = "", 0

    def batch() -> int:
        nonlocal last, n_changed
        with engine.begin() as connection:
            rows = connection.execute(query.where(texts.c.request_id > last).limit(BATCH)).all()
            if redaction is None:
                connection.execute(delete(texts).where(texts.c.request_id.in_([row.request_id for row in rows])))
                n_changed += len(rows)
            else:
                n_changed += _rewrite(connection, [(row.request_id, row.prompt) for row in rows], redaction)
        last = rows[-1].request_id if rows else last
        return len(rows)

    _repeat(engine, batch, progress)
    return n_changed


def _rewrite(connection: Connection, rows: Sequence[tuple[str, str | None]], redaction: Redaction) -> int:
    changed = [
        {"changed_id": request_id, "prompt": prompt, "embedding": None, "embedder": None}
        for request_id, stored in rows
        if stored is not None and (prompt := escape(redaction(unescape(stored)))) != stored
    ]
    if changed:
        connection.execute(update(texts).where(texts.c.request_id == bindparam("changed_id")), changed)
    return len(changed)


def _repeat(engine: Engine, batch: Callable[[], int], progress: Progress | None) -> int:
    n = 0
    while True:
        began = time.monotonic()
        n_batch = batch()
        if n_batch == 0:
            break
        n += n_batch
        if progress is not None:
            progress(n)
        time.sleep(time.monotonic() - began)
    _shrink_log(engine)
    return n


def _delete_found(engine: Engine, query: Select[Any]) -> int:
    with engine.begin() as connection:
        ids = connection.execute(query).scalars().all()
        _delete(connection, ids)
    return len(ids)


def _delete(connection: Connection, ids: Sequence[str]) -> None:
    for table in (attempts, texts, feedback, requests):
        connection.execute(delete(table).where(table.c.request_id.in_(ids)))


def _shrink_log(engine: Engine) -> None:
    """SQLite's log still holds the pages as they were: write them back and empty it, if nobody is reading."""
    if engine.dialect.name == "sqlite":
        with engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
