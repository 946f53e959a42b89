"""The one thread that writes: rows come in from the event loop, go out in groups, and say when they are durable.

The door is `Writer`. A group is whatever came in while the group before it was written, so that one commit serves many
requests when it is busy and none waits when it is not. What cannot be written now is kept and tried again; what can
never be written (a value that the database refuses) is found by writing row by row, and hurts no other row.

The thread may hang for as long as the database does. Nobody waits for it longer than `PATIENCE_S`: those on an event
loop are told by a timer of their own, the others by theirs, and `close` leaves it behind.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine

from prefroute.errors import JournalError
from prefroute.journal.database import is_transient, reason
from prefroute.journal.inbox import INTENT_S, MAX_BATCH, MAX_KEPT, Finished, Inbox, Job
from prefroute.journal.rows import RequestRow
from prefroute.journal.statements import Storing, write_rows
from prefroute.journal.waiting import Patience, Waiter, settle

__all__ = ["PATIENCE_S", "Writer"]

PATIENCE_S = 5.0
"""How long a row waits for a database that is locked, full, gone or hangs, before the one who waits for it is told."""

_RETRY_S = 0.25
_CLOSED = "The journal is closed, or too many rows wait for it. Ask again later."
_AWAY = "The journal cannot be written now. Ask again later."

T = TypeVar("T")

log = logging.getLogger(__name__)


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
        self._inbox = Inbox()
        self._is_closing = False
        self._is_stale = False
        self._patience: Patience | None = None  # of the loop that asked last
        self._since: float | None = None  # when the database was asked for what it has not done yet
        self._last: Callable[[Connection], Any] = lambda _: None
        # of the thread alone:
        self._kept: list[Finished] = []
        self._connection: Connection | None = None
        self._is_stuck = False  # whether the last try has failed
        self._closing_since: float | None = None
        self._thread = threading.Thread(target=self._run, name="prefroute-journal", daemon=True)
        self._thread.start()

    @property
    def is_healthy(self) -> bool:
        """Whether the database does what it is asked, or has owed it for less than `PATIENCE_S`."""
        since = self._since
        return not self._is_closing and (since is None or time.monotonic() - since < PATIENCE_S)

    @property
    def n_waiting(self) -> int:
        """Rows that have ended and are not written yet."""
        return len(self._inbox) + len(self._kept)

    def waiter(self) -> asyncio.Future[Any]:
        """A future of the running loop, for `finish` or `do`; it fails by itself when patience is out."""
        loop = asyncio.get_running_loop()
        if self._patience is None or self._patience.loop is not loop:
            self._patience = Patience(loop, PATIENCE_S, _AWAY)
        return self._patience.waiter()

    def result(self, waiter: concurrent.futures.Future[T]) -> T:
        """What a thread waits for.

        Raises:
            JournalError: If it cannot be done, or takes longer than `PATIENCE_S`.
        """
        try:
            return waiter.result(PATIENCE_S)
        except TimeoutError:
            if waiter.cancel():
                raise JournalError(_AWAY) from None
            return waiter.result()  # it was settled at this moment

    def begin(self, row: RequestRow) -> None:
        """Have the row written soon, unless it ends sooner."""
        self._inbox.begin(row)

    def finish(self, row: RequestRow, waiter: Waiter | None = None) -> None:
        """Have the row written now; it must not change any more. While the database is away nobody waits for it."""
        if self._is_closing or len(self._inbox) >= MAX_KEPT:
            self._lose([Finished(row, waiter)])
            return
        if waiter is not None and not self.is_healthy:
            settle([waiter], JournalError(_AWAY))
            waiter = None
        self._inbox.put(Finished(row, waiter))

    def do(self, job: Callable[[Connection], Any], waiter: Waiter) -> None:
        """Run a job in a transaction of its own, between two groups; the waiter gets what it returns.

        A job whose waiter has given up is not run.
        """
        if self._is_closing or len(self._inbox) >= MAX_KEPT:
            settle([waiter], JournalError(_CLOSED))
        else:
            self._inbox.put(Job(job, waiter))

    def reconnect(self) -> None:
        """Write over a new connection from the next group on."""
        self._is_stale = True

    def close(self, last: Callable[[Connection], Any]) -> None:
        """Write what is waiting, do a last job, and end; returns within `PATIENCE_S`.

        Args:
            last: Done after the last row. What the database has not taken by then is lost, and the job is not done.
        """
        self._last = last
        self._closing_since = time.monotonic()
        self._is_closing = True
        self._inbox.put(None)
        self._thread.join(PATIENCE_S)
        if self._thread.is_alive():
            self.n_lost += self.n_waiting
            log.error("The journal's database does not answer: %d rows are lost", self.n_lost)
        else:
            self._empty()  # what came in between the flag and the end

    def _run(self) -> None:
        try:
            self._work()
        finally:  # nobody may wait for a thread that has ended, whatever ended it
            self._is_closing = True
            self._empty()
            self._disconnect()

    def _work(self) -> None:
        while True:
            jobs = self._gather()
            is_there = self._write()
            for job in jobs:
                if is_there:
                    is_there = self._do(job)
                else:
                    settle([job.waiter], JournalError(_AWAY))
            if not self._is_closing or len(self._inbox):
                continue
            if not self._kept or self._is_out_of_time():
                break
        if not self._kept:
            self._do(Job(self._last, concurrent.futures.Future()))

    def _is_out_of_time(self) -> bool:
        return self._closing_since is not None and time.monotonic() - self._closing_since > PATIENCE_S

    def _empty(self) -> None:
        """Tell everybody who still waits that it is in vain."""
        kept, self._kept = self._kept, []
        while len(self._inbox):
            items = self._inbox.take(waits=False)
            kept += [item for item in items if isinstance(item, Finished)]
            settle([item.waiter for item in items if isinstance(item, Job)], JournalError(_CLOSED))
        if kept:
            self._lose(kept)

    def _gather(self) -> list[Job]:
        """Wait for something to do; finished rows go to `_kept`."""
        if self._is_stuck:
            time.sleep(_RETRY_S)
        items = self._inbox.take(waits=not self._kept and not self._is_closing)
        self._kept += [item for item in items if isinstance(item, Finished)]
        if len(self._kept) > MAX_KEPT:
            self._lose(self._kept[MAX_KEPT:])
            del self._kept[MAX_KEPT:]
        return [item for item in items if isinstance(item, Job)]

    def _write(self) -> bool:
        """Whether the database is there, as far as was found out."""
        begun = self._inbox.due(INTENT_S if self._is_closing else 0.0)
        while self._kept or begun:
            if not self._write_group(self._kept[:MAX_BATCH], begun):
                return False
            self._inbox.forget(begun)
            begun = []
        return True

    def _write_group(self, group: Sequence[Finished], begun: Sequence[RequestRow]) -> bool:
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

    def _commit(self, group: Sequence[Finished], begun: Sequence[RequestRow]) -> None:
        finished = list({row.request_id: row for row, _ in group}.values())
        self._ask()
        try:
            connection = self._connected()
            connection.begin()
            write_rows(connection, finished, begun, instance=self._instance, storing=self._storing)
            connection.commit()
        except BaseException:
            self._disconnect()
            raise

    def _write_each(self, group: Sequence[Finished], begun: Sequence[RequestRow]) -> bool:
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
        self._recover()
        return True

    def _do(self, job: Job) -> bool:
        """Whether the database is there."""
        if job.waiter.done():
            return True
        self._ask()
        try:
            connection = self._connected()
            value = job.do(connection)
            if job.waiter.done():  # it was told that nothing came of it
                connection.rollback()
            connection.commit()
        except Exception as exc:
            self._disconnect()
            if not is_transient(exc):
                self._recover()
                settle([job.waiter], exc)
                return True
            self._endure(exc)
            error = JournalError(f"The journal cannot be used now: {reason(exc)}.")
            error.__cause__ = exc
            settle([job.waiter], error)
            return False
        self._recover()
        settle([job.waiter], value=value)
        return True

    def _ask(self) -> None:
        """The database is asked for something now."""
        if self._since is None:
            self._since = time.monotonic()

    def _endure(self, error: Exception) -> None:
        """The database is away: keep the rows, and once patience is out tell those who wait."""
        if not self._is_stuck:
            self._is_stuck = True
            log.warning("The journal cannot be written now, and is tried again: %s", reason(error))
        if not self.is_healthy:
            told = JournalError(f"The journal cannot be written now: {reason(error)}.")
            settle([waiter for _, waiter in self._kept], told)
            self._kept = [finished._replace(waiter=None) for finished in self._kept]

    def _recover(self) -> None:
        """The database is there."""
        if self._is_stuck and self._since is not None:
            log.warning("The journal is written again after %.0f s", time.monotonic() - self._since)
        self._is_stuck, self._since = False, None

    def _lose(self, finished: Sequence[Finished]) -> None:
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
