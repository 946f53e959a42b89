"""What the server says of itself, on standard error: one line for each request, and what else happens.

The door is `Lines`. Lines wait in memory and a thread writes them, so that a reader that hangs cannot hold up the event
loop. A line never holds text of a prompt, a key, or the message of an unexpected error, which could quote either.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
import time
import traceback
from collections import deque
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, BinaryIO, Literal, Self

import orjson

__all__ = ["Lines", "stack"]

_FLUSH_S = 0.1
_MOST_WAITING = 100_000


class Lines(logging.Handler):
    """Writes requests, and the records of Python's logging, as JSON or text; a context manager that flushes at its end.

    Args:
        form: How a line looks.
        stream: Where lines go; standard error unless given.
    """

    def __init__(self, form: Literal["json", "text"], stream: BinaryIO | None = None) -> None:
        super().__init__()
        self._form = form
        self._stream = sys.stderr.buffer if stream is None else stream
        self._waiting: deque[dict[str, Any]] = deque(maxlen=_MOST_WAITING)  # the oldest fall out
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._write_on, name="prefroute-log", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self._is_over.set()
        self._thread.join()
        self._write()

    def request(self, values: dict[str, Any]) -> None:
        """Say what became of a request.

        Args:
            values: JSON values.
        """
        values["at"] = time.time()
        self._waiting.append(values)

    def emit(self, record: logging.LogRecord) -> None:
        """Called by Python's logging."""
        line = {"at": record.created, "level": record.levelname.lower(), "message": record.getMessage()}
        if record.exc_info and record.exc_info[1] is not None:
            line["stack"] = stack(record.exc_info[1])
        self._waiting.append(line)

    def _write_on(self) -> None:
        while not self._is_over.wait(_FLUSH_S):
            self._write()

    def _write(self) -> None:
        lines = [self._waiting.popleft() for _ in range(len(self._waiting))]
        if not lines:
            return
        written = b"".join(map(self._line, lines))
        try:
            self._stream.write(written)
            self._stream.flush()
        except (OSError, ValueError):  # nobody reads any more
            self._waiting.clear()

    def _line(self, values: dict[str, Any]) -> bytes:
        at = datetime.fromtimestamp(values.pop("at"), UTC).isoformat(timespec="milliseconds")
        if self._form == "json":
            # JSON escapes line ends and escape characters: no value can forge a line
            return _json({"at": at, **values}) + b"\n"
        words = [_worded(name, value) for name, value in values.items() if value is not None]
        return f"{at} {' '.join(words)}\n".encode()


def stack(exc: BaseException) -> list[str]:
    """Where an error came from, and its class; not its message."""
    frames = traceback.extract_tb(exc.__traceback__)
    return [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames] + [type(exc).__name__]


def _worded(name: str, value: Any) -> str:
    text = value if isinstance(value, str) else _json(value).decode()
    clean = text.encode("unicode_escape").decode() if not text.isprintable() else text
    return clean if name in ("level", "message") else f"{name}={clean}"


def _json(value: Any) -> bytes:
    try:
        return orjson.dumps(value, default=str)
    except TypeError:  # text that UTF-8 has no bytes for, as in the name of a file; this one is slower, and takes it
        return json.dumps(value, default=str).encode()
