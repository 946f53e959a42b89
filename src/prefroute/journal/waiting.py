"""Tells those who wait for a row, on an event loop or on a thread, what became of it.

The doors are `Patience`, `settle` and `Waiter`. A loop is woken once for a whole group, however many wait on it.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

from prefroute.errors import JournalError

__all__ = ["Patience", "Waiter", "settle"]

Waiter: TypeAlias = "asyncio.Future[Any] | concurrent.futures.Future[Any]"


class Patience:
    """Makes futures of one event loop that fail unless they are settled in time; one timer serves them all.

    Args:
        loop: Its calls alone may be made here.
        seconds: For each future, from when it is made.
        message: Of the `JournalError` that it fails with.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, seconds: float, message: str) -> None:
        self.loop = loop
        self._seconds = seconds
        self._message = message
        self._waiting: deque[tuple[float, asyncio.Future[Any]]] = deque()  # oldest first, and so the first to be late
        self._timer: asyncio.TimerHandle | None = None

    def waiter(self) -> asyncio.Future[Any]:
        """A new future."""
        waiting = self._waiting
        while waiting and waiting[0][1].done():
            waiting.popleft()
        waiter: asyncio.Future[Any] = self.loop.create_future()
        waiting.append((self.loop.time() + self._seconds, waiter))
        if self._timer is None:
            self._timer = self.loop.call_later(self._seconds, self._look)
        return waiter

    def _look(self) -> None:
        waiting, now = self._waiting, self.loop.time()
        while waiting and (waiting[0][1].done() or waiting[0][0] <= now):
            _settle_all([waiting.popleft()[1]], JournalError(self._message), None)
        self._timer = self.loop.call_at(waiting[0][0], self._look) if waiting else None


def settle(waiters: Iterable[Waiter | None], error: Exception | None = None, value: Any = None) -> None:
    """Give every waiter the value, or the error; those that no longer wait are passed over. From any thread."""
    by_loop: dict[asyncio.AbstractEventLoop, list[asyncio.Future[Any]]] = {}
    for waiter in waiters:
        if isinstance(waiter, concurrent.futures.Future):
            _settle_all([waiter], error, value)
        elif waiter is not None:
            by_loop.setdefault(waiter.get_loop(), []).append(waiter)
    for loop, futures in by_loop.items():
        with contextlib.suppress(RuntimeError):  # a loop that has ended has nobody left who waits
            loop.call_soon_threadsafe(_settle_all, futures, error, value)


def _settle_all(waiters: Sequence[Waiter], error: Exception | None, value: Any) -> None:
    for waiter in waiters:
        if waiter.done():  # the client left
            continue
        if isinstance(waiter, concurrent.futures.Future) and not waiter.set_running_or_notify_cancel():
            continue  # given up just now, by a thread
        if error is None:
            waiter.set_result(value)
        else:
            waiter.set_exception(error)
