"""What waits for the thread that writes: rows that have begun, rows that have ended, and jobs.

The door is `Inbox`. Anybody puts in; one thread takes out, in groups that grow with the load. It must not know the
database.
"""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable, Iterable
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple, TypeAlias

from sqlalchemy import Connection

from prefroute.journal.rows import RequestRow
from prefroute.journal.waiting import Waiter

__all__ = ["INTENT_S", "MAX_BATCH", "MAX_KEPT", "Finished", "Inbox", "Item", "Job"]

INTENT_S = 0.05
"""A request that has begun is written with the first group after so long, or in one of its own after twice as long; one
that has ended by then is written once."""

MAX_KEPT = 10_000
"""Rows that are kept in memory until the database is back; what comes in beyond is refused, and counted."""

MAX_BATCH = 512
"""Rows of one group."""

_ATTENTIVE_S = 1.0  # after a request has begun the thread looks for more by itself, since waking it takes time


class Finished(NamedTuple):
    """A row that does not change any more."""

    row: RequestRow
    waiter: Waiter | None


class Job(NamedTuple):
    """Work in a transaction of its own; the waiter gets what it returns."""

    do: Callable[[Connection], Any]
    waiter: Waiter


Item: TypeAlias = Finished | Job


class Inbox:
    """Hands rows and jobs from any thread to one. `begin` and `put` are anybody's, all else is that thread's."""

    def __init__(self) -> None:
        self._queue: SimpleQueue[Item | None] = SimpleQueue()  # None only wakes
        self._begun: deque[tuple[float, RequestRow]] = deque()
        self._is_awake = False  # whether the thread will look into `_begun` without being woken
        self._intents: dict[str, tuple[float, RequestRow]] = {}  # begun, not yet written; oldest first
        self._attentive_until = 0.0

    def __len__(self) -> int:
        """Rows that have ended and jobs that nobody has taken."""
        return self._queue.qsize()

    def begin(self, row: RequestRow) -> None:
        """Have the row taken soon, unless it ends sooner."""
        if len(self._begun) < MAX_KEPT:
            self._begun.append((time.monotonic() + INTENT_S, row))
        if not self._is_awake:
            self._queue.put(None)

    def put(self, item: Item | None) -> None:
        """Have it taken now; None only wakes the thread."""
        self._queue.put(item)

    def take(self, *, waits: bool) -> list[Item]:
        """What there is, after waiting for something if there is nothing.

        Args:
            waits: False to wait for nothing.
        """
        # In this order: who begins a request before the flag goes down is seen here, who does so after it wakes us.
        self._is_awake = False
        self._take_begun()
        wait_s = self._wait_s() if waits else 0.0
        self._is_awake = wait_s is not None
        items: list[Item] = []
        with contextlib.suppress(Empty):
            item = self._queue.get(timeout=wait_s)
            self._is_awake = True
            for _ in range(MAX_BATCH):
                if item is not None:
                    items.append(item)
                item = self._queue.get_nowait()
        self._take_begun()  # after the queue: whatever has ended has begun before
        self.forget(item.row for item in items if isinstance(item, Finished))
        return items

    def due(self, early_s: float = 0.0) -> list[RequestRow]:
        """Begun rows whose time has come, or comes within `early_s` seconds; they stay until they are forgotten."""
        now = time.monotonic() + early_s
        rows: list[RequestRow] = []
        for due, row in self._intents.values():
            if due > now or len(rows) == MAX_BATCH:
                break
            rows.append(row)
        return rows

    def forget(self, rows: Iterable[RequestRow]) -> None:
        """Rows that have begun are written, or have ended."""
        for row in rows:
            self._intents.pop(row.request_id, None)

    def _take_begun(self) -> None:
        if self._begun:
            self._attentive_until = time.monotonic() + _ATTENTIVE_S
        while self._begun and len(self._intents) < MAX_KEPT:
            due, row = self._begun.popleft()
            self._intents[row.request_id] = (due, row)

    def _wait_s(self) -> float | None:
        now = time.monotonic()
        if self._intents:
            due, _ = next(iter(self._intents.values()))
            return max(0.0, due + INTENT_S - now)
        return INTENT_S if now < self._attentive_until else None
