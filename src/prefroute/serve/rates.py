"""How often each key asks: a bucket that holds a minute's requests and refills evenly, one for all workers.

The door is `Rates`. A bucket is one number, the time at which it is full again. Workers of one gateway keep it in a
file for each key, under a lock that ends with the process that holds it. It must not know what a key may do.
"""

from __future__ import annotations

import logging
import os
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path

__all__ = ["Rates"]

_log = logging.getLogger(__name__)

_MINUTE_S = 60.0
_ROUNDING_S = 1e-6
_TIME = struct.Struct("d")


class Rates:
    """Counts requests against limits.

    Args:
        folder: Where the workers of one gateway count together; None where this process counts alone.
        clock: Seconds of a monotonic clock, the same one for all workers.

    Example:
        >>> rates = Rates(clock=lambda: 1000.0)
        >>> [rates.take("key_1", per_minute=2) for _ in range(3)]
        [0.0, 0.0, 30.0]
    """

    def __init__(self, folder: Path | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._folder = None if sys.platform == "win32" else folder  # no such locks; nor do workers run there
        self._clock = clock
        self._full_at: dict[str, float] = {}

    def take(self, key_id: str, per_minute: int) -> float:
        """Take one request out of a key's bucket, or else the seconds until there is one.

        Args:
            key_id: As the journal names the key.
            per_minute: Its limit, >= 1.
        """
        if self._folder is not None:
            try:
                return self._take_of_all(self._folder / f"rate-{key_id}", per_minute)
            except OSError as exc:
                _log.error("Workers count requests apart until a restart: %s (%s).", self._folder, exc.strerror)
                self._folder = None
        full_at, wait_s = self._taken(self._full_at.get(key_id, 0.0), per_minute)
        self._full_at[key_id] = full_at
        return wait_s

    def _take_of_all(self, path: Path, per_minute: int) -> float:
        import fcntl

        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.lockf(file, fcntl.LOCK_EX)  # for a few microseconds each
            stored = os.pread(file, _TIME.size, 0)
            full_at, wait_s = self._taken(_TIME.unpack(stored)[0] if stored else 0.0, per_minute)
            os.pwrite(file, _TIME.pack(full_at), 0)
        finally:
            os.close(file)
        return wait_s

    def _taken(self, full_at: float, per_minute: int) -> tuple[float, float]:
        """When the bucket is full after one more, and 0; or when it is full anyway, and how long there is none."""
        now, each_s = self._clock(), _MINUTE_S / per_minute
        later = max(full_at, now) + each_s
        wait_s = later - now - _MINUTE_S
        return (later, 0.0) if wait_s <= _ROUNDING_S else (full_at, wait_s)
