"""One HTTP/1.1 connection to an upstream, which carries one exchange after the other.

The door is `Connection`. It is an asyncio protocol over httptools, which parses for the server too: a general HTTP
client costs several times as much of the processor's time as the rest of a request. It must not know
what a body means or where connections come from.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

import httptools

__all__ = ["Connection", "Garbled", "Lost"]

_MAX_HEAD_BYTES = 64 * 1024
_HIGH_WATER_BYTES = 64 * 1024
_LINGER_S = 1.0


class Lost(Exception):
    """The connection ended before the answer did.

    Args:
        was_answered: Whether any byte of an answer had come.
    """

    def __init__(self, was_answered: bool) -> None:
        super().__init__()
        self.was_answered = was_answered


class Garbled(Exception):
    """What came is not HTTP/1.1, or its header is too long."""


class Connection(asyncio.Protocol):
    """Sends a request and reads its answer, for one caller at a time.

    Args:
        on_idle: Called when an exchange is over and the connection can carry another.
        on_lost: Called when the connection has ended.

    Attributes:
        is_open: Whether it can still be written to.
        is_fresh: Whether it has not carried an exchange yet.
        idle_since: Monotonic time of the end of the last exchange, seconds; its owner's to set.
    """

    def __init__(self, on_idle: Callable[[Connection], None], on_lost: Callable[[Connection], None]) -> None:
        self.is_open = False
        self.is_fresh = True
        self.idle_since = 0.0
        self._on_idle = on_idle
        self._on_lost = on_lost
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport
        self._waiter: asyncio.Future[None] | None = None
        self._until = self._due = 0.0  # when the waiter gives up; when the timer looks
        self._timer: asyncio.TimerHandle | None = None
        self._is_busy = False
        self._begin()

    def _begin(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._status = 0
        self._headers: dict[bytes, bytes] = {}
        self._n_head_bytes = 0
        self._has_head = False
        self._is_complete = False
        self._may_reuse = False
        self._is_lingering = False
        self._error: Callable[[], Exception] | None = None  # makes it: kept, it would hold whoever met it
        self._pieces: list[bytes] = []
        self._n_buffered = 0
        self._is_paused = False

    @property
    def peer(self) -> str:
        """Address at the other end; empty if it has gone already."""
        name = self._transport.get_extra_info("peername")
        return str(name[0]) if name else ""

    def send(self, request: bytes) -> None:
        """Begin an exchange. The last one must be over."""
        if not self.is_fresh:
            self._begin()
        self._is_busy = True
        self._transport.write(request)

    async def head(self, until: float) -> tuple[int, dict[bytes, bytes]]:
        """Status and headers of the answer, names in lower case.

        Args:
            until: When to give up, in the loop's time.

        Raises:
            TimeoutError: If it has not come by then.
            Lost: If the connection ends first.
            Garbled: If it is not HTTP.
        """
        while not self._has_head:
            await self._more(until)
        return self._status, self._headers

    async def read(self, until: float) -> bytes:
        """What has come of the body, at least one byte; nothing at its end, which frees the connection.

        Args:
            until: When to give up, in the loop's time.

        Raises:
            TimeoutError: If nothing has come by then.
            Lost: If the connection ends before the body does.
            Garbled: If it is not HTTP.
        """
        while not self._pieces:
            if self._is_complete:
                self._finish()
                return b""
            await self._more(until)
        body = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        self._make_room()
        return body

    def linger(self) -> None:
        """Nothing more is wanted, but the end is near: wait for it shortly, so that the connection can be kept."""
        self._make_room()
        if self._is_complete or self._error is not None:
            self._finish()
            return
        self._is_lingering = True
        self._loop.call_later(_LINGER_S, self._stop_lingering, self._parser)

    def close(self) -> None:
        """End the connection at once, whatever it is doing."""
        self.is_open = False
        self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the event loop."""
        self._transport = transport  # type: ignore[assignment]  # a TCP connection has a Transport
        self.is_open = True

    def data_received(self, data: bytes) -> None:
        """Called by the event loop."""
        if not self._is_busy or self._is_complete:
            self.close()  # nobody asked: the next answer could be taken for another's
            return
        if not self._has_head:
            self._n_head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._fail(Garbled)
            return
        if not self._has_head and self._n_head_bytes > _MAX_HEAD_BYTES:
            self._fail(Garbled)
        elif self._is_lingering:
            self._linger_on()
        elif self._n_buffered > _HIGH_WATER_BYTES and not self._is_paused:
            self._is_paused = True
            self._transport.pause_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the event loop."""
        self.is_open = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        ends_here = (
            exc is None
            and self._error is None
            and self._has_head
            and b"content-length" not in self._headers
            and b"transfer-encoding" not in self._headers
        )
        if ends_here:
            self._is_complete = True
        elif not self._is_complete and self._error is None:
            self._error = partial(Lost, self._n_head_bytes > 0)
        self._parser = None  # type: ignore[assignment]  # each refers to the other
        self._wake()
        self._on_lost(self)

    # httptools calls these by name

    def on_message_begin(self) -> None:  # noqa: D102
        if self._is_complete:
            raise ValueError("a second answer to one request")

    def on_header(self, name: bytes, value: bytes) -> None:  # noqa: D102
        self._headers[name.lower()] = value

    def on_headers_complete(self) -> None:  # noqa: D102
        self._status = self._parser.get_status_code()
        if self._status < 200:  # an interim answer; the real one follows
            self._headers = {}
            return
        self._has_head = True
        self._wake()

    def on_body(self, body: bytes) -> None:  # noqa: D102
        self._pieces.append(body)
        self._n_buffered += len(body)
        self._wake()

    def on_message_complete(self) -> None:  # noqa: D102
        if not self._has_head:
            return
        self._may_reuse = self._parser.should_keep_alive() and not self._is_complete
        self._is_complete = True
        self._wake()

    async def _more(self, until: float) -> None:
        if self._error is not None:
            raise self._error()
        self._waiter = self._loop.create_future()
        self._until = until
        if self._timer is None or until < self._due:
            self._set_timer()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _set_timer(self) -> None:
        """One timer for all pieces, which looks whether it is still wanted: one for each costs more than a piece."""
        if self._timer is not None:
            self._timer.cancel()
        self._due = self._until
        self._timer = self._loop.call_at(self._due, self._expire)

    def _expire(self) -> None:
        self._timer = None
        if self._waiter is None or self._waiter.done():
            return
        if self._until > self._due:  # pieces have come since
            self._set_timer()
        else:
            self._waiter.set_exception(TimeoutError())

    def _make_room(self) -> None:
        self._pieces = []
        self._n_buffered = 0
        if self._is_paused:
            self._is_paused = False
            self._transport.resume_reading()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _fail(self, error: type[Exception]) -> None:
        self._error = error
        self.close()
        self._wake()

    def _finish(self) -> None:
        if not self._is_busy:
            return
        self._is_busy = False
        self.is_fresh = False
        if self._may_reuse and self.is_open:
            self._on_idle(self)
        else:
            self.close()

    def _linger_on(self) -> None:
        if self._is_complete:
            self._finish()
        elif self._n_buffered > _HIGH_WATER_BYTES:
            self.close()

    def _stop_lingering(self, parser: object) -> None:
        if self._parser is parser and not self._is_complete:  # else it is over, or carries another exchange
            self.close()
