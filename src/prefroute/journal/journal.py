"""The journal as a server uses it: begin and finish a request, take feedback, know the keys.

The door is `open_journal`. Every method returns at once; the work is done on two threads, one that writes and one that
keeps watch (keys, the roll of processes, retention).
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from sqlalchemy import Connection, Engine

from prefroute.journal.database import connect, file_identity, is_there, limit_answers
from prefroute.journal.feedback import FeedbackResult, add_feedback
from prefroute.journal.instances import BEAT_S, Roll
from prefroute.journal.keys import KeyRing, list_keys
from prefroute.journal.rows import FeedbackRow, RequestRow
from prefroute.journal.schema import examine, upgrade
from prefroute.journal.statements import UNRECORDED, Storing
from prefroute.journal.upkeep import prune_batch
from prefroute.journal.writer import PATIENCE_S, Writer

__all__ = ["Journal", "check_database", "open_database", "open_journal"]

_WATCH_S = 0.5  # a revoked key is refused within a second
_PRUNE_S = 60.0  # between two looks for what has become too old

T = TypeVar("T")

log = logging.getLogger(__name__)


def open_database(url: str, folder: Path | None = None, *, make: bool = True) -> Engine:
    """The database of a journal, brought to this version's schema; for commands, which need no writer.

    Args:
        url: `sqlite:///FILE` or `postgresql://...`.
        folder: Where a relative file starts; None for the working directory.
        make: Whether an SQLite file that does not exist is made.

    Raises:
        ConfigError: If the URL is not valid, or the database is not a journal or of a newer prefroute.
        JournalError: If the database cannot be reached.
        MissingExtraError: If PostgreSQL's driver is not installed.
    """
    engine = connect(url, folder, make=make)
    try:
        upgrade(engine)
    except BaseException:
        engine.dispose()
        raise
    return engine


def check_database(url: str, folder: Path | None = None) -> bool:
    """Whether a key was ever made in the journal that a server would open; nothing is made or changed.

    Args:
        url: As for `open_database`.
        folder: As for `open_database`.

    Raises:
        ConfigError: As for `open_database`; and if a file cannot be made.
        JournalError: If the database cannot be reached.
        MissingExtraError: If PostgreSQL's driver is not installed.
    """
    if not is_there(url, folder):
        return False
    engine = connect(url, folder, make=False)
    try:
        return examine(engine) is not None and bool(list_keys(engine))
    finally:
        engine.dispose()


def open_journal(
    url: str, *, folder: Path | None = None, storing: Storing | None = None, retention_days: float | None = None
) -> Journal:
    """The journal of a server, with its threads running.

    Args:
        url: `sqlite:///FILE` or `postgresql://...`.
        folder: Where a relative file starts; None for the working directory.
        storing: What is kept of the text; None for nothing.
        retention_days: Requests older than this are deleted while the server runs, > 0; None keeps them.

    Raises:
        ConfigError: If the URL is not valid, or the database is not a journal or of a newer prefroute.
        JournalError: If the database cannot be reached or written.
        MissingExtraError: If PostgreSQL's driver is not installed.
    """
    engine = open_database(url, folder)
    limit_answers(engine, PATIENCE_S)  # not before: to migrate may take longer
    return Journal(engine, storing or Storing(), retention_days)


class Journal:
    """Made by `open_journal`; close it, or use it in a `with` statement.

    Args:
        engine: Of a database that has the tables; disposed of at the end.
        storing: What is kept of the text.
        retention_days: Requests older than this are deleted, > 0; None keeps them.

    Attributes:
        keys: Who may ask.
    """

    def __init__(self, engine: Engine, storing: Storing, retention_days: float | None = None) -> None:
        self.engine = engine
        self._roll = Roll()
        self._writer = Writer(engine, self._roll.instance, storing)
        try:
            self._run(self._roll.beat)
            self.keys = KeyRing(engine)
        except BaseException:
            self._writer.close(last=self._roll.leave)
            engine.dispose()
            raise
        self._retention_days = retention_days
        self._next_prune = time.monotonic()
        self._file = file_identity(engine)
        self._is_closing = threading.Event()
        self._watch = threading.Thread(target=self._keep_watch, name="prefroute-journal-watch", daemon=True)
        self._watch.start()

    def __enter__(self) -> Self:
        """The journal itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()

    @property
    def is_healthy(self) -> bool:
        """Whether rows are being written; False from five seconds after they no longer could be until they can."""
        return self._writer.is_healthy

    def counts(self) -> dict[str, int]:
        """For metrics: rows that wait, that were lost, and that the database refused for good."""
        return {
            "waiting": self._writer.n_waiting,
            "lost": self._writer.n_lost,
            "refused": self._writer.n_refused,
        }

    def begin(self, row: RequestRow) -> None:
        """A request was admitted: its row is written within a tenth of a second, unless it ends sooner."""
        self._writer.begin(row)

    def finish(self, row: RequestRow) -> asyncio.Future[None]:
        """A request has ended; call it on an event loop, with a row that does not change any more.

        Returns:
            Done when the row is committed. It fails with a `JournalError` if that takes longer than five seconds, or
            the database has been away for as long already (the row is kept and written later), or if it cannot be.
        """
        done: asyncio.Future[None] = self._writer.waiter()
        self._writer.finish(row, done)
        return done

    def refuse(self, row: RequestRow, status: int) -> None:
        """The client was refused because its row was not committed in time: say so in the row, written or not.

        Args:
            row: As it was given to `finish`.
            status: What the client saw.
        """
        row.status, row.error = status, UNRECORDED
        self._writer.finish(row)

    def save(self, row: RequestRow) -> None:
        """Like `finish`, for code without an event loop: returns when the row is committed.

        Raises:
            JournalError: As for `finish`.
        """
        done: concurrent.futures.Future[None] = concurrent.futures.Future()
        self._writer.finish(row, done)
        self._writer.result(done)

    def add_feedback(self, row: FeedbackRow) -> asyncio.Future[FeedbackResult]:
        """Store a feedback; call it on an event loop.

        Returns:
            Done when it is committed, or known why not. It fails with a `JournalError` if the database is away or
            takes longer than five seconds; nothing is stored then, but for one that was being committed at that very
            moment. To give it again is safe: it is stored once.
        """
        done: asyncio.Future[FeedbackResult] = self._writer.waiter()
        self._writer.do(lambda connection: add_feedback(connection, row), done)
        return done

    def close(self) -> None:
        """Write what is waiting, end the threads, and let go of the database, within about five seconds."""
        self._is_closing.set()
        self._writer.close(last=self._roll.leave)
        self._watch.join(_WATCH_S)  # it may hang with the database, and leaves nothing undone
        if not self._watch.is_alive():
            self.engine.dispose()

    def _run(self, job: Callable[[Connection], T]) -> T:
        done: concurrent.futures.Future[T] = concurrent.futures.Future()
        self._writer.do(job, done)
        return self._writer.result(done)

    def _keep_watch(self) -> None:
        try:
            self._look_on()
        finally:
            self.engine.dispose()  # its own connection too, where `close` did not wait for it

    def _look_on(self) -> None:
        next_beat = time.monotonic() + BEAT_S
        while not self._is_closing.wait(_WATCH_S):
            now = time.monotonic()
            if now >= next_beat:
                next_beat = now + BEAT_S
                self._check_file()
                self._writer.do(self._roll.beat, concurrent.futures.Future())
            try:
                self.keys.refresh()
                if self._retention_days is not None and now >= self._next_prune:
                    self._prune(self._retention_days)
            except Exception as exc:  # the keys stay as they were until the database is back; no error may end this
                log.debug("The journal cannot be read now: %s", type(exc).__name__)

    def _check_file(self) -> None:
        """Begin a new file where somebody has deleted or replaced the one that is open."""
        if file_identity(self.engine) == self._file:
            return
        log.error("The journal's file was deleted or replaced; what was written to it since is not in the new one")
        try:
            self.engine.dispose()
            upgrade(self.engine)
        except Exception as exc:  # it is tried again at the next beat
            log.error("The journal's new file cannot be used: %s", exc)
            return
        self._file = file_identity(self.engine)
        self._writer.reconnect()

    def _prune(self, days: float) -> None:
        """One batch, and the next one soon if there was anything: a revoked key never waits for all of them."""
        if prune_batch(self.engine, time.time() - days * 86_400) == 0:
            self._next_prune = time.monotonic() + _PRUNE_S
