"""Tells those who wait for a row, on an event loop or on a thread, what became of it.

The door is `Waiter` and `settle`. A loop is woken once for a whole group, however many wait on it.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

__all__ = ["Waiter", "settle"]

Waiter: TypeAlias = "asyncio.Future[Any] | concurrent.futures.Future[Any]"


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
        if error is None:
            waiter.set_result(value)
        else:
            waiter.set_exception(error)
