"""The one thread that writes: rows come in from the event loop, go out in groups, and say when they are durable.

The door is `Writer`. A group is whatever came in while the group before it was written, so that one commit serves many
requests when it is busy and none waits when it is not. What cannot be written now is kept and tried again; what can
never be written (a value that the database refuses) is found by writing row by row, and hurts no other row.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from prefroute.errors import JournalError
from prefroute.journal.database import is_transient, reason
from prefroute.journal.rows import RequestRow
from prefroute.journal.statements import Storing, write_rows
from prefroute.journal.waiting import Waiter, settle

__all__ = ["INTENT_S", "MAX_KEPT", "PATIENCE_S", "Writer"]

INTENT_S = 0.05
"""A request that has begun is written about this much later; one that has ended by then is written once."""

PATIENCE_S = 5.0
"""How long a row waits for a database that is locked, full or gone, before the one who waits for it is told."""

MAX_KEPT = 10_000
"""Rows that are kept in memory until the database is back; what comes in beyond is refused, and counted."""

_MAX_BATCH = 512
_RETRY_S = 0.25
_CLOSED = "The journal is closed, or too many rows wait for it. Ask again later."

log = logging.getLogger(__name__)


class _Finished(NamedTuple):
    row: RequestRow
    waiter: Waiter | None


class _Job(NamedTuple):
    do: Callable[[Connection], Any]
    waiter: Waiter


class Writer:
    """Writes rows of one process.

    Args:
        engine: Of a database that has the tables.
        instance: Id of this process, put on rows that have begun.
        storing: What is kept of the text.

    Attributes:
        n_lost: Rows that were refused because too many were waiting, or that were still waiting at the end.
        n_refused: Rows that the database can never take.
    """

    def __init__(self, engine: Engine, instance: str, storing: Storing) -> None:
        self.n_lost = 0
        self.n_refused = 0
        self._engine = engine
        self._instance = instance
        self._storing = storing
        self._inbox: SimpleQueue[_Finished | _Job | None] = SimpleQueue()  # None only wakes
        self._begun: deque[tuple[float, RequestRow]] = deque()
        self._is_awake = False  # whether the thread will look into `_begun` without being woken
        self._is_closing = False
        self._is_stale = False
        self._last: Callable[[Connection], Any] = lambda _: None
        # of the thread alone:
        self._intents: dict[str, tuple[float, RequestRow]] = {}  # begun, not yet written; oldest first
        self._kept: list[_Finished] = []
        self._connection: Connection | None = None
        self._stuck_since: float | None = None
        self._thread = threading.Thread(target=self._run, name="prefroute-journal", daemon=True)
        self._thread.start()

    @property
    def is_healthy(self) -> bool:
        """Whether rows are being written, or have been stuck for less than `PATIENCE_S`."""
        since = self._stuck_since
        return not self._is_closing and (since is None or time.monotonic() - since < PATIENCE_S)

    @property
    def n_waiting(self) -> int:
        """Rows that have ended and are not written yet."""
        return self._inbox.qsize() + len(self._kept)

    def begin(self, row: RequestRow) -> None:
        """Have the row written soon, unless it ends sooner."""
        if len(self._begun) < MAX_KEPT:
            self._begun.append((time.monotonic() + INTENT_S, row))
        if not self._is_awake:
            self._inbox.put(None)

    def finish(self, row: RequestRow, waiter: Waiter | None = None) -> None:
        """Have the row written now; it must not change any more."""
        if self._is_closing or self._inbox.qsize() >= MAX_KEPT:
            self._lose([_Finished(row, waiter)])
        else:
            self._inbox.put(_Finished(row, waiter))

    def do(self, job: Callable[[Connection], Any], waiter: Waiter) -> None:
        """Run a job in a transaction of its own, between two groups; the waiter gets what it returns."""
        if self._is_closing:
            settle([waiter], JournalError(_CLOSED))
        else:
            self._inbox.put(_Job(job, waiter))

    def reconnect(self) -> None:
        """Write over a new connection from the next group on."""
        self._is_stale = True

    def close(self, last: Callable[[Connection], Any]) -> None:
        """Write what is waiting, do a last job, and end.

        Args:
            last: Done after the last row. What a database that is gone does not take within `PATIENCE_S` is lost, and
                the job is not done.
        """
        self._last = last
        self._is_closing = True
        self._inbox.put(None)
        self._thread.join()
        self._empty()  # what came in between the flag and the end

    def _run(self) -> None:
        try:
            self._work()
        finally:  # nobody may wait for a thread that has ended, whatever ended it
            self._is_closing = True
            self._empty()
            self._disconnect()

    def _work(self) -> None:
        closing_since: float | None = None
        while True:
            jobs = self._gather()
            self._write()
            for job in jobs:
                self._do(job)
            if not self._is_closing or not self._inbox.empty():
                continue
            closing_since = closing_since or time.monotonic()
            if not self._kept or time.monotonic() - closing_since > PATIENCE_S:
                break
        if not self._kept:
            self._do(_Job(self._last, concurrent.futures.Future()))

    def _empty(self) -> None:
        """Tell everybody who still waits that it is in vain."""
        kept, self._kept = self._kept, []
        with contextlib.suppress(Empty):
            while True:
                item = self._inbox.get_nowait()
                if isinstance(item, _Finished):
                    kept.append(item)
                elif item is not None:
                    settle([item.waiter], JournalError(_CLOSED))
        if kept:
            self._lose(kept)

    def _gather(self) -> list[_Job]:
        """Wait for something to do; finished rows go to `_kept`, begun ones to `_intents`."""
        if self._stuck_since is not None:
            time.sleep(_RETRY_S)
        # In this order: who begins a request before the flag goes down is seen here, who does so after it wakes us.
        self._is_awake = False
        self._take_begun()
        wait_s = self._wait_s()
        self._is_awake = wait_s is not None
        jobs: list[_Job] = []
        with contextlib.suppress(Empty):
            item = self._inbox.get(timeout=wait_s)
            for _ in range(_MAX_BATCH):
                if isinstance(item, _Finished):
                    self._kept.append(item)
                elif item is not None:
                    jobs.append(item)
                item = self._inbox.get_nowait()
        self._take_begun()  # after the inbox: whatever has ended has begun before
        for finished in self._kept:
            self._intents.pop(finished.row.request_id, None)
        if len(self._kept) > MAX_KEPT:
            self._lose(self._kept[MAX_KEPT:])
            del self._kept[MAX_KEPT:]
        return jobs

    def _take_begun(self) -> None:
        while self._begun and len(self._intents) < MAX_KEPT:
            due, row = self._begun.popleft()
            self._intents[row.request_id] = (due, row)

    def _wait_s(self) -> float | None:
        if self._kept or self._is_closing:
            return 0.0
        if not self._intents:
            return None
        due, _ = next(iter(self._intents.values()))
        return max(0.0, due - time.monotonic())

    def _due(self) -> list[RequestRow]:
        """Begun rows whose time has come."""
        now = time.monotonic() + (INTENT_S if self._is_closing else 0.0)
        rows: list[RequestRow] = []
        for due, row in self._intents.values():
            if due > now or len(rows) == _MAX_BATCH:
                break
            rows.append(row)
        return rows

    def _write(self) -> None:
        begun = self._due()
        while self._kept or begun:
            if not self._write_group(self._kept[:_MAX_BATCH], begun):
                return
            for row in begun:
                self._intents.pop(row.request_id, None)
            begun = []

    def _write_group(self, group: Sequence[_Finished], begun: Sequence[RequestRow]) -> bool:
        """Whether the database is there; `group` is the head of `_kept`, and leaves it once it is dealt with."""
        try:
            self._commit(group, begun)
        except Exception as error:  # whatever a driver or a value brings up: no row may stop the thread
            if is_transient(error):
                self._endure(error)
                return False
            return self._write_each(group, begun)
        self._recover()
        settle(waiter for _, waiter in group)
        del self._kept[: len(group)]
        return True

    def _commit(self, group: Sequence[_Finished], begun: Sequence[RequestRow]) -> None:
        finished = list({row.request_id: row for row, _ in group}.values())
        try:
            connection = self._connected()
            write_rows(connection, finished, begun, instance=self._instance, storing=self._storing)
            connection.commit()
        except BaseException:
            self._disconnect()
            raise

    def _write_each(self, group: Sequence[_Finished], begun: Sequence[RequestRow]) -> bool:
        """Row by row, so that only what the database refuses is refused; whether the database is there."""
        for row in begun:
            with contextlib.suppress(Exception):  # it is refused once more, and counted, when it ends
                self._commit([], [row])
        for finished in group:
            error: Exception | None = None
            try:
                self._commit([finished], [])
            except Exception as exc:
                if is_transient(exc):
                    self._endure(exc)
                    return False
                self.n_refused += 1
                error = JournalError(f"The journal refused the row of a request: {type(exc).__name__}.")
                log.warning("The journal refused the row of %s: %s", finished.row.request_id, type(exc).__name__)
            self._recover()
            settle([finished.waiter], error)
            del self._kept[0]
        return True

    def _do(self, job: _Job) -> None:
        try:
            connection = self._connected()
            value = job.do(connection)
            connection.commit()
        except Exception as exc:
            self._disconnect()
            error = JournalError(f"The journal cannot be used now: {reason(exc)}.")
            error.__cause__ = exc
            settle([job.waiter], error if isinstance(exc, DBAPIError) else exc)
        else:
            settle([job.waiter], value=value)

    def _endure(self, error: Exception) -> None:
        """The database is away: keep the rows, and once patience is out tell those who wait."""
        now = time.monotonic()
        if self._stuck_since is None:
            self._stuck_since = now
            log.warning("The journal cannot be written now, and is tried again: %s", reason(error))
        if now - self._stuck_since >= PATIENCE_S:
            told = JournalError(f"The journal cannot be written now: {reason(error)}.")
            settle([waiter for _, waiter in self._kept], told)
            self._kept = [finished._replace(waiter=None) for finished in self._kept]

    def _recover(self) -> None:
        if self._stuck_since is not None:
            log.warning("The journal is written again after %.0f s", time.monotonic() - self._stuck_since)
            self._stuck_since = None

    def _lose(self, finished: Sequence[_Finished]) -> None:
        before, self.n_lost = self.n_lost, self.n_lost + len(finished)
        if before == 0 or before // 1000 != self.n_lost // 1000:  # not a line for each
            log.error("The journal has lost %d rows so far: it is closed, or too many wait for it", self.n_lost)
        settle([waiter for _, waiter in finished], JournalError(_CLOSED))

    def _connected(self) -> Connection:
        if self._is_stale:
            self._is_stale = False
            self._disconnect()
        if self._connection is None:
            self._connection = self._engine.connect()
        return self._connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(Exception):  # it may be gone already
                self._connection.invalidate()
                self._connection.close()
            self._connection = None
